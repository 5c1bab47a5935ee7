//! Whether what is read is what was written.
use super::Memory;
use crate::plan::{Call, Place, SlotId, Step};

/// Slots of the arena and of outputs whose bytes are as some call left them.
type Valid = Vec<SlotId>;

/// Checks that every read finds what was written there, in the order of the steps. What a loop
/// writes counts as written after it.
pub fn check(memory: &Memory<'_>) -> Result<(), String> {
    let mut valid = Valid::new();
    walk(memory, &memory.plan.steps, &mut valid)?;
    for k in 0..memory.plan.outputs.len() {
        let written = |s: &SlotId| memory.plan.slot(*s).place == Place::Output(k);
        if !valid.iter().any(written) {
            return Err(format!("output {k} is not written"));
        }
    }
    Ok(())
}

fn walk(memory: &Memory<'_>, steps: &[Step], valid: &mut Valid) -> Result<(), String> {
    for step in steps {
        match step {
            Step::Barrier => {}
            Step::Call(call) => call_step(memory, call, valid)?,
            Step::If {
                cond,
                then,
                otherwise,
            } => {
                read(memory, *cond, valid)?;
                let mut other = valid.clone();
                walk(memory, then, valid)?;
                walk(memory, otherwise, &mut other)?;
                valid.retain(|s| other.iter().any(|o| memory.same(*s, *o)));
            }
            Step::Loop {
                trip,
                cond,
                counter,
                body,
            } => {
                write(memory, *counter, valid);
                // The second round reads what the first one left.
                for _ in 0..2 {
                    for slot in [trip, cond, counter] {
                        read(memory, *slot, valid)?;
                    }
                    walk(memory, body, valid)?;
                }
                for slot in [trip, cond, counter] {
                    read(memory, *slot, valid)?;
                }
            }
        }
    }
    Ok(())
}

fn call_step(memory: &Memory<'_>, call: &Call, valid: &mut Valid) -> Result<(), String> {
    let (reads, writes) = memory.accesses(call);
    let context = |e: String| format!("call of {:?}: {e}", call.nodes);
    for slot in &reads {
        read(memory, *slot, valid).map_err(context)?;
    }
    for (k, slot) in writes.iter().enumerate() {
        let others = reads.iter().chain(&writes[..k]);
        let clash = |o: &&SlotId| memory.overlap(**o, *slot) && !memory.shares(call, **o, *slot);
        if let Some(other) = others.into_iter().find(clash) {
            let (a, b) = (slot.0, other.0);
            return Err(context(format!("its result, slot {a}, overlaps slot {b}")));
        }
        write(memory, *slot, valid);
    }
    Ok(())
}

fn read(memory: &Memory<'_>, slot: SlotId, valid: &Valid) -> Result<(), String> {
    let place = &memory.plan.slot(slot).place;
    let known = matches!(place, Place::Input(_) | Place::Constant(_))
        || valid.iter().any(|v| memory.same(*v, slot));
    match known {
        true => Ok(()),
        false => Err(format!(
            "slot {} `{}` is read, but was not written or was written over",
            slot.0,
            memory.plan.slot(slot).name
        )),
    }
}

fn write(memory: &Memory<'_>, slot: SlotId, valid: &mut Valid) {
    valid.retain(|v| !memory.overlap(*v, slot));
    valid.push(slot);
}
