//! Choices of how a graph is computed that tuning may make otherwise than the cost model.
//!
//! A choice has a text that tells what it is about: shapes and attributes, not names. Wherever the
//! same text comes up the same options are possible, but for limits of the model as a whole (its
//! tolerance of errors, its bytes of constants), which bind whatever is said.
use crate::pipeline::PassOptions;
use crate::schedule::parameters::Parameter;

/// A choice as it came up while a graph was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What it is about, and its identity.
    pub about: String,
    /// Its options, and what was taken.
    pub parameter: Parameter,
    /// The nodes that it decides on.
    pub nodes: Vec<String>,
}

impl PassOptions {
    /// What tuning has found to be best for a choice.
    pub(crate) fn said(&self, about: &str, parameter: &str) -> Option<String> {
        let values = self.tuned.as_ref()?.values(about)?;
        values.get(parameter).map(String::from)
    }
}

/// Notes a choice, or one more node of a choice that came up before.
pub(crate) fn note(choices: &mut Vec<Choice>, choice: Choice) {
    match choices.iter_mut().find(|c| c.about == choice.about) {
        Some(known) => known.nodes.extend(choice.nodes),
        None => choices.push(choice),
    }
}
