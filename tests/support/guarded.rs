//! Plans as machine code, in buffers that touch unmapped pages.
use super::executors::Backwards;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use tensmith_codegen::entry::{Execution, Form, Marks, constant_offsets};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::kernel::scratch_bytes;
use tensmith_codegen::target::Target;
use tensmith_ir::expr::{Atom, Expr};
use tensmith_ir::plan::{Place, Plan, Source};
use tensmith_ir::tensor::Tensor;
use tensmith_runtime::executor::run_sections;
use tensmith_runtime::{Context, Pool, RuntimeError};

/// Which end of a buffer touches an unmapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The first byte follows one.
    Begin,
    /// The last byte precedes one.
    End,
}

/// Who runs a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// All threads of a pool.
    Spmd,
    /// A pool that gets sections.
    Sections,
    /// One thread, from the last part of each section to the first.
    Backwards,
}

impl Runner {
    fn form(self) -> Form {
        let execution = match self {
            Runner::Spmd => Execution::Spmd,
            Runner::Sections | Runner::Backwards => Execution::Sections,
        };
        Form {
            execution,
            marks: Marks::None,
        }
    }
}

const PAGE: usize = 4096;

/// What memory holds that nothing has written: a NaN in every floating-point type.
const UNWRITTEN: u8 = 0xff;

/// Bytes between two unmapped pages.
pub struct GuardedBytes {
    map: *mut u8,
    mapped: usize,
    at: usize,
    len: usize,
}

impl GuardedBytes {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8], edge: Edge) -> Self {
        let middle = bytes.len().next_multiple_of(PAGE).max(PAGE);
        let mapped = middle + 2 * PAGE;
        let at = match edge {
            Edge::Begin => PAGE,
            Edge::End => PAGE + middle - bytes.len(),
        };
        let rights = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: a fresh anonymous mapping, of which only the middle is made accessible.
        let map = unsafe {
            let map = mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::empty(),
                MapFlags::PRIVATE,
            );
            let map = map.expect("memory can be mapped").cast::<u8>();
            mprotect(map.add(PAGE).cast(), middle, rights).expect("it can be made accessible");
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.add(at), bytes.len());
            map
        };
        let len = bytes.len();
        GuardedBytes {
            map,
            mapped,
            at,
            len,
        }
    }

    fn unwritten(len: usize, edge: Edge) -> Self {
        Self::new(&vec![UNWRITTEN; len], edge)
    }

    /// The address of the first byte.
    pub fn ptr(&self) -> *mut u8 {
        // SAFETY: `at` lies inside the mapping.
        unsafe { self.map.add(self.at) }
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        // SAFETY: `len` accessible bytes begin at `ptr`.
        unsafe { std::slice::from_raw_parts(self.ptr(), self.len) }.to_vec()
    }
}

impl Drop for GuardedBytes {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { munmap(self.map.cast(), self.mapped).expect("it was mapped") };
    }
}

fn value(e: &Expr, plan: &Plan, sizes: &[i64]) -> usize {
    let find = |a: &Atom| match a {
        Atom::Size(s) => {
            let at = plan.sizes.iter().position(|p| p.symbol == *s);
            at.map(|k| sizes[k])
        }
        _ => None,
    };
    let value = e.eval(&find).expect("every size is known");
    usize::try_from(value).expect("no size is negative")
}

/// Runs a plan on inputs in its order; its outputs.
///
/// Errors: a failed run-time check.
pub fn run_guarded(
    plan: &Plan,
    inputs: &[Tensor],
    by: (Runner, usize),
    edge: Edge,
) -> Result<Vec<Tensor>, RuntimeError> {
    run_guarded_for(&Target::host(), plan, inputs, by, edge)
}

/// As [`run_guarded`], as code for a target.
pub fn run_guarded_for(
    target: &Target,
    plan: &Plan,
    inputs: &[Tensor],
    by: (Runner, usize),
    edge: Edge,
) -> Result<Vec<Tensor>, RuntimeError> {
    let sizes = plan.sizes.iter().map(|s| {
        let (port, dim) = s.source;
        inputs[port].shape[dim] as i64
    });
    let sizes: Vec<i64> = sizes.collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|t| &t.data[..]).collect();
    let outputs = run_bytes(target, plan, &inputs, &sizes, by, edge, UNWRITTEN)?;
    let tensors = plan.outputs.iter().zip(outputs).map(|(port, bytes)| {
        let shape = port.ty.shape.iter().map(|d| value(d, plan, &sizes));
        let tensor = Tensor::new(port.ty.dtype, shape.collect(), bytes.into());
        tensor.expect("an output has as many bytes as its shape says")
    });
    Ok(tensors.collect())
}

/// The block of constants; what the plan of preparation does not write is 0.
fn constants(
    target: &Target,
    plan: &Plan,
    by: (Runner, usize),
    edge: Edge,
) -> Result<Vec<u8>, RuntimeError> {
    let prepared = match &plan.prepare {
        Some(prepare) => run_bytes(target, prepare, &[], &[], by, edge, 0)?,
        None => Vec::new(),
    };
    let (offsets, bytes) = constant_offsets(plan);
    let mut block = vec![0; bytes];
    for (constant, at) in plan.constants.iter().zip(offsets) {
        let source: &[u8] = match &constant.source {
            Source::Data(tensor) => &tensor.data,
            Source::Prepared(k) => &prepared[*k],
        };
        block[at..at + source.len()].copy_from_slice(source);
    }
    Ok(block)
}

/// Runs a plan on so many threads; `fill` is what its outputs hold before.
fn run_bytes(
    target: &Target,
    plan: &Plan,
    inputs: &[&[u8]],
    sizes: &[i64],
    (runner, threads): (Runner, usize),
    edge: Edge,
    fill: u8,
) -> Result<Vec<Vec<u8>>, RuntimeError> {
    let code = JitCode::compile_with(plan, target, runner.form());
    let code = code.expect("the plan compiles");
    let pool = Pool::new(threads).expect("threads can be started");
    let guard = |bytes: &[u8]| GuardedBytes::new(bytes, edge);
    let constants = guard(&constants(target, plan, (runner, threads), edge)?);
    let inputs: Vec<GuardedBytes> = inputs.iter().map(|b| guard(b)).collect();
    let output = |k: usize| {
        let slots = plan.slots.iter().filter(|s| s.place == Place::Output(k));
        let bytes = slots.map(|s| value(&s.bytes(), plan, sizes)).max();
        let ty = &plan.outputs[k].ty;
        let least = value(&ty.count(), plan, sizes) * ty.dtype.bytes();
        guard(&vec![fill; bytes.unwrap_or(least)])
    };
    let outputs: Vec<GuardedBytes> = (0..plan.outputs.len()).map(output).collect();
    let arena = GuardedBytes::unwritten(value(&plan.arena_bytes, plan, sizes), edge);
    let needs = plan.kernels.iter().map(scratch_bytes);
    let stride = needs.map(|e| value(&e, plan, sizes)).max().unwrap_or(0);
    let stride = stride.next_multiple_of(64);
    let scratch = GuardedBytes::unwritten(stride * threads, edge);
    let input_addresses: Vec<*const u8> = inputs.iter().map(|b| b.ptr().cast_const()).collect();
    let output_addresses: Vec<*mut u8> = outputs.iter().map(GuardedBytes::ptr).collect();
    let mut sizes = sizes.to_vec();
    let mut context = Context::new();
    context.inputs = input_addresses.as_ptr();
    context.outputs = output_addresses.as_ptr();
    context.constants = constants.ptr();
    context.arena = arena.ptr();
    context.sizes = sizes.as_mut_ptr();
    context.scratch = scratch.ptr();
    context.scratch_bytes = stride as u64;
    // SAFETY: every pointer refers to memory of the size that the plan states.
    unsafe {
        match runner {
            Runner::Spmd => pool.run(code.entry(), &raw mut context)?,
            Runner::Sections => pool.run_sections(code.entry(), &raw mut context)?,
            Runner::Backwards => {
                run_sections(&Backwards, threads, code.entry(), &raw mut context)?;
            }
        }
    };
    Ok(outputs.iter().map(GuardedBytes::to_vec).collect())
}
