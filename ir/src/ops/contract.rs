//! Contractions: sums of products over axes of two operands.
use super::elementwise::{compute_type, result};
use super::spatial::{Number, Pair, add_row, wide_ints};
use super::types::NUMBERS;
use super::{Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, Const, Scalar};
use crate::tensor::{Tensor, Wide};
use std::collections::HashMap;

/// The rows of this family.
pub const OPS: &[OpDef] = &[OpDef {
    name: "contract",
    doc: "y = sum over letters that the result lacks of a * b, as spec says: \"bmk,bkn->bmn\" is a batched matrix product; operands of 8 bits, with a sign or without, have an i32 result",
    arity: (2, 2),
    attrs: &[attr(
        "spec",
        AttrKind::Str,
        "a letter per axis of a, b and the result; none twice in one of them",
    )],
    class: Class::Contraction,
    types: NUMBERS,
    infer,
    eval,
    lower: Lower::Pointwise(lower),
    row_axes: None,
    tolerance: SUM_OF_PRODUCTS,
    samples,
    source: "numpy.einsum with two operands and without repeated letters; ONNX operators, Einsum, MatMul, Gemm",
}];

/// Each partial sum is rounded by half a unit of its own magnitude, which may exceed the results'
/// (terms cancel), and half precision rounds the operands' products to f32 as well; errors of
/// random sign add up like the square root of their number.
pub(super) const SUM_OF_PRODUCTS: Tolerance = Tolerance::Sum(4.0);

/// The letters of a contraction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The axes of the first operand.
    pub a: Vec<u8>,
    /// The axes of the second operand.
    pub b: Vec<u8>,
    /// The axes of the result.
    pub out: Vec<u8>,
}

impl Spec {
    /// Reads a form such as `bmk,bkn->bmn`.
    ///
    /// Errors: another form, a letter twice in one list, or a letter of the result that no
    /// operand has.
    pub fn parse(text: &str) -> Result<Spec, String> {
        let parts = text
            .split_once("->")
            .and_then(|(operands, out)| operands.split_once(',').map(|(a, b)| (a, b, out)));
        let Some((a, b, out)) = parts else {
            return Err(format!(
                "`spec` is \"{text}\", want a form as \"mk,kn->mn\""
            ));
        };
        for list in [a, b, out] {
            let bytes = list.as_bytes();
            let once = |k: usize| !bytes[..k].contains(&bytes[k]);
            if !(0..bytes.len()).all(|k| bytes[k].is_ascii_alphabetic() && once(k)) {
                return Err(format!(
                    "`{list}` in `spec` \"{text}\" is not a list of different letters"
                ));
            }
        }
        if let Some(c) = out.chars().find(|c| !a.contains(*c) && !b.contains(*c)) {
            return Err(format!(
                "`{c}` of the result is in no operand of `spec` \"{text}\""
            ));
        }
        let bytes = |s: &str| s.as_bytes().to_vec();
        Ok(Spec {
            a: bytes(a),
            b: bytes(b),
            out: bytes(out),
        })
    }

    /// The spec of a node's attributes.
    pub fn of(attrs: &Attrs) -> Spec {
        Spec::parse(attrs.str("spec")).expect("invariant: inference checked the spec")
    }

    /// The letters that are summed over: in the order of the first operand, then of the second.
    pub fn summed(&self) -> Vec<u8> {
        let mut letters: Vec<u8> = Vec::new();
        for c in self.a.iter().chain(&self.b) {
            if !self.out.contains(c) && !letters.contains(c) {
                letters.push(*c);
            }
        }
        letters
    }

    /// The extent of each letter.
    ///
    /// Errors: ranks or extents that do not fit.
    pub fn extents(&self, a: &[Expr], b: &[Expr]) -> Result<HashMap<u8, Expr>, String> {
        let mut extents: HashMap<u8, Expr> = HashMap::new();
        for (letters, shape, k) in [(&self.a, a, 0), (&self.b, b, 1)] {
            if letters.len() != shape.len() {
                return Err(format!(
                    "operand {k} has rank {}, `spec` has {} letters for it",
                    shape.len(),
                    letters.len()
                ));
            }
            for (c, extent) in letters.iter().zip(shape) {
                let known = extents.entry(*c).or_insert_with(|| extent.clone());
                if known != extent {
                    let c = char::from(*c);
                    return Err(format!(
                        "axis `{c}` is {known} in operand 0, {extent} in operand 1"
                    ));
                }
            }
        }
        Ok(extents)
    }
}

fn infer(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let dtype = product_type(cx)?;
    let spec = Spec::parse(cx.attrs.str("spec"))?;
    let extents = spec.extents(&cx.inputs[0].shape, &cx.inputs[1].shape)?;
    let shape = spec.out.iter().map(|c| extents[c].clone()).collect();
    Ok(vec![TensorType::new(dtype, shape)])
}

/// The type of a sum of products: that of both operands; `i32` where they have 8 bits, whose
/// products have more.
///
/// Errors: operands of different types.
pub(super) fn product_type(cx: &InferCx<'_>) -> Result<DType, String> {
    match cx.inputs.iter().all(|t| t.dtype.is_byte()) {
        true => Ok(DType::I32),
        false => cx.same_dtype().map(|()| cx.inputs[0].dtype),
    }
}

/// The type in which products are added up.
fn sum_type(dtype: DType) -> DType {
    match dtype.is_byte() {
        true => DType::I32,
        false => compute_type(dtype),
    }
}

/// `a * b`, widened to the accumulator's type.
pub(super) fn product(cx: &Define<'_>, a: Scalar, b: Scalar) -> Scalar {
    let [a, b] = [a, b].map(|x| match sum_type(cx.dtype_of(&x)) {
        d if d == cx.dtype_of(&x) => x,
        d => Scalar::cast(d, x),
    });
    Scalar::binary(BinaryOp::Mul, a, b)
}

/// Zero of the type in which elements of a type are accumulated.
pub(super) fn zero(dtype: DType) -> Const {
    Const::new(sum_type(dtype), 0.0)
}

fn lower(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let spec = Spec::of(&cx.node(node).attrs);
    let (a, b) = (cx.operand_type(node, 0), cx.operand_type(node, 1));
    let all = spec
        .extents(&a.shape, &b.shape)
        .expect("invariant: inference checked the extents");
    let summed = spec.summed();
    let extents: Vec<Expr> = summed.iter().map(|c| all[c].clone()).collect();
    let term = &mut |cx: &mut Define<'_>, vars: &[Expr]| {
        let letters = spec.out.iter().zip(index).chain(summed.iter().zip(vars));
        let at: HashMap<u8, &Expr> = letters.map(|(c, e)| (*c, e)).collect();
        let place = |axes: &[u8]| axes.iter().map(|c| at[c].clone()).collect::<Vec<_>>();
        let x = cx.operand(node, 0, &place(&spec.a));
        let y = cx.operand(node, 1, &place(&spec.b));
        product(cx, x, y)
    };
    let y = if extents.is_empty() {
        term(cx, &[])
    } else {
        cx.reduce(&extents, BinaryOp::Add, zero(a.dtype), term)
    };
    result(cx, node, y)
}

// Reference evaluation: both operands are brought to the order batch, kept, contracted, and
// multiplied as matrices.

fn eval(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let (a, b) = (cx.inputs[0], cx.inputs[1]);
    let spec = Spec::of(cx.attrs);
    let wide = match Pair::new(a, b) {
        Pair::Float(x, y) => Wide::Float(multiply(&spec, (&x, &a.shape), (&y, &b.shape))),
        Pair::Int(x, y) => wide_ints(multiply(&spec, (&x, &a.shape), (&y, &b.shape))),
    };
    let dtype = cx.outputs[0].dtype;
    Ok(vec![Tensor::from_wide(dtype, cx.output_shape(0)?, &wide)])
}

fn multiply<T: Number>(spec: &Spec, a: (&[T], &[usize]), b: (&[T], &[usize])) -> Vec<T> {
    let axes = spec.a.iter().zip(a.1).chain(spec.b.iter().zip(b.1));
    let extents: HashMap<u8, usize> = axes.map(|(c, e)| (*c, *e)).collect();
    let size = |letters: &[u8]| letters.iter().map(|c| extents[c]).product::<usize>();
    let letters = |of: &[u8], keep: &dyn Fn(&u8) -> bool| -> Vec<u8> {
        of.iter().copied().filter(|c| keep(c)).collect()
    };
    let batch = letters(&spec.out, &|c| spec.a.contains(c) && spec.b.contains(c));
    let rows = letters(&spec.out, &|c| !spec.b.contains(c));
    let columns = letters(&spec.out, &|c| !spec.a.contains(c));
    let depth = letters(&spec.a, &|c| spec.b.contains(c) && !spec.out.contains(c));
    let to_a = [&batch[..], &rows, &depth].concat();
    let to_b = [&batch[..], &depth, &columns].concat();
    let x = rearrange(a.0, &spec.a, &to_a, &extents);
    let y = rearrange(b.0, &spec.b, &to_b, &extents);
    let (m, k, n) = (size(&rows), size(&depth), size(&columns));
    let mut z = vec![T::ZERO; size(&batch) * m * n];
    for row in 0..size(&batch) * m {
        let matrix = row / m * k;
        for d in 0..k {
            let from = &y[(matrix + d) * n..][..n];
            add_row(&mut z[row * n..][..n], from, 1, x[row * k + d]);
        }
    }
    rearrange(&z, &[batch, rows, columns].concat(), &spec.out, &extents)
}

/// Reorders axes; sums over those that `to` lacks.
fn rearrange<T: Number>(x: &[T], from: &[u8], to: &[u8], extents: &HashMap<u8, usize>) -> Vec<T> {
    let mut strides = HashMap::new();
    let mut count = 1;
    for c in to.iter().rev() {
        strides.insert(*c, count);
        count *= extents[c];
    }
    let mut places = vec![0usize];
    for c in from {
        let stride = strides.get(c).copied().unwrap_or(0);
        places = places
            .iter()
            .flat_map(|p| (0..extents[c]).map(move |i| p + i * stride))
            .collect();
    }
    let mut y = vec![T::ZERO; count];
    for (place, v) in places.into_iter().zip(x) {
        y[place] = y[place].plus(*v);
    }
    y
}

// Samples

/// Equal types, or any two of 8 bits.
pub(super) fn operand_types(s: &mut Sampler) -> [DType; 2] {
    match s.dtype(NUMBERS) {
        d if d.is_byte() => [d, *s.pick(&[DType::I8, DType::U8])],
        d => [d, d],
    }
}

fn samples(s: &mut Sampler) -> Vec<Sample> {
    let specs = [
        "mk,kn->mn",
        "mk,nk->mn",
        "km,kn->mn",
        "bmk,bkn->bmn",
        "bhmk,bhnk->bhmn",
        "bmk,kn->bmn",
        "ij,jk->ki",
        "i,j->ij",
        "i,i->",
        "ab,bc->c",
        "abc,cb->ba",
        "ij,->ij",
        "b,bcd->d",
    ];
    let text = *s.pick(&specs);
    let spec = Spec::parse(text).expect("invariant: a spec of the list above");
    let few = [0, 1, 1, 2, 3, 5, 7, 8, 9, 16, 17];
    let mut extents = HashMap::new();
    for c in spec.a.iter().chain(&spec.b) {
        let extent = *s.pick(&few);
        extents.entry(*c).or_insert(extent);
    }
    let shape = |letters: &[u8]| letters.iter().map(|c| extents[c]).collect::<Vec<usize>>();
    let [a, b] = operand_types(s);
    let inputs = vec![
        s.tensor(a, &shape(&spec.a), -4.0, 4.0),
        s.tensor(b, &shape(&spec.b), -4.0, 4.0),
    ];
    vec![Sample::new(inputs, Attrs::new().with("spec", text))]
}
