//! Partition: which nodes become one kernel.
//!
//! Requires: a graph in which dead nodes were removed.
//! Ensures: every node that has a kernel is in one group; only the root's results leave a group;
//! the groups and the nodes outside of them form an acyclic graph.
//!
//! Nodes are visited from results to inputs, and one may join the group of its consumers if they
//! all are in one group and the rules of [`rules`](self) allow it. A node computed inside of a
//! group is computed where its consumers ask for it, so the rules bound how often that is. What is
//! allowed is offered; [`choose`] takes what is predicted to be fastest ([`price`]), beginning with
//! the partition in which all that may join does.
mod alone;
mod choose;
mod image_rows;
mod inside;
mod offers;
mod operands;
mod price;
mod rules;
mod said;
mod streams;
mod strip_sizes;
mod tiles;
mod why_not;

pub use choose::Search;
pub(crate) use inside::{few_channels, fixed_values, is_spatial, starts};
pub(crate) use price::{COPY, operations_of};
pub use price::{cycles_of, predicted_cycles, structure_cycles_of};
pub(crate) use rules::{estimate, is_mirrored};
pub use why_not::WhyNot;

use crate::choice::Choice;
use crate::pipeline::PassOptions;
use inside::copied;
use petgraph::algo::is_cyclic_directed;
use petgraph::graphmap::DiGraphMap;
use rules::{Heavy, Info};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use streams::{Stream, find_streams};
use tensmith_ir::define::{
    Definition, ImageRows, Streamed, Tiled, define_image_rows, define_streamed, define_task,
    define_tiled,
};
use tensmith_ir::graph::{Graph, NodeId, ValueId};
use tensmith_ir::ops::{Class, Lower};

/// Nodes that become one kernel: it writes the results of `root` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The last node.
    pub root: NodeId,
    /// All nodes, `root` included.
    pub members: HashSet<NodeId>,
    /// How it hands on values inside, if it has such a definition instead of the plain one.
    pub strips: Option<Strips>,
    /// Whether it is a concatenation whose parts are to be written where its result lies, and no
    /// kernel.
    pub in_place: bool,
}

/// How a kernel hands on values between its parts: strip by strip, in scratch memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strips {
    /// The scores of attention.
    Scores(Streamed),
    /// The tiles of a Winograd convolution.
    Tiles(Tiled),
    /// Rows of the image of a convolution.
    ImageRows(ImageRows),
}

impl Group {
    /// The naive kernel of the group.
    pub fn define(&self, graph: &Graph) -> Definition {
        let (root, members) = (self.root, &self.members);
        match &self.strips {
            Some(Strips::Scores(streamed)) => define_streamed(graph, root, members, streamed),
            Some(Strips::Tiles(tiled)) => define_tiled(graph, root, members, tiled),
            Some(Strips::ImageRows(rows)) => define_image_rows(graph, root, members, rows),
            None => define_task(graph, root, members),
        }
    }
}

/// A partition of the nodes of a graph that have kernels.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    /// Groups by their roots, which is a topological order.
    pub groups: BTreeMap<NodeId, Group>,
    /// Why each root is not inside of the group of its consumers.
    pub refusals: BTreeMap<NodeId, WhyNot>,
    /// The parts of concatenations in place that are copied there.
    pub copied: BTreeSet<ValueId>,
    /// How it was found.
    pub search: Search,
    /// What tuning may choose otherwise, if [`PassOptions::spaces`] asks for it.
    pub choices: Vec<Choice>,
}

/// A group while nodes join it.
#[derive(Clone)]
struct Draft {
    root: NodeId,
    members: HashMap<NodeId, Info>,
    heavy: Heavy,
    strips: Option<Strips>,
    in_place: bool,
}

/// What partitions of a graph are made of.
#[derive(Clone)]
struct Given<'g> {
    graph: &'g Graph,
    uses: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
    /// Streamed chains by their last nodes.
    streams: BTreeMap<NodeId, Stream>,
    /// The concatenations whose parts are written where the results lie.
    joins: BTreeSet<NodeId>,
    /// The parts of these that are copied there.
    copied: BTreeSet<ValueId>,
}

/// Groups while nodes are visited.
#[derive(Clone)]
struct Partitioner<'g> {
    graph: &'g Graph,
    uses: &'g [Vec<NodeId>],
    is_output: &'g [bool],
    streams: &'g BTreeMap<NodeId, Stream>,
    joins: &'g BTreeSet<NodeId>,
    drafts: BTreeMap<NodeId, Draft>,
    /// The root of the group that a node is in.
    root_of: HashMap<NodeId, NodeId>,
}

/// What a visit of a node can do with it.
enum Visit {
    /// It has a group, or no kernel.
    Nothing,
    /// It ends a streamed chain.
    Stream,
    /// It is a concatenation in place.
    InPlace,
    /// It may join the group of this root, where it is computed so.
    Join(NodeId, Box<(Info, Heavy)>),
    /// It begins a group of its own.
    Found(WhyNot),
}

/// The nodes of all chains around a softmax that [`partition`] streams.
pub fn streams_of(graph: &Graph) -> BTreeSet<NodeId> {
    let streams = find_streams(graph, &graph.uses(), &outputs(graph));
    streams.into_values().flat_map(|s| s.members).collect()
}

/// For each value, whether it is a result of the graph.
fn outputs(graph: &Graph) -> Vec<bool> {
    let mut is_output = vec![false; graph.values.len()];
    let outputs = graph.outputs.iter();
    outputs.for_each(|v| is_output[v.0 as usize] = true);
    is_output
}

/// Decides which nodes are computed inside of which kernels. Winograd convolutions whose tiles and
/// products take more than the options' `stream_bytes` may be streamed, if their weights take less.
pub fn partition(graph: &Graph, options: &PassOptions) -> Partition {
    let partition = choose::choose(Given::new(graph), options);
    debug_assert!(partition.is_convex(graph), "groups depend on each other");
    partition
}

/// The partition in which all joins that the rules allow but some nodes, and no group hands on
/// values in strips that could do without.
pub fn partition_apart(graph: &Graph, apart: &BTreeSet<NodeId>) -> Partition {
    Given::new(graph).by_rules(apart)
}

impl<'g> Given<'g> {
    fn new(graph: &'g Graph) -> Self {
        let (uses, is_output) = (graph.uses(), outputs(graph));
        let streams = find_streams(graph, &uses, &is_output);
        Given {
            graph,
            uses,
            is_output,
            streams,
            joins: BTreeSet::new(),
            copied: BTreeSet::new(),
        }
    }

    /// Lets the parts of these concatenations be written where they lie.
    fn put_in_place(&mut self, joins: BTreeSet<NodeId>) {
        self.copied = copied(self.graph, &joins);
        self.joins = joins;
    }

    /// No groups yet.
    fn partitioner(&self) -> Partitioner<'_> {
        Partitioner {
            graph: self.graph,
            uses: &self.uses,
            is_output: &self.is_output,
            streams: &self.streams,
            joins: &self.joins,
            drafts: BTreeMap::new(),
            root_of: HashMap::new(),
        }
    }

    /// The groups in which all joins that may, but some nodes.
    fn by_rules(&self, apart: &BTreeSet<NodeId>) -> Partition {
        let mut cx = self.partitioner();
        let mut refusals = BTreeMap::new();
        for id in self.graph.node_ids().rev() {
            let why = match cx.visit(id) {
                Visit::Nothing => continue,
                Visit::Stream => {
                    cx.found_stream(id);
                    continue;
                }
                Visit::InPlace => {
                    cx.found_in_place(id);
                    WhyNot::InPlace
                }
                Visit::Join(root, place) if !apart.contains(&id) => {
                    cx.join(id, root, *place);
                    continue;
                }
                Visit::Join(..) => WhyNot::Dearer,
                Visit::Found(why) => why,
            };
            if why != WhyNot::InPlace {
                cx.found(id);
            }
            refusals.insert(id, why);
        }
        let group = |d: Draft| Group {
            root: d.root,
            members: d.members.into_keys().collect(),
            strips: d.strips,
            in_place: d.in_place,
        };
        let groups = cx.drafts.into_iter().map(|(root, d)| (root, group(d)));
        Partition {
            groups: groups.collect(),
            refusals,
            copied: self.copied.clone(),
            search: Search::default(),
            choices: vec![],
        }
    }
}

impl Partitioner<'_> {
    /// What may be done with a node, whose consumers were all visited.
    fn visit(&self, id: NodeId) -> Visit {
        if self.root_of.contains_key(&id) {
            return Visit::Nothing;
        }
        if self.streams.contains_key(&id) {
            return Visit::Stream;
        }
        if self.joins.contains(&id) {
            return Visit::InPlace;
        }
        if matches!(self.graph.node(id).op.lower, Lower::View | Lower::Plan) {
            return Visit::Nothing;
        }
        let admitted = self.common_root(id).and_then(|root| {
            let place = self.admit(id, &self.drafts[&root])?;
            Ok((root, place))
        });
        match admitted {
            Ok((root, place)) => Visit::Join(root, Box::new(place)),
            Err(why) => Visit::Found(why),
        }
    }

    /// Makes a node the root of a group of its own.
    fn found(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let info = Info::root(self.graph.ty(node.outputs[0]));
        self.drafts.insert(
            id,
            Draft {
                root: id,
                members: HashMap::from([(id, info)]),
                heavy: Heavy::of_root(self.graph, node),
                strips: None,
                in_place: false,
            },
        );
        self.root_of.insert(id, id);
    }

    /// Makes a concatenation in place a group of its own, which nothing joins.
    fn found_in_place(&mut self, id: NodeId) {
        self.found(id);
        let draft = self.drafts.get_mut(&id);
        draft.expect("invariant: it was just found").in_place = true;
    }

    /// Makes the last node of a chain the root of a group with the rest of it.
    fn found_stream(&mut self, root: NodeId) {
        let stream = &self.streams[&root];
        let info = |id: &NodeId| Info::root(self.graph.ty(self.graph.node(*id).outputs[0]));
        let members = stream.members.iter().map(|id| (*id, info(id))).collect();
        self.root_of
            .extend(stream.members.iter().map(|id| (*id, root)));
        self.drafts.insert(
            root,
            Draft {
                root,
                members,
                heavy: Heavy::One,
                strips: Some(Strips::Scores(stream.streamed.clone())),
                in_place: false,
            },
        );
    }

    /// Lets a node join a group.
    fn join(&mut self, id: NodeId, root: NodeId, (info, heavy): (Info, Heavy)) {
        let draft = self
            .drafts
            .get_mut(&root)
            .expect("invariant: drafts of roots");
        draft.members.insert(id, info);
        draft.heavy = heavy;
        self.root_of.insert(id, root);
    }

    /// The group that all consumers are in.
    fn common_root(&self, id: NodeId) -> Result<NodeId, WhyNot> {
        let node = self.graph.node(id);
        if node.outputs.iter().any(|v| self.is_output[v.0 as usize]) {
            return Err(WhyNot::IsOutput);
        }
        if node.op.class == Class::Opaque || !matches!(node.op.lower, Lower::Pointwise(_)) {
            return Err(WhyNot::Opaque);
        }
        let mut found = None;
        for consumer in node.outputs.iter().flat_map(|v| &self.uses[v.0 as usize]) {
            let root = match self.root_of.get(consumer) {
                Some(root) if self.graph.node(*root).op.class != Class::Opaque => *root,
                _ => return Err(WhyNot::ReadInMemory(*consumer)),
            };
            if self.joins.contains(&root) {
                return Err(WhyNot::PartOf(root));
            }
            if *found.get_or_insert(root) != root {
                return Err(WhyNot::SeveralGroups);
            }
        }
        found.ok_or(WhyNot::Unused)
    }
}

impl Partition {
    /// Whether a node is computed inside of the kernel of another one. Views are only there if
    /// they are part of what is streamed.
    pub fn is_inside(&self, id: NodeId) -> bool {
        let mut groups = self.groups.values();
        groups.any(|g| g.strips.is_some() && g.root != id && g.members.contains(&id))
    }

    /// Whether groups, taken as one node each, depend on each other without a cycle.
    pub fn is_convex(&self, graph: &Graph) -> bool {
        let mut owner: Vec<u32> = graph.node_ids().map(|n| n.0).collect();
        for group in self.groups.values() {
            let members = group.members.iter();
            members.for_each(|n| owner[n.0 as usize] = group.root.0);
        }
        let mut quotient: DiGraphMap<u32, ()> = DiGraphMap::new();
        for id in graph.node_ids() {
            for producer in graph
                .node(id)
                .inputs
                .iter()
                .filter_map(|v| graph.producer(*v))
            {
                let (from, to) = (owner[producer.0 as usize], owner[id.0 as usize]);
                if from != to {
                    quotient.add_edge(from, to, ());
                }
            }
        }
        !is_cyclic_directed(&quotient)
    }
}
