//! Why a kernel stands alone: what keeps it out of the kernels that read its results, and what
//! keeps the kernels that it reads from out of it.
use super::{Group, Partition, WhyNot};
use std::collections::BTreeSet;
use tensmith_ir::graph::{Graph, NodeId};
use tensmith_ir::ops::{Class, Lower};

/// Kernels before this one that are named, at most.
const NAMED: usize = 4;

/// Recurrent layers: their sums over the state are contractions.
const RECURRENT: [&str; 3] = ["lstm", "gru", "rnn"];

impl Partition {
    /// Why a group is not inside of another one, in words; `None` if it computes a contraction or
    /// a recurrence, which are what other kernels join.
    pub fn alone(&self, graph: &Graph, group: &Group) -> Option<String> {
        let anchors = |id: &NodeId| {
            let op = graph.node(*id).op;
            op.class == Class::Contraction || RECURRENT.contains(&op.name)
        };
        if group.members.iter().any(anchors) {
            return None;
        }
        let refusal = |root: &NodeId| Some(self.refusals.get(root)?.text(graph));
        let mut text = refusal(&group.root)?;
        let before = self.before(graph, group);
        for root in before.iter().take(NAMED) {
            let why = refusal(root).unwrap_or_else(|| "its strips end a kernel".into());
            text += &format!("; after {}: {why}", show(graph, *root));
        }
        if before.len() > NAMED {
            text += &format!("; and {} kernels more before it", before.len() - NAMED);
        }
        Some(text)
    }

    /// The roots of the groups whose results a group reads, through views or not.
    fn before(&self, graph: &Graph, group: &Group) -> BTreeSet<NodeId> {
        let members = group.members.iter();
        let inputs = members.flat_map(|n| &graph.node(*n).inputs);
        let makers = inputs.filter_map(|v| {
            let mut maker = graph.producer(*v)?;
            while matches!(graph.node(maker).op.lower, Lower::View) {
                maker = graph.producer(graph.node(maker).inputs[0])?;
            }
            Some(maker)
        });
        makers.filter(|n| !group.members.contains(n)).collect()
    }
}

/// A node by its name and op.
fn show(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    format!("`{}` ({})", node.name, node.op.name)
}

impl WhyNot {
    /// The reason in words, with the names of nodes.
    pub fn text(&self, graph: &Graph) -> String {
        match self {
            WhyNot::IsOutput => "a result is a result of the graph".into(),
            WhyNot::Unused => "nothing reads the results".into(),
            WhyNot::Opaque => "the op is a kernel of its own".into(),
            WhyNot::ReadInMemory(n) => {
                let what = match graph.node(*n).op.lower {
                    Lower::View => ", a view,",
                    Lower::Plan => ", control flow,",
                    Lower::Pointwise(_) | Lower::Kernel(_) => "",
                };
                format!("{}{what} reads the result from memory", show(graph, *n))
            }
            WhyNot::SeveralGroups => "consumers are in several kernels".into(),
            WhyNot::InContraction => {
                "it would be computed in the inner loop of a contraction".into()
            }
            WhyNot::SecondHeavy => "the kernel has a contraction or other rows already".into(),
            WhyNot::NotAtResultIndex => {
                "it would be computed at other indices than the kernel's results".into()
            }
            WhyNot::EpilogueOf(n) => format!("it belongs to the kernel of {}", show(graph, *n)),
            WhyNot::Repeated(n) => format!("it would be computed {n} times an element"),
            WhyNot::Rows => {
                "its rows are too long, of no static extent, or apart without others beside them"
                    .into()
            }
            WhyNot::LookedUp => {
                "each term of a sum would be looked up at an index that is data".into()
            }
            WhyNot::Turned => "rows would be read by elements that lie apart in memory".into(),
            WhyNot::Copied(n) => format!("the kernel would have {n} copies of it"),
            WhyNot::Dearer => "it is predicted to be faster as a kernel of its own".into(),
            WhyNot::InPlace => {
                "it is no kernel: its parts are written where its result lies".into()
            }
            WhyNot::PartOf(n) => {
                format!("it is written inside of the result of {}", show(graph, *n))
            }
            WhyNot::Streamed => "a streamed chain would compute it for each head".into(),
            WhyNot::Full => "the kernel has as many nodes as it may".into(),
        }
    }
}
