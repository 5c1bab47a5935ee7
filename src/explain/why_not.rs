//! Why two nodes of a model are not computed by one kernel.
use crate::error::{Error, Result};
use std::collections::{BTreeSet, VecDeque};
use tensmith_ir::graph::{Graph, NodeId};
use tensmith_ir::ops::Lower;
use tensmith_passes::partition::Partition;

/// Says whether nodes called `a` and `b` are in one kernel, and else what cuts the ways from one
/// to the other.
///
/// Errors: no node has such a name.
pub fn why_not(
    source: &Graph,
    (optimised, partition): (&Graph, &Partition),
    (a, b): (&str, &str),
) -> Result<String> {
    let cx = Cx {
        graph: optimised,
        partition,
    };
    let (of_a, of_b) = (cx.named(source, a)?, cx.named(source, b)?);
    for (names, nodes) in [(a, &of_a), (b, &of_b)] {
        if nodes.is_empty() {
            return Ok(format!(
                "`{names}` is in no kernel: rewriting folded it into other nodes or into constants\n"
            ));
        }
    }
    let roots = |nodes: &[NodeId]| nodes.iter().filter_map(|n| cx.root(*n)).collect();
    let (in_a, in_b): (BTreeSet<NodeId>, BTreeSet<NodeId>) = (roots(&of_a), roots(&of_b));
    if let Some(root) = in_a.intersection(&in_b).next() {
        return Ok(format!("both are in the kernel of {}\n", cx.show(*root)));
    }
    for (from, to) in [(&of_a, &of_b), (&of_b, &of_a)] {
        if let Some(way) = cx.way(from, to) {
            return Ok(cx.cuts(&way));
        }
    }
    Ok(format!(
        "neither depends on the other: kernels are joined along values, and no value leads from \
         `{a}` to `{b}` or back\n"
    ))
}

/// Whether a node of the optimised graph has a name of the model, perhaps as one of several that were
/// joined.
fn is_called(node: &str, name: &str) -> bool {
    node == name || node.split(" + ").any(|part| part == name)
}

struct Cx<'g> {
    graph: &'g Graph,
    partition: &'g Partition,
}

impl Cx<'_> {
    fn named(&self, source: &Graph, name: &str) -> Result<Vec<NodeId>> {
        let ids = self.graph.node_ids();
        let found: Vec<NodeId> = ids
            .filter(|n| is_called(&self.graph.node(*n).name, name))
            .collect();
        if found.is_empty() && !source.nodes.iter().any(|n| n.name == name) {
            return Err(Error::Usage(format!(
                "no node is called `{name}`; `tensmith compile MODEL --emit graph` lists them"
            )));
        }
        Ok(found)
    }

    /// The root of the kernel that computes a node.
    fn root(&self, node: NodeId) -> Option<NodeId> {
        let groups = self.partition.groups.values();
        let mut of = groups.filter(|g| g.members.contains(&node));
        of.next().map(|g| g.root)
    }

    /// The nodes of a shortest way along values.
    fn way(&self, from: &[NodeId], to: &[NodeId]) -> Option<Vec<NodeId>> {
        let uses = self.graph.uses();
        let mut before = vec![None; self.graph.nodes.len()];
        let mut todo: VecDeque<NodeId> = from.iter().copied().collect();
        while let Some(node) = todo.pop_front() {
            if to.contains(&node) {
                let back = |n: &NodeId| before[n.0 as usize];
                let mut way: Vec<NodeId> = std::iter::successors(Some(node), back).collect();
                way.reverse();
                return Some(way);
            }
            for output in &self.graph.node(node).outputs {
                for next in &uses[output.0 as usize] {
                    if before[next.0 as usize].is_none() && !from.contains(next) {
                        before[next.0 as usize] = Some(node);
                        todo.push_back(*next);
                    }
                }
            }
        }
        None
    }

    /// What separates the kernels along a way.
    fn cuts(&self, way: &[NodeId]) -> String {
        let names: Vec<String> = way.iter().map(|n| self.show(*n)).collect();
        let mut out = format!("the way is {}\n", names.join(" -> "));
        for pair in way.windows(2) {
            if self.root(pair[0]) == self.root(pair[1]) && self.root(pair[0]).is_some() {
                continue;
            }
            let (from, to) = (self.show(pair[0]), self.show(pair[1]));
            out += &format!(
                "between {from} and {to}: {}\n",
                self.reason(pair[0], pair[1])
            );
        }
        out
    }

    fn reason(&self, from: NodeId, to: NodeId) -> String {
        for node in [from, to] {
            match self.graph.node(node).op.lower {
                Lower::View => return format!("{} is a view, not a kernel", self.show(node)),
                Lower::Plan => return format!("{} is control flow", self.show(node)),
                Lower::Pointwise(_) | Lower::Kernel(_) => {}
            }
        }
        let refusals = &self.partition.refusals;
        let refusal = self.root(from).and_then(|root| refusals.get(&root));
        match refusal {
            Some(why) => why.text(self.graph),
            None => "kernels of strips begin here".into(),
        }
    }

    fn show(&self, node: NodeId) -> String {
        let node = self.graph.node(node);
        format!("`{}` ({})", node.name, node.op.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_nodes_answer_to_each_of_their_names() {
        assert!(is_called("q + k + v", "k"));
        assert!(is_called("a + b", "a + b"));
        assert!(is_called("conv", "conv"));
        assert!(!is_called("conv1", "conv"));
        assert!(!is_called("q+k", "k"));
    }
}
