//! Joins convolutions of one image with windows of one form to one convolution of all their
//! filters, where that is predicted to be faster: narrow ones fill no vector.
//!
//! What follows each of them likewise, element by element, is joined too. Results are parts of the
//! joined one. A kernel that reads a part by index reads it in place, and parts that stand beside
//! each other in a concatenation are one part of it; others are copied, which the price has in it.
//!
//! Requires: padding is a node of its own.
//! Ensures: the sums of every element are those that they were.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2, 4]
//!   %1 = const "w" : f32[1, 2, 1] = [1.0, 2.0]
//!   %2 = const "v" : f32[2, 2, 1] = [3.0, 4.0, 5.0, 6.0]
//!   %3 = const "zero" : f32[] = [0.0]
//!   %4 = conv(%0, %1) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "a" : f32[1, 1, 4]
//!   %5 = max(%4, %3) {} "r" : f32[1, 1, 4]
//!   %6 = conv(%0, %2) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "b" : f32[1, 2, 4]
//!   %7 = max(%6, %3) {} "s" : f32[1, 2, 4]
//!   %8 = concat(%0, %5, %7) {axis=1} "y" : f32[1, 5, 4]
//!   output "y" = %8
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2, 4]
//!   %1 = const "w" : f32[1, 2, 1] = [1.0, 2.0]
//!   %2 = const "v" : f32[2, 2, 1] = [3.0, 4.0, 5.0, 6.0]
//!   %3 = concat(%1, %2) {axis=0} "a + b" : f32[3, 2, 1]
//!   %4 = conv(%0, %3) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "a + b" : f32[1, 3, 4]
//!   %5 = const "zero" : f32[] = [0.0]
//!   %6 = max(%4, %5) {} "r + s" : f32[1, 3, 4]
//!   %7 = concat(%0, %6) {axis=1} "y" : f32[1, 5, 4]
//!   output "y" = %7
//! }
//! ```
//! Source: Jia et al., TASO, section 2, merges convolutions that share an input.
use super::Rewriter;
use crate::cost::{Contraction, Pass, Tile};
use crate::schedule::{Target, least_cycles};
use crate::split::constant_values;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Def, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;

/// Vector operations for a vector that is copied.
const COPY: f64 = 2.0;

/// The part of what convolutions are predicted to take that predictions may miss.
const MISSED: f64 = 0.02;

/// The graph with convolutions joined.
///
/// Errors: never for a valid graph.
pub fn merge_convolutions(graph: &Graph, target: &Target) -> Result<Graph, GraphError> {
    let finder = Finder::new(graph, target);
    let merges = finder.merges();
    if merges.is_empty() {
        return Ok(graph.clone());
    }
    let heads: HashMap<NodeId, &Merge> = merges.iter().map(|m| (m.chains[0][0], m)).collect();
    let inside: BTreeSet<NodeId> = merges.iter().flat_map(Merge::nodes).collect();
    let mut cx = Rewriter::new(graph);
    let mut parts = Parts::default();
    // Weights first: those of later convolutions stand where those of the first one stood.
    let fixed = |id: &NodeId| finder.fixed[graph.node(*id).outputs[0].0 as usize];
    for id in graph.node_ids().filter(fixed) {
        cx.copy(graph.node(id))?;
    }
    for id in graph.node_ids().filter(|id| !fixed(id)) {
        let node = graph.node(id);
        match heads.get(&id) {
            Some(merge) => merge.build(&mut cx, &mut parts)?,
            None if inside.contains(&id) => {}
            None if joins_channels(node) => parts.join(&mut cx, node)?,
            None => cx.copy(node)?,
        }
    }
    Ok(cx.finish())
}

fn joins_channels(node: &Node) -> bool {
    node.op.name == "concat" && node.attrs.int("axis") == 1
}

/// Convolutions that become one, each with what follows it likewise.
struct Merge {
    chains: Vec<Vec<NodeId>>,
    /// Of each node that follows: the other operand, if it has one.
    others: Vec<Option<Other>>,
}

/// The other operand of an elementwise node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    /// One constant for all.
    Shared(usize),
    /// A constant for each channel, which is on this axis of it.
    Channels(usize, usize),
}

impl Merge {
    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.chains.iter().flatten().copied()
    }

    fn build(&self, cx: &mut Rewriter<'_>, parts: &mut Parts) -> Result<(), GraphError> {
        let graph = cx.old;
        let mut made = cx.get(graph.node(self.chains[0][0]).inputs[0]);
        for level in 0..self.chains[0].len() {
            let nodes: Vec<&Node> = self.chains.iter().map(|c| graph.node(c[level])).collect();
            let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
            let (label, first) = (names.join(" + "), nodes[0]);
            let operands = match level.checked_sub(1).map(|k| self.others[k]) {
                None => vec![made, joined(cx, &nodes, 1, 0)?],
                Some(None) => vec![made],
                Some(Some(Other::Channels(at, axis))) => {
                    beside(made, at, joined(cx, &nodes, at, axis)?)
                }
                Some(Some(Other::Shared(at))) => beside(made, at, cx.get(first.inputs[at])),
            };
            made = cx.add(first.op.name, &label, &operands, first.attrs.clone())?;
        }
        let mut at = 0;
        for node in self.chains.iter().map(|c| graph.node(c[c.len() - 1])) {
            let value = node.outputs[0];
            let channels = graph.ty(value).shape[1].as_const();
            let end = at + channels.expect("invariant: merged shapes are static");
            parts.cut(cx, (value, &node.name), (made, at, end))?;
            at = end;
        }
        Ok(())
    }
}

/// The operands of nodes, one behind the other.
fn joined(
    cx: &mut Rewriter<'_>,
    nodes: &[&Node],
    at: usize,
    axis: usize,
) -> Result<ValueId, GraphError> {
    let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    let all: Vec<ValueId> = nodes.iter().map(|n| cx.get(n.inputs[at])).collect();
    let attrs = Attrs::new().with("axis", axis as i64);
    cx.add("concat", &names.join(" + "), &all, attrs)
}

/// A value and another operand at its place.
fn beside(value: ValueId, at: usize, other: ValueId) -> Vec<ValueId> {
    match at {
        0 => vec![other, value],
        _ => vec![value, other],
    }
}

/// Values of the new graph that are channels of others: the whole, the first and the end.
#[derive(Default)]
struct Parts {
    of: HashMap<ValueId, (ValueId, i64, i64)>,
}

impl Parts {
    /// States that an old value is a part.
    fn cut(
        &mut self,
        cx: &mut Rewriter<'_>,
        (value, label): (ValueId, &str),
        part: (ValueId, i64, i64),
    ) -> Result<(), GraphError> {
        let made = channels_of(cx, label, part)?;
        self.of.insert(made, part);
        cx.set(value, made);
        Ok(())
    }

    /// A concatenation of channels, with neighbours of one whole as one part.
    fn join(&self, cx: &mut Rewriter<'_>, node: &Node) -> Result<(), GraphError> {
        let mut inputs: Vec<ValueId> = Vec::new();
        let mut open: Option<(ValueId, i64, i64)> = None;
        for value in cx.operands(node) {
            let part = self.of.get(&value).copied();
            match (open, part) {
                (Some((whole, start, end)), Some((other, from, to)))
                    if whole == other && end == from =>
                {
                    open = Some((whole, start, to));
                    inputs.pop();
                    inputs.push(channels_of(cx, &node.name, (whole, start, to))?);
                }
                _ => {
                    open = part;
                    inputs.push(value);
                }
            }
        }
        let made = match inputs[..] {
            [only] => only,
            _ => cx.add("concat", &node.name, &inputs, node.attrs.clone())?,
        };
        cx.set(node.outputs[0], made);
        Ok(())
    }
}

/// Channels of a value, or the value if these are all.
fn channels_of(
    cx: &mut Rewriter<'_>,
    label: &str,
    (whole, start, end): (ValueId, i64, i64),
) -> Result<ValueId, GraphError> {
    cx.slice(whole, 1, (start.into(), (end - start).into(), 1), label)
}

struct Finder<'g> {
    graph: &'g Graph,
    target: &'g Target,
    uses: Vec<Vec<NodeId>>,
    /// Whether each value depends on constants only.
    fixed: Vec<bool>,
}

impl<'g> Finder<'g> {
    fn new(graph: &'g Graph, target: &'g Target) -> Self {
        Finder {
            graph,
            target,
            uses: graph.uses(),
            fixed: constant_values(graph),
        }
    }

    /// Convolutions of one image that have one form, where joining them pays.
    fn merges(&self) -> Vec<Merge> {
        let mut alike: BTreeMap<(ValueId, String), Vec<NodeId>> = BTreeMap::new();
        for id in self.graph.node_ids() {
            let node = self.graph.node(id);
            if let Some(form) = self.form(node) {
                alike.entry((node.inputs[0], form)).or_default().push(id);
            }
        }
        let several = alike.into_values().filter(|all| all.len() > 1);
        let merges = several.map(|all| self.merge(&all));
        merges.filter(|merge| self.gain(merge) > 0.0).collect()
    }

    /// The form of a convolution with constant filters; those of one form differ in the number of
    /// filters.
    fn form(&self, node: &Node) -> Option<String> {
        let plain = node.op.name == "conv" && node.attrs.int("groups") == 1;
        if !plain || !self.fixed[node.inputs[1].0 as usize] || self.fixed[node.inputs[0].0 as usize]
        {
            return None;
        }
        let all = [node.inputs[0], node.inputs[1], node.outputs[0]].map(|v| self.graph.ty(v));
        let known = all
            .iter()
            .all(|ty| ty.static_shape().is_some() && ty.dtype == DType::F32);
        let attrs = &node.attrs;
        known.then(|| format!("{:?} {attrs}", &all[1].shape[1..]))
    }

    /// The convolutions with what follows all of them likewise.
    fn merge(&self, convs: &[NodeId]) -> Merge {
        let mut chains: Vec<Vec<NodeId>> = convs.iter().map(|id| vec![*id]).collect();
        let mut others = Vec::new();
        while let Some((next, other)) = self.next(&chains) {
            chains.iter_mut().zip(next).for_each(|(c, id)| c.push(id));
            others.push(other);
        }
        Merge { chains, others }
    }

    /// What follows all chains likewise.
    fn next(&self, chains: &[Vec<NodeId>]) -> Option<(Vec<NodeId>, Option<Other>)> {
        let next = |chain: &Vec<NodeId>| {
            let last = self.graph.node(chain[chain.len() - 1]).outputs[0];
            let [reader] = self.uses[last.0 as usize][..] else {
                return None;
            };
            let own = !self.graph.outputs.contains(&last);
            own.then(|| Some((reader, self.other(reader, last)?)))?
        };
        let all: Vec<(NodeId, Option<Other>)> = chains.iter().map(next).collect::<Option<_>>()?;
        let (first, other) = all[0];
        let first = self.graph.node(first);
        let alike = |(id, own): &(NodeId, Option<Other>)| {
            let node = self.graph.node(*id);
            let is_same = match (other, own) {
                (Some(Other::Shared(at)), Some(Other::Shared(own))) => {
                    at == *own && self.is_same(node.inputs[at], first.inputs[at])
                }
                _ => *own == other,
            };
            is_same && node.op.name == first.op.name && node.attrs == first.attrs
        };
        let ids: BTreeSet<NodeId> = all.iter().map(|(id, _)| *id).collect();
        let fits = ids.len() == all.len() && all.iter().all(alike);
        fits.then(|| (all.iter().map(|(id, _)| *id).collect(), other))
    }

    fn is_same(&self, a: ValueId, b: ValueId) -> bool {
        a == b
            || match (&self.graph.value(a).def, &self.graph.value(b).def) {
                (Def::Constant(x), Def::Constant(y)) => x == y,
                _ => false,
            }
    }

    /// What an elementwise node of a value has beside it, if the node can be joined with others.
    fn other(&self, id: NodeId, value: ValueId) -> Option<Option<Other>> {
        let node = self.graph.node(id);
        let like = &self.graph.ty(value).shape;
        if node.op.class != Class::Elementwise || self.graph.ty(node.outputs[0]).shape != *like {
            return None;
        }
        let at = match node.inputs[..] {
            [_] => return Some(None),
            [a, b] if a != b => usize::from(a == value),
            _ => return None,
        };
        let other = node.inputs[at];
        let shape = &self.graph.ty(other).shape;
        if !self.fixed[other.0 as usize] {
            return None;
        }
        let wide: Vec<usize> = (0..shape.len()).filter(|d| !shape[*d].is(1)).collect();
        // Axes are counted from the last one.
        let channels = (shape.len() + 1).checked_sub(like.len());
        match wide[..] {
            [] => Some(Some(Other::Shared(at))),
            [d] if Some(d) == channels => Some(Some(Other::Channels(at, d))),
            _ => None,
        }
    }

    /// Units: cycles that joining saves beyond what predictions may miss.
    fn gain(&self, merge: &Merge) -> f64 {
        let hand_off = self.target.cost.hand_off_cycles();
        let convs = || merge.chains.iter().map(|c| self.graph.node(c[0]));
        let filters = |node: &Node| self.extent(node.inputs[1], 0);
        let apart: f64 = convs().map(|n| hand_off + self.cycles(n, filters(n))).sum();
        let Some(first) = convs().next() else {
            return 0.0;
        };
        let joined = hand_off + self.cycles(first, convs().map(filters).sum());
        (1.0 - MISSED) * apart - joined - self.copies(merge)
    }

    fn extent(&self, value: ValueId, axis: usize) -> i64 {
        self.graph.ty(value).shape[axis].as_const().unwrap_or(1)
    }

    /// Units: cycles of a convolution with so many filters, at best.
    fn cycles(&self, node: &Node, filters: i64) -> f64 {
        let count = |v: ValueId, from: usize| -> i64 {
            let rank = self.graph.ty(v).rank();
            (from..rank).map(|d| self.extent(v, d)).product()
        };
        let work = Contraction {
            tile: Tile {
                rows: 1,
                vectors: 1,
                lanes: self.target.lanes(),
            },
            masks: self.target.masks(),
            rows: Some(count(node.outputs[0], 2)),
            outer: self.extent(node.outputs[0], 0),
            batch: 1,
            columns: filters,
            column_loads: 1.0,
            depth: Some(count(node.inputs[1], 1)),
            turned: false,
            rows_bytes: Some(4.0 * count(node.inputs[0], 0) as f64),
            source: None,
        };
        least_cycles(self.target, &work)
    }

    /// Units: cycles for the parts that are not read in place.
    fn copies(&self, merge: &Merge) -> f64 {
        let last = |chain: &Vec<NodeId>| self.graph.node(chain[chain.len() - 1]).outputs[0];
        let parts: Vec<ValueId> = merge.chains.iter().map(last).collect();
        let copied = parts.iter().filter(|v| !self.is_read_in_place(**v, &parts));
        let copy = |v: &ValueId| {
            let elements = self.graph.ty(*v).count().as_const().unwrap_or(0) as f64;
            let pass = Pass {
                elements,
                operations: COPY,
                lanes: self.target.lanes(),
                bytes: 8.0 * elements,
            };
            self.target.cost.hand_off_cycles() + self.target.cost.pass_cycles(&pass)
        };
        copied.map(copy).sum()
    }

    /// Whether all kernels that read a part find it by index in the whole, or write it and its
    /// neighbours at once.
    fn is_read_in_place(&self, part: ValueId, parts: &[ValueId]) -> bool {
        let readers = &self.uses[part.0 as usize];
        let free = !self.graph.outputs.contains(&part) && !readers.is_empty();
        free && readers.iter().all(|id| {
            let node = self.graph.node(*id);
            match node.op.name {
                "concat" => joins_channels(node) && follow(&node.inputs, parts),
                "conv" | "contract" => node.inputs[0] == part,
                _ => node.op.class == Class::Reduction,
            }
        })
    }
}

/// Whether all parts stand in a list in their order, one behind the other.
fn follow(list: &[ValueId], parts: &[ValueId]) -> bool {
    list.windows(parts.len()).any(|w| w == parts)
}
