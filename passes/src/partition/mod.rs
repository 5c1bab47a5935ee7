//! Partition: which nodes become one kernel.
//!
//! Requires: a graph in which dead nodes were removed.
//! Ensures: every node that has a kernel is in one group; only the root's results leave a group;
//! the groups and the nodes outside of them form an acyclic graph.
//!
//! Nodes are visited from results to inputs, and one joins the group of its consumers if they
//! all are in one group and the rules of [`rules`](self) allow it. A node computed inside of a
//! group is computed where its consumers ask for it, so the rules bound how often that is.
mod alone;
mod image_rows;
mod operands;
mod rules;
mod streams;
mod tiles;
mod why_not;

pub(crate) use image_rows::FEW_CHANNELS;
pub use why_not::WhyNot;

use crate::pipeline::PassOptions;
use petgraph::algo::is_cyclic_directed;
use petgraph::graphmap::DiGraphMap;
use rules::{Heavy, Info};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use streams::{Stream, find_streams};
use tensmith_ir::define::{
    Definition, ImageRows, Streamed, Tiled, define_image_rows, define_streamed, define_task,
    define_tiled,
};
use tensmith_ir::graph::{Graph, NodeId};
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
}

/// A group while nodes join it.
struct Draft {
    root: NodeId,
    members: HashMap<NodeId, Info>,
    heavy: Heavy,
    strips: Option<Strips>,
}

struct Partitioner<'g> {
    graph: &'g Graph,
    uses: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
    drafts: BTreeMap<NodeId, Draft>,
    /// The root of the group that a node is in.
    root_of: HashMap<NodeId, NodeId>,
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

/// Decides which nodes are computed inside of which kernels; Winograd convolutions whose tiles and
/// products take more than the options' `stream_bytes` are streamed, if their weights take less.
pub fn partition(graph: &Graph, options: &PassOptions) -> Partition {
    let mut cx = Partitioner {
        graph,
        uses: graph.uses(),
        is_output: outputs(graph),
        drafts: BTreeMap::new(),
        root_of: HashMap::new(),
    };
    let mut streams = find_streams(graph, &cx.uses, &cx.is_output);
    let mut refusals = BTreeMap::new();
    for id in graph.node_ids().rev() {
        if cx.root_of.contains_key(&id) {
            continue;
        }
        if let Some(stream) = streams.remove(&id) {
            cx.found_stream(id, stream);
            continue;
        }
        if matches!(graph.node(id).op.lower, Lower::View | Lower::Plan) {
            continue;
        }
        if let Err(why) = cx.join(id) {
            refusals.insert(id, why);
            cx.found(id);
        }
    }
    let group = |d: Draft| Group {
        root: d.root,
        members: d.members.into_keys().collect(),
        strips: d.strips,
    };
    let groups = cx.drafts.into_iter().map(|(root, d)| (root, group(d)));
    let mut partition = Partition {
        groups: groups.collect(),
        refusals,
    };
    tiles::join_tiles(graph, &cx.uses, &mut partition, options.stream_bytes);
    image_rows::join_makers(graph, &cx.uses, &mut partition, &options.target);
    debug_assert!(partition.is_convex(graph), "groups depend on each other");
    partition
}

impl Partitioner<'_> {
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
            },
        );
        self.root_of.insert(id, id);
    }

    /// Makes the last node of a chain the root of a group with the rest of it.
    fn found_stream(&mut self, root: NodeId, stream: Stream) {
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
                strips: Some(Strips::Scores(stream.streamed)),
            },
        );
    }

    /// Lets a node join the group of its consumers, or says why it cannot.
    fn join(&mut self, id: NodeId) -> Result<(), WhyNot> {
        let root = self.common_root(id)?;
        let draft = &self.drafts[&root];
        let (info, heavy) = self.admit(id, draft)?;
        let draft = self
            .drafts
            .get_mut(&root)
            .expect("invariant: drafts of roots");
        draft.members.insert(id, info);
        draft.heavy = heavy;
        self.root_of.insert(id, root);
        Ok(())
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
