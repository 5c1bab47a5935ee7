//! Types of scalars.
use super::super::{BinaryOp, Buffer, BufferId, Const, Scalar, UnaryOp, math};
use crate::dtype::DType;

/// The element type of a scalar whose operands all have the types that their users need.
///
/// Errors: the first operand that has not.
pub(in crate::loops) fn scalar_type(s: &Scalar, buffers: &[Buffer]) -> Result<DType, String> {
    let ty = |s: &Scalar| scalar_type(s, buffers);
    match s {
        Scalar::Const(c) => const_type(c),
        Scalar::Index(_) => Ok(DType::I64),
        Scalar::Load(b, index) => {
            let buffer = buffer_of(*b, buffers)?;
            check_rank(buffer, index.len())?;
            Ok(buffer.dtype)
        }
        Scalar::Unary(op, a) => unary_type(*op, ty(a)?),
        Scalar::Binary(op, a, b) => binary_type(*op, ty(a)?, ty(b)?),
        Scalar::Fma(a, b, c) => match [ty(a)?, ty(b)?, ty(c)?] {
            [DType::F32, DType::F32, DType::F32] => Ok(DType::F32),
            [DType::F64, DType::F64, DType::F64] => Ok(DType::F64),
            [a, b, c] => Err(format!("fma of {a}, {b} and {c}; want f32 or f64")),
        },
        Scalar::Call(f, args) => call_type(*f, args, buffers),
        Scalar::Select(c, a, b) => match (ty(c)?, ty(a)?, ty(b)?) {
            (DType::Bool, a, b) if a == b => Ok(a),
            (c, a, b) => Err(format!("select of {c}, {a}, {b}; want bool and one type")),
        },
        Scalar::Cast(to, a) => ty(a).map(|_| *to),
        Scalar::Bitcast(to, a) => {
            let from = ty(a)?;
            let fine = from.bytes() == to.bytes() && from != DType::Bool && *to != DType::Bool;
            fine.then_some(*to)
                .ok_or_else(|| format!("bitcast of {from} to {to}"))
        }
        Scalar::Guard(_, a, b) => match (ty(a)?, ty(b)?) {
            (a, b) if a == b => Ok(a),
            (a, b) => Err(format!("guard of {a} and {b}; want one type")),
        },
    }
}

/// The buffer with an id.
///
/// Errors: there is none.
pub(in crate::loops) fn buffer_of(id: BufferId, buffers: &[Buffer]) -> Result<&Buffer, String> {
    let found = buffers.get(id.0 as usize);
    found.ok_or_else(|| format!("buffer {} does not exist", id.0))
}

/// Checks the number of indices of an access.
///
/// Errors: it is not the rank of the buffer.
pub(in crate::loops) fn check_rank(buffer: &Buffer, indices: usize) -> Result<(), String> {
    let (name, rank) = (&buffer.name, buffer.shape.len());
    if rank == indices {
        return Ok(());
    }
    Err(format!("{indices} indices for `{name}` of rank {rank}"))
}

fn const_type(c: &Const) -> Result<DType, String> {
    let width = 8 * c.dtype.bytes() as u32;
    let wide = width < 64 && c.bits >> width != 0;
    if wide || (c.dtype == DType::Bool && c.bits > 1) {
        return Err(format!("{:#x} is not a {}", c.bits, c.dtype));
    }
    Ok(c.dtype)
}

/// Arithmetic happens in types that every target computes in: never in narrow floats.
fn is_narrow(d: DType) -> bool {
    d.is_half()
}

fn unary_type(op: UnaryOp, a: DType) -> Result<DType, String> {
    let fine = match op {
        UnaryOp::Neg | UnaryOp::Abs => a != DType::Bool,
        UnaryOp::Not => !a.is_float(),
        _ => a.is_float(),
    };
    (fine && !is_narrow(a))
        .then_some(a)
        .ok_or_else(|| format!("{op:?} of {a}"))
}

fn binary_type(op: BinaryOp, a: DType, b: DType) -> Result<DType, String> {
    use BinaryOp::*;
    let fine = match op {
        Add | Sub | Mul | Div => a != DType::Bool,
        Scale => a.is_float(),
        Rem | Shl | Shr => a.is_int(),
        And | Or | Xor => !a.is_float(),
        Min | Max | Eq | Ne | Lt | Le => true,
    };
    if a != b || !fine || is_narrow(a) {
        return Err(format!("{op:?} of {a} and {b}"));
    }
    Ok(if op.is_compare() { DType::Bool } else { a })
}

fn call_type(f: math::MathFn, args: &[Scalar], buffers: &[Buffer]) -> Result<DType, String> {
    let first = args.first().ok_or("a call without arguments")?;
    let dtype = scalar_type(first, buffers)?;
    let body = math::body(f, dtype).ok_or_else(|| format!("{f:?} has no code for {dtype}"))?;
    let types: Vec<DType> = args
        .iter()
        .map(|a| scalar_type(a, buffers))
        .collect::<Result<_, _>>()?;
    if types != body.params {
        return Err(format!("{f:?} of {types:?}, want {:?}", body.params));
    }
    Ok(dtype)
}
