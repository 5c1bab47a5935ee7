//! The rules: where inside of a kernel a node would be computed, and whether that is acceptable.
use super::{Draft, Partitioner, WhyNot, is_spatial};
use crate::graph::{is_depthwise, reads_halves_once};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use tensmith_ir::expr::{Atom, Expr};
use tensmith_ir::graph::{AttrValue, Def, Graph, Node, NodeId, TensorType, ValueId};
use tensmith_ir::ops::{Class, Tolerance};

/// Rows of at most so many elements stay in the first caches between the passes over them.
const ROW_ELEMENTS: i64 = 16384;

/// Rows that lie apart, of which a vector's lanes are passed over together: they stay in the second
/// cache.
const ROWS_APART: i64 = 2048;

/// Fewer rows beside each other are no vector.
const FEW_ROWS: i64 = 8;

/// How often cheap scalar work may be repeated before a load is cheaper.
const REPEATS: f64 = 4.0;

/// Nodes in one kernel: bounds the work of compiling it.
pub const MEMBERS: usize = 48;

/// Copies of a node's code in one kernel: operands at indices of their own double it.
const COPIES: f64 = 16.0;

/// Parts of what is joined inside of passes over rows, at most.
const PARTS: usize = 16;

/// What a symbolic size counts as in estimates.
const TYPICAL_SIZE: i64 = 32;

/// Rows of so few elements together are in the first cache however they lie.
const TORN_ELEMENTS: f64 = 4096.0;

/// Movements of weights that are looked through, one after the other.
const MOVES: usize = 4;

/// How far up a contraction is looked for.
const EPILOGUE_DEPTH: usize = 12;

/// A set of indices at which nodes are asked for: what is asked for twice in one is computed once.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Context {
    /// The index of the result.
    Result,
    /// The index of a result without its inner loops.
    Hoisted(Vec<Expr>),
    /// Indices that a node of the kernel makes for one of its operands.
    Under(NodeId, usize),
}

/// What a node is asked for in a context.
#[derive(Clone, Copy)]
struct Asked {
    elements: f64,
    /// Copies of the node's code.
    copies: f64,
}

/// Where in a kernel a node is computed.
#[derive(Clone)]
pub struct Info {
    contexts: HashMap<Context, Asked>,
    in_contraction: bool,
    /// Whether it is computed in a part of a result, where the index says so: inside of that guard,
    /// whatever outer loop could compute it once.
    guarded: bool,
}

/// The part of a kernel that decides how it is scheduled.
#[derive(Clone, PartialEq)]
pub enum Heavy {
    /// Scalar work only.
    None,
    /// A contraction, or a reduction over windows.
    One,
    /// Reductions along axes of a shape.
    Rows(Vec<usize>, Vec<Expr>),
}

impl Info {
    /// That of the node whose results are stored.
    pub fn root(ty: &TensorType) -> Self {
        Info {
            contexts: HashMap::from([(
                Context::Result,
                Asked {
                    elements: estimate(&ty.count()),
                    copies: 1.0,
                },
            )]),
            in_contraction: false,
            guarded: false,
        }
    }

    /// Elements that the kernel asks for.
    pub fn total(&self) -> f64 {
        self.contexts.values().map(|a| a.elements).sum()
    }

    fn copies(&self) -> f64 {
        self.contexts.values().map(|a| a.copies).sum()
    }

    /// The nodes that ask at indices which they make.
    fn under(&self) -> impl Iterator<Item = NodeId> {
        self.contexts.keys().filter_map(|c| match c {
            Context::Under(id, _) => Some(*id),
            Context::Result | Context::Hoisted(_) => None,
        })
    }

    fn only_at_result(&self) -> bool {
        self.contexts.keys().all(|c| *c == Context::Result)
    }

    fn only_hoisted(&self) -> bool {
        let hoisted = |c: &Context| matches!(c, Context::Hoisted(_));
        self.contexts.keys().all(hoisted)
    }
}

impl Heavy {
    /// That of a group which consists of its root.
    pub fn of_root(graph: &Graph, node: &Node) -> Self {
        match node.op.class {
            Class::Contraction => Heavy::One,
            Class::Reduction | Class::Row => rows(graph, node).unwrap_or(Heavy::One),
            _ => Heavy::None,
        }
    }
}

/// The rows that a reduction runs along.
fn rows(graph: &Graph, node: &Node) -> Option<Heavy> {
    let operand = graph.ty(node.inputs[0]);
    let axes = (node.op.row_axes?)(&node.attrs, operand.rank());
    Some(Heavy::Rows(axes, operand.shape.clone()))
}

/// A number for an extent: exact if it is static.
pub fn estimate(e: &Expr) -> f64 {
    let value = e.eval(&|a| matches!(a, Atom::Size(_)).then_some(TYPICAL_SIZE));
    value.unwrap_or(1 << 20).max(1) as f64
}

/// Operations that are rounded once, but take as long as many others.
const SLOW: [&str; 4] = ["div", "mod", "reciprocal", "sqrt"];

/// Movements that read an operand for a part of their results only.
const GUARDING: [&str; 2] = ["concat", "pad"];

/// Whether computing an element again costs about as much as loading it.
fn is_cheap(node: &Node) -> bool {
    match node.op.tolerance {
        _ if SLOW.contains(&node.op.name) => false,
        _ if is_mirrored(node) => false,
        Tolerance::Exact => true,
        Tolerance::Ulp(ulp) => ulp <= 0.5,
        Tolerance::Sum(_) => false,
    }
}

/// Whether a node pads with elements of its operand, whose indices fold back at the ends of axes.
pub fn is_mirrored(node: &Node) -> bool {
    node.op.name == "pad" && node.attrs.str("mode") != "constant"
}

/// The axes of a result along which a node looks elements up at indices that are data, if it does.
fn looked_up_axes(graph: &Graph, node: &Node) -> Option<Range<usize>> {
    let rank = |k: usize| graph.ty(node.inputs[k]).rank();
    match node.op.name {
        "gather" => {
            let axis = node.attrs.int("axis") as usize;
            Some(axis..axis + rank(1))
        }
        "gather_elements" => Some(0..rank(1)),
        "gather_nd" => Some(0..rank(1).saturating_sub(1)),
        _ => None,
    }
}

/// Whether a movement leaves neighbours along the last axis neighbours.
pub fn keeps_last_axis(graph: &Graph, node: &Node) -> bool {
    let Some(from) = node.inputs.first().map(|v| graph.ty(*v)) else {
        return false;
    };
    let to = graph.ty(node.outputs[0]);
    match node.op.name {
        "transpose" => node.attrs.ints("perm").last() == Some(&(from.rank() as i64 - 1)),
        "slice" => node.attrs.ints("steps").last() == Some(&1),
        "expand" => from.shape.last() == to.shape.last(),
        _ => false,
    }
}

/// Whether a node may move elements inside of sums of products: it leaves neighbours neighbours, or
/// they are of weights that are known at run time only, which are packed anyway.
pub fn moves_into_sums(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> bool {
    node.op.class == Class::Movement
        && (keeps_last_axis(graph, node)
            || moves_weights(graph, uses, node, MOVES) && !is_constant(graph, node.outputs[0]))
}

/// Whether a node is a slice or a transpose of weights that only convolutions read, behind so many
/// others at most.
fn moves_weights(graph: &Graph, uses: &[Vec<NodeId>], node: &Node, depth: usize) -> bool {
    let result = node.outputs[0];
    let users = &uses[result.0 as usize];
    let feeds = |id: &NodeId| {
        let reader = graph.node(*id);
        match reader.op.name {
            "conv" => reader.inputs[0] != result && reader.inputs[1] == result,
            _ => depth > 0 && moves_weights(graph, uses, reader, depth - 1),
        }
    };
    let moves = matches!(node.op.name, "slice" | "transpose");
    moves && !users.is_empty() && users.iter().all(feeds)
}

/// Whether a value depends on no input.
fn is_constant(graph: &Graph, value: ValueId) -> bool {
    let (mut todo, mut seen) = (vec![value], HashSet::new());
    while let Some(v) = todo.pop() {
        match &graph.value(v).def {
            Def::Input(_) => return false,
            Def::Node(id, _) if seen.insert(*id) => todo.extend(&graph.node(*id).inputs),
            _ => {}
        }
    }
    true
}

/// Whether a node makes words of bytes, less a constant, that only depthwise convolutions read: their
/// windows share what is loaded, so it is done as often there, and bytes are a quarter of the memory.
pub fn widens_for_windows(graph: &Graph, uses: &[Vec<NodeId>], node: &Node) -> bool {
    let Some(first) = node.inputs.first() else {
        return false;
    };
    let maker = || graph.producer(*first).map(|n| graph.node(n));
    let widened = || maker().is_some_and(|n| n.op.name == "cast" && from_byte(graph, n));
    let less = || maker().is_some_and(|n| n.op.name == "sub" && less_constant(graph, n));
    let widens = match node.op.name {
        "cast" => {
            from_byte(graph, node)
                || graph.ty(node.outputs[0]).dtype.is_float() && (widened() || less())
        }
        "sub" => less_constant(graph, node),
        _ => false,
    };
    let feeds = |id: &NodeId| {
        let reader = graph.node(*id);
        has_filter_for_each_channel(graph, reader) && reader.inputs[1] != node.outputs[0]
            || widens_for_windows(graph, uses, reader)
    };
    let users = &uses[node.outputs[0].0 as usize];
    widens && !users.is_empty() && users.iter().all(feeds)
}

fn from_byte(graph: &Graph, node: &Node) -> bool {
    graph.ty(node.inputs[0]).dtype.is_byte() && graph.ty(node.outputs[0]).dtype.bytes() == 4
}

/// Whether a node subtracts one number from widened bytes.
fn less_constant(graph: &Graph, node: &Node) -> bool {
    let [x, y] = node.inputs[..] else {
        return false;
    };
    let widened = graph.producer(x).map(|n| graph.node(n));
    let of_bytes = widened.is_some_and(|n| n.op.name == "cast" && from_byte(graph, n));
    let same = graph.ty(x).shape == graph.ty(node.outputs[0]).shape;
    of_bytes && same && graph.constant(y).is_some() && graph.ty(y).count().is(1)
}

/// Whether a node is a convolution of each channel by itself, with one filter for it.
fn has_filter_for_each_channel(graph: &Graph, node: &Node) -> bool {
    let channels = |v: ValueId| &graph.ty(v).shape[1];
    is_depthwise(graph, node) && channels(node.inputs[0]) == channels(node.outputs[0])
}

/// The axes of `to` that an operand of shape `from` is broadcast along, but for those that it lacks.
fn broadcast_axes(from: &[Expr], to: &[Expr]) -> Vec<usize> {
    let skip = to.len() - from.len();
    let along = |d: &usize| *d >= skip && from[d - skip].is(1) && !to[*d].is(1);
    (0..to.len()).filter(along).collect()
}

/// Whether axes are the last ones of a rank.
fn is_suffix(axes: &[usize], rank: usize) -> bool {
    axes.iter().rev().zip((0..rank).rev()).all(|(a, d)| *a == d)
}

/// Whether rows along axes of a shape may be passed over several times in one kernel: each is in a
/// cache as a whole, and lies side by side or has enough others beside it.
fn are_passable(axes: &[usize], shape: &[Expr]) -> bool {
    let row = axes.iter().map(|a| shape[*a].as_const());
    let Some(row) = row.product::<Option<i64>>() else {
        return false;
    };
    if is_suffix(axes, shape.len()) {
        return row <= ROW_ELEMENTS;
    }
    let last = axes.last().map_or(0, |a| a + 1);
    let beside = shape[last..].iter().map(Expr::as_const);
    let beside = beside.product::<Option<i64>>();
    row <= ROWS_APART && beside.is_some_and(|n| n >= FEW_ROWS)
}

impl Partitioner<'_> {
    /// Where node `id` would be computed in a group, and what the group becomes.
    pub fn admit(&self, id: NodeId, draft: &Draft) -> Result<(Info, Heavy), WhyNot> {
        if draft.members.len() >= MEMBERS {
            return Err(WhyNot::Full);
        }
        let node = self.graph.node(id);
        let info = self.info(id, draft);
        if info.copies() > COPIES {
            return Err(WhyNot::Copied(info.copies() as u32));
        }
        if draft.strips.is_some() && !info.in_contraction {
            return Err(WhyNot::Streamed);
        }
        let heavy = match node.op.class {
            Class::Elementwise | Class::Movement => {
                self.admit_scalar_work(node, &info, draft)?;
                draft.heavy.clone()
            }
            Class::Contraction => self.admit_contraction(node, &info, draft)?,
            Class::Reduction | Class::Row => self.admit_reduction(node, &info, draft)?,
            Class::Opaque | Class::Control => return Err(WhyNot::Opaque),
        };
        Ok((info, heavy))
    }

    /// Where a node is computed in a group that has all its consumers.
    pub fn info(&self, id: NodeId, draft: &Draft) -> Info {
        let node = self.graph.node(id);
        let mut info = Info {
            contexts: HashMap::new(),
            in_contraction: false,
            guarded: false,
        };
        for value in &node.outputs {
            for consumer in &self.uses[value.0 as usize] {
                let outer = &draft.members[consumer];
                let reader = self.graph.node(*consumer);
                info.in_contraction |=
                    outer.in_contraction || reader.op.class == Class::Contraction;
                info.guarded |= outer.guarded || GUARDING.contains(&reader.op.name);
                for (k, _) in reader
                    .inputs
                    .iter()
                    .enumerate()
                    .filter(|(_, v)| *v == value)
                {
                    if *consumer == draft.root && self.permutes_rows(reader) {
                        info.contexts.extend(outer.contexts.clone());
                    } else {
                        self.ask(*value, (*consumer, k), draft, &mut info);
                    }
                }
            }
        }
        info
    }

    /// Adds the contexts in which `consumer` asks for a value.
    fn ask(
        &self,
        value: ValueId,
        (consumer, operand): (NodeId, usize),
        draft: &Draft,
        info: &mut Info,
    ) {
        let outer = &draft.members[&consumer];
        let ty = self.graph.ty(value);
        let reader = self.graph.node(consumer);
        let to = self.graph.ty(reader.outputs[0]);
        let broadcasts = reader.op.class == Class::Elementwise || reader.op.name == "expand";
        if broadcasts && ty.shape == to.shape {
            for (context, asked) in &outer.contexts {
                info.contexts.insert(context.clone(), *asked);
            }
        } else if broadcasts {
            let axes = self.hoisted_axes(value, to, outer, draft);
            let repeated: f64 = axes.iter().map(|d| estimate(&to.shape[*d])).product();
            let context = match axes.is_empty() {
                true => Context::Under(consumer, operand),
                false => Context::Hoisted(ty.shape.clone()),
            };
            let asked = Asked {
                elements: outer.total() / repeated,
                copies: outer.copies(),
            };
            info.contexts.insert(context, asked);
        } else {
            let asked = Asked {
                elements: outer.total() * self.reads_per_result(reader, ty, to),
                copies: outer.copies(),
            };
            info.contexts
                .insert(Context::Under(consumer, operand), asked);
        }
    }

    /// The axes of a result along whose loops a value that broadcasts to it is computed once: the
    /// last ones, which have the innermost loops, or those of rows that the value is made of, which
    /// get them. `reader` is where the result is computed.
    fn hoisted_axes(
        &self,
        value: ValueId,
        to: &TensorType,
        reader: &Info,
        draft: &Draft,
    ) -> Vec<usize> {
        let from = &self.graph.ty(value).shape;
        let mut axes = broadcast_axes(from, &to.shape);
        let rank = to.rank();
        if reader.guarded {
            return vec![];
        }
        if self.sums_rows(value, (&axes, &to.shape), draft) {
            return axes;
        }
        // Sums along other axes than the last ones have the innermost loops.
        if reader.under().any(|n| self.sums_apart(n)) {
            return vec![];
        }
        if is_suffix(&axes, rank) {
            return axes;
        }
        let all = axes.clone();
        axes.retain(|d| (*d..rank).all(|e| all.contains(&e)));
        axes
    }

    /// Whether a node reduces rows that do not lie side by side.
    fn sums_apart(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let is_reduction = matches!(node.op.class, Class::Reduction | Class::Row);
        let found = is_reduction.then(|| rows(self.graph, node)).flatten();
        matches!(found, Some(Heavy::Rows(axes, shape)) if !is_suffix(&axes, shape.len()))
    }

    /// Whether scalar work on a value leads up to a reduction along these axes of this shape, which
    /// may join the group of its consumers then.
    fn sums_rows(&self, value: ValueId, (axes, shape): (&[usize], &[Expr]), draft: &Draft) -> bool {
        let root = self.graph.ty(self.graph.node(draft.root).outputs[0]);
        if root.shape != *shape || !are_passable(axes, shape) {
            return false;
        }
        let rows = Heavy::Rows(axes.to_vec(), shape.to_vec());
        (draft.heavy == Heavy::None || draft.heavy == rows)
            && self.leads_to(value, &rows, draft, EPILOGUE_DEPTH)
    }

    /// Whether a value is made by a reduction along such rows or by scalar work on the result of
    /// one, and all that reads it may be inside of the group.
    fn leads_to(&self, value: ValueId, rows: &Heavy, draft: &Draft, depth: usize) -> bool {
        let Some(made) = self.graph.producer(value).map(|n| self.graph.node(n)) else {
            return false;
        };
        if depth == 0 || !self.is_read_inside(value, draft, EPILOGUE_DEPTH) {
            return false;
        }
        let shape = &self.graph.ty(value).shape;
        match made.op.class {
            Class::Reduction => self::rows(self.graph, made).as_ref() == Some(rows),
            Class::Elementwise => {
                let mut same = made.inputs.iter();
                same.any(|v| {
                    self.graph.ty(*v).shape == *shape && self.leads_to(*v, rows, draft, depth - 1)
                })
            }
            _ => false,
        }
    }

    /// Whether members of the group read a value, or elementwise nodes of which this is true.
    fn is_read_inside(&self, value: ValueId, draft: &Draft, depth: usize) -> bool {
        depth > 0
            && !self.is_output[value.0 as usize]
            && self.uses[value.0 as usize].iter().all(|id| {
                let reader = self.graph.node(*id);
                draft.members.contains_key(id)
                    || reader.op.class == Class::Elementwise
                        && self.is_read_inside(reader.outputs[0], draft, depth - 1)
            })
    }

    /// How many elements of an operand a node reads for one of its results.
    pub fn reads_per_result(
        &self,
        reader: &Node,
        operand: &TensorType,
        result: &TensorType,
    ) -> f64 {
        let ratio = estimate(&operand.count()) / estimate(&result.count());
        match (reader.op.class, reader.op.name) {
            (Class::Reduction, _) => match reader.attrs.get("kernel") {
                Some(AttrValue::Ints(kernel)) => kernel.iter().product::<i64>() as f64,
                _ => ratio,
            },
            (Class::Row, _) => 3.0,
            (_, "concat") => ratio,
            (_, "resize") => 8.0,
            _ => 1.0,
        }
    }

    fn admit_scalar_work(&self, node: &Node, info: &Info, draft: &Draft) -> Result<(), WhyNot> {
        if info.in_contraction {
            let moves = moves_into_sums(self.graph, self.uses, node);
            let widens = widens_for_windows(self.graph, self.uses, node)
                || reads_halves_once(self.graph, self.uses, node);
            return if moves || widens {
                Ok(())
            } else {
                Err(WhyNot::InContraction)
            };
        }
        if matches!(draft.heavy, Heavy::Rows(..)) && self.tears_rows(node) {
            return Err(WhyNot::Turned);
        }
        if draft.heavy != Heavy::None && self.looks_up_terms(node, info, draft) {
            return Err(WhyNot::LookedUp);
        }
        // Each pass over rows has code for each part.
        if node.op.name == "concat" && node.inputs.len() > PARTS && draft.heavy != Heavy::None {
            return Err(WhyNot::Copied(node.inputs.len() as u32));
        }
        let elsewhere = !info.only_at_result() || draft.heavy != Heavy::None;
        if elsewhere && let Some(source) = self.contraction_above(node, node, EPILOGUE_DEPTH) {
            return Err(WhyNot::EpilogueOf(source));
        }
        let count = estimate(&self.graph.ty(node.outputs[0]).count());
        let repeats = info.total() / count;
        let most = if is_cheap(node) { REPEATS } else { 1.0 };
        if repeats > most {
            return Err(WhyNot::Repeated(repeats.ceil() as u32));
        }
        Ok(())
    }

    /// Whether a node looks elements up at indices that are data, and reductions ask for it at such an
    /// index for each of their terms: each is checked there, and none are lanes.
    fn looks_up_terms(&self, node: &Node, info: &Info, draft: &Draft) -> bool {
        let rank = self.graph.ty(node.outputs[0]).rank();
        looked_up_axes(self.graph, node)
            .is_some_and(|axes| self.sums_along((&axes, rank), info, draft))
    }

    /// Whether sums run along one of these axes of a value of a rank, or it is not known along which.
    fn sums_along(&self, (axes, rank): (&Range<usize>, usize), info: &Info, draft: &Draft) -> bool {
        info.under().any(|id| {
            let reader = self.graph.node(id);
            let to = self.graph.ty(reader.outputs[0]).rank();
            match (reader.op.class, rows(self.graph, reader)) {
                (Class::Reduction | Class::Row, Some(Heavy::Rows(summed, _))) => {
                    summed.iter().any(|d| axes.contains(d))
                }
                (Class::Elementwise, _) => {
                    let skip = to - rank;
                    let axes = axes.start + skip..axes.end + skip;
                    self.sums_along((&axes, to), &draft.members[&id], draft)
                }
                _ => true,
            }
        })
    }

    /// Whether a node is a transpose whose result passes over rows would read by elements that lie
    /// apart in memory: a copy moves a block of them at a time.
    fn tears_rows(&self, node: &Node) -> bool {
        let elements = estimate(&self.graph.ty(node.outputs[0]).count());
        node.op.name == "transpose"
            && !keeps_last_axis(self.graph, node)
            && elements > TORN_ELEMENTS
            && !self.turns_channels_innermost(node)
    }

    /// Whether a transpose makes the channels of an image the last axis that lie innermost anyway, as
    /// around convolutions.
    fn turns_channels_innermost(&self, node: &Node) -> bool {
        let image = self.graph.ty(node.inputs[0]);
        let perm = node.attrs.ints("perm");
        let positions = perm.iter().filter(|d| **d != 1);
        is_spatial(image)
            && perm.last() == Some(&1)
            && positions.is_sorted()
            && self.is_of_convolution(node.inputs[0], EPILOGUE_DEPTH)
    }

    /// Whether a convolution makes a value, or scalar work on the result of one.
    fn is_of_convolution(&self, value: ValueId, depth: usize) -> bool {
        let Some(made) = self.graph.producer(value).map(|n| self.graph.node(n)) else {
            return false;
        };
        let shape = &self.graph.ty(value).shape;
        let mut same = made
            .inputs
            .iter()
            .filter(|v| self.graph.ty(**v).shape == *shape);
        match made.op.name {
            "conv" | "winograd_output" => true,
            _ if made.op.class == Class::Elementwise && depth > 0 => {
                same.any(|v| self.is_of_convolution(*v, depth - 1))
            }
            _ => false,
        }
    }

    /// The contraction that elementwise node `end` could be computed with, looking upwards from
    /// `node`: all between them is computed for `end` only.
    fn contraction_above(&self, node: &Node, end: &Node, depth: usize) -> Option<NodeId> {
        if depth == 0 || node.op.class != Class::Elementwise {
            return None;
        }
        let shape = &self.graph.ty(end.outputs[0]).shape;
        // Bytes end a kernel well: what follows would write four times as much.
        let own = |v: &ValueId| {
            let ty = self.graph.ty(*v);
            let word = ty.shape == *shape && !ty.dtype.is_byte();
            word && self.flows_only_into(*v, end, EPILOGUE_DEPTH)
        };
        let operands = node.inputs.iter().copied().filter(own);
        operands
            .filter_map(|v| self.graph.producer(v))
            .find_map(|id| {
                let above = self.graph.node(id);
                match above.op.class {
                    Class::Contraction => Some(id),
                    _ => self.contraction_above(above, end, depth - 1),
                }
            })
    }

    /// Whether a value is read for `end` only, by elementwise nodes.
    fn flows_only_into(&self, value: ValueId, end: &Node, depth: usize) -> bool {
        depth > 0
            && !self.is_output[value.0 as usize]
            && self.uses[value.0 as usize].iter().all(|id| {
                let reader = self.graph.node(*id);
                let result = reader.outputs[0];
                result == end.outputs[0]
                    || reader.op.class == Class::Elementwise
                        && self.flows_only_into(result, end, depth - 1)
            })
    }

    fn at_result_index(&self, node: &Node, info: &Info, draft: &Draft) -> bool {
        let root = self.graph.node(draft.root);
        let shape = |v: ValueId| &self.graph.ty(v).shape;
        let of_root = match root.op.class {
            Class::Elementwise => root.outputs[0],
            _ if self.permutes_rows(root) => root.inputs[0],
            _ => return false,
        };
        info.only_at_result() && shape(node.outputs[0]) == shape(of_root)
    }

    /// Whether a node is a transpose of a contraction, what follows it included, whose columns it
    /// leaves the last axis or makes it: then the contraction writes in that order as fast as in
    /// its own.
    fn permutes_rows(&self, node: &Node) -> bool {
        let AttrValue::Ints(perm) = (match node.attrs.get("perm") {
            Some(perm) if node.op.name == "transpose" => perm,
            _ => return false,
        }) else {
            return false;
        };
        let Some(made) = self
            .graph
            .producer(node.inputs[0])
            .map(|n| self.graph.node(n))
        else {
            return false;
        };
        let source = match made.op.class {
            Class::Contraction => Some(made),
            _ => self
                .contraction_above(made, made, EPILOGUE_DEPTH)
                .map(|n| self.graph.node(n)),
        };
        let last = perm.last().copied();
        match source.map(|n| n.op.name) {
            Some("contract") => last == Some(perm.len() as i64 - 1),
            Some("conv" | "winograd_output") => last == Some(1),
            _ => false,
        }
    }

    fn admit_contraction(&self, node: &Node, info: &Info, draft: &Draft) -> Result<Heavy, WhyNot> {
        if draft.heavy != Heavy::None {
            return Err(WhyNot::SecondHeavy);
        }
        if !self.at_result_index(node, info, draft) {
            return Err(WhyNot::NotAtResultIndex);
        }
        Ok(Heavy::One)
    }

    /// Reductions join where they are computed once for each row of the result, or with the
    /// scalar work on their results.
    fn admit_reduction(&self, node: &Node, info: &Info, draft: &Draft) -> Result<Heavy, WhyNot> {
        let at_result = self.at_result_index(node, info, draft);
        let own = rows(self.graph, node).unwrap_or(Heavy::One);
        if draft.heavy != Heavy::None && (draft.heavy != own || own == Heavy::One) {
            return Err(WhyNot::SecondHeavy);
        }
        if at_result && node.op.class == Class::Reduction {
            return Ok(own);
        }
        let Heavy::Rows(axes, shape) = &own else {
            return Err(WhyNot::NotAtResultIndex);
        };
        let root = self.graph.ty(self.graph.node(draft.root).outputs[0]);
        let per_row = at_result || (info.only_hoisted() && root.shape == *shape);
        if !per_row {
            return Err(WhyNot::NotAtResultIndex);
        }
        match are_passable(axes, shape) {
            true => Ok(own),
            false => Err(WhyNot::Rows),
        }
    }
}
