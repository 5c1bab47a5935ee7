//! The best of a row by a bound that is found by counting, and a sort of what reaches it.
//!
//! Elements become integers of 32 bits in the same order. A bound is halved in until few more than
//! `k` of them reach it, which lanes count. Those are sorted by their digits, from the last to the
//! first, which keeps equal ones in the order of the row; no step depends on how elements compare.
//!
//! ```text
//! while more than k + k/8 elements reach low: if k of them reach (low + high)/2 { low } else { high } = ..
//! found = those that reach low, in their order
//! for each digit: sort found by it, by counting
//! ```
//! Source: D. Knuth, The Art of Computer Programming, 5.2.5 (sorting by distribution).
use super::super::InRow;
use super::key::{key, key_fits};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar, UnaryOp};

/// Elements more than `k` that are sorted: at least, and one in so many of `k`.
const MORE: (i64, i64) = (16, 8);
/// Of so many elements one at most is sorted, where a branch leaves out the others.
const SELDOM: i64 = 8;
/// Units: bits of a digit.
const DIGIT: u32 = 8;
/// Values of a digit.
const DIGITS: i64 = 1 << DIGIT;
/// Units: bits of a key, which stand above those of the index.
const KEY: u32 = 32;

/// How many of how many elements are wanted.
#[derive(Clone, Copy)]
pub(super) struct Selection {
    k: i64,
    n: i64,
}

impl Selection {
    /// The selection of the `k` best along an axis, if elements have keys and all is known.
    pub fn of(dtype: DType, extent: &Expr, k: &Expr) -> Option<Selection> {
        let (k, n) = (k.as_const()?, extent.as_const()?);
        let fits = key_fits(dtype) && (1..=n).contains(&k) && n <= i32::MAX.into();
        fits.then_some(Selection { k, n })
    }

    /// Whether so few elements are sorted that a branch foresees most others.
    fn is_seldom(self) -> bool {
        self.most() * SELDOM <= self.n
    }

    /// What is sorted at most.
    fn most(self) -> i64 {
        let (least, part) = MORE;
        self.n.min(self.k + (self.k / part).max(least))
    }
}

fn int(value: i64) -> Scalar {
    Scalar::Const(Const::int(DType::I64, value.into()))
}

fn word(value: i32) -> Scalar {
    Scalar::Const(Const::int(DType::I32, value.into()))
}

fn op(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(op, a, b)
}

fn read(register: BufferId) -> Scalar {
    Scalar::load(register, vec![])
}

/// Writes the best elements of a row to the results.
pub(super) fn define_row(cx: &mut Define<'_>, node: NodeId, wanted: Selection, at: &InRow<'_>) {
    let dtype = cx.operand_type(node, 0).dtype;
    let largest = cx.node(node).attrs.flag("largest");
    let keys = cx.scratch(DType::I32, vec![wanted.n.into()]);
    cx.nest(&[wanted.n.into()], Role::Space, &mut |cx, i| {
        let element = cx.operand(node, 0, &at(&i[0]));
        let key = key(cx, dtype, element, largest);
        cx.store(keys, i.to_vec(), key);
    });
    let bound = Bound::new(cx, wanted, keys);
    bound.find(cx);
    let [found, other] = [0; 2].map(|_| cx.scratch(DType::I64, vec![(wanted.most() + 1).into()]));
    let count = bound.collect(cx, node, found);
    let room = Expr::from(wanted.most() + 1);
    cx.when(op(BinaryOp::Le, int(0), read(count)), &mut |cx| {
        let count = cx.checked(node, "place", read(count), &room);
        let digits = cx.scratch(DType::I32, vec![DIGITS.into()]);
        for (pass, (from, to)) in [
            (found, other),
            (other, found),
            (found, other),
            (other, found),
        ]
        .into_iter()
        .enumerate()
        {
            let sort = Digit {
                node,
                shift: KEY + DIGIT * pass as u32,
                digits,
                room: room.clone(),
            };
            sort.sort(cx, &count, (from, to));
        }
    });
    let results = [0, 1].map(|r| cx.output_buffer(cx.node(node).outputs[r]));
    cx.nest(&[wanted.k.into()], Role::Space, &mut |cx, place| {
        let index = op(
            BinaryOp::And,
            Scalar::load(found, place.to_vec()),
            int(u32::MAX.into()),
        );
        let index = cx.checked(node, "place", index, &wanted.n.into());
        let element = cx.operand(node, 0, &at(&index));
        cx.store(results[0], at(&place[0]), element);
        cx.store(results[1], at(&place[0]), Scalar::Index(index));
    });
}

/// A bound that at least `k` keys reach, one that fewer do, and how many do, in registers.
struct Bound {
    wanted: Selection,
    keys: BufferId,
    low: BufferId,
    high: BufferId,
    reach_low: BufferId,
    reach_high: BufferId,
}

impl Bound {
    fn new(cx: &mut Define<'_>, wanted: Selection, keys: BufferId) -> Bound {
        let extent = [Expr::from(wanted.n)];
        let mut best = |join, start: i32| {
            let start = Const::int(DType::I32, start.into());
            let found = cx.reduce(&extent, join, start, &mut |_, i| {
                Scalar::load(keys, i.to_vec())
            });
            Scalar::cast(DType::I64, found)
        };
        let least = best(BinaryOp::Min, i32::MAX);
        let most = best(BinaryOp::Max, i32::MIN);
        let [low, high, reach_low, reach_high] = [0; 4].map(|_| cx.register(DType::I64));
        cx.store(low, vec![], least);
        cx.store(high, vec![], op(BinaryOp::Add, most, int(1)));
        cx.store(reach_low, vec![], int(wanted.n));
        cx.store(reach_high, vec![], int(0));
        Bound {
            wanted,
            keys,
            low,
            high,
            reach_low,
            reach_high,
        }
    }

    /// Whether more keys reach the lower bound than are sorted.
    fn too_many(&self) -> Scalar {
        op(BinaryOp::Lt, int(self.wanted.most()), read(self.reach_low))
    }

    /// Halves the range between the bounds until few enough reach the lower one, or both are
    /// neighbours.
    fn find(&self, cx: &mut Define<'_>) {
        let apart = || op(BinaryOp::Sub, read(self.high), read(self.low));
        let more = op(
            BinaryOp::And,
            self.too_many(),
            op(BinaryOp::Lt, int(1), apart()),
        );
        let middle = cx.register(DType::I64);
        let tried = cx.register(DType::I32);
        let reach = cx.register(DType::I64);
        cx.repeat_while(more, &mut |cx| {
            let half = op(BinaryOp::Shr, apart(), int(1));
            cx.store(middle, vec![], op(BinaryOp::Add, read(self.low), half));
            cx.store(tried, vec![], Scalar::cast(DType::I32, read(middle)));
            let zero = Const::new(DType::I32, 0.0);
            let count = cx.reduce(&[self.wanted.n.into()], BinaryOp::Add, zero, &mut |_, i| {
                let reached = op(
                    BinaryOp::Le,
                    read(tried),
                    Scalar::load(self.keys, i.to_vec()),
                );
                Scalar::cast(DType::I32, reached)
            });
            cx.store(reach, vec![], Scalar::cast(DType::I64, count));
            let enough = op(BinaryOp::Le, int(self.wanted.k), read(reach));
            cx.when(enough.clone(), &mut |cx| {
                cx.store(self.low, vec![], read(middle));
                cx.store(self.reach_low, vec![], read(reach));
            });
            cx.when(Scalar::unary(UnaryOp::Not, enough), &mut |cx| {
                cx.store(self.high, vec![], read(middle));
                cx.store(self.reach_high, vec![], read(reach));
            });
        });
    }

    /// Puts what reaches the lower bound to the begin of `found`, in its order: the bits of its key,
    /// best first, above its index. Of those that are just the bound, there is room for the first.
    /// Gives the register that counts them.
    fn collect(&self, cx: &mut Define<'_>, node: NodeId, found: BufferId) -> BufferId {
        let most = self.wanted.most();
        let [count, room] = [0; 2].map(|_| cx.register(DType::I64));
        let bound = cx.register(DType::I32);
        cx.store(count, vec![], int(0));
        let left = op(BinaryOp::Sub, int(most), read(self.reach_high));
        cx.store(
            room,
            vec![],
            Scalar::select(self.too_many(), left, int(most)),
        );
        cx.store(bound, vec![], Scalar::cast(DType::I32, read(self.low)));
        let put = |cx: &mut Define<'_>, i: &Expr| {
            let place = cx.checked(node, "place", read(count), &(most + 1).into());
            let key = Scalar::load(self.keys, vec![i.clone()]);
            let bits = op(BinaryOp::Xor, key.clone(), word(i32::MAX));
            let bits = Scalar::Bitcast(DType::U32, Box::new(bits));
            let above = Scalar::cast(DType::I64, bits);
            let above = op(BinaryOp::Shl, above, int(KEY.into()));
            let packed = op(BinaryOp::Or, above, Scalar::Index(i.clone()));
            cx.store(found, vec![place], packed);
            let as_number = |s: Scalar| Scalar::cast(DType::I64, s);
            let equal = op(BinaryOp::Eq, key.clone(), read(bound));
            let fits = op(BinaryOp::Lt, int(0), read(room));
            let better = op(BinaryOp::Lt, read(bound), key);
            let tie = op(BinaryOp::And, equal.clone(), fits);
            let taken = as_number(op(BinaryOp::Or, better, tie));
            cx.store(count, vec![], op(BinaryOp::Add, read(count), taken));
            let left = op(BinaryOp::Sub, read(room), as_number(equal));
            cx.store(room, vec![], left);
        };
        cx.nest(&[self.wanted.n.into()], Role::Serial, &mut |cx, i| {
            let key = Scalar::load(self.keys, i.to_vec());
            let reaches = op(BinaryOp::Le, read(bound), key);
            match self.wanted.is_seldom() {
                true => cx.when(reaches, &mut |cx| put(cx, &i[0])),
                false => put(cx, &i[0]),
            }
        });
        count
    }
}

/// One pass of a sort by digits.
struct Digit {
    node: NodeId,
    /// Units: bits below the digit.
    shift: u32,
    /// Where elements with a digit go next.
    digits: BufferId,
    room: Expr,
}

impl Digit {
    /// Moves `count` elements to where they belong by their digit.
    fn sort(&self, cx: &mut Define<'_>, count: &Expr, (from, to): (BufferId, BufferId)) {
        let digits = self.digits;
        cx.nest(&[DIGITS.into()], Role::Space, &mut |cx, d| {
            cx.store(digits, d.to_vec(), word(0));
        });
        let one_more = |cx: &mut Define<'_>, digit: &Expr| {
            let own = Scalar::load(digits, vec![digit.clone()]);
            cx.store(digits, vec![digit.clone()], op(BinaryOp::Add, own, word(1)));
        };
        cx.nest(std::slice::from_ref(count), Role::Serial, &mut |cx, i| {
            let digit = self.of(cx, from, &i[0]);
            one_more(cx, &digit);
        });
        let [before, own] = [0; 2].map(|_| cx.register(DType::I32));
        cx.store(before, vec![], word(0));
        cx.nest(&[DIGITS.into()], Role::Serial, &mut |cx, d| {
            cx.store(own, vec![], Scalar::load(digits, d.to_vec()));
            cx.store(digits, d.to_vec(), read(before));
            cx.store(before, vec![], op(BinaryOp::Add, read(before), read(own)));
        });
        cx.nest(std::slice::from_ref(count), Role::Serial, &mut |cx, i| {
            let digit = self.of(cx, from, &i[0]);
            let place = Scalar::load(digits, vec![digit.clone()]);
            let place = Scalar::cast(DType::I64, place);
            let place = cx.checked(self.node, "place", place, &self.room);
            cx.store(to, vec![place], Scalar::load(from, i.to_vec()));
            one_more(cx, &digit);
        });
    }

    /// The digit of element `i`.
    fn of(&self, cx: &mut Define<'_>, from: BufferId, i: &Expr) -> Expr {
        let element = Scalar::load(from, vec![i.clone()]);
        let above = op(BinaryOp::Shr, element, int(self.shift.into()));
        let digit = op(BinaryOp::And, above, int(DIGITS - 1));
        cx.checked(self.node, "digit", digit, &DIGITS.into())
    }
}
