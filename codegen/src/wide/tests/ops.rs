//! Every operation on awkward operands, against the interpreter.

use super::{at_widths, interp, load};
use crate::wide::vir::*;

const FLOATS: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    0.5,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    1e-40,
    -3.4e38,
    2147483648.0,
    -2147483648.0,
    8388609.0,
    -0.49999997,
    1e10,
];

const INTS: [i32; 16] = [
    0,
    1,
    -1,
    31,
    32,
    33,
    i32::MIN,
    i32::MAX,
    7,
    -8,
    1 << 20,
    12345,
    -99999,
    2,
    3,
    1000,
];

/// Runs `body` over each pair of rotations of the operands; `same` compares lanes.
fn check(
    name: &str,
    data: &[u32; 16],
    body: impl Fn(&mut FunctionBuilder, Value, Value) -> Value,
    same: impl Fn(u32, u32) -> bool,
) {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new(name, width);
        let (p, q, out) = (f.arg(0), f.arg(1), f.arg(2));
        let x = f.load(Elem::I32, Addr::new(p));
        let y = f.load(Elem::I32, Addr::new(q));
        let r = body(&mut f, x, y);
        f.store(Elem::I32, Addr::new(out), r);
        f.ret();
        let f = f.finish().unwrap();
        let exe = load(&f, target);
        for turn in 0..16 {
            let mut other = *data;
            other.rotate_left(turn);
            let (mut got, mut want) = ([0u32; 16], [0u32; 16]);
            let (p, q) = (data.as_ptr() as u64, other.as_ptr() as u64);
            exe.call(&[p, q, got.as_mut_ptr() as u64]);
            interp::run(&f, &[p, q, want.as_mut_ptr() as u64]);
            for i in 0..16 {
                assert!(
                    same(got[i], want[i]),
                    "{name} {width:?}, lane {i}: {:#x} and {:#x} give {:#x}, not {:#x}\n{}",
                    data[i],
                    other[i],
                    got[i],
                    want[i],
                    exe.text()
                );
            }
        }
    });
}

fn floats(name: &str, body: impl Fn(&mut FunctionBuilder, Value, Value) -> Value) {
    // Which NaN comes out is not part of the contract.
    let same =
        |a: u32, b: u32| a == b || (f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan());
    check(name, &FLOATS.map(f32::to_bits), body, same);
}

fn ints(name: &str, body: impl Fn(&mut FunctionBuilder, Value, Value) -> Value) {
    check(name, &INTS.map(|x| x as u32), body, |a, b| a == b);
}

const CMPS: [Cmp; 6] = [Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, Cmp::Gt, Cmp::Ge];

#[test]
fn float_operations() {
    use BinaryOp::*;
    for op in [Add, Sub, Mul, Div, Min, Max, And, Or, Xor, AndNot] {
        floats(&format!("{op:?}"), |f, x, y| f.binary(op, Elem::F32, x, y));
        floats(&format!("{op:?} const"), |f, x, _| {
            let c = f.splat_f32(2.5);
            f.binary(op, Elem::F32, c, x)
        });
    }
    use UnaryOp::*;
    for op in [Sqrt, Floor, Ceil, Nearest, Trunc, ToI32Nearest, ToI32Trunc] {
        floats(&format!("{op:?}"), |f, x, _| f.unary(op, Elem::F32, x));
    }
}

#[test]
fn scaling_by_powers_of_two() {
    floats("Scale", |f, x, y| match f.width() {
        Width::Z512 => f.binary(BinaryOp::Scale, Elem::F32, x, y),
        Width::Y256 => x,
    });
}

#[test]
fn masks_become_bits() {
    for cmp in CMPS {
        ints(&format!("bits of {cmp:?}"), |f, x, y| {
            let held = f.cmp(cmp, Elem::I32, x, y);
            let bits = f.mask_bits(held);
            f.splat_int(bits)
        });
    }
}

/// Stores all lanes, or those of a mask, as short integers, and loads them again.
#[test]
fn short_integers() {
    for ty in [IntTy::I8, IntTy::U8, IntTy::I16, IntTy::U16] {
        ints(&format!("{ty:?}"), |f, x, y| {
            let at = Addr::new(f.arg(2));
            f.store(Elem::I32, at, y);
            f.store_short(ty, None, at.disp(4), x);
            let all = f.load_short(ty, None, at.disp(4));
            if f.width() == Width::Y256 {
                return all;
            }
            let some = f.cmp(Cmp::Lt, Elem::I32, x, y);
            f.store_short(ty, Some(some), at, y);
            let part = f.load_short(ty, Some(some), at);
            f.binary(BinaryOp::Xor, Elem::I32, all, part)
        });
        ints(&format!("{ty:?} of the general registers"), |f, x, _| {
            let at = Addr::new(f.arg(2));
            f.store(Elem::I32, at, x);
            for k in 0..6 {
                let v = f.int_load(ty, at.disp(5 * k));
                f.int_store(ty, at.disp(3 * k + 1), v);
                let v = f.splat_int(v);
                f.store_form(Elem::I32, StoreForm::Lane, at.disp(24), v);
            }
            f.load(Elem::I32, at)
        });
    }
}

#[test]
fn integer_operations() {
    use BinaryOp::*;
    for op in [Add, Sub, Mul, Min, Max, And, Or, Xor, AndNot, Shl, Shr, Sar] {
        ints(&format!("{op:?}"), |f, x, y| f.binary(op, Elem::I32, x, y));
        ints(&format!("{op:?} lanes"), |f, x, _| {
            let c = f.lanes_i32(|i| i as i32 * 3 - 7);
            f.binary(op, Elem::I32, x, c)
        });
    }
    for op in [ShiftOp::Shl, ShiftOp::Shr, ShiftOp::Sar] {
        for amount in [0, 1, 23, 31] {
            ints(&format!("{op:?} {amount}"), |f, x, _| {
                f.shift(op, x, amount)
            });
        }
    }
    ints("Abs", |f, x, _| f.unary(UnaryOp::Abs, Elem::I32, x));
    ints("FromI32", |f, x, _| f.unary(UnaryOp::FromI32, Elem::I32, x));
}

#[test]
fn elements_side_by_side() {
    use ZipOp::*;
    for op in [Low32, High32, Low64, High64, EvenParts, OddParts] {
        ints(&format!("{op:?}"), |f, x, y| f.zip(op, x, y));
        ints(&format!("{op:?} const"), |f, x, _| {
            let c = f.lanes_i32(|i| i as i32);
            f.zip(op, c, x)
        });
    }
}

#[test]
fn comparisons_and_masks() {
    for cmp in CMPS.into_iter().chain([Cmp::Unordered]) {
        floats(&format!("{cmp:?}"), |f, x, y| {
            let m = f.cmp(cmp, Elem::F32, x, y);
            f.select(Elem::F32, m, x, y)
        });
        floats(&format!("const {cmp:?}"), |f, x, y| {
            let (c, d) = (f.splat_f32(1.0), f.splat_f32(7.0));
            let m = f.cmp(cmp, Elem::F32, c, x);
            f.select(Elem::F32, m, d, y)
        });
    }
    for cmp in CMPS {
        ints(&format!("{cmp:?}"), |f, x, y| {
            let m = f.cmp(cmp, Elem::I32, x, y);
            f.select(Elem::I32, m, x, y)
        });
        ints(&format!("const {cmp:?}"), |f, x, y| {
            let c = f.splat_i32(7);
            let m = f.cmp(cmp, Elem::I32, c, x);
            f.select(Elem::I32, m, c, y)
        });
    }
    for op in [MaskOp::And, MaskOp::Or, MaskOp::Xor, MaskOp::AndNot] {
        ints(&format!("mask {op:?}"), |f, x, y| {
            let zero = f.zero();
            let a = f.cmp(Cmp::Gt, Elem::I32, x, zero);
            let b = f.cmp(Cmp::Gt, Elem::I32, y, zero);
            let m = f.mask(op, a, b);
            let n = f.mask_not(m);
            let r = f.select(Elem::I32, m, x, y);
            f.select(Elem::I32, n, zero, r)
        });
    }
}

#[test]
fn multiply_adds_in_every_form() {
    use FmaOp::*;
    for op in [MulAdd, MulSub, NegMulAdd, NegMulSub] {
        let e = Elem::F32;
        floats(&format!("{op:?} xyx"), |f, x, y| f.fma(op, e, x, y, x));
        floats(&format!("{op:?} xxy"), |f, x, y| f.fma(op, e, x, x, y));
        floats(&format!("{op:?} xxx"), |f, x, _| f.fma(op, e, x, x, x));
        floats(&format!("{op:?} xyc"), |f, x, y| {
            let c = f.splat_f32(3.0);
            f.fma(op, e, x, y, c)
        });
        floats(&format!("{op:?} cxy"), |f, x, y| {
            let c = f.splat_f32(3.0);
            let r = f.fma(op, e, c, x, y);
            f.fma(op, e, r, c, y)
        });
        floats(&format!("{op:?} cdx"), |f, x, _| {
            let (c, d) = (f.splat_f32(3.0), f.splat_f32(0.1));
            f.fma(op, e, c, d, x)
        });
        floats(&format!("{op:?} ccc"), |f, _, _| {
            let c = f.splat_f32(3.0);
            f.fma(op, e, c, c, c)
        });
    }
}

#[test]
fn reductions() {
    for op in [
        ReduceOp::Add,
        ReduceOp::Max,
        ReduceOp::Min,
        ReduceOp::Mul,
        ReduceOp::And,
        ReduceOp::Or,
        ReduceOp::Xor,
    ] {
        ints(&format!("{op:?}"), |f, x, y| {
            let r = f.reduce(op, Elem::I32, y);
            f.binary(BinaryOp::Xor, Elem::I32, r, x)
        });
        floats(&format!("{op:?}"), |f, _, y| f.reduce(op, Elem::F32, y));
    }
}

#[test]
fn operations_under_masks() {
    for op in [BinaryOp::Add, BinaryOp::Max, BinaryOp::Sub, BinaryOp::Mul] {
        let name = format!("{op:?}");
        floats(&name, |f, x, y| {
            let m = f.cmp(Cmp::Lt, Elem::F32, x, y);
            let both = f.binary(op, Elem::F32, x, y);
            f.select(Elem::F32, m, both, x)
        });
        // The other operand is kept, which is the first only where they may be exchanged.
        floats(&name, |f, x, y| {
            let m = f.cmp(Cmp::Lt, Elem::F32, x, y);
            let both = f.binary(op, Elem::F32, x, y);
            f.select(Elem::F32, m, both, y)
        });
    }
    ints("and", |f, x, y| {
        let m = f.cmp(Cmp::Gt, Elem::I32, x, y);
        let seven = f.splat_i32(7);
        let low = f.binary(BinaryOp::And, Elem::I32, x, seven);
        f.select(Elem::I32, m, low, x)
    });
}

#[test]
fn lanes_of_two_vectors() {
    floats("pick", |f, x, y| match f.width() {
        Width::Z512 => {
            let odd = f.pick(Elem::F32, [x, y], (0..16).map(|i| 2 * i + 1).collect());
            let even = f.pick(Elem::F32, [x, y], (0..16).map(|i| 2 * i).collect());
            f.pick(Elem::F32, [odd, even], (0..16).map(|i| 31 - i).collect())
        }
        Width::Y256 => x,
    });
}

#[test]
fn stores_of_first_lanes() {
    at_widths(|width, target| {
        let lanes = width.lanes(Elem::F32) as i64;
        for count in 0..=lanes + 1 {
            let mut f = FunctionBuilder::new("first", width);
            let (p, q) = (f.arg(0), f.arg(1));
            let n = f.iconst(count);
            let m = f.tail_mask(Elem::F32, n);
            let x = f.load(Elem::F32, Addr::new(q));
            f.store_form(Elem::F32, StoreForm::Masked(m), Addr::new(p).disp(4), x);
            f.ret();
            let exe = load(&f.finish().unwrap(), target);
            let x: [f32; 16] = std::array::from_fn(|i| i as f32 + 1.0);
            let mut y = [0f32; 18];
            exe.call(&[y.as_mut_ptr() as u64, x.as_ptr() as u64]);
            let live = count.min(lanes);
            let want = |i: i64| {
                if (1..=live).contains(&i) {
                    i as f32
                } else {
                    0.0
                }
            };
            assert_eq!(y.to_vec(), (0..18).map(want).collect::<Vec<_>>(), "{count}");
        }
    });
}

#[test]
fn tail_masks() {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new("tail", width);
        let (p, n) = (f.arg(0), f.arg(1));
        let m = f.tail_mask(Elem::F32, n);
        let one = f.splat_i32(1);
        f.store_form(Elem::I32, StoreForm::Masked(m), Addr::new(p), one);
        f.ret();
        let exe = load(&f.finish().unwrap(), target);
        let lanes = width.lanes(Elem::F32);
        for n in [-5i64, 0, 1, 7, 8, 15, 16, 17, 255, 256, 257, 1 << 30] {
            let mut y = [0i32; 16];
            exe.call(&[y.as_mut_ptr() as u64, n as u64]);
            let want: Vec<i32> = (0..16)
                .map(|i| i32::from((i as i64) < n && i < lanes))
                .collect();
            assert_eq!(y.to_vec(), want, "{width:?} n={n}");
        }
    });
}

#[test]
fn integers_of_the_general_registers() {
    at_widths(|width, target| {
        let mut f = FunctionBuilder::new("ints", width);
        let (a, b, out) = (f.arg(0), f.arg(1), f.arg(2));
        let mut results = Vec::new();
        for op in [IntOp::Add, IntOp::Sub, IntOp::Mul, IntOp::Min, IntOp::Max] {
            results.push(f.int(op, a, b));
            for c in [5, -200, 1 << 40, i64::from(i32::MIN), i64::MIN, 0] {
                let c = f.iconst(c);
                results.push(f.int(op, a, c));
                results.push(f.int(op, c, b));
            }
        }
        for op in [ShiftOp::Shl, ShiftOp::Shr, ShiftOp::Sar] {
            results.push(f.int_shift(op, a, 3));
            results.push(f.int_shift(op, b, 63));
        }
        results.push(f.lea(Addr::indexed(a, b, 8).disp(-100_000)));
        results.push(f.int_load(IntTy::I32, Addr::at(out, 4)));
        f.prefetch(Addr::new(out));
        for (i, r) in results.iter().enumerate() {
            f.int_store(IntTy::I64, Addr::at(out, 8 * i as i32), *r);
        }
        let low = Addr::at(out, 8 * results.len() as i32);
        f.int_store(IntTy::I32, low, a);
        f.ret();
        let f = f.finish().unwrap();
        let exe = load(&f, target);
        for (a, b) in [(3i64, 4i64), (-7, 1 << 35), (i64::MAX, -1), (0, i64::MIN)] {
            let (mut got, mut want) = ([0xabcd_1234_dead_beefu64; 80], [0xabcd_1234_dead_beef; 80]);
            exe.call(&[a as u64, b as u64, got.as_mut_ptr() as u64]);
            // The address is computed from these numbers, so multiply without overflow checks.
            if let (Some(_), true) = (b.checked_mul(8), a.checked_add(b).is_some()) {
                interp::run(&f, &[a as u64, b as u64, want.as_mut_ptr() as u64]);
                assert_eq!(got, want, "{width:?} {a} {b}");
            }
        }
    });
}

/// Conversions in registers, and those that a load or a store does.
#[test]
fn halves() {
    let from = |f: &mut FunctionBuilder, v| f.unary(UnaryOp::FromF16, Elem::I32, v);
    let to = |f: &mut FunctionBuilder, v| f.unary(UnaryOp::ToF16, Elem::F32, v);
    floats("there and back", |f, x, _| {
        let half = to(f, x);
        from(f, half)
    });
    floats("stored and loaded", |f, x, y| {
        let at = Addr::new(f.arg(2));
        let half = to(f, x);
        f.store_short(IntTy::U16, None, at, half);
        if f.width() == Width::Z512 {
            let some = f.cmp(Cmp::Lt, Elem::F32, x, y);
            let half = to(f, y);
            f.store_short(IntTy::U16, Some(some), at, half);
            let part = f.load_short(IntTy::U16, Some(some), at);
            let part = from(f, part);
            let all = f.load_short(IntTy::U16, None, at);
            let all = from(f, all);
            return f.select(Elem::F32, some, part, all);
        }
        let all = f.load_short(IntTy::U16, None, at);
        from(f, all)
    });
}
