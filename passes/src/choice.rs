//! Choices of how a graph is computed that tuning may make otherwise than the cost model.
//!
//! A choice has a text that tells what it is about: operations, shapes and attributes, not names.
//! Wherever the same text comes up the same options are possible, but for limits of the model as a
//! whole (its tolerance of errors, its bytes of constants), which bind whatever is said.
use crate::pipeline::PassOptions;
use crate::schedule::parameters::Parameter;
use tensmith_ir::graph::{Graph, NodeId};

/// A choice as it came up while a graph was compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What it is about, and its identity.
    pub about: String,
    /// Its options, and what was taken.
    pub parameter: Parameter,
    /// For each option, what it is predicted to take over what the one that was taken does, of the
    /// kernels with these nodes.
    pub ratios: Vec<f64>,
    /// The nodes that it decides on.
    pub nodes: Vec<String>,
}

impl Choice {
    /// A choice of one of two, the second if `is_second`; `ratio` is what the other one is
    /// predicted to take over it.
    pub(crate) fn of_two(
        about: String,
        name: &str,
        options: [&str; 2],
        (is_second, ratio): (bool, f64),
        nodes: Vec<String>,
    ) -> Choice {
        let at = usize::from(is_second);
        let mut ratios = vec![ratio; 2];
        ratios[at] = 1.0;
        Choice {
            about,
            parameter: Parameter {
                name: name.into(),
                options: options.map(String::from).to_vec(),
                default: at,
                chosen: at,
            },
            ratios,
            nodes,
        }
    }
}

impl PassOptions {
    /// What tuning has found to be best for a choice.
    pub(crate) fn said(&self, about: &str, parameter: &str) -> Option<String> {
        let values = self.tuned.as_ref()?.values(about)?;
        values.get(parameter).map(String::from)
    }

    /// Whether tuning has found the second of two options to be best, or the first.
    pub(crate) fn said_of_two(&self, about: &str, name: &str, options: [&str; 2]) -> Option<bool> {
        let said = self.said(about, name)?;
        options.iter().position(|o| *o == said).map(|k| k == 1)
    }
}

/// What nodes compute: operations with the types of their operands, and attributes.
pub(crate) fn text(graph: &Graph, nodes: impl IntoIterator<Item = NodeId>) -> String {
    let one = |id: NodeId| {
        let node = graph.node(id);
        let types = node.inputs.iter().map(|v| graph.ty(*v).to_string());
        let types: Vec<String> = types.collect();
        match node.attrs.iter().next() {
            None => format!("{}({})", node.op.name, types.join(", ")),
            Some(_) => format!("{}({}) {}", node.op.name, types.join(", "), node.attrs),
        }
    };
    let all: Vec<String> = nodes.into_iter().map(one).collect();
    all.join("; ")
}

/// Notes a choice, or more nodes of a choice that came up before.
pub(crate) fn note(choices: &mut Vec<Choice>, choice: Choice) {
    match choices.iter_mut().find(|c| c.about == choice.about) {
        Some(known) => {
            known.nodes.extend(choice.nodes);
            known.nodes.dedup();
        }
        None => choices.push(choice),
    }
}
