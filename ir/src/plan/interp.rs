//! The plan interpreter: runs steps one after the other with the loop interpreter.
//!
//! The arena and the outputs start as bytes of 0xff, so that what is read before it was written
//! shows.
use super::{Call, Place, Plan, SlotId, Source, Step};
use crate::eval::Sizes;
use crate::expr::{Atom, Expr};
use crate::loops::Scope;
use crate::loops::interp::{Arg, InterpError, Program};
use crate::tensor::Tensor;
use bytes::Bytes;
use std::cell::Cell;

/// Why a plan could not be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An input that does not fit.
    #[error("input `{input}`: {reason}")]
    Input {
        /// The input.
        input: String,
        /// Expected and found.
        reason: String,
    },
    /// A value that an op does not allow.
    #[error("node `{node}`: {what}: {value} is not in 0..{extent}")]
    Check {
        /// The node.
        node: String,
        /// What is checked.
        what: String,
        /// The value.
        value: i64,
        /// The bound.
        extent: i64,
    },
    /// A plan that should not exist.
    #[error("invalid plan: {0}")]
    Invalid(String),
}

/// Runs a plan with the loop interpreter.
///
/// Errors: inputs that do not fit, a failed run-time check, or a broken plan.
pub fn run_plan(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Tensor>, PlanError> {
    let sizes = bind_sizes(plan, inputs)?;
    let bytes = run_bytes(plan, inputs, &sizes, 0xff)?;
    let mut outputs = Vec::new();
    for (port, bytes) in plan.outputs.iter().zip(bytes) {
        let shape = port.ty.shape.iter().map(|d| size(d, &sizes));
        let shape = shape.collect::<Result<Vec<usize>, _>>()?;
        let tensor = Tensor::new(port.ty.dtype, shape, bytes.into());
        outputs.push(tensor.ok_or_else(|| invalid("an output is not row-major"))?);
    }
    Ok(outputs)
}

/// Runs the plan that prepares constants and gives the bytes of each, in the layouts of its
/// output slots; padding is 0. Empty if there is none.
///
/// Errors: a broken plan.
pub fn run_prepare(plan: &Plan) -> Result<Vec<Bytes>, PlanError> {
    let Some(prepare) = &plan.prepare else {
        return Ok(vec![]);
    };
    let outputs = run_bytes(prepare, &[], &Sizes::new(), 0)?;
    Ok(outputs.into_iter().map(Bytes::from).collect())
}

fn invalid(reason: impl Into<String>) -> PlanError {
    PlanError::Invalid(reason.into())
}

fn size(e: &Expr, sizes: &Sizes) -> Result<usize, PlanError> {
    let value = e.eval(&|a| match a {
        Atom::Size(s) => sizes.get(s).copied(),
        _ => None,
    });
    let fits = value.and_then(|v| usize::try_from(v).ok());
    fits.ok_or_else(|| invalid(format!("the size {e} has no value")))
}

/// Solves the size symbols, and checks types and shapes of the inputs.
fn bind_sizes(plan: &Plan, inputs: &[Tensor]) -> Result<Sizes, PlanError> {
    let fail = |k: usize, reason: String| PlanError::Input {
        input: plan.inputs[k].name.clone(),
        reason,
    };
    if plan.inputs.len() != inputs.len() {
        let reason = format!("{} given, want {}", inputs.len(), plan.inputs.len());
        let input = "*".into();
        return Err(PlanError::Input { input, reason });
    }
    let wrong = |k: usize| {
        let (t, want) = (&inputs[k], &plan.inputs[k].ty);
        fail(k, format!("found {}{:?}, want {want}", t.dtype, t.shape))
    };
    let mut sizes = Sizes::new();
    for p in &plan.sizes {
        let (k, dim) = p.source;
        let extent = inputs.get(k).and_then(|t| t.shape.get(dim));
        let value = *extent.ok_or_else(|| wrong(k))? as i64;
        if value < p.min || value > p.max {
            let reason = format!("{} is {value}, want {} to {}", p.symbol, p.min, p.max);
            return Err(fail(k, reason));
        }
        sizes.insert(p.symbol.clone(), value);
    }
    for (k, (port, tensor)) in plan.inputs.iter().zip(inputs).enumerate() {
        let shape = port.ty.shape.iter().map(|d| size(d, &sizes));
        let shape = shape.collect::<Result<Vec<usize>, _>>()?;
        if port.ty.dtype != tensor.dtype || shape != tensor.shape {
            return Err(wrong(k));
        }
    }
    Ok(sizes)
}

/// Runs a plan; gives the bytes of its outputs, which are `fill` where nothing writes.
fn run_bytes(
    plan: &Plan,
    inputs: &[Tensor],
    sizes: &Sizes,
    fill: u8,
) -> Result<Vec<Vec<u8>>, PlanError> {
    let prepared = run_prepare(plan)?;
    let mut outputs = Vec::new();
    for k in 0..plan.outputs.len() {
        let slot = plan.slots.iter().find(|s| s.place == Place::Output(k));
        let slot = slot.ok_or_else(|| invalid(format!("output {k} has no slot")))?;
        outputs.push(vec![fill; size(&slot.bytes(), sizes)?]);
    }
    let mut arena = vec![0xff; size(&plan.arena_bytes, sizes)?];
    let mut run = Run {
        plan,
        sizes,
        inputs: inputs.iter().map(|t| &t.data[..]).collect(),
        outputs: outputs
            .iter_mut()
            .map(|b| Cell::from_mut(&mut b[..]).as_slice_of_cells())
            .collect(),
        constants: constants(plan, &prepared)?,
        arena: Cell::from_mut(&mut arena[..]).as_slice_of_cells(),
        programs: programs(plan, sizes)?,
    };
    run.steps(&plan.steps)?;
    drop(run);
    Ok(outputs)
}

fn constants<'a>(plan: &'a Plan, prepared: &'a [Bytes]) -> Result<Vec<&'a [u8]>, PlanError> {
    let bytes = |c: &'a super::PlanConstant| match &c.source {
        Source::Data(t) => Ok(&t.data[..]),
        Source::Prepared(k) => prepared
            .get(*k)
            .map(|b| &b[..])
            .ok_or_else(|| invalid(format!("nothing prepares constant `{}`", c.name))),
    };
    plan.constants.iter().map(bytes).collect()
}

fn programs<'p>(plan: &'p Plan, sizes: &Sizes) -> Result<Vec<Program<'p>>, PlanError> {
    let mut values = Vec::new();
    for p in &plan.sizes {
        values.push(size(&Expr::size(p.symbol.clone()), sizes)? as i64);
    }
    let program =
        |k: &'p crate::loops::Kernel| Program::new(k, &values).map_err(|e| invalid(e.to_string()));
    plan.kernels.iter().map(program).collect()
}

struct Run<'r> {
    plan: &'r Plan,
    sizes: &'r Sizes,
    inputs: Vec<&'r [u8]>,
    outputs: Vec<&'r [Cell<u8>]>,
    constants: Vec<&'r [u8]>,
    arena: &'r [Cell<u8>],
    programs: Vec<Program<'r>>,
}

impl<'r> Run<'r> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), PlanError> {
        for step in steps {
            match step {
                Step::Barrier => {}
                Step::Call(call) => self.call(call)?,
                Step::If {
                    cond,
                    then,
                    otherwise,
                } => {
                    let steps = if self.scalar(*cond, 1)? != 0 {
                        then
                    } else {
                        otherwise
                    };
                    self.steps(steps)?;
                }
                Step::Loop {
                    trip,
                    cond,
                    counter,
                    body,
                } => self.repeat(*trip, *cond, *counter, body)?,
            }
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        trip: SlotId,
        cond: SlotId,
        counter: SlotId,
        body: &[Step],
    ) -> Result<(), PlanError> {
        let mut at = 0;
        loop {
            self.set_counter(counter, at)?;
            if at >= self.scalar(trip, 8)? || self.scalar(cond, 1)? == 0 {
                return Ok(());
            }
            self.steps(body)?;
            at += 1;
        }
    }

    fn set_counter(&self, slot: SlotId, value: i64) -> Result<(), PlanError> {
        let Arg::Cells(cells) = self.memory(slot)? else {
            return Err(invalid("a counter is not in the arena"));
        };
        let bytes = value.to_le_bytes();
        if cells.len() != bytes.len() {
            return Err(invalid("a counter is not one i64"));
        }
        cells.iter().zip(bytes).for_each(|(c, b)| c.set(b));
        Ok(())
    }

    /// A little-endian scalar of so many bytes.
    fn scalar(&self, slot: SlotId, bytes: usize) -> Result<i64, PlanError> {
        let found: Vec<u8> = match self.memory(slot)? {
            Arg::Bytes(b) => b.to_vec(),
            Arg::Cells(c) => c.iter().map(Cell::get).collect(),
        };
        if found.len() != bytes {
            return Err(invalid(format!("slot {} is no such scalar", slot.0)));
        }
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(&found);
        Ok(i64::from_le_bytes(wide))
    }

    /// The bytes of a slot.
    fn memory(&self, slot: SlotId) -> Result<Arg<'r>, PlanError> {
        let slot = self
            .plan
            .slots
            .get(slot.0 as usize)
            .ok_or_else(|| invalid(format!("there is no slot {}", slot.0)))?;
        let bytes = size(&slot.bytes(), self.sizes)?;
        let arg = match &slot.place {
            Place::Input(k) => self
                .inputs
                .get(*k)
                .and_then(|b| b.get(..bytes))
                .map(Arg::Bytes),
            Place::Constant(k) => {
                let bytes_of = self.constants.get(*k);
                bytes_of.and_then(|b| b.get(..bytes)).map(Arg::Bytes)
            }
            Place::Output(k) => {
                let cells = self.outputs.get(*k);
                cells.and_then(|c| c.get(..bytes)).map(Arg::Cells)
            }
            Place::Arena(at) => {
                let at = size(at, self.sizes)?;
                let end = at.checked_add(bytes);
                end.and_then(|end| self.arena.get(at..end)).map(Arg::Cells)
            }
        };
        arg.ok_or_else(|| invalid(format!("slot `{}` is outside its memory", slot.name)))
    }

    fn call(&mut self, call: &Call) -> Result<(), PlanError> {
        let kernel = call.kernel.0 as usize;
        let program = self.programs.get(kernel);
        let program = program.ok_or_else(|| invalid(format!("there is no kernel {kernel}")))?;
        let params: Vec<Scope> = self.plan.kernels[kernel]
            .params()
            .map(|(_, b)| b.scope)
            .collect();
        let mut args = Vec::new();
        for (slot, scope) in call.args.iter().zip(params) {
            let arg = self.memory(*slot)?;
            if scope == Scope::Output && matches!(arg, Arg::Bytes(_)) {
                return Err(invalid("a kernel writes an input or a constant"));
            }
            args.push(arg);
        }
        program.run(&args).map_err(|e| self.failure(call, e))
    }

    fn failure(&self, call: &Call, error: InterpError) -> PlanError {
        match error {
            InterpError::Check {
                site,
                value,
                extent,
            } => {
                let site = self.plan.sites.get((call.site_base + site) as usize);
                let (node, what) = match site {
                    Some(s) => (s.node.clone(), s.what.clone()),
                    None => (call.nodes.join(", "), "a check".into()),
                };
                PlanError::Check {
                    node,
                    what,
                    value,
                    extent,
                }
            }
            other => invalid(other.to_string()),
        }
    }
}
