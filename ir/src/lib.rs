//! Graph, loop and plan IR, the op table, reference evaluator and interpreters.
//!
//! This crate knows nothing of ONNX, e-graphs, code generators, files and clocks.
pub mod define;
pub mod dtype;
pub mod eval;
pub mod expr;
pub mod graph;
pub mod integer;
pub mod loops;
pub mod machine;
pub mod ops;
pub mod plan;
pub mod tensor;
pub mod text;
