//! Which part of each parameter a kernel can touch, as far as it can be proved.
use super::super::{BufferId, Cond, Kernel, Scalar, Scope, Stmt};
use super::prover::Prover;
use super::{assuming, refuting};
use crate::expr::Expr;
use std::collections::HashMap;

/// Elements of a buffer: the least and the greatest index on each axis.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IndexBox(Vec<(i64, i64)>);

impl IndexBox {
    /// Whether no element is in both; boxes of one buffer.
    fn is_apart(&self, other: &IndexBox) -> bool {
        let mut axes = self.0.iter().zip(&other.0);
        axes.any(|(a, b)| a.1 < b.0 || b.1 < a.0)
    }

    /// The least box that also has the elements of another one.
    fn join(&mut self, other: &IndexBox) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a = (a.0.min(b.0), a.1.max(b.1));
        }
    }

    /// Whether all elements of another one are in it.
    fn has(&self, other: &IndexBox) -> bool {
        let mut axes = self.0.iter().zip(&other.0);
        axes.all(|(a, b)| a.0 <= b.0 && b.1 <= a.1)
    }
}

/// Boxes of one parameter, at most: beyond that, they are joined.
const BOXES: usize = 16;

/// Elements of a buffer, as the boxes that they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region(Vec<IndexBox>);

impl Region {
    /// Whether no element is in both; regions of one buffer.
    pub fn is_apart(&self, other: &Region) -> bool {
        let mut pairs = self
            .0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| (a, b)));
        pairs.all(|(a, b)| a.is_apart(b))
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, new: IndexBox) {
        if self.0.iter().any(|known| known.has(&new)) {
            return;
        }
        self.0.retain(|known| !new.has(known));
        match self.0.len() < BOXES {
            true => self.0.push(new),
            false => self.0[0].join(&new),
        }
    }
}

/// For each parameter, in order, all elements that a call may read or write, whatever the data and
/// the sizes are, a box for each access.
pub fn touched_regions(kernel: &Kernel) -> Vec<Region> {
    let mut walk = Walk {
        kernel,
        regions: HashMap::new(),
    };
    walk.stmts(&kernel.body, &Prover::new(kernel.ranges()));
    let of = |(id, _)| walk.regions.get(&id).cloned().unwrap_or_default();
    kernel.params().map(of).collect()
}

struct Walk<'k> {
    kernel: &'k Kernel,
    regions: HashMap<BufferId, Region>,
}

impl Walk<'_> {
    fn stmts(&mut self, stmts: &[Stmt], known: &Prover) {
        for stmt in stmts {
            self.stmt(stmt, known);
        }
    }

    fn stmt(&mut self, stmt: &Stmt, known: &Prover) {
        match stmt {
            Stmt::For(l) => {
                let mut inside = known.clone();
                inside.bind(l.var, &l.extent);
                self.stmts(&l.body, &inside);
            }
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                self.scalar(value, known);
                self.access(*buffer, index, known);
            }
            Stmt::If {
                cond,
                then,
                otherwise,
            } => match cond {
                Cond::Affine(es) => {
                    self.stmts(then, &assuming(known, es));
                    self.stmts(otherwise, &refuting(known, es));
                }
                Cond::Scalar(s) => {
                    self.scalar(s, known);
                    self.stmts(then, known);
                    self.stmts(otherwise, known);
                }
            },
            Stmt::Check {
                var,
                value,
                extent,
                body,
                ..
            } => {
                self.scalar(value, known);
                let mut inside = known.clone();
                inside.bind(*var, extent);
                self.stmts(body, &inside);
            }
            Stmt::While { cond, body } => {
                self.scalar(cond, known);
                self.stmts(body, known);
            }
        }
    }

    fn scalar(&mut self, s: &Scalar, known: &Prover) {
        match s {
            Scalar::Load(buffer, index) => self.access(*buffer, index, known),
            Scalar::Guard(conds, a, b) => {
                self.scalar(a, &assuming(known, conds));
                self.scalar(b, &refuting(known, conds));
            }
            _ => s.children().into_iter().for_each(|c| self.scalar(c, known)),
        }
    }

    fn access(&mut self, id: BufferId, index: &[Expr], known: &Prover) {
        let scope = self.kernel.buffer(id).scope;
        if known.is_impossible() || !matches!(scope, Scope::Input | Scope::Output) {
            return;
        }
        let all = IndexBox(index.iter().map(|e| known.bounds(e)).collect());
        if all.0.iter().any(|(least, greatest)| least > greatest) {
            return;
        }
        self.regions.entry(id).or_default().add(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parse_kernel;

    /// What is touched of the result `o0`.
    fn written(body: &str) -> Region {
        let text = format!(
            "kernel k($n in 1..=100) {{ out o0: f32[$n, 96] in a1: f32[$n, 96] in a2: i64[1] {body} }}"
        );
        let kernel = parse_kernel(&text).unwrap_or_else(|e| panic!("{e}"));
        touched_regions(&kernel).swap_remove(0)
    }

    fn columns(least: i64, greatest: i64) -> IndexBox {
        IndexBox(vec![(0, 99), (least, greatest)])
    }

    #[test]
    fn boxes_end_where_conditions_do() {
        let tail = "for i0 < $n space { for i1 < 2 space { for i2 < 16 space vector {
            if [-16*i1 - i2 + 23] { o0[i0, 16*i1 + i2 + 40] = a1[i0, i2] } } } }";
        assert_eq!(written(tail), Region(vec![columns(40, 63)]));
        let extent = "for i0 < $n space { for i1 < 2 space { for i2 < min(-16*i1 + 24, 16) space {
            o0[i0, 16*i1 + i2 + 40] = a1[i0, i2] } } }";
        assert_eq!(written(extent), Region(vec![columns(40, 63)]));
    }

    #[test]
    fn regions_have_all_stores_and_nothing_that_no_run_reaches() {
        let two = "for i0 < $n space { o0[i0, 7] = a1[i0, 0] o0[i0, 20] = o0[i0, 3] o0[i0, 7] = a1[i0, 1] }";
        let boxes = vec![columns(7, 7), columns(3, 3), columns(20, 20)];
        assert_eq!(written(two), Region(boxes));
        let never = "for i0 < $n space { if [i0 - 200] { o0[i0, 7] = a1[i0, 0] } }";
        assert!(written(never).is_empty());
        let checked = "check i0 = a2[0] in 5 site 0 { o0[0, i0 + 10] = a1[0, i0] }";
        assert_eq!(
            written(checked),
            Region(vec![IndexBox(vec![(0, 0), (10, 14)])])
        );
    }

    #[test]
    fn many_boxes_are_joined_and_none_is_lost() {
        let mut region = Region::default();
        (0..40).for_each(|k| region.add(columns(2 * k, 2 * k)));
        assert_eq!(region.0.len(), BOXES);
        let single = |k| Region(vec![columns(k, k)]);
        assert!((0..40).all(|k| !region.is_apart(&single(2 * k))));
    }

    #[test]
    fn neighbours_are_apart_and_what_shares_an_element_is_not() {
        let region =
            |boxes: &[(i64, i64)]| Region(boxes.iter().map(|b| columns(b.0, b.1)).collect());
        let inner = region(&[(24, 47)]);
        assert!(region(&[(0, 23), (48, 50)]).is_apart(&inner));
        assert!(!region(&[(0, 23), (47, 50)]).is_apart(&inner));
        // Elements of rank 0 are one element.
        assert!(!IndexBox(vec![]).is_apart(&IndexBox(vec![])));
    }
}
