//! Measuring: candidates are compiled, checked and timed in a process of their own.
mod host;
mod memory;
pub mod protocol;
mod rig;
mod worker;

pub use host::{Program, Worker};
pub use worker::serve;
