//! Graph passes: each a function from a graph to an equal one.
mod eliminate_dead_code;
mod rewriter;

pub use eliminate_dead_code::eliminate_dead_code;
pub use rewriter::Rewriter;
