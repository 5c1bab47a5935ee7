//! Definition of the greatest elements in loops.
mod first;
mod key;
mod rank;
mod select;
mod sieve;

use super::super::movement::convert;
use super::{InRow, compute_type, rows};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar, UnaryOp};
use rank::Ranking;
use select::Selection;
use sieve::{Groups, Sieve};

/// One element of a row is found by lanes, and short rows are put in order by counting. Of others, keeps the best elements so far in the result
/// itself. Few places are sorted all the time: an
/// element that takes one moves forward to it; of long rows, a sieve leaves out most elements
/// before. More are selected by a bound and sorted. Where that needs what is not known, they are a
/// heap with the last of the best at its root, which is sorted when all elements have been seen.
pub(super) fn define(cx: &mut Define<'_>, node: NodeId) {
    let attrs = &cx.node(node).attrs;
    let axis = attrs.int("axis") as usize;
    let k = attrs.dims("k")[0].clone();
    let x = cx.operand_type(node, 0);
    if let Some(n) = first::elements(x.dtype, &x.shape, axis, &k) {
        return rows(cx, &x.shape, axis, &mut |cx, at| {
            first::define_row(cx, node, n, at);
        });
    }
    if let Some(wanted) = Ranking::of(x.dtype, &x.shape[axis], &k) {
        return rows(cx, &x.shape, axis, &mut |cx, at| {
            rank::define_row(cx, node, wanted, at);
        });
    }
    let few = k.as_const().filter(|k| *k <= FEW_PLACES);
    if let Some(groups) = few.and_then(|k| Groups::of(x.dtype, &x.shape, axis, k)) {
        return define_sieved(cx, node, groups);
    }
    let many = Selection::of(x.dtype, &x.shape[axis], &k).filter(|_| few.is_none());
    if let Some(wanted) = many {
        return rows(cx, &x.shape, axis, &mut |cx, at| {
            select::define_row(cx, node, wanted, at);
        });
    }
    rows(cx, &x.shape, axis, &mut |cx, at| {
        let places = Places::new(cx, node, at);
        let bar = Bar::new(cx, &places, None);
        places.clear(cx);
        // Without places, there is nothing to do.
        let any = k.clone().at_most(1);
        cx.nest(&[any], Role::Serial, &mut |cx, _| {
            cx.nest(&x.shape[axis..=axis], Role::Serial, &mut |cx, vars| {
                places.look(cx, &bar, &vars[0]);
            });
        });
        if !places.are_few() {
            places.sort(cx);
        }
    });
}

/// The same for rows of which a sieve finds the few elements that may have a place.
fn define_sieved(cx: &mut Define<'_>, node: NodeId, groups: Groups) {
    let axis = cx.node(node).attrs.int("axis") as usize;
    let largest = cx.node(node).attrs.flag("largest");
    let shape = &cx.operand_type(node, 0).shape;
    let mut extents = [&shape[..axis], &shape[axis + 1..]].concat();
    let beside = groups.columns > 1;
    let total = match beside {
        true => extents.pop().and_then(|e| e.as_const()),
        false => Some(1),
    };
    let total = total.expect("invariant: columns are known");
    extents.push(
        (total + groups.columns - 1)
            .div_euclid(groups.columns)
            .into(),
    );
    cx.nest(&extents, Role::Space, &mut |cx, vars| {
        let (block, others) = vars.split_last().expect("invariant: there are blocks");
        let first = block.clone() * groups.columns;
        cx.strip_or_tail(total, groups.columns, block, &mut |cx, columns| {
            let at = |i: &Expr, column: &Expr| {
                let mut index = others.to_vec();
                if beside {
                    index.push(first.clone() + column.clone());
                }
                index.insert(axis, i.clone());
                index
            };
            let sieve = Sieve::new(cx, node, groups.beside(columns), &at);
            cx.nest(&[columns.into()], Role::Space, &mut |cx, vars| {
                let column = &vars[0];
                let at = |i: &Expr| at(i, column);
                let places = Places::new(cx, node, &at);
                let bar = Bar::new(cx, &places, Some(sieve.bound(column)));
                places.clear(cx);
                sieve.each(cx, (column, largest), &mut |cx, i| places.look(cx, &bar, i));
            });
        });
    });
}

/// An element and its index; an index below 0 means none.
struct Ranked {
    value: Scalar,
    index: Scalar,
}

impl Ranked {
    fn load(value: BufferId, index: BufferId, at: &[Expr]) -> Self {
        Ranked {
            value: Scalar::load(value, at.to_vec()),
            index: Scalar::load(index, at.to_vec()),
        }
    }

    /// Whether `self` comes before `other`; there is always an element in `self`.
    fn beats(&self, other: &Ranked, dtype: DType, largest: bool) -> Scalar {
        let value = |r: &Ranked| convert(compute_type(dtype), dtype, r.value.clone());
        let (a, b) = (value(self), value(other));
        let zero = Scalar::num(DType::I64, 0.0);
        let none = Scalar::binary(BinaryOp::Lt, other.index.clone(), zero);
        let earlier = Scalar::binary(BinaryOp::Lt, self.index.clone(), other.index.clone());
        let (greater, less) = (above(&a, &b, dtype), above(&b, &a, dtype));
        let (better, worse) = if largest {
            (greater, less)
        } else {
            (less, greater)
        };
        let equal = Scalar::unary(UnaryOp::Not, worse);
        let tie = Scalar::binary(BinaryOp::And, equal, earlier);
        let ahead = Scalar::binary(BinaryOp::Or, better, tie);
        Scalar::binary(BinaryOp::Or, none, ahead)
    }
}

/// Whether `a` is greater than `b`, where NaN is greater than all numbers.
fn above(a: &Scalar, b: &Scalar, dtype: DType) -> Scalar {
    let greater = Scalar::binary(BinaryOp::Lt, b.clone(), a.clone());
    if !dtype.is_float() {
        return greater;
    }
    let nan = Scalar::binary(BinaryOp::Ne, a.clone(), a.clone());
    let number = Scalar::binary(BinaryOp::Eq, b.clone(), b.clone());
    Scalar::binary(
        BinaryOp::Or,
        greater,
        Scalar::binary(BinaryOp::And, nan, number),
    )
}

/// What an element must pass to have a place among the best so far, in registers: most elements
/// are compared with it only, and those that pass it with what is held.
struct Bar {
    /// The last of the best, as the type that is compared. For floats, a number that all pass while
    /// there is a place left, NaN, and one that no number passes if the last is as good as any.
    value: BufferId,
    /// The index of the last of the best, for integers and where elements come in any order.
    index: Option<BufferId>,
    /// The value while there is a place left, if some elements are known to have none.
    bound: Option<Scalar>,
    dtype: DType,
    largest: bool,
}

impl Bar {
    /// A bar before all elements. With a bound, those that do not reach it fail, and elements may
    /// come in any order.
    fn new(cx: &mut Define<'_>, places: &Places<'_>, bound: Option<Scalar>) -> Self {
        let (dtype, largest) = (places.dtype, places.largest);
        let indexed = !dtype.is_float() || bound.is_some();
        let bar = Bar {
            value: cx.register(compute_type(dtype)),
            index: indexed.then(|| cx.register(DType::I64)),
            bound,
            dtype,
            largest,
        };
        cx.store(bar.value, vec![], bar.open());
        bar.set_index(cx, bar.open_index());
        bar
    }

    /// The value while there is a place left.
    fn open(&self) -> Scalar {
        let compute = compute_type(self.dtype);
        match &self.bound {
            Some(bound) => bound.clone(),
            None if self.dtype.is_float() => Scalar::num(compute, f64::NAN),
            None => Scalar::num(compute, 0.0),
        }
    }

    /// The index while there is a place left: what reaches a bound is earlier.
    fn open_index(&self) -> Scalar {
        let index = match self.bound {
            Some(_) => i64::MAX,
            None => -1,
        };
        Scalar::Const(Const::int(DType::I64, index.into()))
    }

    fn set_index(&self, cx: &mut Define<'_>, index: Scalar) {
        if let Some(register) = self.index {
            cx.store(register, vec![], index);
        }
    }

    /// Whether an element may have a place; of equal ones, the first has it.
    fn passed(&self, element: &Ranked) -> Scalar {
        let value = convert(compute_type(self.dtype), self.dtype, element.value.clone());
        let bar = Scalar::load(self.value, vec![]);
        let (worse, better) = match self.largest {
            true => (value.clone(), bar.clone()),
            false => (bar.clone(), value.clone()),
        };
        let is_better = match self.dtype.is_float() {
            true => Scalar::unary(UnaryOp::Not, Scalar::binary(BinaryOp::Le, worse, better)),
            false => Scalar::binary(BinaryOp::Lt, better, worse),
        };
        let Some(index) = self.index else {
            return is_better;
        };
        let place = Scalar::load(index, vec![]);
        let otherwise = match self.bound {
            Some(_) => {
                let equal = Scalar::binary(BinaryOp::Eq, value, bar);
                let earlier = Scalar::binary(BinaryOp::Lt, element.index.clone(), place);
                Scalar::binary(BinaryOp::And, equal, earlier)
            }
            None => Scalar::binary(BinaryOp::Lt, place, Scalar::num(DType::I64, 0.0)),
        };
        Scalar::binary(BinaryOp::Or, otherwise, is_better)
    }

    /// Takes the last of the best.
    fn raise(&self, cx: &mut Define<'_>, last: &Ranked) {
        let compute = compute_type(self.dtype);
        let mut value = convert(compute, self.dtype, last.value.clone());
        let (float, mut index) = (self.dtype.is_float(), last.index.clone());
        if float && self.largest {
            let nan = Scalar::binary(BinaryOp::Ne, value.clone(), value.clone());
            value = Scalar::select(nan, Scalar::num(compute, f64::INFINITY), value);
        }
        if float || self.bound.is_some() {
            let zero = Scalar::num(DType::I64, 0.0);
            let open = Scalar::binary(BinaryOp::Lt, last.index.clone(), zero);
            value = Scalar::select(open.clone(), self.open(), value);
            index = Scalar::select(open, self.open_index(), index);
        }
        cx.store(self.value, vec![], value);
        self.set_index(cx, index);
    }
}

/// Places that are kept sorted: to find one's place among them takes as long as in a heap.
const FEW_PLACES: i64 = 16;

/// The places for the best of one row, and an element that is carried to one of them.
struct Places<'a> {
    node: NodeId,
    k: Expr,
    dtype: DType,
    largest: bool,
    /// The results.
    best: [BufferId; 2],
    at: &'a InRow<'a>,
    /// The element that is carried.
    value: BufferId,
    index: BufferId,
    /// Positions of places: the one that is free, and the one that is looked at next.
    free: BufferId,
    next: BufferId,
}

impl<'a> Places<'a> {
    fn new(cx: &mut Define<'_>, node: NodeId, at: &'a InRow<'a>) -> Self {
        let attrs = &cx.node(node).attrs;
        let dtype = cx.operand_type(node, 0).dtype;
        let best = [0, 1].map(|r| cx.output_buffer(cx.node(node).outputs[r]));
        Places {
            node,
            k: attrs.dims("k")[0].clone(),
            dtype,
            largest: attrs.flag("largest"),
            best,
            at,
            value: cx.register(dtype),
            index: cx.register(DType::I64),
            free: cx.register(DType::I64),
            next: cx.register(DType::I64),
        }
    }

    fn are_few(&self) -> bool {
        self.k.as_const().is_some_and(|k| k <= FEW_PLACES)
    }

    /// The place of the last of the best.
    fn last(&self) -> Expr {
        if self.are_few() {
            self.k.clone() - 1
        } else {
            Expr::from(0)
        }
    }

    /// Marks all places as free.
    fn clear(&self, cx: &mut Define<'_>) {
        let slots = std::slice::from_ref(&self.k);
        cx.nest(slots, Role::Serial, &mut |cx, vars| {
            let none = Scalar::Const(Const::int(DType::I64, -1));
            let (value, index) = (Scalar::num(self.dtype, 0.0), none);
            self.put(cx, &vars[0], Ranked { value, index });
        });
    }

    /// Gives an element the place that it has among the best so far.
    fn look(&self, cx: &mut Define<'_>, bar: &Bar, i: &Expr) {
        let element = cx.operand(self.node, 0, &(self.at)(i));
        cx.store(self.value, vec![], element);
        cx.store(self.index, vec![], Scalar::Index(i.clone()));
        cx.when(bar.passed(&self.carried()), &mut |cx| {
            let last = self.held(&self.last());
            cx.when(self.beats(&self.carried(), &last), &mut |cx| {
                if self.are_few() {
                    self.insert(cx);
                } else {
                    self.sink(cx, &self.k);
                }
                bar.raise(cx, &last);
            });
        });
    }

    fn carried(&self) -> Ranked {
        Ranked::load(self.value, self.index, &[])
    }

    fn held(&self, place: &Expr) -> Ranked {
        Ranked::load(self.best[0], self.best[1], &(self.at)(place))
    }

    fn put(&self, cx: &mut Define<'_>, place: &Expr, element: Ranked) {
        cx.store(self.best[0], (self.at)(place), element.value);
        cx.store(self.best[1], (self.at)(place), element.index);
    }

    fn beats(&self, a: &Ranked, b: &Ranked) -> Scalar {
        a.beats(b, self.dtype, self.largest)
    }

    /// The position in a register, checked.
    fn position(&self, cx: &mut Define<'_>, register: BufferId) -> Expr {
        let position = Scalar::load(register, vec![]);
        cx.checked(self.node, "place", position, &self.k)
    }

    /// Moves what comes after the element that is carried backward by one place, over the last.
    fn insert(&self, cx: &mut Define<'_>) {
        let index = |e: Expr| Scalar::Index(e);
        let none = Scalar::num(DType::I64, 0.0);
        cx.store(self.free, vec![], index(self.k.clone() - 1));
        cx.store(self.next, vec![], index(self.k.clone() - 1));
        let more = Scalar::binary(BinaryOp::Lt, none.clone(), Scalar::load(self.next, vec![]));
        cx.repeat_while(more, &mut |cx| {
            let place = self.position(cx, self.next);
            let before = (place.clone() - 1).at_least(0);
            let held = self.held(&before);
            cx.store(self.next, vec![], none.clone());
            cx.when(self.beats(&self.carried(), &held), &mut |cx| {
                self.put(cx, &place, self.held(&before));
                cx.store(self.free, vec![], index(before.clone()));
                cx.store(self.next, vec![], index(before.clone()));
            });
        });
        self.place_carried(cx);
    }

    /// Puts the element that is carried where it belongs in a heap of the first `count` places,
    /// of which the first is free: each place comes after those at twice its position and one or
    /// two more.
    fn sink(&self, cx: &mut Define<'_>, count: &Expr) {
        let index = |e: Expr| Scalar::Index(e);
        let none = Scalar::num(DType::I64, 0.0);
        cx.store(self.free, vec![], index(0.into()));
        cx.store(self.next, vec![], index(1.into()));
        let next = || Scalar::load(self.next, vec![]);
        let more = Scalar::binary(BinaryOp::Lt, next(), index(count.clone()));
        cx.repeat_while(more, &mut |cx| {
            let left = self.position(cx, self.next);
            let right = (left.clone() + 1).at_most(count.clone() - 1).at_least(0);
            let held = self.held(&left);
            let is_taken = Scalar::binary(BinaryOp::Le, none.clone(), held.index.clone());
            let ahead = self.beats(&held, &self.held(&right));
            let right_is_worse = Scalar::binary(BinaryOp::And, is_taken, ahead);
            let worse = Scalar::select(right_is_worse, index(right), index(left));
            cx.store(self.next, vec![], worse);
            let child = self.position(cx, self.next);
            let ahead = self.beats(&self.carried(), &self.held(&child));
            cx.store(self.next, vec![], index(count.clone()));
            cx.when(ahead, &mut |cx| {
                let free = self.position(cx, self.free);
                self.put(cx, &free, self.held(&child));
                cx.store(self.free, vec![], index(child.clone()));
                cx.store(self.next, vec![], index(child.clone() * 2 + 1));
            });
        });
        self.place_carried(cx);
    }

    fn place_carried(&self, cx: &mut Define<'_>) {
        let free = self.position(cx, self.free);
        self.put(cx, &free, self.carried());
    }

    /// Sorts the heap: the last of those that are left goes behind them.
    fn sort(&self, cx: &mut Define<'_>) {
        cx.nest(&[self.k.clone() - 1], Role::Serial, &mut |cx, vars| {
            let last = self.k.clone() - 1 - vars[0].clone();
            let Ranked { value, index } = self.held(&last);
            cx.store(self.value, vec![], value);
            cx.store(self.index, vec![], index);
            self.put(cx, &last, self.held(&0.into()));
            self.sink(cx, &last);
        });
    }
}
