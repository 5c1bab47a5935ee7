//! The loop interpreter: the oracle of everything that schedules and emits kernels.
//!
//! It gives the bits that compiled code gives: every operation happens in its element's own type,
//! in the order of the statements. Every access is checked against its buffer.
//!
//! Loops of every mark run one iteration after the other. For a legal kernel (see
//! [`verify_kernel`](super::verify_kernel)) lock step computes the same: iterations of space loops
//! write elements of their own, read none that another one writes, and every iteration writes a
//! scalar register before it reads it, so that neither the order of iterations nor the number of
//! copies of a register can be observed.
mod arith;
mod compile;
mod run;

use super::{Kernel, Scope};
use crate::tensor::Tensor;
use compile::{Compiler, Memory, Place, Step};
use std::cell::Cell;

/// Why a kernel did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpError {
    /// A [`Stmt::Check`](super::Stmt::Check) failed; the first one that did. The rest of the
    /// kernel was run.
    #[error("check {site}: {value} is not in 0..{extent}")]
    Check {
        /// Names the place in the model.
        site: u32,
        /// The value.
        value: i64,
        /// The bound.
        extent: i64,
    },
    /// An access outside its buffer: a kernel that should not exist.
    #[error("kernel `{kernel}`: access {index:?} of `{buffer}`, which has {extents:?}")]
    OutOfRange {
        /// The kernel.
        kernel: String,
        /// The buffer.
        buffer: String,
        /// The index.
        index: Vec<i64>,
        /// The extents, padding included.
        extents: Vec<i64>,
    },
    /// A kernel that is not well formed; see [`verify_kernel`](super::verify_kernel).
    #[error("kernel `{kernel}`: {reason}")]
    Malformed {
        /// The kernel.
        kernel: String,
        /// What is wrong.
        reason: String,
    },
    /// Sizes or arguments that do not fit the kernel.
    #[error("kernel `{kernel}`, arguments: {reason}")]
    Arguments {
        /// The kernel.
        kernel: String,
        /// Expected and found.
        reason: String,
    },
}

/// An argument of a kernel: the bytes behind one parameter, at least as many as its layout holds.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    /// For inputs only.
    Bytes(&'a [u8]),
    /// For inputs and outputs; may overlap other arguments (views of one arena).
    Cells(&'a [Cell<u8>]),
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Arg::Bytes(bytes)
    }
}

impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Arg::Cells(Cell::from_mut(bytes).as_slice_of_cells())
    }
}

impl Arg<'_> {
    fn len(&self) -> usize {
        match self {
            Arg::Bytes(b) => b.len(),
            Arg::Cells(c) => c.len(),
        }
    }
}

/// A kernel resolved for given sizes; runs any number of times.
pub struct Program<'k> {
    kernel: &'k Kernel,
    memories: Vec<Memory>,
    registers: usize,
    body: Vec<Step>,
}

impl<'k> Program<'k> {
    /// Resolves a kernel; `sizes` by position of `kernel.sizes`.
    ///
    /// Errors: sizes that do not fit, or a kernel that is not well formed.
    pub fn new(kernel: &'k Kernel, sizes: &[i64]) -> Result<Self, InterpError> {
        check_sizes(kernel, sizes)?;
        let malformed = |reason| InterpError::Malformed {
            kernel: kernel.name.clone(),
            reason,
        };
        let mut compiler = Compiler::new(kernel, sizes);
        let memories = compiler.memories().map_err(malformed)?;
        let body = compiler.steps(&kernel.body).map_err(malformed)?;
        Ok(Program {
            kernel,
            memories,
            registers: compiler.registers,
            body,
        })
    }

    /// The extents in memory of each parameter, in order: logical ones if it lies row-major.
    pub fn physical_shapes(&self) -> Vec<Vec<usize>> {
        let params = self.kernel.params();
        let memory = params.map(|(id, _)| &self.memories[id.0 as usize]);
        memory
            .map(|m| m.layout.iter().map(|d| d.2 as usize).collect())
            .collect()
    }

    /// Runs the kernel on arguments by position of its parameters.
    ///
    /// Errors: arguments that do not fit, a failed check, an access outside its buffer.
    pub fn run(&self, args: &[Arg<'_>]) -> Result<(), InterpError> {
        self.check_args(args)?;
        run::run(self, args)
    }

    fn check_args(&self, args: &[Arg<'_>]) -> Result<(), InterpError> {
        let fail = |reason| InterpError::Arguments {
            kernel: self.kernel.name.clone(),
            reason,
        };
        let params: Vec<_> = self.kernel.params().collect();
        if params.len() != args.len() {
            let reason = format!("{} given, want {}", args.len(), params.len());
            return Err(fail(reason));
        }
        for ((id, buffer), arg) in params.iter().zip(args) {
            let memory = &self.memories[id.0 as usize];
            let want = memory.count.saturating_mul(memory.dtype.bytes());
            if arg.len() < want {
                let (name, found) = (&buffer.name, arg.len());
                return Err(fail(format!("`{name}`: {found} bytes, want {want}")));
            }
            if buffer.scope == Scope::Output && matches!(arg, Arg::Bytes(_)) {
                return Err(fail(format!("`{}` must be writable", buffer.name)));
            }
        }
        Ok(())
    }
}

fn check_sizes(kernel: &Kernel, sizes: &[i64]) -> Result<(), InterpError> {
    let fail = |reason| InterpError::Arguments {
        kernel: kernel.name.clone(),
        reason,
    };
    if sizes.len() != kernel.sizes.len() {
        let reason = format!("{} sizes, want {}", sizes.len(), kernel.sizes.len());
        return Err(fail(reason));
    }
    let bounds = kernel.sizes.iter().zip(&kernel.size_bounds).zip(sizes);
    for ((symbol, (lo, hi)), size) in bounds {
        if size < lo || size > hi {
            return Err(fail(format!("{symbol} is {size}, want {lo} to {hi}")));
        }
    }
    Ok(())
}

/// Runs a kernel on arguments by position of its parameters; `sizes` by position of
/// `kernel.sizes`. After a failed check the outputs hold what the rest of the kernel wrote.
///
/// Errors: sizes or arguments that do not fit, a failed check, a kernel that is not well formed.
pub fn run_kernel_on(
    kernel: &Kernel,
    sizes: &[i64],
    args: &mut [Arg<'_>],
) -> Result<(), InterpError> {
    Program::new(kernel, sizes)?.run(args)
}

/// Runs a kernel on tensors and returns its outputs, in order. Tensors have the physical extents
/// of their parameters, which are the logical ones for row-major layouts. Outputs are filled with
/// ones before the run, so that elements that the kernel does not write stand out.
///
/// Errors: as [`run_kernel_on`].
pub fn run_kernel(
    kernel: &Kernel,
    sizes: &[i64],
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, InterpError> {
    let program = Program::new(kernel, sizes)?;
    let shapes = program.physical_shapes();
    let params: Vec<_> = kernel.params().map(|(_, b)| b).collect();
    let fail = |reason: String| InterpError::Arguments {
        kernel: kernel.name.clone(),
        reason,
    };
    let mut outputs: Vec<Vec<u8>> = Vec::new();
    for (b, shape) in params.iter().zip(&shapes) {
        if b.scope == Scope::Output {
            let count: usize = shape.iter().product();
            outputs.push(vec![0xff; count * b.dtype.bytes()]);
        }
    }
    let wanted = params.iter().filter(|b| b.scope == Scope::Input).count();
    if wanted != inputs.len() {
        return Err(fail(format!("{} inputs, want {wanted}", inputs.len())));
    }
    let mut views = outputs.iter_mut().map(|o| Arg::from(&mut o[..]));
    let mut given = inputs.iter();
    let mut args = Vec::new();
    for b in &params {
        let arg = match b.scope {
            Scope::Output => views.next(),
            _ => given.next().map(|t| Arg::Bytes(&t.data)),
        };
        args.push(arg.expect("invariant: as many as were counted"));
    }
    check_types(&params, inputs).map_err(fail)?;
    program.run(&args)?;
    let of = params.iter().zip(shapes);
    let of = of.filter(|(b, _)| b.scope == Scope::Output);
    Ok(of
        .zip(outputs)
        .map(|((b, shape), bytes)| Tensor {
            dtype: b.dtype,
            shape,
            data: bytes.into(),
        })
        .collect())
}

fn check_types(params: &[&super::Buffer], inputs: &[Tensor]) -> Result<(), String> {
    let wanted = params.iter().filter(|b| b.scope == Scope::Input);
    match wanted.zip(inputs).find(|(b, t)| b.dtype != t.dtype) {
        Some((b, t)) => Err(format!("`{}` is {}, want {}", b.name, t.dtype, b.dtype)),
        None => Ok(()),
    }
}
