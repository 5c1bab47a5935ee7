//! What kernels are predicted to take, by one formula for all of them.
//!
//! A group takes the cycles of its contractions, of one pass that does its scalar work as often as
//! it is asked for and reads and writes what crosses the group, and of the hand-off to the next
//! kernel. A group that hands on values in strips takes what its parts would take apart, less what
//! the strips gain. Nothing depends on the number of threads: sums keep their order, which follows
//! from the choice.
use super::image_rows::parts_of_rows;
use super::rules::{Info, estimate};
use super::tiles::parts_of_tiles;
use super::{Draft, Given, Group, Partition, Partitioner, Strips, partition};
use crate::cost::{Contraction, Pass, Tile};
use crate::pipeline::PassOptions;
use crate::schedule::{Target, least_cycles};
use crate::split::constant_values;
use std::collections::{BTreeMap, BTreeSet};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Spec};

/// Vector operations for a vector of results: they are stored, and what they are made of is loaded.
pub const COPY: f64 = 2.0;
/// Vector operations for a tap of a window, loads included.
pub const TAP: f64 = 1.5;
/// Vector operations for a vector of a row, of which statistics are taken first.
const ROW: f64 = 14.0;
/// Vector operations for a vector of transformed tiles.
const TRANSFORM: f64 = 6.0;
/// Elements that a kernel of its own takes for each that it reads.
const OPAQUE: f64 = 8.0;

/// What the kernels of a partition are predicted to take, one after the other.
///
/// Units: cycles of one core.
pub fn predicted_cycles(graph: &Graph, partition: &Partition, target: &Target) -> f64 {
    sum(graph, partition, target, true)
}

fn sum(graph: &Graph, partition: &Partition, target: &Target, scalars: bool) -> f64 {
    let mut given = Given::new(graph);
    given.copied = partition.copied.clone();
    let mut prices = Prices::new(&given, target);
    prices.scalars = scalars;
    let groups = partition.groups.values();
    groups.map(|g| prices.group(g)).sum()
}

/// What the kernels of a graph are predicted to take on one thread, whatever tuning says of them;
/// those of constants run when the model is compiled, and are not counted.
///
/// Units: cycles of one core.
pub fn cycles_of(graph: &Graph, options: &PassOptions) -> f64 {
    priced(graph, options, true)
}

fn priced(graph: &Graph, options: &PassOptions, scalars: bool) -> f64 {
    let mut options = PassOptions {
        tuned: None,
        spaces: false,
        ..options.clone()
    };
    options.target.threads = 1;
    let fixed = constant_values(graph);
    let mut partition = partition(graph, &options);
    let runs = |root: &NodeId| !fixed[graph.node(*root).outputs[0].0 as usize];
    partition.groups.retain(|root, _| runs(root));
    sum(graph, &partition, &options.target, scalars)
}

/// What the kernels of a graph are predicted to take as [`cycles_of`] says, but for the scalar work:
/// hand-offs, memory and contractions. So graphs are compared whose elements are computed by other
/// formulas, of which one is the normal form.
///
/// Units: cycles of one core.
pub fn structure_cycles_of(graph: &Graph, options: &PassOptions) -> f64 {
    priced(graph, options, false)
}

/// Prices of groups.
pub struct Prices<'g> {
    given: &'g Given<'g>,
    rules: Partitioner<'g>,
    target: &'g Target,
    /// Units: cycles of each node that is a contraction in register tiles.
    contractions: Vec<Option<f64>>,
    /// Elements of each value.
    counts: Vec<f64>,
    /// Whether scalar work is counted.
    scalars: bool,
}

impl<'g> Prices<'g> {
    /// Prices of groups of a graph.
    pub fn new(given: &'g Given<'g>, target: &'g Target) -> Self {
        let mut prices = Prices {
            given,
            rules: given.partitioner(),
            target,
            contractions: vec![],
            counts: counts(given.graph),
            scalars: true,
        };
        let nodes = given.graph.nodes.iter();
        let cycles = nodes.map(|node| {
            let work = prices.contraction(node)?;
            Some(least_cycles(target, &work))
        });
        prices.contractions = cycles.collect();
        prices
    }

    /// Units: cycles of a group.
    pub fn group(&self, group: &Group) -> f64 {
        let graph = self.given.graph;
        let apart = match &group.strips {
            Some(Strips::ImageRows(rows)) => parts_of_rows(graph, group, rows, self.target),
            Some(Strips::Tiles(tiled)) => parts_of_tiles(graph, group, tiled, self.target),
            Some(Strips::Scores(_)) | None => None,
        };
        match apart {
            Some((parts, gain)) => parts.iter().map(|p| self.group(p)).sum::<f64>() - gain,
            None => self.draft(&self.asked(group)),
        }
    }

    /// Where the nodes of a group are computed.
    fn asked(&self, group: &Group) -> Draft {
        let graph = self.given.graph;
        let info = |id: NodeId| Info::root(graph.ty(graph.node(id).outputs[0]));
        let mut draft = Draft {
            root: group.root,
            members: [(group.root, info(group.root))].into(),
            heavy: super::Heavy::None,
            strips: group.strips.clone(),
            in_place: group.in_place,
        };
        let members: BTreeSet<NodeId> = group.members.iter().copied().collect();
        for id in members.into_iter().rev().filter(|id| *id != group.root) {
            let place = match group.strips {
                Some(_) => info(id),
                None => self.rules.info(id, &draft),
            };
            draft.members.insert(id, place);
        }
        draft
    }

    /// Units: cycles of a group whose nodes are computed at known places.
    pub fn draft(&self, draft: &Draft) -> f64 {
        if draft.in_place {
            return self.in_place(draft.root);
        }
        let graph = self.given.graph;
        let members: BTreeSet<NodeId> = draft.members.keys().copied().collect();
        let mut work = COPY * self.count(graph.node(draft.root).outputs[0]);
        let (mut bytes, mut cycles) = (0.0, self.hand_off());
        let mut read: BTreeMap<ValueId, f64> = BTreeMap::new();
        for v in &graph.node(draft.root).outputs {
            read.insert(*v, self.count(*v));
        }
        for id in &members {
            let node = graph.node(*id);
            match self.contractions[id.0 as usize] {
                Some(alone) => cycles += alone,
                None => {
                    work += self.operations(*id, self.asks(draft, *id));
                    let outside = node.inputs.iter().filter(|v| {
                        let maker = graph.producer(**v);
                        maker.is_none_or(|n| !members.contains(&n))
                    });
                    for v in outside {
                        *read.entry(*v).or_default() += self.taken(node, *v);
                    }
                }
            }
        }
        for (v, elements) in read {
            bytes += elements.min(self.count(v)) * graph.ty(v).dtype.bytes() as f64;
        }
        cycles + self.pass(if self.scalars { work } else { 0.0 }, bytes)
    }

    /// Units: cycles of a concatenation in place: of what is copied there.
    fn in_place(&self, id: NodeId) -> f64 {
        let parts = self.given.graph.node(id).inputs.iter();
        let copied = parts.filter(|v| self.given.copied.contains(v));
        copied.map(|v| self.copy(*v)).sum()
    }

    /// Units: cycles of a kernel that copies a value.
    pub fn copy(&self, value: ValueId) -> f64 {
        let bytes = self.given.graph.ty(value).dtype.bytes() as f64;
        let count = self.count(value);
        self.hand_off() + self.pass(COPY * count, 2.0 * bytes * count)
    }

    /// Elements of an operand that a node reads at most.
    fn taken(&self, node: &Node, operand: ValueId) -> f64 {
        match node.op.name {
            "slice" | "gather" if operand == node.inputs[0] => self.count(node.outputs[0]),
            _ => self.count(operand),
        }
    }

    fn count(&self, value: ValueId) -> f64 {
        self.counts[value.0 as usize]
    }

    fn asks(&self, draft: &Draft, id: NodeId) -> f64 {
        let graph = self.given.graph;
        match draft.strips {
            Some(_) => self.count(graph.node(id).outputs[0]),
            None => draft.members[&id].total(),
        }
    }

    /// Units: cycles of a node's work where so many elements of it are asked for; its memory and
    /// hand-offs are not in it.
    pub fn work(&self, id: NodeId, asked: f64) -> f64 {
        let alone = self.contractions[id.0 as usize];
        alone.unwrap_or_else(|| self.pass(self.operations(id, asked), 0.0))
    }

    /// Units: cycles of a node's work where each element is computed once.
    pub fn least_work(&self, id: NodeId) -> f64 {
        if self.given.joins.contains(&id) {
            return self.in_place(id);
        }
        let graph = self.given.graph;
        self.work(id, self.count(graph.node(id).outputs[0]))
    }

    /// Units: cycles of the end of a group.
    pub fn hand_off(&self) -> f64 {
        self.target.cost.hand_off_cycles()
    }

    fn pass(&self, operations: f64, bytes: f64) -> f64 {
        self.target.cost.pass_cycles(&Pass {
            elements: operations,
            operations: 1.0,
            lanes: self.target.lanes(),
            bytes,
        })
    }

    /// Operations of so many elements of a node that is no contraction.
    fn operations(&self, id: NodeId, asked: f64) -> f64 {
        let graph = self.given.graph;
        let node = graph.node(id);
        let Some(first) = node.inputs.first() else {
            return asked;
        };
        let reads = || {
            let (from, to) = (graph.ty(*first), graph.ty(node.outputs[0]));
            self.rules.reads_per_result(node, from, to)
        };
        asked
            * match node.op.class {
                Class::Elementwise => operations_of(node.op.name),
                Class::Movement => 1.0,
                Class::Reduction => reads(),
                Class::Row => ROW,
                Class::Contraction => products(graph, node),
                Class::Opaque | Class::Control => {
                    let operands = node.inputs.iter().map(|v| self.count(*v));
                    OPAQUE * (1.0 + operands.sum::<f64>() / self.count(node.outputs[0]))
                }
            }
    }

    /// The work of a contraction in register tiles; `None` if a node is none.
    fn contraction(&self, node: &Node) -> Option<Contraction> {
        let graph = self.given.graph;
        Some(match node.op.name {
            "contract" => self.product(node),
            "conv" if node.attrs.int("groups") == 1 => {
                let weights = &graph.ty(node.inputs[1]).shape;
                let result = &graph.ty(node.outputs[0]).shape;
                let image = self.count(node.inputs[0]);
                let positions = extent(&result[2..]);
                let depth = extent(&weights[1..]);
                self.tiled(
                    [
                        positions,
                        extent(&result[..1]),
                        1,
                        extent(&weights[..1]),
                        depth,
                    ],
                    image,
                )
            }
            _ => return None,
        })
    }

    fn product(&self, node: &Node) -> Contraction {
        let graph = self.given.graph;
        let spec = Spec::of(&node.attrs);
        let shape = |k: usize| &graph.ty(node.inputs[k]).shape;
        let extent_of = |c: &u8| {
            let of = |letters: &[u8], shape: &[Expr]| {
                let at = letters.iter().position(|l| l == c)?;
                Some(estimate(&shape[at]) as i64)
            };
            of(&spec.a, shape(0))
                .or_else(|| of(&spec.b, shape(1)))
                .unwrap_or(1)
        };
        let all = |is: &dyn Fn(&u8) -> bool| -> i64 {
            spec.out.iter().filter(|c| is(c)).map(extent_of).product()
        };
        let (a, b) = (|c: &u8| spec.a.contains(c), |c: &u8| spec.b.contains(c));
        let batch = all(&|c| a(c) && b(c));
        let (rows, columns) = (all(&|c| a(c) && !b(c)), all(&|c| b(c) && !a(c)));
        let depth: i64 = spec.summed().iter().map(extent_of).product();
        let bytes = self.count(node.inputs[0]) / batch.max(1) as f64;
        self.tiled([rows, 1, batch, columns, depth], bytes)
    }

    fn tiled(&self, [rows, outer, batch, columns, depth]: [i64; 5], elements: f64) -> Contraction {
        Contraction {
            tile: Tile {
                rows: 1,
                vectors: 1,
                lanes: self.target.lanes(),
            },
            masks: self.target.masks(),
            rows: Some(rows),
            outer,
            batch,
            columns,
            column_loads: 1.0,
            depth: Some(depth),
            turned: false,
            rows_bytes: Some(4.0 * elements),
            source: None,
        }
    }
}

/// Vector operations of a scalar function.
pub(crate) fn operations_of(name: &str) -> f64 {
    match name {
        "exp" | "log" | "sin" | "cos" => 8.0,
        "tanh" | "sigmoid" | "erf" => 10.0,
        "pow" => 30.0,
        "div" | "sqrt" | "reciprocal" => 4.0,
        _ => 1.0,
    }
}

/// Vector operations for a vector of results of a contraction that has no register tiles.
fn products(graph: &Graph, node: &Node) -> f64 {
    let window = |weights: &[Expr]| TAP * extent(&weights[1..]) as f64;
    match (node.op.name, &node.inputs[..]) {
        ("conv" | "conv_transpose", [_, weights, ..]) => window(&graph.ty(*weights).shape),
        _ => TRANSFORM,
    }
}

fn extent(shape: &[Expr]) -> i64 {
    shape.iter().map(|e| estimate(e) as i64).product()
}

/// Elements of each value.
fn counts(graph: &Graph) -> Vec<f64> {
    let types = graph.values.iter().map(|v| &v.ty);
    types.map(|ty| estimate(&ty.count())).collect()
}
