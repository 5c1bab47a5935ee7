//! What compiled models need around them while they run: the C interface
//! between compiled code and its surroundings, a thread pool, tensors at the
//! edge of the API, the clock, the processor quota, and files that appear whole.
//!
//! This crate knows no compiler crate. It names types, sizes and addresses,
//! never graphs, loops or plans.
//!
//! - [`abi`]: the context block and helper table that compiled code uses.
//! - [`aligned`]: zeroed, 64-byte aligned memory for tensors and arenas.
//! - [`atomic`]: files that appear whole or not at all.
//! - [`clock`]: the only place that reads a clock.
//! - [`element`]: element types and the Rust types that stand for them.
//! - [`error`]: run-time errors of compiled code as values.
//! - [`executor`]: sections of compiled code on threads of the caller's.
//! - [`pool`]: threads that run one compiled entry side by side.
//! - [`profile`]: where compiled code notes when each step begins.
//! - [`quota`]: how many cores and how much memory this process uses.
//! - [`stats`]: what repeated measurements say.
//! - [`tensor`]: owned and borrowed tensors.

pub mod abi;
pub mod aligned;
pub mod atomic;
mod barrier;
pub mod clock;
pub mod element;
pub mod error;
pub mod executor;
pub mod pool;
pub mod profile;
pub mod quota;
pub mod stats;
pub mod tensor;

pub use abi::{Context, Entry, ErrorRecord, Helpers};
pub use aligned::{AlignedBytes, AllocationError};
pub use clock::{Stopwatch, now_ns};
pub use element::{Element, ElementType};
pub use error::RuntimeError;
pub use executor::Executor;
pub use pool::{Pool, PoolError};
pub use profile::Profile;
pub use quota::{peak_rss_bytes, rss_bytes, usable_cores};
pub use tensor::{Tensor, TensorError, TensorView, TensorViewMut};
