//! The best of a short row by counting: the place of each element is the number of better ones, which
//! lanes count for all elements side by side, and of earlier ones that are as good. No step depends on
//! how elements compare.
//!
//! ```text
//! for each i: rank[i] = number of j with x[j] better than x[i]
//! for each i: order[rank[i] + equal[rank[i]]++] = i
//! for each place < k: best[place] = x[order[place]]
//! ```
//! Source: D. Knuth, The Art of Computer Programming, 5.2 (comparison counting sort).
use super::super::InRow;
use super::key::{key, key_fits};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar};

/// Elements of a row at most: the work is their square.
const MOST: i64 = 64;
/// One element in so many is wanted at least, and more than one, if there are more than `FEW`; less
/// are found sooner by looking at each once.
const PART: i64 = 22;
/// Elements of so short a row are always counted.
const FEW: i64 = 8;
/// Lanes of few vectors: to tell equal elements apart there takes less than at each place.
const SHORT: i64 = 16;

/// How many of how many elements are wanted.
#[derive(Clone, Copy)]
pub(super) struct Ranking {
    k: i64,
    n: i64,
}

impl Ranking {
    /// The ranks of the `k` best along an axis, if elements have keys and rows are short.
    pub fn of(dtype: DType, extent: &Expr, k: &Expr) -> Option<Ranking> {
        let (k, n) = (k.as_const()?, extent.as_const()?);
        let pays = n <= FEW || k > 1 && k * PART >= n;
        let fits = key_fits(dtype) && (2..=MOST).contains(&n) && (1..=n).contains(&k);
        (fits && pays).then_some(Ranking { k, n })
    }
}

/// Writes the best elements of a row to the results.
pub(super) fn define_row(cx: &mut Define<'_>, node: NodeId, wanted: Ranking, at: &InRow<'_>) {
    let dtype = cx.operand_type(node, 0).dtype;
    let largest = cx.node(node).attrs.flag("largest");
    let all = [Expr::from(wanted.n)];
    let [keys, ranks] = [0; 2].map(|_| cx.scratch(DType::I32, all.to_vec()));
    cx.nest(&all, Role::Space, &mut |cx, i| {
        let element = cx.operand(node, 0, &at(&i[0]));
        let key = key(cx, dtype, element, largest);
        cx.store(keys, i.to_vec(), key);
    });
    let is_short = wanted.n <= SHORT;
    cx.nest(&all, Role::Space, &mut |cx, i| {
        let start = Const::int(DType::I32, 0);
        let rank = cx.reduce(&all, BinaryOp::Add, start, &mut |_, j| {
            let (own, other) = (
                Scalar::load(keys, i.to_vec()),
                Scalar::load(keys, j.to_vec()),
            );
            let better = Scalar::binary(BinaryOp::Lt, own.clone(), other.clone());
            let number = |e: &Expr| Scalar::cast(DType::F32, Scalar::Index(e.clone()));
            let earlier = Scalar::binary(BinaryOp::Lt, number(&j[0]), number(&i[0]));
            let equal = Scalar::binary(BinaryOp::Eq, own, other);
            let tie = Scalar::binary(BinaryOp::And, equal, earlier);
            let counts = match is_short {
                true => Scalar::binary(BinaryOp::Or, better, tie),
                false => better,
            };
            Scalar::cast(DType::I32, counts)
        });
        cx.store(ranks, i.to_vec(), rank);
    });
    match is_short {
        true => place_each(cx, node, (wanted, ranks), at),
        false => place_in_order(cx, node, (wanted, ranks), at),
    }
}

/// Puts each element at its rank, which no other one has.
fn place_each(
    cx: &mut Define<'_>,
    node: NodeId,
    (wanted, ranks): (Ranking, BufferId),
    at: &InRow<'_>,
) {
    let results = [0, 1].map(|r| cx.output_buffer(cx.node(node).outputs[r]));
    cx.nest(&[wanted.n.into()], Role::Serial, &mut |cx, i| {
        let rank = Scalar::cast(DType::I64, Scalar::load(ranks, i.to_vec()));
        let place = |cx: &mut Define<'_>| {
            let place = cx.checked(node, "place", rank.clone(), &wanted.k.into());
            let element = cx.operand(node, 0, &at(&i[0]));
            cx.store(results[0], at(&place), element);
            cx.store(results[1], at(&place), Scalar::Index(i[0].clone()));
        };
        let last = Scalar::Const(Const::int(DType::I64, (wanted.k - 1).into()));
        match wanted.k < wanted.n {
            true => cx.when(
                Scalar::binary(BinaryOp::Le, rank.clone(), last),
                &mut |cx| place(cx),
            ),
            false => place(cx),
        }
    });
}

/// Puts equal elements, which have one rank, one behind the other; then the first of all to the
/// results.
fn place_in_order(
    cx: &mut Define<'_>,
    node: NodeId,
    (wanted, ranks): (Ranking, BufferId),
    at: &InRow<'_>,
) {
    let all = [Expr::from(wanted.n)];
    let [order, equal] = [0; 2].map(|_| cx.scratch(DType::I32, all.to_vec()));
    cx.nest(&all, Role::Space, &mut |cx, i| {
        cx.store(equal, i.to_vec(), Scalar::num(DType::I32, 0.0));
    });
    cx.nest(&all, Role::Serial, &mut |cx, i| {
        let rank = Scalar::cast(DType::I64, Scalar::load(ranks, i.to_vec()));
        let rank = cx.checked(node, "rank", rank, &all[0]);
        let before = Scalar::load(equal, vec![rank.clone()]);
        let wide = Scalar::cast(DType::I64, before.clone());
        let place = Scalar::binary(BinaryOp::Add, Scalar::Index(rank.clone()), wide);
        let place = cx.checked(node, "place", place, &all[0]);
        let own = Scalar::cast(DType::I32, Scalar::Index(i[0].clone()));
        cx.store(order, vec![place], own);
        let one = Scalar::num(DType::I32, 1.0);
        let next = Scalar::binary(BinaryOp::Add, before, one);
        cx.store(equal, vec![rank], next);
    });
    let results = [0, 1].map(|r| cx.output_buffer(cx.node(node).outputs[r]));
    cx.nest(&[wanted.k.into()], Role::Space, &mut |cx, place| {
        let index = Scalar::cast(DType::I64, Scalar::load(order, place.to_vec()));
        let index = cx.checked(node, "index", index, &all[0]);
        let element = cx.operand(node, 0, &at(&index));
        cx.store(results[0], at(&place[0]), element);
        cx.store(results[1], at(&place[0]), Scalar::Index(index));
    });
}
