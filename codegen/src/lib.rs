//! Plans and kernels to machine code.
//!
//! Cranelift owns functions: entries, loops, control flow, index arithmetic and 128-bit vectors.
//! [`wide`] makes leaf functions of 256- and 512-bit code on x86-64. This crate knows nothing of
//! passes, e-graphs and tuning.
pub mod entry;
pub mod error;
pub mod header;
pub mod host;
pub mod jit;
pub mod kernel;
pub mod module;
pub mod object;
pub mod target;
pub mod wide;
