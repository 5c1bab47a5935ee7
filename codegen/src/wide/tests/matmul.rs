//! Register-tiled matrix multiplication: bits, and the shape of the inner loop.

use super::{at_widths, load};
use crate::wide::vir::*;

#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    /// Vectors a row.
    vectors: usize,
    /// A new broadcast for every multiplication, for {1to16} operands.
    broadcast_each: bool,
}

/// `C[rows][n] = A[rows][k] * B[k][n]`, with `A` of row stride `lda` elements and packed `B`.
/// Arguments: A, B, C, k, lda in bytes.
fn kernel(width: Width, t: Tile) -> Function {
    let mut f = FunctionBuilder::new("matmul", width);
    let (a, b, c) = (f.arg(0), f.arg(1), f.arg(2));
    let (k, lda) = (f.arg(3), f.arg(4));
    let bytes = width.bytes();
    let row_bytes = (t.vectors * bytes) as i32;
    // Three rows share a pointer: base, base + stride, base + 2 * stride.
    let mut bases = vec![a];
    for _ in 1..t.rows.div_ceil(3) {
        let last = *bases.last().unwrap();
        let by_two = f.lea(Addr::indexed(last, lda, 2));
        bases.push(f.int(IntOp::Add, by_two, lda));
    }
    let end = f.lea(Addr::indexed(a, k, 4));
    let zeros: Vec<Value> = (0..t.rows * t.vectors).map(|_| f.zero()).collect();
    let mut init = bases[1..].to_vec();
    init.push(b);
    init.extend(zeros);
    let open = f.begin_loop(a, end, 4, &init);
    let extra = bases.len() - 1;
    let carried = open.carried.clone();
    let (pb, acc) = (carried[extra], &carried[extra + 1..]);
    let base = |r: usize| {
        if r < 3 {
            open.index
        } else {
            carried[r / 3 - 1]
        }
    };
    let a_at = |r: usize| match r % 3 {
        0 => Addr::new(base(r)),
        n => Addr::indexed(base(r), lda, n as u8),
    };
    let bs: Vec<Value> = (0..t.vectors)
        .map(|v| f.load(Elem::F32, Addr::at(pb, (v * bytes) as i32)))
        .collect();
    let mut next = Vec::new();
    for r in 0..t.rows {
        let mut x = f.broadcast(Elem::F32, a_at(r));
        for (v, b) in bs.iter().enumerate() {
            if t.broadcast_each && v > 0 {
                x = f.broadcast(Elem::F32, a_at(r));
            }
            let sum = acc[r * t.vectors + v];
            next.push(f.fma(FmaOp::MulAdd, Elem::F32, x, *b, sum));
        }
    }
    let mut again: Vec<Value> = Vec::new();
    for p in &carried[..extra] {
        again.push(f.int_add_const(*p, 4));
    }
    again.push(f.int_add_const(pb, i64::from(row_bytes)));
    again.extend(next);
    let done = f.end_loop(open, &again);
    for (i, v) in done[extra + 1..].iter().enumerate() {
        f.store(Elem::F32, Addr::at(c, (i * bytes) as i32), *v);
    }
    f.ret();
    f.finish().unwrap()
}

/// The lines between the target of the only backward jump and that jump.
fn inner_loop(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let offset = |l: &str| u64::from_str_radix(l.trim().split(' ').next().unwrap(), 16).unwrap();
    let jump = |l: &str| {
        let op = l.split_once("  ").filter(|_| l.contains("  j"))?.1;
        let target = op.rsplit(' ').next()?.trim_end_matches('h');
        u64::from_str_radix(target, 16).ok()
    };
    let (end, start) = lines
        .iter()
        .enumerate()
        .find_map(|(i, l)| jump(l.trim()).filter(|t| *t < offset(l)).map(|t| (i, t)))
        .unwrap_or_else(|| panic!("no loop in\n{text}"));
    let begin = lines.iter().position(|l| offset(l) == start).unwrap();
    lines[begin..=end].to_vec()
}

fn check(width: Width, target: &crate::wide::WideTarget, t: Tile) -> String {
    let exe = load(&kernel(width, t), target);
    let n = t.vectors * width.lanes(Elem::F32);
    let text = exe.text();
    for k in [0usize, 1, 2, 37] {
        let lda = k + 5;
        let noise = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
        let a: Vec<f32> = (0..t.rows * lda).map(noise).collect();
        let b: Vec<f32> = (0..k * n).map(|i| noise(i + 77)).collect();
        let mut c = vec![0f32; t.rows * n];
        let ptrs = [a.as_ptr() as u64, b.as_ptr() as u64, c.as_mut_ptr() as u64];
        exe.call(&[ptrs[0], ptrs[1], ptrs[2], k as u64, lda as u64 * 4]);
        for (i, got) in c.iter().enumerate() {
            let (r, col) = (i / n, i % n);
            let dot = |s: f32, kk: usize| a[r * lda + kk].mul_add(b[kk * n + col], s);
            let want = (0..k).fold(0f32, dot);
            assert_eq!(
                got.to_bits(),
                want.to_bits(),
                "{width:?} k={k} [{r}][{col}]\n{text}"
            );
        }
    }
    let body = inner_loop(&text).join("\n");
    assert!(!body.contains("rsp"), "spills in the loop:\n{body}");
    assert!(!body.contains("vmovaps"), "moves in the loop:\n{body}");
    assert!(!body.contains("mov r"), "moves in the loop:\n{body}");
    let fmas = t.rows * t.vectors;
    assert_eq!(body.matches("vfmadd231ps").count(), fmas, "{body}");
    // With one row, the vectors of B have one reader and become its operand.
    let loads = if t.rows == 1 { 0 } else { t.vectors };
    assert_eq!(body.matches("vmovups").count(), loads, "{body}");
    body
}

#[test]
fn tiles_fit_their_registers() {
    at_widths(|width, target| {
        let tiles: &[(usize, usize)] = match width {
            Width::Y256 => &[(6, 2), (4, 3), (1, 1), (3, 2)],
            Width::Z512 => &[(8, 3), (6, 4), (12, 2), (3, 1), (1, 1)],
        };
        for &(rows, vectors) in tiles {
            let t = Tile {
                rows,
                vectors,
                broadcast_each: false,
            };
            let body = check(width, target, t);
            // A broadcast with one reader folds where {1to16} exists, unless B is the operand.
            let folded = width == Width::Z512 && vectors == 1 && rows > 1;
            let loads = if folded { 0 } else { rows };
            assert_eq!(body.matches("vbroadcastss").count(), loads, "{body}");
        }
    });
}

#[test]
fn broadcasts_become_operands() {
    at_widths(|width, target| {
        if width == Width::Y256 {
            return;
        }
        let t = Tile {
            rows: 8,
            vectors: 3,
            broadcast_each: true,
        };
        let body = check(width, target, t);
        assert_eq!(body.matches("{1to16}").count(), 24, "{body}");
        assert_eq!(body.matches("vbroadcastss").count(), 0, "{body}");
    });
}

/// `c += a[i] * w`, a full load with one reader.
#[test]
fn loads_become_operands() {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new("dot", width);
        let (a, b, n) = (f.arg(0), f.arg(1), f.arg(2));
        let (lo, start) = (f.iconst(0), f.zero());
        let open = f.begin_loop(lo, n, f.lanes(Elem::F32) as i64, &[start]);
        let x = f.load(Elem::F32, Addr::indexed(a, open.index, 4));
        let y = f.load(Elem::F32, Addr::indexed(b, open.index, 4));
        let sum = f.fma(FmaOp::MulAdd, Elem::F32, x, y, open.carried[0]);
        let sum = f.end_loop(open, &[sum])[0];
        f.store(Elem::F32, Addr::new(a), sum);
        f.ret();
        let exe = load(&f.finish().unwrap(), target);
        let text = exe.text();
        let body = inner_loop(&text);
        // One load, one multiply-add from memory, the counter, its test.
        assert_eq!(body.len(), 5, "{body:#?}");
        assert!(
            body[1].contains("vfmadd231ps") && body[1].contains('['),
            "{body:#?}"
        );
    });
}

/// A store between a load and its reader keeps the load where it is.
#[test]
fn stores_hold_loads_back() {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new("alias", width);
        let p = f.arg(0);
        let (x, one) = (f.load(Elem::F32, Addr::new(p)), f.splat_f32(1.0));
        f.store(Elem::F32, Addr::new(p), one);
        let y = f.binary(BinaryOp::Add, Elem::F32, one, x);
        f.store(Elem::F32, Addr::at(p, 64), y);
        f.ret();
        let exe = load(&f.finish().unwrap(), target);
        let mut data = [5f32; 32];
        exe.call(&[data.as_mut_ptr() as u64]);
        assert_eq!((data[0], data[16]), (1.0, 6.0), "{}", exe.text());
    });
}
