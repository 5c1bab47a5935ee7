//! Definitions in loops: half precision computes in `f32` and rounds once.
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::math::MathFn;
use crate::loops::{BinaryOp, Scalar};

pub(in crate::ops) fn compute_type(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        d => d,
    }
}

pub(in crate::ops) fn widen(cx: &Define<'_>, x: Scalar) -> Scalar {
    let d = cx.dtype_of(&x);
    if compute_type(d) == d {
        x
    } else {
        Scalar::cast(compute_type(d), x)
    }
}

pub(super) fn compute_operand(
    cx: &mut Define<'_>,
    node: NodeId,
    k: usize,
    index: &[Expr],
) -> Scalar {
    let x = cx.broadcast_operand(node, k, index);
    widen(cx, x)
}

pub(super) fn compute_operands(
    cx: &mut Define<'_>,
    node: NodeId,
    index: &[Expr],
) -> (Scalar, Scalar) {
    let a = compute_operand(cx, node, 0, index);
    (a, compute_operand(cx, node, 1, index))
}

pub(in crate::ops) fn result(cx: &Define<'_>, node: NodeId, y: Scalar) -> Scalar {
    let want = cx.result_type(node, 0).dtype;
    if cx.dtype_of(&y) == want {
        y
    } else {
        Scalar::cast(want, y)
    }
}

pub(super) fn lower_sign(cx: &mut Define<'_>, x: Scalar) -> Scalar {
    let d = cx.dtype_of(&x);
    let x = cx.bind(x);
    let below = Scalar::binary(BinaryOp::Lt, x.clone(), Scalar::num(d, 0.0));
    let above = Scalar::binary(BinaryOp::Lt, Scalar::num(d, 0.0), x.clone());
    let otherwise = Scalar::select(below, Scalar::num(d, -1.0), x);
    Scalar::select(above, Scalar::num(d, 1.0), otherwise)
}

pub(super) fn lower_rem(cx: &mut Define<'_>, a: Scalar, b: Scalar) -> Scalar {
    if cx.dtype_of(&a).is_float() {
        return Scalar::Call(MathFn::Fmod, vec![a, b]);
    }
    Scalar::binary(BinaryOp::Rem, a, b)
}

pub(super) fn lower_mod(cx: &mut Define<'_>, a: Scalar, b: Scalar) -> Scalar {
    let d = cx.dtype_of(&a);
    let zero = || Scalar::num(d, 0.0);
    let b = cx.bind(b);
    let rem = lower_rem(cx, a, b.clone());
    let rem = cx.bind(rem);
    let negative = |x: &Scalar| Scalar::binary(BinaryOp::Lt, x.clone(), zero());
    let differ = Scalar::binary(BinaryOp::Xor, negative(&rem), negative(&b));
    let nonzero = Scalar::binary(BinaryOp::Ne, rem.clone(), zero());
    let fix = Scalar::binary(BinaryOp::And, differ, nonzero);
    Scalar::select(fix, Scalar::binary(BinaryOp::Add, rem.clone(), b), rem)
}
