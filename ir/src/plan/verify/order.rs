//! Whether barriers order what needs an order.
use super::Memory;
use crate::plan::{Call, SlotId, Step};

/// Accesses since the last barrier.
#[derive(Clone, Default)]
struct Open {
    reads: Vec<(SlotId, bool)>,
    writes: Vec<(SlotId, bool)>,
}

impl Open {
    /// Reads by every thread.
    fn reading(slots: &[SlotId]) -> Self {
        Open {
            reads: slots.iter().map(|s| (*s, true)).collect(),
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
        if let Some((w, _)) = open.writes.iter().find(|(w, _)| memory.overlap(*w, *slot)) {
            return Err(format!(
                "slot {} is read by all threads, without a barrier since slot {} was written",
                slot.0, w.0
            ));
        }
    }
    Ok(())
}

fn call_step(memory: &Memory<'_>, call: &Call, open: &mut Open) -> Result<(), String> {
    let parallel = memory.plan.kernel(call.kernel).is_parallel();
    let (reads, writes) = memory.accesses(call);
    let clash = |slot: SlotId, others: &[(SlotId, bool)]| {
        let found = others
            .iter()
            .find(|(o, p)| (*p || parallel) && memory.overlap(*o, slot));
        found.map(|(o, _)| {
            let (a, b) = (o.0, slot.0);
            format!(
                "no barrier between accesses of slots {a} and {b} in {:?}",
                call.nodes
            )
        })
    };
    let late = reads.iter().find_map(|s| clash(*s, &open.writes));
    let late = late.or_else(|| {
        let early = |s: &SlotId| clash(*s, &open.writes).or_else(|| clash(*s, &open.reads));
        writes.iter().find_map(early)
    });
    if let Some(reason) = late {
        return Err(reason);
    }
    open.reads.extend(reads.into_iter().map(|s| (s, parallel)));
    open.writes
        .extend(writes.into_iter().map(|s| (s, parallel)));
    Ok(())
}
