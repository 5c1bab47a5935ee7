//! The arithmetic of each step, by the direct algorithms of the model's nodes.
use crate::flops::node_flops;
use std::collections::{HashMap, HashSet};
use tensmith_ir::eval::Sizes;
use tensmith_ir::graph::{Def, Graph, ValueId};
use tensmith_ir::plan::{Call, Plan, Step};

/// A contraction of a graph that runs depend on.
struct Contraction {
    node: String,
    op: &'static str,
    flops: f64,
}

/// Units: floating-point operations of one execution of a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flops {
    /// By the direct algorithms of the model's nodes.
    pub direct: f64,
    /// By the algorithms that were chosen.
    pub done: f64,
}

impl Flops {
    /// What a step cannot do without: an algorithm may take fewer operations than the direct one,
    /// or more.
    pub fn least(self) -> f64 {
        self.direct.min(self.done)
    }
}

/// The operations of each step. `source` is the graph as the
/// model states it, `optimised` what the plan was made of: a node counts what the model states,
/// wherever it ended up, so the sum is that of [`crate::flops::direct_flops`] but for nodes that
/// were computed while compiling.
pub fn step_flops(
    (source, optimised): (&Graph, &Graph),
    plan: &Plan,
    steps: &[&Step],
    sizes: &Sizes,
) -> Vec<Flops> {
    let stated = totals(&contractions(source, sizes));
    let found = contractions(optimised, sizes);
    let kept = totals(&found);
    let calls = calls_by_node(steps);
    let mut flops = vec![Flops::default(); steps.len()];
    let mut given = vec![0_usize; steps.len()];
    for c in &found {
        let named = calls.get(&c.node[..]).map_or(&[][..], Vec::as_slice);
        let Some(at) = home(c.op, plan, named, &given) else {
            continue;
        };
        given[at] += 1;
        let scale = match (stated.get(&c.node), kept.get(&c.node)) {
            (Some(stated), Some(kept)) if *kept > 0.0 => stated / kept,
            _ => 1.0,
        };
        flops[at].direct += c.flops * scale;
        flops[at].done += c.flops;
    }
    flops
}

/// The calls that compute each node, with the numbers of their steps.
fn calls_by_node<'a>(steps: &[&'a Step]) -> HashMap<&'a str, Vec<(usize, &'a Call)>> {
    let mut calls: HashMap<&str, Vec<(usize, &Call)>> = HashMap::new();
    for (k, step) in steps.iter().enumerate() {
        if let Step::Call(call) = step {
            for node in &call.nodes {
                calls.entry(node).or_default().push((k, call));
            }
        }
    }
    calls
}

fn totals(contractions: &[Contraction]) -> HashMap<String, f64> {
    let mut totals = HashMap::new();
    for c in contractions {
        *totals.entry(c.node.clone()).or_default() += c.flops;
    }
    totals
}

/// The step that computes a contraction: of the calls that name its node, one whose kernel has its
/// op, and of these the first that has fewest contractions already.
fn home(op: &str, plan: &Plan, named: &[(usize, &Call)], given: &[usize]) -> Option<usize> {
    let rank = |(k, call): &&(usize, &Call)| {
        let kernel = &plan.kernel(call.kernel).name;
        (!names_op(kernel, op), given[*k], *k)
    };
    named.iter().min_by_key(rank).map(|(k, _)| *k)
}

/// Whether a kernel's name, which is made of its ops, has an op.
pub fn names_op(kernel: &str, op: &str) -> bool {
    format!("_{kernel}_").contains(&format!("_{op}_"))
}

/// The contractions of a graph and its subgraphs, in order, without those of constants alone.
fn contractions(graph: &Graph, sizes: &Sizes) -> Vec<Contraction> {
    let mut constant: HashSet<ValueId> = HashSet::new();
    let mut found = Vec::new();
    for node in &graph.nodes {
        let fixed =
            |v: &ValueId| constant.contains(v) || matches!(graph.value(*v).def, Def::Constant(_));
        if node.regions.is_empty() && !node.inputs.is_empty() && node.inputs.iter().all(fixed) {
            constant.extend(&node.outputs);
            continue;
        }
        let flops = node_flops(graph, node, sizes);
        if flops > 0.0 {
            found.push(Contraction {
                node: node.name.clone(),
                op: node.op.name,
                flops,
            });
        }
        for region in &node.regions {
            found.extend(contractions(region, sizes));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::names_op;

    #[test]
    fn ops_are_whole_words_of_a_kernel() {
        assert!(names_op("contract_add_max", "contract"));
        assert!(names_op("pad_conv_transpose_add", "conv_transpose"));
        assert!(!names_op("convert_add", "conv"));
    }
}
