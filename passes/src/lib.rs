//! Graph passes, task partition, schedules and the memory plan.
//!
//! Read [`pipeline`] first: it lists every step from a graph to a plan. This crate knows nothing
//! of ONNX, code generators, files and clocks.
pub mod alternatives;
mod barriers;
pub mod choice;
pub mod cost;
mod error;
pub mod graph;
mod memory;
pub mod partition;
pub mod pipeline;
mod plan;
pub mod schedule;
mod split;

pub use error::PassError;
pub use memory::liveness_bound;
pub use pipeline::{PassOptions, optimise, plan};
