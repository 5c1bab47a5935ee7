//! Wide-vector tiles: 256- and 512-bit leaf functions for x86-64.
//!
//! Cranelift has no vectors wider than 128 bits on x86-64, so the innermost tile of a kernel goes
//! another way: SSA vector IR ([`vir`]), instruction choice, register allocation by `regalloc2`,
//! encoding by `iced-x86`. The bytes are position independent, call nothing, and carry their
//! constants behind the code, so that a Cranelift module defines them like any other function, in
//! memory or in an object file.
//!
//! The compiled function is `extern "C" fn(args: *mut u64)` of the System V ABI: `args` points to
//! a block of 64-bit words, pointers and sizes. The caller's MXCSR is used and left as found.

mod alloc;
mod codes;
mod emit;
pub mod lower;
mod minst;
mod pool;
mod select;
mod target;
#[cfg(test)]
mod tests;
pub mod vir;

pub use emit::disassemble;
pub use target::{DotForm, IsaFeatures, WideTarget};

/// The code of one tile.
#[derive(Clone, Debug)]
pub struct TileCode {
    /// Code, padding, constant pool.
    pub bytes: Vec<u8>,
    /// Bytes of `bytes` that are instructions; [`disassemble`] takes these.
    pub code_bytes: usize,
    /// Alignment that the first byte needs.
    pub align: u32,
    /// What the tile is made of.
    pub stats: TileStats,
}

/// Counts over a tile's code, not over its execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TileStats {
    /// Machine instructions, all told.
    pub insts: u32,
    /// Moves to and from spill slots.
    pub spills: u32,
    /// Moves between registers that allocation inserted.
    pub moves: u32,
    /// Bytes of the constant pool.
    pub pool_bytes: u32,
    /// Dot products of bytes.
    pub dots: u32,
}

/// Why a tile could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WideError {
    /// The vector IR breaks one of its rules: a defect of whoever built it.
    #[error("vector IR of tile `{function}` is invalid: {message}\n{text}")]
    Verify {
        /// The tile.
        function: String,
        /// Place and rule.
        message: String,
        /// The IR.
        text: String,
    },
    /// The code needs an extension that the target lacks: compile for a narrower width.
    #[error("`{instruction}` needs {feature}, which the target lacks; choose a narrower tile")]
    Feature {
        /// The instruction's name.
        instruction: String,
        /// The extension.
        feature: String,
    },
    /// Register allocation failed: a defect of selection.
    #[error("register allocation of tile `{function}` failed: {message}")]
    Allocate {
        /// The tile.
        function: String,
        /// The allocator's words.
        message: String,
    },
    /// An instruction could not be encoded: a defect of selection.
    #[error("encoding of tile `{function}` failed: {message}")]
    Encode {
        /// The tile.
        function: String,
        /// The encoder's words.
        message: String,
    },
}

impl WideError {
    fn verify(f: &vir::Function, message: String) -> Self {
        WideError::Verify {
            function: f.name().to_string(),
            message,
            text: f.to_string(),
        }
    }
}

/// Compiles a tile for a target.
///
/// Errors: [`WideError`]; in particular an instruction outside the target's features is an error,
/// never emitted.
pub fn compile(f: &vir::Function, target: &WideTarget) -> Result<TileCode, WideError> {
    f.verify()
        .map_err(|message| WideError::verify(f, message))?;
    let selected = select::select(f, target);
    let allocated = alloc::allocate(&selected.func).map_err(|message| WideError::Allocate {
        function: f.name().to_string(),
        message,
    })?;
    emit::emit(f.name(), &selected, &allocated, target)
}
