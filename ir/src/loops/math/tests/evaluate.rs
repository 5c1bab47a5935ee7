//! A plain evaluator of bodies: a column of bits per register.
use crate::dtype::DType;
use crate::loops::math::MathBody;
use crate::loops::{BinaryOp, Scalar, UnaryOp};

type Column = Vec<u64>;

/// Applies a body to columns of operands.
pub(super) fn evaluate(body: &MathBody, columns: &[Column]) -> Column {
    let lanes = columns[0].len();
    let mut out = Vec::with_capacity(lanes);
    for start in (0..lanes).step_by(512) {
        let end = (start + 512).min(lanes);
        let mut registers: Vec<(DType, Column)> = body
            .params
            .iter()
            .zip(columns)
            .map(|(d, c)| (*d, c[start..end].to_vec()))
            .collect();
        for (dtype, value) in &body.lets {
            let (found, column) = scalar(value, &registers, end - start);
            assert_eq!(found, *dtype);
            registers.push((found, column));
        }
        out.extend(registers.pop().expect("a register").1);
    }
    out
}

fn scalar(value: &Scalar, registers: &[(DType, Column)], lanes: usize) -> (DType, Column) {
    let get = |s: &Scalar| scalar(s, registers, lanes);
    match value {
        Scalar::Const(c) => (c.dtype, vec![c.bits; lanes]),
        Scalar::Load(b, _) => registers[b.0 as usize].clone(),
        Scalar::Unary(op, a) => {
            let (d, a) = get(a);
            (d, unary(*op, d, a))
        }
        Scalar::Binary(op, a, b) => {
            let ((d, a), (e, b)) = (get(a), get(b));
            assert_eq!(d, e);
            binary(*op, d, a, b)
        }
        Scalar::Fma(a, b, c) => {
            let ((d, a), (_, b), (_, c)) = (get(a), get(b), get(c));
            (d, (0..lanes).map(|k| fma(d, a[k], b[k], c[k])).collect())
        }
        Scalar::Select(c, a, b) => {
            let ((_, c), (d, a), (e, b)) = (get(c), get(a), get(b));
            assert_eq!(d, e);
            let pick = |k: usize| if c[k] != 0 { a[k] } else { b[k] };
            (d, (0..lanes).map(pick).collect())
        }
        Scalar::Cast(to, a) => {
            let (from, a) = get(a);
            (*to, a.into_iter().map(|x| cast(from, *to, x)).collect())
        }
        Scalar::Bitcast(to, a) => {
            let (from, a) = get(a);
            assert_eq!(from.bytes(), to.bytes());
            (*to, a)
        }
        other => panic!("{other:?} is not for bodies"),
    }
}

fn f32_of(x: u64) -> f32 {
    f32::from_bits(x as u32)
}

fn map_float(d: DType, a: Column, f: fn(f32) -> f32, g: fn(f64) -> f64) -> Column {
    match d {
        DType::F32 => a
            .into_iter()
            .map(|x| u64::from(f(f32_of(x)).to_bits()))
            .collect(),
        DType::F64 => a
            .into_iter()
            .map(|x| g(f64::from_bits(x)).to_bits())
            .collect(),
        _ => panic!("a float operation on {d}"),
    }
}

fn unary(op: UnaryOp, d: DType, a: Column) -> Column {
    match op {
        UnaryOp::Neg => map_float(d, a, |x| -x, |x| -x),
        UnaryOp::Abs => map_float(d, a, f32::abs, f64::abs),
        UnaryOp::Sqrt => map_float(d, a, f32::sqrt, f64::sqrt),
        UnaryOp::Floor => map_float(d, a, f32::floor, f64::floor),
        UnaryOp::Ceil => map_float(d, a, f32::ceil, f64::ceil),
        UnaryOp::Trunc => map_float(d, a, f32::trunc, f64::trunc),
        UnaryOp::Round => map_float(d, a, f32::round_ties_even, f64::round_ties_even),
        UnaryOp::Not => panic!("no body uses `not`"),
    }
}

fn binary(op: BinaryOp, d: DType, a: Column, b: Column) -> (DType, Column) {
    let result = if op.is_compare() { DType::Bool } else { d };
    let column = match d {
        DType::F32 => zip(a, b, |x, y| f32_binary(op, f32_of(x), f32_of(y))),
        DType::F64 => zip(a, b, |x, y| {
            f64_binary(op, f64::from_bits(x), f64::from_bits(y))
        }),
        _ => {
            let width = 8 * d.bytes() as u64;
            let mask = u64::MAX >> (64 - width);
            zip(a, b, |x, y| int_binary(op, width, x, y) & mask)
        }
    };
    (result, column)
}

fn zip(a: Column, b: Column, f: impl Fn(u64, u64) -> u64) -> Column {
    a.into_iter().zip(b).map(|(x, y)| f(x, y)).collect()
}

macro_rules! float_binary {
    ($name:ident, $float:ty) => {
        #[inline(always)]
        fn $name(op: BinaryOp, x: $float, y: $float) -> u64 {
            let value = match op {
                BinaryOp::Add => x + y,
                BinaryOp::Sub => x - y,
                BinaryOp::Mul => x * y,
                BinaryOp::Div => x / y,
                BinaryOp::Scale => scaled(f64::from(x), f64::from(y)) as $float,
                BinaryOp::Eq => return u64::from(x == y),
                BinaryOp::Ne => return u64::from(x != y),
                BinaryOp::Lt => return u64::from(x < y),
                BinaryOp::Le => return u64::from(x <= y),
                _ => panic!("{op:?} on floats"),
            };
            u64::from(value.to_bits())
        }
    };
}
float_binary!(f32_binary, f32);
float_binary!(f64_binary, f64);

/// `x * 2^n`: in two steps, since the power itself may be out of range.
fn scaled(x: f64, n: f64) -> f64 {
    let half = (n / 2.0).floor();
    x * half.exp2() * (n - half).exp2()
}

#[inline(always)]
fn int_binary(op: BinaryOp, width: u64, x: u64, y: u64) -> u64 {
    match op {
        BinaryOp::Add => x.wrapping_add(y),
        BinaryOp::Sub => x.wrapping_sub(y),
        BinaryOp::Mul => x.wrapping_mul(y),
        BinaryOp::And => x & y,
        BinaryOp::Or => x | y,
        BinaryOp::Xor => x ^ y,
        BinaryOp::Shl if y < width => x << y,
        BinaryOp::Shr if y < width => x >> y,
        BinaryOp::Lt => u64::from(x < y),
        BinaryOp::Le => u64::from(x <= y),
        BinaryOp::Eq => u64::from(x == y),
        BinaryOp::Ne => u64::from(x != y),
        _ => panic!("{op:?} by {y} on integers"),
    }
}

fn fma(d: DType, a: u64, b: u64, c: u64) -> u64 {
    match d {
        DType::F32 => u64::from(f32_of(a).mul_add(f32_of(b), f32_of(c)).to_bits()),
        DType::F64 => f64::from_bits(a)
            .mul_add(f64::from_bits(b), f64::from_bits(c))
            .to_bits(),
        _ => panic!("fma on {d}"),
    }
}

fn cast(from: DType, to: DType, x: u64) -> u64 {
    match (from, to) {
        (DType::F32, DType::F64) => f64::from(f32_of(x)).to_bits(),
        (DType::F64, DType::F32) => u64::from((f64::from_bits(x) as f32).to_bits()),
        (DType::F32, DType::I32) => u64::from(f32_of(x) as i32 as u32),
        (DType::I32, DType::F32) => u64::from((x as u32 as i32 as f32).to_bits()),
        (DType::U16, DType::U32) => x,
        (DType::U32, DType::U16) => x & 0xffff,
        _ => panic!("no body casts {from} to {to}"),
    }
}
