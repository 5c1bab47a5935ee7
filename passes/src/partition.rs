//! Partition: which nodes become one kernel.
use std::collections::{BTreeMap, HashSet};
use tensmith_ir::graph::{Graph, NodeId};
use tensmith_ir::ops::Lower;

/// Nodes that become one kernel: it writes the results of `root` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The last node.
    pub root: NodeId,
    /// All nodes, `root` included.
    pub members: HashSet<NodeId>,
}

/// A partition of the nodes of a graph that have kernels.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    /// Groups by their roots, which is a topological order.
    pub groups: BTreeMap<NodeId, Group>,
}

/// Makes each node a group of its own.
pub fn partition(graph: &Graph) -> Partition {
    let mut groups = BTreeMap::new();
    for root in graph.node_ids() {
        if !matches!(graph.node(root).op.lower, Lower::View | Lower::Plan) {
            let members = HashSet::from([root]);
            groups.insert(root, Group { root, members });
        }
    }
    Partition { groups }
}
