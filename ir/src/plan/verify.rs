//! Checks the invariants of plans.
mod data;
mod order;

use super::{Call, Place, Plan, PlanError, Slot, SlotId, Step};
use crate::dtype::DType;
use crate::expr::{Atom, Expr, Ranges};
use crate::loops::{Buffer, Kernel, Scope, Stmt, may_write_over};

/// Units: bytes. What offsets in the arena are multiples of.
const ALIGN: i64 = 64;

/// Checks the invariants of a plan and of the plan that prepares its constants: ids in range;
/// arguments that fit their parameters; slots that lie within their memory, aligned, for the
/// least and greatest sizes; results that no call writes over before they are read; no call whose
/// result overlaps another argument, unless it is an operand that the kernel may write over; a barrier between calls that touch the same bytes.
///
/// Kernels are checked by [`crate::loops::verify_kernel`].
///
/// Errors: the first broken one.
pub fn verify_plan(plan: &Plan) -> Result<(), PlanError> {
    let inner = || -> Result<(), String> {
        for kernel in &plan.kernels {
            check_sizes(plan, kernel).map_err(|e| format!("kernel `{}`: {e}", kernel.name))?;
        }
        for (k, slot) in plan.slots.iter().enumerate() {
            check_slot(plan, slot).map_err(|e| format!("slot {k} `{}`: {e}", slot.name))?;
        }
        check_steps(plan, &plan.steps)?;
        let memory = Memory::new(plan);
        order::check(&memory)?;
        data::check(&memory)
    };
    inner().map_err(|e| PlanError::Invalid(format!("`{}`: {e}", plan.name)))?;
    match &plan.prepare {
        Some(prepare) => verify_plan(prepare),
        None => Ok(()),
    }
}

fn check_sizes(plan: &Plan, kernel: &Kernel) -> Result<(), String> {
    let same = kernel.sizes.iter().eq(plan.sizes.iter().map(|s| &s.symbol));
    match same {
        true => Ok(()),
        false => Err("its size parameters are not those of the plan".into()),
    }
}

/// Values of an expression for the least and the greatest sizes.
fn extremes(plan: &Plan, e: &Expr) -> Option<[i64; 2]> {
    let at = |greatest: bool| {
        e.eval(&|a| {
            let Atom::Size(symbol) = a else { return None };
            let size = plan.sizes.iter().find(|s| s.symbol == *symbol)?;
            Some(if greatest { size.max } else { size.min })
        })
    };
    Some([at(false)?, at(true)?])
}

fn check_slot(plan: &Plan, slot: &Slot) -> Result<(), String> {
    if slot.layout.0.iter().any(|d| d.dim >= slot.shape.len()) {
        return Err("its layout has more dimensions than its shape".into());
    }
    let room = match &slot.place {
        Place::Input(k) => port_bytes(plan.inputs.get(*k))?,
        Place::Output(k) if slot.layout.is_row_major() => port_bytes(plan.outputs.get(*k))?,
        Place::Output(k) => {
            port_bytes(plan.outputs.get(*k))?;
            slot.bytes()
        }
        Place::Constant(k) => {
            let constant = plan.constants.get(*k);
            Expr::from(constant.ok_or("there is no such constant")?.bytes)
        }
        Place::Arena(at) => return check_arena(plan, slot, at),
    };
    match room == slot.bytes() {
        true => Ok(()),
        false => Err(format!("it has {} bytes in {room}", slot.bytes())),
    }
}

fn port_bytes(port: Option<&super::Port>) -> Result<Expr, String> {
    let port = port.ok_or("there is no such input or output")?;
    Ok(port.ty.count() * port.ty.dtype.bytes())
}

fn check_arena(plan: &Plan, slot: &Slot, at: &Expr) -> Result<(), String> {
    let end = at.clone() + slot.bytes();
    let all = [at, &end, &plan.arena_bytes].map(|e| extremes(plan, e));
    let [Some(at), Some(end), Some(arena)] = all else {
        // The greatest size is beyond what memory can hold; the least one decides.
        return Ok(());
    };
    for k in 0..2 {
        if at[k] < 0 || at[k] % ALIGN != 0 {
            return Err(format!("offset {} is no multiple of {ALIGN}", at[k]));
        }
        if end[k] > arena[k] {
            return Err(format!("it ends at {} of {} bytes", end[k], arena[k]));
        }
    }
    Ok(())
}

fn check_steps(plan: &Plan, steps: &[Step]) -> Result<(), String> {
    let scalar = |slot: SlotId, dtype: DType| {
        let found = plan.slots.get(slot.0 as usize);
        let fits = found.is_some_and(|s| s.dtype == dtype && s.shape.is_empty());
        fits.then_some(())
            .ok_or_else(|| format!("slot {} is no {dtype} scalar", slot.0))
    };
    for step in steps {
        match step {
            Step::Barrier => {}
            Step::Call(call) => {
                check_call(plan, call).map_err(|e| format!("call of {:?}: {e}", call.nodes))?;
            }
            Step::If {
                cond,
                then,
                otherwise,
            } => {
                scalar(*cond, DType::Bool)?;
                check_steps(plan, then)?;
                check_steps(plan, otherwise)?;
            }
            Step::Loop {
                trip,
                cond,
                counter,
                body,
            } => {
                scalar(*trip, DType::I64)?;
                scalar(*cond, DType::Bool)?;
                scalar(*counter, DType::I64)?;
                check_steps(plan, body)?;
            }
        }
    }
    Ok(())
}

fn check_call(plan: &Plan, call: &Call) -> Result<(), String> {
    let kernel = plan.kernels.get(call.kernel.0 as usize);
    let kernel = kernel.ok_or("there is no such kernel")?;
    let params: Vec<&Buffer> = kernel.params().map(|(_, b)| b).collect();
    if params.len() != call.args.len() {
        let (found, want) = (call.args.len(), params.len());
        return Err(format!("{found} arguments, want {want}"));
    }
    for (slot, param) in call.args.iter().zip(params) {
        let slot = plan.slots.get(slot.0 as usize);
        let slot = slot.ok_or("there is no such slot")?;
        check_arg(slot, param).map_err(|e| format!("slot `{}`: {e}", slot.name))?;
    }
    let sites = count_sites(&kernel.body);
    match (call.site_base as usize).checked_add(sites) {
        Some(end) if end <= plan.sites.len() => Ok(()),
        _ => Err(format!("{sites} sites from {} on", call.site_base)),
    }
}

fn check_arg(slot: &Slot, param: &Buffer) -> Result<(), String> {
    if slot.dtype != param.dtype {
        return Err(format!("it is {}, want {}", slot.dtype, param.dtype));
    }
    let fits = match (slot.layout.is_row_major(), param.layout.is_row_major()) {
        (true, true) => slot.bytes() == param.count() * param.dtype.bytes(),
        _ => slot.layout == param.layout && slot.shape == param.shape,
    };
    let read_only = matches!(slot.place, Place::Input(_) | Place::Constant(_));
    if !fits {
        let (found, want) = (&slot.layout, &param.layout);
        return Err(format!("shape or layout differ: {found}, want {want}"));
    }
    if read_only && param.scope == Scope::Output {
        return Err("an input or a constant is written".into());
    }
    Ok(())
}

/// One more than the greatest site of a kernel.
fn count_sites(body: &[Stmt]) -> usize {
    let own = |s: &Stmt| match s {
        Stmt::Check { site, .. } => *site as usize + 1,
        _ => 0,
    };
    let inner = |s: &Stmt| s.bodies().into_iter().map(|b| count_sites(b)).max();
    let all = body.iter().map(|s| own(s).max(inner(s).unwrap_or(0)));
    all.max().unwrap_or(0)
}

/// What slots share bytes.
struct Memory<'p> {
    plan: &'p Plan,
    ranges: Ranges,
}

impl<'p> Memory<'p> {
    fn new(plan: &'p Plan) -> Self {
        let mut ranges = Ranges::new();
        for size in &plan.sizes {
            ranges.bind_size(size.symbol.clone(), size.min, size.max);
        }
        Memory { plan, ranges }
    }

    /// Whether two slots may share bytes.
    fn overlap(&self, a: SlotId, b: SlotId) -> bool {
        let (a, b) = (self.plan.slot(a), self.plan.slot(b));
        let (Place::Arena(at), Place::Arena(bt)) = (&a.place, &b.place) else {
            return a.place == b.place;
        };
        let before = |end: Expr, start: &Expr| {
            let gap = start.clone() - end;
            self.ranges.proves_non_negative(&gap) || self.ranges.proves_non_negative(&least(&gap))
        };
        !before(at.clone() + a.bytes(), bt) && !before(bt.clone() + b.bytes(), at)
    }

    /// Whether two slots are the same bytes.
    fn same(&self, a: SlotId, b: SlotId) -> bool {
        let (a, b) = (self.plan.slot(a), self.plan.slot(b));
        a.place == b.place && a.bytes() == b.bytes()
    }

    /// Whether a call may write the result in slot `b` over the operand in slot `a`, which is all
    /// that it reads there.
    fn shares(&self, call: &Call, a: SlotId, b: SlotId) -> bool {
        let kernel = self.plan.kernel(call.kernel);
        let params = || call.args.iter().zip(kernel.params());
        let overlapping = params().filter(|(slot, _)| self.overlap(**slot, b)).count();
        let of = |s: SlotId| {
            params()
                .find(|(slot, _)| **slot == s)
                .map(|(_, (id, _))| id)
        };
        let (Some(operand), Some(result)) = (of(a), of(b)) else {
            return false;
        };
        a != b && overlapping == 2 && self.same(a, b) && may_write_over(kernel, operand, result)
    }

    /// The slots that a call reads and writes.
    fn accesses(&self, call: &Call) -> (Vec<SlotId>, Vec<SlotId>) {
        let params = self.plan.kernel(call.kernel).params();
        let pairs = call.args.iter().copied().zip(params);
        let (reads, writes): (Vec<_>, Vec<_>) =
            pairs.partition(|(_, (_, b))| b.scope == Scope::Input);
        let slots = |v: Vec<(SlotId, _)>| v.into_iter().map(|(s, _)| s).collect();
        (slots(reads), slots(writes))
    }
}

/// The expression with `x - (d - 1)` for `d * div(x, d)`, which is at least that: offsets are
/// rounded up to whole cache lines.
fn least(e: &Expr) -> Expr {
    e.terms().iter().fold(e.clone(), |e, term| match term {
        (atoms, coef @ 1..) => match &atoms[..] {
            [Atom::Div(p)] if p.1.is(*coef) => {
                e - p.0.div(p.1.clone()) * *coef + p.0.clone() - (coef - 1)
            }
            _ => e,
        },
        _ => e,
    })
}
