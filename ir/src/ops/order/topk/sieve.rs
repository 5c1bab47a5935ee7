//! A bound that the best elements of a row reach, found by lanes before elements are compared with
//! each other.
//!
//! Elements are dealt to groups. The k-th best of the best elements of the groups is no better than
//! the k-th best of all, so that only groups whose best element reaches it need be looked at, which
//! are about k. Groups with NaN, of which the best number is not known, count as infinity for the
//! bound, and are looked at.
//!
//! ```text
//! for j < 32 { g[j] = max over r of x[32*r + j] }
//! for i < 32 { t[i] = if (sum over j of g[j] > g[i]) < k { g[i] } else { infinity } }
//! bound = min over i of t[i]
//! ```
use super::super::super::reduce::extreme;
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar, UnaryOp};

/// Columns of rows that lie side by side are sieved together.
const COLUMNS: i64 = 16;
/// Fewer columns are no lanes.
const FEW_COLUMNS: i64 = 8;
/// Groups at least and at most.
const GROUPS: (i64, i64) = (32, 256);
/// Elements of a group at least.
const MEMBERS: i64 = 4;
/// Comparisons of the best elements of groups, in lanes, that take as long as looking at one element.
const COMPARISONS: i64 = 20;

fn not(a: Scalar) -> Scalar {
    Scalar::unary(UnaryOp::Not, a)
}

/// How rows are dealt.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    k: i64,
    n: i64,
    groups: i64,
    /// Rows that lie side by side; 1 if each is contiguous.
    pub columns: i64,
}

impl Groups {
    /// The same for so many columns.
    pub fn beside(self, columns: i64) -> Groups {
        Groups { columns, ..self }
    }

    /// How rows along an axis are dealt, if finding a bound for the `k` best elements takes less than
    /// comparing each with them.
    pub fn of(dtype: DType, shape: &[Expr], axis: usize, k: i64) -> Option<Groups> {
        if !matches!(dtype, DType::F32 | DType::I32) || k < 1 {
            return None;
        }
        let n = shape[axis].as_const()?;
        let contiguous = shape[axis + 1..].iter().all(|e| e.is(1));
        let columns = match shape.last()?.as_const()? {
            _ if contiguous => 1,
            last if last >= FEW_COLUMNS => last.min(COLUMNS),
            _ => return None,
        };
        // Where both all comparisons of groups and all elements of k groups take the least.
        let (least, most) = GROUPS;
        let takes = |g: i64| (g * g).saturating_add(COMPARISONS * k * (n / g));
        let sizes = (least.ilog2()..=most.ilog2()).map(|bits| 1 << bits);
        let fits = |g: &i64| *g >= 2 * k && n / g >= MEMBERS;
        let groups = sizes.filter(fits).min_by_key(|g| takes(*g))?;
        Some(Groups {
            k,
            n,
            groups,
            columns,
        })
    }
}

/// The best elements of groups, and the bound, by group and column.
pub(super) struct Sieve {
    dealt: Groups,
    best: BufferId,
    bound: BufferId,
}

impl Sieve {
    /// Finds the bounds of some columns; `at` gives the index of element `i` of a column.
    pub fn new(
        cx: &mut Define<'_>,
        node: NodeId,
        dealt: Groups,
        at: &dyn Fn(&Expr, &Expr) -> Vec<Expr>,
    ) -> Sieve {
        let dtype = cx.operand_type(node, 0).dtype;
        let largest = cx.node(node).attrs.flag("largest");
        let [groups, columns] = [dealt.groups, dealt.columns].map(Expr::from);
        let shape = [groups.clone(), columns.clone()];
        let [best, ranked] = [0; 2].map(|_| cx.scratch(dtype, shape.to_vec()));
        let bound = cx.scratch(dtype, vec![columns.clone()]);
        let (join, worst) = match largest {
            true => (BinaryOp::Max, BinaryOp::Min),
            false => (BinaryOp::Min, BinaryOp::Max),
        };
        let members = [Expr::from(dealt.n / dealt.groups)];
        cx.nest(&shape, Role::Space, &mut |cx, vars| {
            let start = extreme(dtype, !largest);
            let own = cx.reduce(&members, join, start, &mut |cx, r| {
                let i = r[0].clone() * dealt.groups + vars[0].clone();
                cx.operand(node, 0, &at(&i, &vars[1]))
            });
            cx.store(best, vars.to_vec(), own);
        });
        cx.nest(&shape, Role::Space, &mut |cx, vars| {
            let own = Scalar::load(best, vars.to_vec());
            let own = match dtype.is_float() {
                true => {
                    let number = Scalar::binary(BinaryOp::Eq, own.clone(), own.clone());
                    Scalar::select(number, own, Scalar::num(dtype, f64::INFINITY))
                }
                false => own,
            };
            let own = cx.bind(own);
            let zero = Const::new(DType::I32, 0.0);
            let extent = std::slice::from_ref(&groups);
            let ahead = cx.reduce(extent, BinaryOp::Add, zero, &mut |_, j| {
                let other = Scalar::load(best, vec![j[0].clone(), vars[1].clone()]);
                let ahead = match largest {
                    true => not(Scalar::binary(BinaryOp::Le, other, own.clone())),
                    false => Scalar::binary(BinaryOp::Lt, other, own.clone()),
                };
                Scalar::cast(DType::I32, ahead)
            });
            let k = Scalar::num(DType::I32, dealt.k as f64);
            let counts = Scalar::binary(BinaryOp::Lt, ahead, k);
            let other = Scalar::Const(extreme(dtype, largest));
            cx.store(ranked, vars.to_vec(), Scalar::select(counts, own, other));
        });
        cx.nest(&[columns], Role::Space, &mut |cx, vars| {
            let start = extreme(dtype, largest);
            let extent = std::slice::from_ref(&groups);
            let least = cx.reduce(extent, worst, start, &mut |_, i| {
                Scalar::load(ranked, vec![i[0].clone(), vars[0].clone()])
            });
            cx.store(bound, vars.to_vec(), least);
        });
        Sieve { dealt, best, bound }
    }

    /// The bound of a column.
    pub fn bound(&self, column: &Expr) -> Scalar {
        Scalar::load(self.bound, vec![column.clone()])
    }

    /// Calls `look` with the number of each element of a column that may reach its bound.
    pub fn each(
        &self,
        cx: &mut Define<'_>,
        (column, largest): (&Expr, bool),
        look: &mut dyn FnMut(&mut Define<'_>, &Expr),
    ) {
        let Groups { n, groups, .. } = self.dealt;
        cx.nest(&[groups.into()], Role::Serial, &mut |cx, vars| {
            let best = Scalar::load(self.best, vec![vars[0].clone(), column.clone()]);
            let (worse, better) = match largest {
                true => (best, self.bound(column)),
                false => (self.bound(column), best),
            };
            let reaches = not(Scalar::binary(BinaryOp::Lt, worse, better));
            cx.when(reaches, &mut |cx| {
                cx.nest(&[(n / groups).into()], Role::Serial, &mut |cx, r| {
                    look(cx, &(r[0].clone() * groups + vars[0].clone()));
                });
            });
        });
        let dealt = n / groups * groups;
        cx.nest(&[(n - dealt).into()], Role::Serial, &mut |cx, vars| {
            look(cx, &(vars[0].clone() + dealt));
        });
    }
}
