//! Whether barriers order what needs an order.
use super::Memory;
use crate::loops::{Buffer, Region, Scope, touched_regions};
use crate::plan::{Call, SlotId, Step};

/// An access of a slot.
#[derive(Clone)]
struct Access {
    slot: SlotId,
    /// Whether several threads make it.
    parallel: bool,
    /// As what a kernel sees the slot, and the elements that it touches of it; `None`: all of it.
    part: Option<(Buffer, Region)>,
}

impl Access {
    /// Whether two accesses may touch the same bytes.
    fn meets(&self, other: &Access, memory: &Memory<'_>) -> bool {
        memory.overlap(self.slot, other.slot) && !self.is_apart(other)
    }

    /// Whether two accesses touch different elements of one slot.
    fn is_apart(&self, other: &Access) -> bool {
        let (Some((a, x)), Some((b, y))) = (&self.part, &other.part) else {
            return false;
        };
        let alike = (&a.shape, &a.layout) == (&b.shape, &b.layout);
        self.slot == other.slot && alike && x.is_apart(y)
    }
}

/// Accesses since the last barrier.
#[derive(Clone, Default)]
struct Open {
    reads: Vec<Access>,
    writes: Vec<Access>,
}

impl Open {
    /// Reads by every thread.
    fn reading(slots: &[SlotId]) -> Self {
        let whole = |slot: &SlotId| Access {
            slot: *slot,
            parallel: true,
            part: None,
        };
        Open {
            reads: slots.iter().map(whole).collect(),
            writes: vec![],
        }
    }

    fn join(&mut self, other: Open) {
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
    }
}

/// Checks that steps which touch the same bytes are ordered.
pub fn check(memory: &Memory<'_>) -> Result<(), String> {
    walk(memory, &memory.plan.steps, &mut Open::default())
}

fn walk(memory: &Memory<'_>, steps: &[Step], open: &mut Open) -> Result<(), String> {
    for step in steps {
        match step {
            Step::Barrier => *open = Open::default(),
            Step::Call(call) => call_step(memory, call, open)?,
            Step::If {
                cond,
                then,
                otherwise,
            } => {
                ordered_read(memory, &[*cond], open)?;
                let mut arms = [open.clone(), open.clone()];
                for (arm, steps) in arms.iter_mut().zip([then, otherwise]) {
                    arm.join(Open::reading(&[*cond]));
                    walk(memory, steps, arm)?;
                }
                let [a, b] = arms;
                *open = a;
                open.join(b);
            }
            Step::Loop {
                trip,
                cond,
                counter,
                body,
            } => {
                let state = [*trip, *cond, *counter];
                ordered_read(memory, &state, open)?;
                // The counter advances between two barriers: nothing is open across its edge.
                walk(memory, body, &mut Open::reading(&state))?;
                *open = Open::reading(&state);
            }
        }
    }
    Ok(())
}

/// Every thread reads; what was written must be behind a barrier, whoever wrote it.
fn ordered_read(memory: &Memory<'_>, slots: &[SlotId], open: &Open) -> Result<(), String> {
    for slot in slots {
        let written = |w: &&Access| memory.overlap(w.slot, *slot);
        if let Some(w) = open.writes.iter().find(written) {
            return Err(format!(
                "slot {} is read by all threads, without a barrier since slot {} was written",
                slot.0, w.slot.0
            ));
        }
    }
    Ok(())
}

fn call_step(memory: &Memory<'_>, call: &Call, open: &mut Open) -> Result<(), String> {
    let (reads, writes) = accesses(memory, call);
    let clash = |access: &Access, others: &[Access]| {
        let early = |o: &&Access| (o.parallel || access.parallel) && access.meets(o, memory);
        others.iter().find(early).map(|o| {
            let (a, b) = (o.slot.0, access.slot.0);
            format!(
                "no barrier between accesses of slots {a} and {b} in {:?}",
                call.nodes
            )
        })
    };
    let late = reads.iter().find_map(|a| clash(a, &open.writes));
    let late = late.or_else(|| {
        let early = |a: &Access| clash(a, &open.writes).or_else(|| clash(a, &open.reads));
        writes.iter().find_map(early)
    });
    if let Some(reason) = late {
        return Err(reason);
    }
    open.reads.extend(reads);
    open.writes.extend(writes);
    Ok(())
}

/// What a call reads, and what it writes.
fn accesses(memory: &Memory<'_>, call: &Call) -> (Vec<Access>, Vec<Access>) {
    let kernel = memory.plan.kernel(call.kernel);
    let parallel = kernel.is_parallel();
    let (mut reads, mut writes) = (vec![], vec![]);
    let params = call.args.iter().zip(kernel.params());
    for ((slot, (_, buffer)), touched) in params.zip(touched_regions(kernel)) {
        let list = match buffer.scope {
            Scope::Input => &mut reads,
            _ => &mut writes,
        };
        list.push(Access {
            slot: *slot,
            parallel,
            part: Some((buffer.clone(), touched)),
        });
    }
    (reads, writes)
}
