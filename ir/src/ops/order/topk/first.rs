//! The single best of a row: lanes find its key, and then the first element that has it.
//!
//! ```text
//! best = max over i of key[i]
//! first = min over i of if key[i] == best { i } else { n }
//! ```
//! Of keys that are all as bad as can be, those of the row come before those that fill it up.
use super::super::InRow;
use super::key::{key, key_fits};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::{BinaryOp, Const, Role, Scalar};

/// Elements of the widest vectors.
const LANES: i64 = 16;
/// Elements of a row at least: fewer are no vector.
const LEAST: i64 = 16;
/// Elements of a row at least whose last vector is cut off: it is read back before it is written
/// through, which takes as long as to look at about thirty elements.
const CUT: i64 = 48;
/// Elements of a row at most: of more, a sieve looks at each only once. Numbers of elements are exact
/// in `f32`, which lanes hold.
const MOST: i64 = 2048;

/// The elements of a row, if lanes find the best one: they have keys and lie side by side.
pub(super) fn elements(dtype: DType, shape: &[Expr], axis: usize, k: &Expr) -> Option<i64> {
    let n = shape[axis].as_const()?;
    let contiguous = shape[axis + 1..].iter().all(|e| e.is(1));
    let fits = k.is(1) && contiguous && key_fits(dtype) && (LEAST..=MOST).contains(&n);
    let pays = n % LANES == 0 || n >= CUT;
    (fits && pays).then_some(n)
}

/// Writes the best of `n` elements to the results.
pub(super) fn define_row(cx: &mut Define<'_>, node: NodeId, n: i64, at: &InRow<'_>) {
    let dtype = cx.operand_type(node, 0).dtype;
    let largest = cx.node(node).attrs.flag("largest");
    let row = [Expr::from(n)];
    // Keys that are worse than others fill the last vector: sums have no tail then.
    let whole = (n + LANES - 1) / LANES * LANES;
    let all = [Expr::from(whole)];
    let keys = cx.scratch(DType::I32, all.to_vec());
    cx.nest(&row, Role::Space, &mut |cx, i| {
        let element = cx.operand(node, 0, &at(&i[0]));
        let key = key(cx, dtype, element, largest);
        cx.store(keys, i.to_vec(), key);
    });
    let worst = Const::int(DType::I32, i32::MIN.into());
    cx.nest(&[(whole - n).into()], Role::Space, &mut |cx, i| {
        cx.store(keys, vec![i[0].clone() + n], Scalar::Const(worst));
    });
    let best = cx.reduce(&all, BinaryOp::Max, worst, &mut |_, i| {
        Scalar::load(keys, i.to_vec())
    });
    let none = Const::new(DType::F32, n as f64);
    let first = cx.reduce(&all, BinaryOp::Min, none, &mut |_, i| {
        let own = Scalar::load(keys, i.to_vec());
        let is_best = Scalar::binary(BinaryOp::Eq, own, best.clone());
        let number = Scalar::cast(DType::F32, Scalar::Index(i[0].clone()));
        Scalar::select(is_best, number, Scalar::Const(none))
    });
    let index = cx.checked(node, "place", Scalar::cast(DType::I64, first), &row[0]);
    let results = [0, 1].map(|r| cx.output_buffer(cx.node(node).outputs[r]));
    let element = cx.operand(node, 0, &at(&index));
    cx.store(results[0], at(&0.into()), element);
    cx.store(results[1], at(&0.into()), Scalar::Index(index));
}
