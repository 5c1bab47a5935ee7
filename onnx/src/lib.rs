//! ONNX files to graph IR.
//!
//! A file is hostile until proved otherwise: [`load`] maps it, walks its bytes under a
//! [`Budget`], decodes them without copying weights, checks every name, type and tensor on every
//! level, and expands model-local functions. What comes out is a [`LoadedModel`].

mod attr;
mod budget;
mod check;
mod elem;
mod error;
pub mod export;
mod external;
pub mod import;
mod inline;
mod load;
mod model;
mod order;
pub mod proto;
mod scan;
mod tensor;
mod unknown;

pub use budget::Budget;
pub use elem::ElemType;
pub use error::{OnnxError, Result, UnsupportedItem};
pub use load::{load, load_bytes};
pub use model::LoadedModel;
pub use tensor::{StringData, TensorData, TensorStore};
