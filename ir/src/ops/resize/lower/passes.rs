//! Resampling by tables of weights, one axis after the other, so that each element is weighed by few
//! others, and whole rows by one weight.
//!
//! ```text
//! for y { row = 0
//!         for tap { row += weight(y, tap) * x[position(y, tap), ..] }
//!         for o { out[y, o] = sum over taps of weight(o, tap) * row[position(o, tap)] }}
//! ```
use super::super::super::movement::convert;
use super::table::Table;
use super::{Axis, Source, add, extrapolated, mul};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::NodeId;
use crate::loops::{BinaryOp, BufferId, Const, Role, Scalar};

/// A resize, of which each axis is kept or has a table of weights.
pub(super) struct Passes<'a> {
    pub node: NodeId,
    pub axes: &'a [Axis<'a>],
    pub sources: &'a [Source],
    /// What sums are computed in.
    pub compute: DType,
    pub out: BufferId,
    /// The last axis that has a table.
    pub last: usize,
}

impl Passes<'_> {
    /// Defines what has the indices `before` on the first axes, of which none has a table.
    pub fn define(&self, cx: &mut Define<'_>, before: &[Expr]) {
        let between = before.len()..self.last;
        let extents: Vec<Expr> = self.axes[between].iter().map(|a| a.size.clone()).collect();
        cx.nest(&extents, Role::Space, &mut |cx, vars| {
            let index = [before, vars].concat();
            let row = self.row(cx, &index);
            cx.nest(
                &[self.axes[self.last].size.clone()],
                Role::Space,
                &mut |cx, o| {
                    self.elements(cx, &[&index[..], o].concat(), row);
                },
            );
        });
    }

    /// The extents behind the last axis that has a table.
    fn behind(&self) -> Vec<Expr> {
        let behind = self.axes[self.last + 1..].iter();
        behind.map(|a| a.size.clone()).collect()
    }

    fn dtype(&self, cx: &Define<'_>) -> DType {
        cx.operand_type(self.node, 0).dtype
    }

    /// The position on an axis at a tap, and its weight.
    fn tap(&self, cx: &mut Define<'_>, d: usize, o: &Expr, tap: &Expr) -> (Expr, Scalar) {
        let Some(Table {
            positions,
            weights: Some(weights),
            ..
        }) = self.sources[d].table()
        else {
            unreachable!("invariant: axes with taps have tables of weights");
        };
        let slot = vec![o.clone(), tap.clone()];
        let at = Scalar::load(*positions, slot.clone());
        let site = format!("position on axis {d}");
        let position = cx.checked(self.node, &site, at, self.axes[d].n);
        (position, Scalar::load(*weights, slot))
    }

    /// The rows of x weighed along all axes before the last one, if one of them has a table.
    fn row(&self, cx: &mut Define<'_>, index: &[Expr]) -> Option<BufferId> {
        let tables = self.sources[..self.last].iter().filter_map(Source::table);
        let taps: Vec<Expr> = tables.map(|t| t.taps.into()).collect();
        if taps.is_empty() {
            return None;
        }
        let (compute, dtype) = (self.compute, self.dtype(cx));
        let shape = [&[self.axes[self.last].n.clone()], &self.behind()[..]].concat();
        let row = cx.scratch(compute, shape.clone());
        cx.nest(&shape, Role::Space, &mut |cx, at| {
            cx.store(row, at.to_vec(), Scalar::num(compute, 0.0));
        });
        cx.nest(&taps, Role::Serial, &mut |cx, taps| {
            let (mut taps, mut own, mut weights) = (taps.iter(), Vec::new(), Vec::new());
            for (d, o) in index.iter().enumerate() {
                if self.sources[d].table().is_none() {
                    own.push(o.clone());
                    continue;
                }
                let tap = taps.next().expect("invariant: one tap per table");
                let (position, weight) = self.tap(cx, d, o, tap);
                own.push(position);
                weights.push(weight);
            }
            let weight = weights.into_iter().reduce(mul);
            let weight = cx.bind(weight.expect("invariant: there is a table"));
            cx.nest(&shape, Role::Space, &mut |cx, at| {
                let x = cx.operand(self.node, 0, &[&own, at].concat());
                let term = mul(convert(compute, dtype, x), weight.clone());
                let sum = add(Scalar::load(row, at.to_vec()), term);
                cx.store(row, at.to_vec(), sum);
            });
        });
        Some(row)
    }

    /// The elements at an index of the axes up to the last one that has a table.
    fn elements(&self, cx: &mut Define<'_>, index: &[Expr], row: Option<BufferId>) {
        let taps = self.sources[self.last].table().map(|t| Expr::from(t.taps));
        let taps = [taps.expect("invariant: the last axis has a table")];
        let (behind, compute) = (self.behind(), self.compute);
        if behind.is_empty() {
            let zero = Const::new(compute, 0.0);
            let sum = cx.reduce(&taps, BinaryOp::Add, zero, &mut |cx, tap| {
                let (position, weight) = self.tap(cx, self.last, &index[self.last], &tap[0]);
                mul(self.read(cx, index, &[position], row), weight)
            });
            return self.store(cx, index.to_vec(), sum);
        }
        let sums = cx.scratch(compute, behind.clone());
        cx.nest(&behind, Role::Space, &mut |cx, at| {
            cx.store(sums, at.to_vec(), Scalar::num(compute, 0.0));
        });
        cx.nest(&taps, Role::Serial, &mut |cx, tap| {
            let (position, weight) = self.tap(cx, self.last, &index[self.last], &tap[0]);
            cx.nest(&behind, Role::Space, &mut |cx, at| {
                let place = [std::slice::from_ref(&position), at].concat();
                let term = mul(self.read(cx, index, &place, row), weight.clone());
                let sum = add(Scalar::load(sums, at.to_vec()), term);
                cx.store(sums, at.to_vec(), sum);
            });
        });
        cx.nest(&behind, Role::Space, &mut |cx, at| {
            let sum = Scalar::load(sums, at.to_vec());
            self.store(cx, [index, at].concat(), sum);
        });
    }

    /// The element at a place on the last axis that has a table, and those behind it.
    fn read(
        &self,
        cx: &mut Define<'_>,
        index: &[Expr],
        place: &[Expr],
        row: Option<BufferId>,
    ) -> Scalar {
        if let Some(row) = row {
            return Scalar::load(row, place.to_vec());
        }
        let x = cx.operand(self.node, 0, &[&index[..self.last], place].concat());
        convert(self.compute, self.dtype(cx), x)
    }

    fn store(&self, cx: &mut Define<'_>, index: Vec<Expr>, sum: Scalar) {
        let value = convert(self.dtype(cx), self.compute, sum);
        let value = extrapolated(cx, self.node, self.sources, &index, value);
        cx.store(self.out, index, value);
    }
}
