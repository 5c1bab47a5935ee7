//! Computes without transposes what stands between one and its inverse: scalar work, reductions,
//! rows, and products with constant weights, which become convolutions of one tap.
//!
//! Requires: nothing.
//! Ensures: no transpose of scalar work, rows, or reductions whose operands are all constants or
//! inverse transposes, under reshapes that join and split axes perhaps; none of a product of rows with constant weights that such a transpose feeds,
//! if the rows are the places of an image.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 8, 5, 6]
//!   %1 = const "b" : f32[8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
//!   %2 = transpose(%0) {perm=[0, 2, 3, 1]} "t" : f32[2, 5, 6, 8]
//!   %3 = reduce_max(%2) {axes=[3], keepdims=true} "m" : f32[2, 5, 6, 1]
//!   %4 = sub(%2, %3) {} "s" : f32[2, 5, 6, 8]
//!   %5 = add(%4, %1) {} "a" : f32[2, 5, 6, 8]
//!   %6 = transpose(%5) {perm=[0, 3, 1, 2]} "y" : f32[2, 8, 5, 6]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 8, 5, 6]
//!   %1 = reduce_max(%0) {axes=[1], keepdims=true} "m" : f32[2, 1, 5, 6]
//!   %2 = sub(%0, %1) {} "s" : f32[2, 8, 5, 6]
//!   %3 = const "b" : f32[8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
//!   %4 = reshape(%3) {shape=[8, 1, 1]} "b" : f32[8, 1, 1]
//!   %5 = add(%2, %4) {} "a" : f32[2, 8, 5, 6]
//!   output "y" = %5
//! }
//! ```
//! Source: the definitions of the ops.
use super::Rewriter;
use super::fold_factors::is_fixed;
use super::join_transposes::parts;
use std::collections::HashMap;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Spec};

type Found = Result<Option<ValueId>, GraphError>;

/// Operations between two transposes, at most.
const MOST: usize = 32;

/// The graph without transposes that undo each other around what can be computed without them;
/// `reassociates`: sums may be added up in another order.
///
/// Errors: never for a valid graph.
pub fn cancel_transposes(graph: &Graph, reassociates: bool) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        if node.op.name != "transpose" {
            return Ok(None);
        }
        let ends = [
            Some((node.inputs[0], node.attrs.ints("perm").to_vec())),
            before_reshape(graph, &uses, node),
        ];
        for (value, perm) in ends.into_iter().flatten() {
            let x = cx.get(value);
            let region = Region {
                graph,
                uses: &uses,
                perm,
                last: value,
                reassociates,
            };
            let mut plan = Plan::default();
            let between = region.undone(&cx.new, x).is_none() && !is_fixed(&cx.new, x);
            if !between || !region.fits(value, &mut plan) || plan.mixes() {
                continue;
            }
            let mut done = HashMap::new();
            let moved = region.moved(cx, x, &mut done)?;
            let shape = &graph.ty(node.outputs[0]).shape;
            return match moved {
                Some(y) => cx.reshape(y, shape, &node.name).map(|y| Some(vec![y])),
                None => Ok(None),
            };
        }
        Ok(None)
    })
}

/// What a transpose of a reshape, which alone reads it, is a reshape of a transpose of, and that
/// transpose's order: that of an image whose places or channels are joined or split between.
pub(super) fn before_reshape(
    graph: &Graph,
    uses: &[Vec<NodeId>],
    node: &Node,
) -> Option<(ValueId, Vec<i64>)> {
    let value = node.inputs[0];
    let reshape = graph.node(graph.producer(value)?);
    let only = uses[value.0 as usize].len() == 1 && !graph.outputs.contains(&value);
    if reshape.op.name != "reshape" || !only {
        return None;
    }
    let from = &graph.ty(reshape.inputs[0]).shape;
    let parts = parts(from, &graph.ty(value).shape)?;
    let outer = node.attrs.ints("perm").iter();
    let wanted: Vec<usize> = outer.flat_map(|p| parts.to[*p as usize].clone()).collect();
    let alone = (0..from.len()).filter(|d| parts.from[*d].is_empty());
    let mut perm: Vec<i64> = alone.map(|d| d as i64).collect();
    let mut left = &wanted[..];
    while let Some(first) = left.first() {
        let axis = parts.from.iter().position(|p| p.first() == Some(first))?;
        left = left.strip_prefix(&parts.from[axis][..])?;
        perm.push(axis as i64);
    }
    Some((reshape.inputs[0], perm))
}

/// What is between an outer transpose and the transposes that it undoes.
struct Region<'g> {
    graph: &'g Graph,
    uses: &'g [Vec<NodeId>],
    /// Of the outer transpose.
    perm: Vec<i64>,
    /// The value that it reads, under a reshape perhaps.
    last: ValueId,
    /// Whether sums may be added up in another order.
    reassociates: bool,
}

/// What a region has.
#[derive(Default)]
struct Plan {
    nodes: usize,
    undone: usize,
    products: usize,
    rows: usize,
}

impl Plan {
    /// Rows of channels beside a product want these innermost.
    fn mixes(&self) -> bool {
        self.undone == 0 || self.products > 0 && self.rows > 0
    }
}

/// Whether a transpose undoes another one.
pub(super) fn undoes(first: &[i64], then: &[i64]) -> bool {
    first.len() == then.len() && (0..then.len()).all(|k| first[then[k] as usize] == k as i64)
}

impl Region<'_> {
    fn rank(&self) -> usize {
        self.perm.len()
    }

    /// What a value of a graph is a transpose of, or a reshape of one, if the outer one undoes that;
    /// the elements are in its order then.
    fn undone(&self, graph: &Graph, value: ValueId) -> Option<ValueId> {
        let node = graph.node(graph.producer(value)?);
        match node.op.name {
            "transpose" => undoes(node.attrs.ints("perm"), &self.perm).then(|| node.inputs[0]),
            "reshape" => {
                let inner = graph.node(graph.producer(node.inputs[0])?);
                let shapes = [node.inputs[0], value].map(|v| &graph.ty(v).shape);
                if inner.op.name != "transpose" || shapes[1].len() != self.rank() {
                    return None;
                }
                let parts = parts(shapes[0], shapes[1])?;
                let perm = inner.attrs.ints("perm");
                let place = |axis: usize| perm.iter().position(|p| *p == axis as i64);
                let mut order = Vec::new();
                for axis in 0..perm.len() {
                    order.extend_from_slice(&parts.from[place(axis)?]);
                }
                let behind = self.perm.iter().flat_map(|p| &parts.to[*p as usize]);
                behind.eq(&order).then(|| inner.inputs[0])
            }
            _ => None,
        }
    }

    /// Whether an old value can be computed without transposes, and only the region wants it.
    fn fits(&self, value: ValueId, plan: &mut Plan) -> bool {
        let Some(id) = self.graph.producer(value) else {
            return self.graph.constant(value).is_some();
        };
        if is_fixed(self.graph, value) {
            return true;
        }
        let node = self.graph.node(id);
        if self.undone(self.graph, value).is_some() {
            plan.undone += 1;
            return true;
        }
        plan.nodes += 1;
        let readers = &self.uses[value.0 as usize];
        let inside = |n: &NodeId| {
            let reader = self.graph.node(*n);
            let behind = reader.op.name == "reshape" && value == self.last && readers.len() == 1;
            let view = reader.op.name == "transpose" || behind;
            // The product by which this was reached is the only reader, if one is.
            let rows = || readers.len() == 1 && self.is_product(self.graph, reader);
            view || match reader.op.class {
                Class::Elementwise | Class::Reduction | Class::Row => true,
                Class::Contraction => reader.inputs[0] == value && rows(),
                _ => false,
            }
        };
        let wanted = self.graph.outputs.contains(&value);
        if plan.nodes > MOST || wanted || !readers.iter().all(inside) {
            return false;
        }
        let whole = self.graph.ty(value).rank() == self.rank();
        match node.op.class {
            Class::Elementwise => node.inputs.iter().all(|v| self.fits(*v, plan)),
            Class::Reduction if whole && keeps_axes(node) && self.keeps_order(node) => {
                plan.rows += 1;
                self.fits(node.inputs[0], plan)
            }
            Class::Row if node.inputs.len() == 1 && node.attrs.get("axis").is_some() => {
                plan.rows += 1;
                self.fits(node.inputs[0], plan)
            }
            Class::Contraction => {
                plan.products += 1;
                self.is_product(self.graph, node) && self.fits(node.inputs[0], plan)
            }
            _ => false,
        }
    }

    /// Whether axes that are reduced have the same order behind the outer transpose, if it matters.
    fn keeps_order(&self, node: &Node) -> bool {
        if self.reassociates {
            return true;
        }
        let axes = node.attrs.ints("axes");
        let order = self.perm.iter().filter(|p| axes.contains(p));
        order.is_sorted()
    }

    /// Whether a node is a product of the last axis with constant weights, and the outer transpose
    /// brings that axis to the second place.
    fn is_product(&self, graph: &Graph, node: &Node) -> bool {
        let rank = self.rank() as i64;
        let channels: Vec<i64> = [vec![0, rank - 1], (1..rank - 1).collect()].concat();
        if node.op.name != "contract" || !has_conv(self.rank()) || self.perm != channels {
            return false;
        }
        let spec = Spec::of(&node.attrs);
        let rows = spec.a.len().saturating_sub(1);
        let last = spec.a.len() == self.rank() && spec.out.len() == self.rank();
        last && spec.b.len() == 2
            && spec.a[..rows] == spec.out[..rows]
            && spec.b.contains(&spec.a[rows])
            && spec.b.contains(&spec.out[rows])
            && is_fixed(graph, node.inputs[1])
    }

    /// A value as it is behind the outer transpose.
    fn moved(
        &self,
        cx: &mut Rewriter<'_>,
        value: ValueId,
        done: &mut HashMap<ValueId, ValueId>,
    ) -> Found {
        if let Some(found) = done.get(&value) {
            return Ok(Some(*found));
        }
        let found = match self.undone(&cx.new, value) {
            Some(x) => {
                let label = cx.new.value(value).name.clone();
                let from = &cx.ty(value).shape;
                let shape: Vec<Expr> = (self.perm.iter())
                    .map(|p| from[*p as usize].clone())
                    .collect();
                Some(cx.reshape(x, &shape, &label)?)
            }
            None if is_fixed(&cx.new, value) => self.constant(cx, value)?,
            None => self.computed(cx, value, done)?,
        };
        if let Some(found) = found {
            done.insert(value, found);
        }
        Ok(found)
    }

    /// A constant, with leading axes of extent 1 if it has fewer.
    fn constant(&self, cx: &mut Rewriter<'_>, value: ValueId) -> Found {
        let shape = cx.ty(value).shape.clone();
        let label = cx.new.value(value).name.clone();
        let missing = self.rank() - shape.len();
        let whole = [vec![Expr::from(1); missing], shape].concat();
        let many = |d: &i64| !whole[*d as usize].is(1);
        let to: Vec<Expr> = self
            .perm
            .iter()
            .map(|p| whole[*p as usize].clone())
            .collect();
        let ones = to.iter().take_while(|d| d.is(1)).count();
        let order: Vec<i64> = self.perm.iter().copied().filter(many).collect();
        if order.windows(2).all(|w| w[0] < w[1]) {
            return cx.reshape(value, &to[ones..], &label).map(Some);
        }
        let value = cx.reshape(value, &whole, &label)?;
        let perm = Attrs::new().with("perm", self.perm.clone());
        cx.add("transpose", &label, &[value], perm).map(Some)
    }

    fn computed(
        &self,
        cx: &mut Rewriter<'_>,
        value: ValueId,
        done: &mut HashMap<ValueId, ValueId>,
    ) -> Found {
        let Some(id) = cx.new.producer(value) else {
            return Ok(None);
        };
        let node = cx.new.node(id).clone();
        let count = if node.op.class == Class::Contraction {
            1
        } else {
            node.inputs.len()
        };
        let mut operands = Vec::new();
        for operand in &node.inputs[..count] {
            match self.moved(cx, *operand, done)? {
                Some(moved) => operands.push(moved),
                None => return Ok(None),
            }
        }
        let place = |axis: i64| {
            self.perm
                .iter()
                .position(|p| *p == axis)
                .map_or(0, |k| k as i64)
        };
        let attrs = match node.op.class {
            Class::Reduction => {
                let mut axes: Vec<i64> =
                    node.attrs.ints("axes").iter().map(|a| place(*a)).collect();
                axes.sort_unstable();
                node.attrs.with("axes", axes)
            }
            Class::Row => {
                let axis = place(node.attrs.int("axis"));
                node.attrs.with("axis", axis)
            }
            // It may have become another one since it was planned.
            Class::Contraction if !self.is_product(&cx.new, &node) => return Ok(None),
            Class::Contraction => {
                let spec = Spec::of(&node.attrs);
                let across = spec.out.last() == Some(&spec.b[1]);
                let weights = (node.inputs[1], across);
                return one_tap(cx, &node.name, operands[0], weights).map(Some);
            }
            _ => node.attrs,
        };
        cx.new
            .add_one(node.op, &node.name, &operands, attrs)
            .map(Some)
    }
}

fn keeps_axes(node: &Node) -> bool {
    node.attrs.get("axes").is_some() && node.attrs.flag("keepdims")
}

/// Whether values of so many axes, batch and channels among them, have convolutions.
pub(super) fn has_conv(rank: usize) -> bool {
    (3..=5).contains(&rank)
}

/// The product of channels with weights, as a convolution: the weights, and whether the axis of the
/// result is their second one.
pub(super) fn one_tap(
    cx: &mut Rewriter<'_>,
    label: &str,
    x: ValueId,
    (w, across): (ValueId, bool),
) -> Result<ValueId, GraphError> {
    let mut w = w;
    if across {
        let perm = Attrs::new().with("perm", vec![1, 0]);
        w = cx.add("transpose", label, &[w], perm)?;
    }
    let places = cx.ty(x).rank() - 2;
    let shape = [&cx.ty(w).shape[..], &vec![Expr::from(1); places]].concat();
    let w = cx.reshape(w, &shape, label)?;
    let attrs = Attrs::new()
        .with("strides", vec![1; places])
        .with("dilations", vec![1; places])
        .with("pads_before", vec![0; places])
        .with("pads_after", vec![0; places])
        .with("groups", 1);
    cx.add("conv", label, &[x, w], attrs)
}
