//! Reads blocks of an image as windows of it, where its elements are moved first: blocks that are
//! stacked as channels or as rows of a product are windows that do not overlap, and places in steps
//! that are stacked as a batch are windows with gaps.
//!
//! Requires: nothing.
//! Ensures: no convolution with constant weights of channels that are blocks of an image with few
//! channels, or of one tap; no product of such rows with constant weights; no convolution of a batch
//! of places in steps whose result is moved again.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 8, 8]
//!   %1 = const "c" : f32[] = [0.5]
//!   %2 = expand(%1) {shape=[4, 12, 3, 3]} "w" : f32[4, 12, 3, 3]
//!   %3 = reshape(%0) {shape=[1, 3, 4, 2, 4, 2]} "r" : f32[1, 3, 4, 2, 4, 2]
//!   %4 = transpose(%3) {perm=[0, 3, 5, 1, 2, 4]} "t" : f32[1, 2, 2, 3, 4, 4]
//!   %5 = reshape(%4) {shape=[1, 12, 4, 4]} "d" : f32[1, 12, 4, 4]
//!   %6 = conv(%5, %2) {dilations=[1, 1], groups=1, pads_after=[1, 1], pads_before=[1, 1], strides=[1, 1]} "y" : f32[1, 4, 4, 4]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 3, 8, 8]
//!   %1 = const "c" : f32[] = [0.5]
//!   %2 = expand(%1) {shape=[4, 12, 3, 3]} "w" : f32[4, 12, 3, 3]
//!   %3 = reshape(%2) {shape=[4, 2, 2, 3, 3, 3]} "y" : f32[4, 2, 2, 3, 3, 3]
//!   %4 = transpose(%3) {perm=[0, 3, 4, 1, 5, 2]} "y" : f32[4, 3, 3, 2, 3, 2]
//!   %5 = reshape(%4) {shape=[4, 3, 6, 6]} "y" : f32[4, 3, 6, 6]
//!   %6 = conv(%0, %5) {dilations=[1, 1], groups=1, pads_after=[2, 2], pads_before=[2, 2], strides=[2, 2]} "y" : f32[1, 4, 4, 4]
//!   output "y" = %6
//! }
//! ```
//! Source: the definition of a convolution; an index of an axis is a number in mixed radix.
use super::Rewriter;
use super::cancel_transposes::has_conv;
use super::digits::{Digits, digits};
use super::fold_factors::is_fixed;
use tensmith_ir::expr::{Expr, product};
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Spec};

/// Fewer channels than these do not fill a vector, so that windows of them are no slower than
/// channels that are copied together.
const FEW: i64 = 8;
/// Scalar work between a convolution and what moves its result back, at most.
const DEPTH: usize = 6;

/// The graph with windows for blocks.
///
/// Errors: never for a valid graph.
pub fn windows_of_blocks(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        let found = match node.op.name {
            "conv" => Image::of(graph, &uses, node).map(|image| image.convolved(cx, node)),
            "contract" => Rows::of(graph, &uses, node).map(|rows| rows.convolved(cx, node)),
            _ => None,
        };
        found.transpose().map(|y| y.map(|y| vec![y]))
    })
}

/// An image whose places are parted in blocks, and which of its axes are which.
struct Image {
    digits: Digits,
    batch: usize,
    channels: usize,
    spatial: Vec<usize>,
    stacked: Stacked,
}

/// What the places of a block are.
#[derive(Clone, Copy, PartialEq)]
enum Stacked {
    Channels,
    Batch,
}

/// Whether two lists hold the same digits.
fn same(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().all(|d| b.contains(d))
}

impl Image {
    fn of(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> Option<Image> {
        let ones = |name: &str| node.attrs.ints(name).iter().all(|v| *v == 1);
        if node.attrs.int("groups") != 1 || !ones("dilations") {
            return None;
        }
        let [x, w] = [node.inputs[0], node.inputs[1]];
        let ways = digits(graph, uses, x).into_iter();
        let image = ways.chain(slices(graph, uses, x)).find_map(Image::parted)?;
        let taps = &graph.ty(w).shape[2..];
        let single = taps.iter().all(|e| e.is(1));
        let admitted = match image.stacked {
            Stacked::Channels => {
                is_fixed(graph, w) && (single && image.in_order() || image.few(graph))
            }
            Stacked::Batch => ones("strides") && is_moved(graph, uses, node),
        };
        admitted.then_some(image)
    }

    /// The axes of an image whose blocks are stacked.
    fn parted(digits: Digits) -> Option<Image> {
        let rank = digits.to.len();
        if !has_conv(rank) || digits.from.len() != rank {
            return None;
        }
        let axis = |to: &Vec<usize>| match to[..] {
            [outer] => (digits.from.iter())
                .position(|from| from.first() == Some(&outer) && (1..=2).contains(&from.len())),
            _ => None,
        };
        let spatial: Vec<usize> = digits.to[2..].iter().map(axis).collect::<Option<_>>()?;
        let [first, second] = (0..rank)
            .filter(|a| !spatial.contains(a))
            .collect::<Vec<_>>()
            .try_into()
            .ok()?;
        let blocks: Vec<usize> = spatial
            .iter()
            .flat_map(|a| digits.from[*a][1..].to_vec())
            .collect();
        let role = |batch: usize, channels: usize| {
            let with = |axis: usize| [&digits.from[axis][..], &blocks].concat();
            let [of_batch, of_channels] = [&digits.from[batch], &digits.from[channels]];
            if digits.to[0] == *of_batch && same(&digits.to[1], &with(channels)) {
                Some((batch, channels, Stacked::Channels))
            } else if digits.to[1] == *of_channels && same(&digits.to[0], &with(batch)) {
                Some((batch, channels, Stacked::Batch))
            } else {
                None
            }
        };
        let roles = role(first, second).or_else(|| role(second, first));
        let (batch, channels, stacked) = roles.filter(|_| !blocks.is_empty())?;
        Some(Image {
            digits,
            batch,
            channels,
            spatial,
            stacked,
        })
    }

    /// Whether there are so few channels that windows are as good as copied channels.
    fn few(&self, graph: &Graph) -> bool {
        let channels = graph.ty(self.digits.source).shape[self.channels].as_const();
        channels.is_some_and(|n| n < FEW)
    }

    /// Whether the axes of the source are batch, channels and places.
    fn in_order(&self) -> bool {
        self.axes().is_sorted()
    }

    fn axes(&self) -> Vec<usize> {
        [&[self.batch, self.channels], &self.spatial[..]].concat()
    }

    /// Extents of blocks along the axes of places.
    fn blocks(&self) -> Vec<i64> {
        let extent = |d: &usize| self.digits.extents[*d].as_const().unwrap_or(1);
        let of = |a: &usize| self.digits.from[*a].get(1).map_or(1, extent);
        self.spatial.iter().map(of).collect()
    }

    /// The image itself, with its axes in the order of convolutions.
    fn source(&self, cx: &mut Rewriter<'_>, label: &str) -> Result<ValueId, GraphError> {
        let x = cx.get(self.digits.source);
        turned(cx, x, &self.axes(), label)
    }

    /// Weights of rows or channels that are blocks, of which `kernel` are the taps, as weights of
    /// windows: `stacked` are the digits along their second axis.
    fn weights(
        &self,
        cx: &mut Rewriter<'_>,
        w: ValueId,
        (stacked, kernel): (&[usize], &[Expr]),
        label: &str,
    ) -> Result<ValueId, GraphError> {
        let extent = |d: &usize| self.digits.extents[*d].clone();
        let results = cx.ty(w).shape[0].clone();
        let first = [results.clone()].into_iter();
        let split: Vec<Expr> = first
            .chain(stacked.iter().map(extent))
            .chain(kernel.iter().cloned())
            .collect();
        let w = cx.reshape(w, &split, label)?;
        let place = |d: &usize| stacked.iter().position(|s| s == d).map_or(0, |k| k + 1);
        let mut order: Vec<usize> = vec![0];
        order.extend(self.digits.from[self.channels].iter().map(place));
        for (k, axis) in self.spatial.iter().enumerate() {
            order.extend((k < kernel.len()).then_some(1 + stacked.len() + k));
            order.extend(self.digits.from[*axis][1..].iter().map(place));
        }
        let w = turned(cx, w, &order, label)?;
        let channels = product(
            &self.digits.from[self.channels]
                .iter()
                .map(extent)
                .collect::<Vec<_>>(),
        );
        let mut shape = vec![results, channels];
        for (k, block) in self.blocks().into_iter().enumerate() {
            shape.push(
                kernel
                    .get(k)
                    .map_or(Expr::from(block), |e| e.clone() * block),
            );
        }
        cx.reshape(w, &shape, label)
    }

    fn convolved(&self, cx: &mut Rewriter<'_>, node: &Node) -> Result<ValueId, GraphError> {
        let x = self.source(cx, &node.name)?;
        let w = cx.get(node.inputs[1]);
        let blocks = self.blocks();
        let times = |name: &'static str| -> Vec<i64> {
            let own = node.attrs.ints(name).iter();
            own.zip(&blocks).map(|(n, block)| n * block).collect()
        };
        let attrs = node.attrs.clone();
        let attrs = attrs.with("pads_before", times("pads_before"));
        let attrs = attrs.with("pads_after", times("pads_after"));
        if self.stacked == Stacked::Channels {
            let kernel = cx.ty(w).shape[2..].to_vec();
            let w = self.weights(cx, w, (&self.digits.to[1], &kernel), &node.name)?;
            let attrs = attrs.with("strides", times("strides"));
            return cx.add("conv", &node.name, &[x, w], attrs);
        }
        let attrs = attrs.with("dilations", times("dilations"));
        let y = cx.add("conv", &node.name, &[x, w], attrs)?;
        self.stacked_places(cx, y, node)
    }

    /// The places of a result in steps as a batch.
    fn stacked_places(
        &self,
        cx: &mut Rewriter<'_>,
        y: ValueId,
        node: &Node,
    ) -> Result<ValueId, GraphError> {
        let shape = cx.old.ty(node.outputs[0]).shape.clone();
        let extent = |d: &usize| self.digits.extents[*d].clone();
        // The digits of the result, and where each is; none for channels and places of blocks.
        let mut order: Vec<Option<usize>> = Vec::new();
        let mut split: Vec<Expr> = Vec::new();
        for d in &self.digits.from[self.batch] {
            order.push(Some(*d));
            split.push(extent(d));
        }
        order.push(None);
        split.push(shape[1].clone());
        for (k, axis) in self.spatial.iter().enumerate() {
            order.push(None);
            split.push(shape[2 + k].clone());
            for d in &self.digits.from[*axis][1..] {
                order.push(Some(*d));
                split.push(extent(d));
            }
        }
        let y = cx.reshape(y, &split, &node.name)?;
        let place = |d: &usize| order.iter().position(|o| *o == Some(*d)).unwrap_or(0);
        let mut perm: Vec<usize> = self.digits.to[0].iter().map(place).collect();
        perm.extend((0..order.len()).filter(|k| order[*k].is_none()));
        let y = turned(cx, y, &perm, &node.name)?;
        cx.reshape(y, &shape, &node.name)
    }
}

/// Rows of a product that are blocks of an image.
struct Rows {
    image: Image,
    /// Whether the weights have their results first.
    across: bool,
}

impl Rows {
    fn of(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> Option<Rows> {
        let spec = Spec::of(&node.attrs);
        let (sum, rows) = spec.a.split_last()?;
        let (result, kept) = spec.out.split_last()?;
        let across = spec.b == [*result, *sum];
        let down = spec.b == [*sum, *result];
        let plain = rows == kept && (across || down) && is_fixed(graph, node.inputs[1]);
        if !plain || is_fixed(graph, node.inputs[0]) {
            return None;
        }
        let mut ways = digits(graph, uses, node.inputs[0]).into_iter();
        let image = ways.find_map(Rows::parted)?;
        let admitted = image.in_order() || image.few(graph);
        admitted.then_some(Rows { image, across })
    }

    /// The axes of an image of whose blocks a value has rows.
    fn parted(digits: Digits) -> Option<Image> {
        let rank = digits.from.len();
        let (own, rows) = digits.to.split_last()?;
        let rows = rows.concat();
        // What lies in order is no copy.
        let moved = digits.to.concat() != digits.from.concat();
        if !has_conv(rank) || !moved {
            return None;
        }
        let is_spatial = |a: &usize| match digits.from[*a][..] {
            [outer, inner] => rows.contains(&outer) && own.contains(&inner),
            _ => false,
        };
        let (spatial, others): (Vec<usize>, Vec<usize>) = (0..rank).partition(is_spatial);
        let [first, second] = others.try_into().ok()?;
        let fits = |(batch, channels): (usize, usize)| {
            let outer = spatial.iter().map(|a| digits.from[*a][0]);
            let inner = spatial.iter().map(|a| digits.from[*a][1]);
            let of_rows: Vec<usize> = digits.from[batch].iter().copied().chain(outer).collect();
            let of_own: Vec<usize> = digits.from[channels].iter().copied().chain(inner).collect();
            rows == of_rows && same(own, &of_own)
        };
        let mut roles = [(first, second), (second, first)].into_iter();
        let (batch, channels) = roles.find(|r| fits(*r))?;
        Some(Image {
            digits,
            batch,
            channels,
            spatial,
            stacked: Stacked::Channels,
        })
    }

    fn convolved(&self, cx: &mut Rewriter<'_>, node: &Node) -> Result<ValueId, GraphError> {
        let image = &self.image;
        let label = &node.name;
        let x = image.source(cx, label)?;
        let mut w = cx.get(node.inputs[1]);
        if !self.across {
            w = turned(cx, w, &[1, 0], label)?;
        }
        let stacked = image.digits.to.last().map_or(&[][..], |own| &own[..]);
        let w = image.weights(cx, w, (stacked, &[]), label)?;
        let places = image.spatial.len();
        let attrs = Attrs::new()
            .with("strides", image.blocks())
            .with("dilations", vec![1; places])
            .with("pads_before", vec![0; places])
            .with("pads_after", vec![0; places])
            .with("groups", 1);
        let y = cx.add("conv", label, &[x, w], attrs)?;
        let last: Vec<usize> = [&[0], &(2..places + 2).collect::<Vec<_>>()[..], &[1]].concat();
        let y = turned(cx, y, &last, label)?;
        let shape = cx.old.ty(node.outputs[0]).shape.clone();
        cx.reshape(y, &shape, label)
    }
}

/// A value with its axes in an order; no node if they are.
fn turned(
    cx: &mut Rewriter<'_>,
    value: ValueId,
    order: &[usize],
    label: &str,
) -> Result<ValueId, GraphError> {
    if order.is_sorted() {
        return Ok(value);
    }
    let perm: Vec<i64> = order.iter().map(|a| *a as i64).collect();
    cx.add(
        "transpose",
        label,
        &[value],
        Attrs::new().with("perm", perm),
    )
}

/// Whether reshapes and transposes alone read the result of a node, behind scalar work perhaps.
fn is_moved(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> bool {
    let mut at = node.outputs[0];
    for _ in 0..DEPTH {
        let [reader] = uses[at.0 as usize][..] else {
            return false;
        };
        let reader = graph.node(reader);
        match (reader.op.class, reader.op.name) {
            (_, "reshape" | "transpose") => return !graph.outputs.contains(&at),
            (Class::Elementwise, _) if !graph.outputs.contains(&at) => at = reader.outputs[0],
            _ => return false,
        }
    }
    false
}

/// The digits of channels that are slices in steps of one image, all of them in order.
fn slices(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId) -> Option<Digits> {
    let joined = graph.node(graph.producer(value)?);
    let only = uses[value.0 as usize].len() == 1 && !graph.outputs.contains(&value);
    if joined.op.name != "concat" || joined.attrs.int("axis") != 1 || !only {
        return None;
    }
    let part = |v: &ValueId| Some(graph.node(graph.producer(*v)?)).filter(|n| n.op.name == "slice");
    let parts: Vec<&Node> = joined.inputs.iter().map(part).collect::<Option<_>>()?;
    let first = parts.first()?;
    let (source, steps) = (first.inputs[0], first.attrs.ints("steps"));
    let shape = &graph.ty(source).shape;
    let alike = |n: &&Node| {
        let sizes = n.attrs.dims("sizes");
        let whole = (0..shape.len()).all(|d| sizes[d].clone() * steps[d] == shape[d]);
        let starts = &n.attrs.dims("starts")[..2];
        let outer = starts.iter().all(|e| e.is(0));
        n.inputs[0] == source && n.attrs.ints("steps") == steps && whole && outer
    };
    let plain = steps.iter().all(|s| *s > 0) && steps[..2] == [1, 1];
    if !plain || shape.len() != 4 || !parts.iter().all(alike) {
        return None;
    }
    let split: Vec<Expr> = [
        shape[0].clone(),
        shape[1].clone(),
        (shape[2].as_const()? / steps[2]).into(),
        steps[2].into(),
        (shape[3].as_const()? / steps[3]).into(),
        steps[3].into(),
    ]
    .to_vec();
    let start = |n: &&Node| -> Option<[i64; 2]> {
        let starts = n.attrs.dims("starts");
        Some([starts[2].as_const()?, starts[3].as_const()?])
    };
    let starts: Vec<[i64; 2]> = parts.iter().map(start).collect::<Option<_>>()?;
    let [rows, columns] = [steps[2], steps[3]];
    let by_rows = (0..rows).flat_map(|i| (0..columns).map(move |j| [i, j]));
    let by_columns = (0..columns).flat_map(|j| (0..rows).map(move |i| [i, j]));
    let order = match () {
        () if by_rows.eq(starts.iter().copied()) => [3, 5, 1],
        () if by_columns.eq(starts.iter().copied()) => [5, 3, 1],
        () => return None,
    };
    let many = |axes: &[usize]| -> Vec<usize> {
        let many = axes.iter().filter(|d| !split[**d].is(1));
        many.copied().collect()
    };
    Some(Digits {
        source,
        from: vec![many(&[0]), many(&[1]), many(&[2, 3]), many(&[4, 5])],
        to: vec![many(&[0]), many(&order), many(&[2]), many(&[4])],
        extents: split,
    })
}
