//! Tuning: finding, for each kernel of a model, the schedule that is fastest on this machine.
pub mod choices;
mod found;
pub mod records;
pub mod run;
pub mod stitch;
pub mod tasks;

pub use found::Found;
pub use run::{Settings, TaskReport, Tuning, Watcher, tune};
