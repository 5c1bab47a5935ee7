//! Runs plans of one kernel as machine code, in buffers that touch unmapped pages.
#![allow(dead_code, reason = "no test file uses all of it")]

#[path = "../../../passes/tests/common/seeds.rs"]
pub mod seeds;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::kernel::scratch_bytes;
use tensmith_codegen::target::Target;
use tensmith_codegen::wide::vir::Width;
use tensmith_ir::define::Definition;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Atom, Expr};
use tensmith_ir::loops::{Kernel, Scope, parse_kernel, verify_kernel};
use tensmith_ir::plan::Plan;
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_runtime::abi::Context;
use tensmith_runtime::error::RuntimeError;
use tensmith_runtime::pool::Pool;

/// Which end of a buffer touches an unmapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Begin,
    End,
    /// None; the buffer begins this many bytes after the begin of a page.
    Past(usize),
}

const PAGE: usize = 4096;

/// Bytes between two unmapped pages.
pub struct GuardedBytes {
    map: *mut u8,
    mapped: usize,
    at: usize,
    len: usize,
}

impl GuardedBytes {
    pub fn new(bytes: &[u8], edge: Edge) -> Self {
        let past = match edge {
            Edge::Past(past) => past,
            _ => 0,
        };
        let middle = (bytes.len() + past).next_multiple_of(PAGE).max(PAGE);
        let mapped = middle + 2 * PAGE;
        let at = match edge {
            Edge::Begin | Edge::Past(_) => PAGE + past,
            Edge::End => PAGE + middle - bytes.len(),
        };
        // SAFETY: a fresh anonymous mapping, of which only the middle is made accessible.
        unsafe {
            let map = mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::empty(),
                MapFlags::PRIVATE,
            )
            .unwrap()
            .cast::<u8>();
            mprotect(
                map.add(PAGE).cast(),
                middle,
                MprotectFlags::READ | MprotectFlags::WRITE,
            )
            .unwrap();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.add(at), bytes.len());
            GuardedBytes {
                map,
                mapped,
                at,
                len: bytes.len(),
            }
        }
    }

    pub fn ptr(&self) -> *mut u8 {
        // SAFETY: `at` lies inside the mapping.
        unsafe { self.map.add(self.at) }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        // SAFETY: `len` accessible bytes begin at `ptr`.
        unsafe { std::slice::from_raw_parts(self.ptr(), self.len) }.to_vec()
    }
}

impl Drop for GuardedBytes {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { munmap(self.map.cast(), self.mapped).unwrap() };
    }
}

/// A plan that calls one kernel on its inputs and outputs.
pub fn plan_of(kernel: Kernel) -> Plan {
    Plan::of_kernel(kernel, &[])
}

fn value(e: &Expr, plan: &Plan, sizes: &[i64]) -> usize {
    let find = |a: &Atom| match a {
        Atom::Size(s) => plan
            .sizes
            .iter()
            .position(|p| p.symbol == *s)
            .map(|k| sizes[k]),
        _ => None,
    };
    usize::try_from(e.eval(&find).unwrap()).unwrap()
}

/// Runs a kernel on inputs in the order of its parameters; the outputs' bytes.
pub fn run(
    kernel: &Kernel,
    sizes: &[i64],
    inputs: &[Tensor],
    threads: usize,
    edge: Edge,
) -> Result<Vec<Tensor>, RuntimeError> {
    run_for(&Target::host(), kernel, sizes, inputs, threads, edge)
}

/// Runs a kernel compiled for a target that this machine has.
pub fn run_for(
    target: &Target,
    kernel: &Kernel,
    sizes: &[i64],
    inputs: &[Tensor],
    threads: usize,
    edge: Edge,
) -> Result<Vec<Tensor>, RuntimeError> {
    let plan = plan_of(kernel.clone());
    let code = JitCode::compile(&plan, target).unwrap_or_else(|e| panic!("{e}\n{}", kernel.name));
    let pool = Pool::new(threads).unwrap();
    let buffers: Vec<GuardedBytes> = inputs
        .iter()
        .map(|t| GuardedBytes::new(&t.data, edge))
        .collect();
    let shapes: Vec<Vec<usize>> = plan
        .outputs
        .iter()
        .map(|p| p.ty.shape.iter().map(|d| value(d, &plan, sizes)).collect())
        .collect();
    let results: Vec<GuardedBytes> = shapes
        .iter()
        .zip(&plan.outputs)
        .map(|(s, p)| {
            GuardedBytes::new(
                &vec![0xaa; s.iter().product::<usize>() * p.ty.dtype.bytes()],
                edge,
            )
        })
        .collect();
    let stride = value(&scratch_bytes(kernel), &plan, sizes).next_multiple_of(64);
    let scratch = GuardedBytes::new(&vec![0x55; stride * threads], edge);
    let input_ptrs: Vec<*const u8> = buffers.iter().map(|b| b.ptr().cast_const()).collect();
    let output_ptrs: Vec<*mut u8> = results.iter().map(GuardedBytes::ptr).collect();
    let mut sizes = sizes.to_vec();
    let mut context = Context::new();
    context.inputs = input_ptrs.as_ptr();
    context.outputs = output_ptrs.as_ptr();
    context.sizes = sizes.as_mut_ptr();
    context.scratch = scratch.ptr();
    context.scratch_bytes = stride as u64;
    // SAFETY: every pointer refers to memory of the sizes that the plan states.
    unsafe { pool.run(code.entry(), &mut context)? };
    let tensor = |(k, b): (usize, &GuardedBytes)| {
        Tensor::new(
            plan.outputs[k].ty.dtype,
            shapes[k].clone(),
            b.to_vec().into(),
        )
        .unwrap()
    };
    Ok(results.iter().enumerate().map(tensor).collect())
}

/// The inputs of a definition in the order of its parameters.
pub fn arguments(
    definition: &Definition,
    graph: &tensmith_ir::graph::Graph,
    inputs: &[Tensor],
) -> Vec<Tensor> {
    definition
        .inputs
        .iter()
        .map(|v| match &graph.value(*v).def {
            tensmith_ir::graph::Def::Input(k) => inputs[*k].clone(),
            tensmith_ir::graph::Def::Constant(t) => t.clone(),
            tensmith_ir::graph::Def::Node(..) => panic!("a task of one node reads no other"),
        })
        .collect()
}

/// The host without wide tiles, and with those of each width that it has.
pub fn targets() -> Vec<Target> {
    let host = Target::host();
    let widths = match host.wide {
        Some(Width::Z512) => vec![None, Some(Width::Y256), Some(Width::Z512)],
        Some(Width::Y256) => vec![None, Some(Width::Y256)],
        None => vec![None],
    };
    let with = |wide| Target {
        wide,
        ..host.clone()
    };
    widths.into_iter().map(with).collect()
}

/// A verified kernel of its text.
pub fn kernel(text: &str) -> Kernel {
    let k = parse_kernel(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify_kernel(&k).unwrap_or_else(|e| panic!("{e}\n{text}"));
    k
}

/// Values of both signs, with fractions that sums round.
pub fn inputs(kernel: &Kernel, sizes: &[i64]) -> Vec<Tensor> {
    let size = |e: &tensmith_ir::expr::Expr| {
        let known = kernel.sizes.iter().zip(sizes);
        let bound = e.bind_sizes(&|s| known.clone().find(|(k, _)| *k == s).map(|(_, v)| *v));
        bound.as_const().unwrap() as usize
    };
    let params = kernel.params().filter(|(_, b)| b.scope == Scope::Input);
    params
        .enumerate()
        .map(|(n, (_, b))| {
            let shape: Vec<usize> = b.shape.iter().map(size).collect();
            let count: usize = shape.iter().product();
            let value = |k: usize| ((k * 7919 + 31 * n + 13) % 1013) as f32 / 337.0 - 1.5;
            assert_eq!(b.dtype, DType::F32);
            Tensor::from_f32(shape, &(0..count).map(value).collect::<Vec<_>>())
        })
        .collect()
}

/// The same bits, but any NaN equals any NaN.
pub fn same(want: &[Tensor], got: &[Tensor]) -> Result<(), String> {
    for (k, (w, g)) in want.iter().zip(got).enumerate() {
        let at = match (w.to_wide(), g.to_wide()) {
            (Wide::Float(a), Wide::Float(b)) => {
                let same = |x: f64, y: f64| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
                a.iter().zip(&b).position(|(x, y)| !same(*x, *y))
            }
            (Wide::Int(a), Wide::Int(b)) => a.iter().zip(&b).position(|(x, y)| x != y),
            _ => Some(0),
        };
        if let Some(at) = at {
            let (a, b) = (w.to_f64()[at], g.to_f64()[at]);
            return Err(format!("result {k}, element {at}: want {a:e}, got {b:e}"));
        }
    }
    Ok(())
}
