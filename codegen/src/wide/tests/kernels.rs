//! Whole kernels against plain Rust.

use super::{at_widths, load};
use crate::wide::vir::*;

/// `out[i] = body(in[i])` for `i < n`, with full vectors and a masked tail.
/// Arguments: input, output, n.
pub fn elementwise(width: Width, body: impl Fn(&mut FunctionBuilder, Value) -> Value) -> Function {
    let mut f = FunctionBuilder::new("elementwise", width);
    let (x, y, n) = (f.arg(0), f.arg(1), f.arg(2));
    let lanes = f.lanes(Elem::F32) as i64;
    let log2 = lanes.trailing_zeros() as u8;
    let blocks = f.int_shift(ShiftOp::Shr, n, log2);
    let full = f.int_shift(ShiftOp::Shl, blocks, log2);
    let zero = f.iconst(0);
    let open = f.begin_loop(zero, full, lanes, &[]);
    let i = open.index;
    let v = f.load(Elem::F32, Addr::indexed(x, i, 4));
    let r = body(&mut f, v);
    f.store(Elem::F32, Addr::indexed(y, i, 4), r);
    f.end_loop(open, &[]);
    let rest = f.int(IntOp::Sub, n, full);
    let mask = f.tail_mask(Elem::F32, rest);
    let v = f.load_form(Elem::F32, LoadForm::Masked(mask), Addr::indexed(x, full, 4));
    let r = body(&mut f, v);
    let form = StoreForm::Masked(mask);
    f.store_form(Elem::F32, form, Addr::indexed(y, full, 4), r);
    f.ret();
    f.finish().unwrap()
}

const SIZES: [usize; 9] = [0, 1, 7, 8, 15, 16, 17, 33, 100];

#[test]
fn scale_shift_relu_with_tails() {
    at_widths(|width, target| {
        let f = elementwise(width, |f, v| {
            let (s, b, zero) = (f.splat_f32(1.5), f.splat_f32(-0.25), f.splat_f32(0.0));
            let r = f.fma(FmaOp::MulAdd, Elem::F32, v, s, b);
            f.binary(BinaryOp::Max, Elem::F32, r, zero)
        });
        let exe = load(&f, target);
        for n in SIZES {
            let x: Vec<f32> = (0..n).map(|i| (i as f32 - 9.0) * 0.37).collect();
            let mut y = vec![f32::from_bits(0x7fc0_1234); n + 16];
            exe.call(&[x.as_ptr() as u64, y.as_mut_ptr() as u64, n as u64]);
            for i in 0..n {
                let r = x[i].mul_add(1.5, -0.25);
                let want = if r > 0.0 { r } else { 0.0 };
                assert_eq!(y[i].to_bits(), want.to_bits(), "{width:?} n={n} i={i}");
            }
            let untouched = y[n..].iter().all(|v| v.to_bits() == 0x7fc0_1234);
            assert!(untouched, "{width:?} n={n}: wrote past the end");
        }
    });
}

const EXP: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// `2^k * p(x - k ln 2)`, the usual reduction and a Horner polynomial.
fn exp_body(f: &mut FunctionBuilder, x: Value) -> Value {
    let e = Elem::F32;
    let log2e = f.splat_f32(std::f32::consts::LOG2_E);
    let t = f.binary(BinaryOp::Mul, e, x, log2e);
    let k = f.unary(UnaryOp::Nearest, e, t);
    let (hi, lo) = (f.splat_f32(LN2_HI), f.splat_f32(LN2_LO));
    let r = f.fma(FmaOp::NegMulAdd, e, k, hi, x);
    let r = f.fma(FmaOp::NegMulAdd, e, k, lo, r);
    let mut p = f.splat_f32(EXP[0]);
    for c in EXP[1..].iter().chain(&[1.0]) {
        let c = f.splat_f32(*c);
        p = f.fma(FmaOp::MulAdd, e, p, r, c);
    }
    let k = f.unary(UnaryOp::ToI32Nearest, e, k);
    let bias = f.splat_i32(127);
    let k = f.binary(BinaryOp::Add, Elem::I32, k, bias);
    let scale = f.shift(ShiftOp::Shl, k, 23);
    f.binary(BinaryOp::Mul, e, p, scale)
}

fn exp_scalar(x: f32) -> f32 {
    let k = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = (-k).mul_add(LN2_HI, x);
    let r = (-k).mul_add(LN2_LO, r);
    let poly = EXP[1..].iter().chain(&[1.0]);
    let p = poly.fold(EXP[0], |p, c| p.mul_add(r, *c));
    p * f32::from_bits(((k as i32 + 127) << 23) as u32)
}

#[test]
fn exp_polynomial() {
    at_widths(|width, target| {
        let exe = load(&elementwise(width, exp_body), target);
        let x: Vec<f32> = (0..203).map(|i| (i as f32 - 100.0) * 0.41).collect();
        let mut y = vec![0f32; x.len()];
        exe.call(&[x.as_ptr() as u64, y.as_mut_ptr() as u64, x.len() as u64]);
        for (x, y) in x.iter().zip(&y) {
            assert_eq!(y.to_bits(), exp_scalar(*x).to_bits(), "{width:?} exp({x})");
            // A sixth-degree polynomial on [-ln2/2, ln2/2] is good for a few ulp.
            assert!((y / x.exp() - 1.0).abs() < 1e-6, "{width:?} exp({x}) = {y}");
        }
        let text = exe.text();
        assert_eq!(exe.code.stats.spills, 0, "{text}");
        assert!(!text.contains("vmovaps"), "{text}");
        // Two copies of the body; the first of six steps has constants on both sides.
        assert_eq!(text.matches("vfmadd213ps").count(), 10, "{text}");
        assert_eq!(text.matches("vfmadd231ps").count(), 2, "{text}");
    });
}

/// `out[r] = sum of row r`, rows one after another; exercises nested loops and reductions.
/// Arguments: input, output, rows, columns (a multiple of the lanes).
#[test]
fn row_sums() {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new("row_sums", width);
        let (x, y) = (f.arg(0), f.arg(1));
        let (rows, cols) = (f.arg(2), f.arg(3));
        let zero = f.iconst(0);
        let lanes = f.lanes(Elem::F32);
        let outer = f.begin_loop(zero, rows, 1, &[x]);
        let (start, zero) = (f.zero(), f.iconst(0));
        let inner = f.begin_loop(zero, cols, lanes as i64, &[start]);
        let at = Addr::indexed(outer.carried[0], inner.index, 4);
        let v = f.load(Elem::F32, at);
        let sum = f.binary(BinaryOp::Add, Elem::F32, inner.carried[0], v);
        let sum = f.end_loop(inner, &[sum])[0];
        let sum = f.reduce(ReduceOp::Add, Elem::F32, sum);
        f.store_form(
            Elem::F32,
            StoreForm::Lane,
            Addr::indexed(y, outer.index, 4),
            sum,
        );
        let next = f.lea(Addr::indexed(outer.carried[0], cols, 4));
        f.end_loop(outer, &[next]);
        f.ret();
        let exe = load(&f.finish().unwrap(), target);
        for (rows, cols) in [(0, 16), (1, 0), (3, 16), (5, 64)] {
            // Small integers add without rounding in any order.
            let x: Vec<f32> = (0..rows * cols).map(|i| (i % 17) as f32).collect();
            let mut y = vec![-1f32; rows + 1];
            let args = [x.as_ptr() as u64, y.as_mut_ptr() as u64];
            exe.call(&[args[0], args[1], rows as u64, cols as u64]);
            for r in 0..rows {
                let want: f32 = x[r * cols..(r + 1) * cols].iter().sum();
                assert_eq!(y[r], want, "{width:?} {rows}x{cols} row {r}");
            }
            assert_eq!(y[rows], -1.0);
        }
    });
}

/// More live vectors, masks and integers than there are registers.
#[test]
fn spills_are_right() {
    at_widths(|width, target| {
        const N: usize = 40;
        let mut f = FunctionBuilder::new("pressure", width);
        let (x, y) = (f.arg(0), f.arg(1));
        let bytes = width.bytes() as i32;
        let vs: Vec<Value> = (0..N as i32)
            .map(|i| f.load(Elem::F32, Addr::at(x, i * bytes)))
            .collect();
        let masks: Vec<Value> = (0..20)
            .map(|i| f.cmp(Cmp::Lt, Elem::F32, vs[i], vs[N - 1 - i]))
            .collect();
        let ints: Vec<Value> = (0..20)
            .map(|i| f.int_load(IntTy::I32, Addr::at(x, i * 4)))
            .collect();
        let mut sum = vs[0];
        for i in 0..N {
            let picked = f.select(Elem::F32, masks[i % 20], vs[i], vs[(i * 7 + 3) % N]);
            sum = f.fma(FmaOp::MulAdd, Elem::F32, picked, vs[i], sum);
        }
        let total = ints.into_iter().reduce(|a, b| f.int(IntOp::Add, a, b));
        let total = f.splat_int(total.unwrap());
        let total = f.unary(UnaryOp::FromI32, Elem::I32, total);
        let both = f.binary(BinaryOp::Add, Elem::F32, sum, total);
        f.store(Elem::F32, Addr::new(y), both);
        f.ret();
        let f = f.finish().unwrap();
        let exe = load(&f, target);
        assert!(exe.code.stats.spills > 0);
        let data: Vec<f32> = (0..N * 16).map(|i| (i * 37 % 101) as f32 * 0.125).collect();
        let (mut got, mut want) = ([0f32; 16], [0f32; 16]);
        exe.call(&[data.as_ptr() as u64, got.as_mut_ptr() as u64]);
        super::interp::run(&f, &[data.as_ptr() as u64, want.as_mut_ptr() as u64]);
        assert_eq!(got.map(f32::to_bits), want.map(f32::to_bits), "{width:?}");
    });
}

/// An unreachable block and a chain of empty blocks leave no code behind.
#[test]
fn empty_and_unreachable_blocks() {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new("chain", width);
        let p = f.arg(0);
        let (a, _) = f.block(&[]);
        let (b, _) = f.block(&[]);
        let (dead, _) = f.block(&[]);
        let (end, _) = f.block(&[]);
        f.jump(a, &[]);
        f.switch_to(a);
        f.jump(b, &[]);
        f.switch_to(dead);
        f.jump(end, &[]);
        f.switch_to(b);
        f.jump(end, &[]);
        f.switch_to(end);
        let one = f.splat_f32(1.0);
        f.store(Elem::F32, Addr::new(p), one);
        f.ret();
        let exe = load(&f.finish().unwrap(), target);
        let mut y = [0f32; 16];
        exe.call(&[y.as_mut_ptr() as u64]);
        assert_eq!(y[0], 1.0);
        assert_eq!(exe.code.stats.insts, 5, "{}", exe.text());
    });
}

/// A value carried around a loop in exchanged order needs a parallel move.
#[test]
fn swapped_parameters() {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new("swap", width);
        let (p, n) = (f.arg(0), f.arg(1));
        let x = f.load(Elem::F32, Addr::new(p));
        let y = f.load(Elem::F32, Addr::at(p, 64));
        let zero = f.iconst(0);
        let open = f.begin_loop(zero, n, 1, &[x, y]);
        let swapped = [open.carried[1], open.carried[0]];
        let end = f.end_loop(open, &swapped);
        f.store(Elem::F32, Addr::new(p), end[0]);
        f.store(Elem::F32, Addr::at(p, 64), end[1]);
        f.ret();
        let exe = load(&f.finish().unwrap(), target);
        for n in 0..4u64 {
            let mut data: Vec<f32> = (0..32).map(|i| i as f32).collect();
            exe.call(&[data.as_mut_ptr() as u64, n]);
            let (first, second) = if n % 2 == 0 { (0.0, 16.0) } else { (16.0, 0.0) };
            assert_eq!((data[0], data[16]), (first, second), "{width:?} n={n}");
        }
    });
}
