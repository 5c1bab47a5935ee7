//! Tensmith, an ML compiler: ONNX models to machine code.
//!
//! ```no_run
//! use tensmith::{LoadOptions, Model, Options, TensorView};
//!
//! # fn main() -> tensmith::Result<()> {
//! let model = Model::load("model.onnx", &LoadOptions::default())?;
//! let executable = model.compile(&Options::default())?;
//! let image = [0.0_f32; 64];
//! let view = TensorView::from_slice(&[1, 1, 8, 8], &image)?;
//! let outputs = executable.run(&[("image", view)])?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Session`] has memory of its own and allocates nothing when it runs. Nothing here has
//! global state: threads belong to the [`Executable`], or to an [`Executor`] of the caller's.
pub mod compile;
mod constants;
pub mod convert;
mod error;
mod executable;
pub mod explain;
pub mod files;
pub mod flops;
mod model;
pub mod native;
mod options;
pub mod page;
mod session;
mod signature;
pub mod text;
pub mod tune;
pub mod units;
pub mod verify;

pub use error::{Error, Result};
pub use executable::Executable;
pub use model::{Imported, Model};
pub use options::{LoadOptions, Options};
pub use session::Session;
pub use signature::{Input, Output, Signature, show};
pub use tensmith_codegen::entry::Execution;
pub use tensmith_onnx::import::KeepSymbolic;
pub use tensmith_passes::pipeline::Precision;
pub use tensmith_runtime::{ElementType, Executor, Profile, Tensor, TensorView};

/// The examples of the page for authors of runtimes.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
pub struct Embedding;
