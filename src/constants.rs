//! The block of constants: bytes of the model, and what the plan of preparation computes.
use crate::convert::bytes_of;
use crate::error::{Error, Result};
use crate::executable::default_memory_bytes;
use crate::session::{Geometry, run_once};
use tensmith_codegen::entry::constant_offsets;
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::plan::{Place, Plan, Source};
use tensmith_runtime::{AlignedBytes, Pool};

/// Fills the block of constants of a plan; runs the plan of preparation on this machine.
/// `memory_bytes` bounds what that may take.
///
/// Errors: constants that are large beside what the model's file has; memory ends; a defect of the
/// compiler.
pub fn fill(plan: &Plan, pool: &Pool, memory_bytes: Option<u64>) -> Result<AlignedBytes> {
    check_memory(plan, memory_bytes)?;
    fill_unbounded(plan, pool)
}

fn check_memory(plan: &Plan, memory_bytes: Option<u64>) -> Result<()> {
    let plans = [Some(plan), plan.prepare.as_deref()];
    let constants = plans.iter().flatten().flat_map(|p| &p.constants);
    let data = constants.clone().map(|c| match &c.source {
        Source::Data(tensor) => tensor.data.len() as u64,
        Source::Prepared(_) => 0,
    });
    let sizes = constants.map(|c| c.bytes as u64);
    let arena = match &plan.prepare {
        Some(prepare) => Geometry::new(prepare).arena_bytes(&[])? as u64,
        None => 0,
    };
    let need = sizes.fold(arena, u64::saturating_add);
    let limit = memory_bytes.unwrap_or_else(|| default_memory_bytes(data.sum()));
    if need <= limit {
        return Ok(());
    }
    Err(Error::Limit(format!(
        "the model's constants take {need} bytes, more than the limit of {limit}; if the model is \
         trusted, raise the limit (--memory-bytes)"
    )))
}

fn fill_unbounded(plan: &Plan, pool: &Pool) -> Result<AlignedBytes> {
    let prepared = match &plan.prepare {
        Some(prepare) => prepare_constants(prepare, pool)?,
        None => Vec::new(),
    };
    let (offsets, bytes) = constant_offsets(plan);
    let mut block = AlignedBytes::zeroed(bytes)?;
    for (constant, offset) in plan.constants.iter().zip(offsets) {
        let source: &[u8] = match &constant.source {
            Source::Data(tensor) => &tensor.data,
            Source::Prepared(k) => &prepared[*k],
        };
        if source.len() > constant.bytes {
            let (found, want) = (source.len(), constant.bytes);
            let name = &constant.name;
            let reason = format!("constant `{name}` has {found} bytes, its slot {want}");
            return Err(Error::Internal(reason));
        }
        block[offset..offset + source.len()].copy_from_slice(source);
    }
    Ok(block)
}

/// Runs a plan without inputs and sizes; its outputs are in the layouts of their slots, and what
/// the kernels do not write is 0.
fn prepare_constants(plan: &Plan, pool: &Pool) -> Result<Vec<AlignedBytes>> {
    let constants = fill_unbounded(plan, pool)?;
    let code = JitCode::compile(plan, &Target::host())?;
    let mut outputs = Vec::with_capacity(plan.outputs.len());
    for k in 0..plan.outputs.len() {
        let slots = plan.slots.iter().filter(|s| s.place == Place::Output(k));
        let bytes = slots.map(|s| bytes_of(s.bytes().as_const(), "a constant"));
        let bytes = bytes.collect::<Result<Vec<usize>>>()?;
        let bytes = bytes.into_iter().max().unwrap_or(0);
        outputs.push(AlignedBytes::zeroed(bytes)?);
    }
    let geometry = Geometry::new(plan);
    run_once(&code, pool, &geometry, &constants, &mut outputs)?;
    Ok(outputs)
}
