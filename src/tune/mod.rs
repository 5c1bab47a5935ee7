//! Tuning: finding, for each kernel of a model, the schedule that is fastest on this machine.
pub mod choices;
mod found;
pub mod html;
pub mod records;
mod report;
mod reserve;
pub mod run;
mod searching;
pub mod sides;
pub mod stitch;
pub mod tasks;
pub mod until;

pub use found::Found;
pub use report::{TaskReport, Tuning};
pub use run::{Settings, Stage, Watcher, tune};
