//! Results in the place of an operand that is not needed any more.
//!
//! Requires: a plan whose steps are final but for barriers, and which storage each slot views.
//! Ensures: a result shares the storage of an operand only where the kernel may write over it
//! ([`may_write_over`]), nothing reads that operand later, and the arena needs less memory for it.
use super::{Life, StorageId, lives};
use std::collections::HashMap;
use tensmith_ir::loops::{BufferId, Scope, may_write_over};
use tensmith_ir::plan::{Call, Place, Plan, SlotId, Step};

/// A result and an operand of one call that may share a place.
struct Pair<'p> {
    call: &'p Call,
    /// The operand and the result among the kernel's buffers.
    buffers: (BufferId, BufferId),
    storages: (StorageId, StorageId),
}

/// Lets results lie in the place of operands, if the most that is live at one time becomes less.
pub fn share_places(plan: &Plan, storage_of: &mut [StorageId]) {
    let Some(memory) = Memory::of(plan, storage_of) else {
        return;
    };
    let pairs = memory.pairs();
    let all = shared(&pairs);
    if memory.most_live(&all) >= memory.most_live(&HashMap::new()) {
        return;
    }
    let legal = |p: &Pair<'_>| {
        let (operand, result) = p.buffers;
        may_write_over(plan.kernel(p.call.kernel), operand, result)
    };
    let pairs: Vec<Pair<'_>> = pairs.into_iter().filter(legal).collect();
    let places = shared(&pairs);
    if memory.most_live(&places) < memory.most_live(&HashMap::new()) {
        let place = |s: &StorageId| places.get(s).copied().unwrap_or(*s);
        let moved: Vec<StorageId> = memory.storage_of.iter().map(place).collect();
        storage_of.copy_from_slice(&moved);
    }
}

/// The storage that each result shares; in a chain of them, the first one.
fn shared(pairs: &[Pair<'_>]) -> HashMap<StorageId, StorageId> {
    let mut places = HashMap::new();
    for pair in pairs {
        let (operand, result) = pair.storages;
        let first = places.get(&operand).copied().unwrap_or(operand);
        places.insert(result, first);
    }
    places
}

/// What lies in the arena, and when.
struct Memory<'p> {
    plan: &'p Plan,
    storage_of: Vec<StorageId>,
    lives: HashMap<StorageId, Life>,
    bytes: HashMap<StorageId, i64>,
}

impl<'p> Memory<'p> {
    /// `None` if a size is not known.
    fn of(plan: &'p Plan, storage_of: &[StorageId]) -> Option<Self> {
        let storage_of = storage_of.to_vec();
        let in_arena = |slot: SlotId| matches!(plan.slot(slot).place, Place::Arena(_));
        let key = |slot: SlotId| in_arena(slot).then(|| storage_of[slot.0 as usize]);
        let lives = lives(&plan.steps, &key);
        let mut bytes = HashMap::new();
        for (slot, storage) in plan.slots.iter().zip(&storage_of) {
            if lives.contains_key(storage) {
                bytes.insert(*storage, slot.bytes().as_const()?);
            }
        }
        Some(Memory {
            plan,
            storage_of,
            lives,
            bytes,
        })
    }

    /// The storage of a slot that lies in the arena.
    fn storage(&self, slot: SlotId) -> Option<StorageId> {
        let storage = self.storage_of[slot.0 as usize];
        let in_arena = matches!(self.plan.slot(slot).place, Place::Arena(_));
        (in_arena && self.lives.contains_key(&storage)).then_some(storage)
    }

    /// A pair of each call that has one: the operand ends there, the result begins.
    fn pairs(&self) -> Vec<Pair<'p>> {
        // Inside of loops, lives are longer than they look.
        let steps = self.plan.steps.iter();
        let calls = steps.filter_map(|s| match s {
            Step::Call(call) => Some(call),
            _ => None,
        });
        calls.filter_map(|call| self.pair(call)).collect()
    }

    fn pair(&self, call: &'p Call) -> Option<Pair<'p>> {
        let params: Vec<_> = self.plan.kernel(call.kernel).params().collect();
        let args = || params.iter().zip(&call.args);
        let mut results = args().filter(|((_, b), _)| b.scope == Scope::Output);
        let (((result, to), slot), None) = (results.next()?, results.next()) else {
            return None;
        };
        let made = self.storage(*slot)?;
        let begin = self.lives[&made].0;
        let fits = |((_, from), slot): &(&(BufferId, &tensmith_ir::loops::Buffer), &SlotId)| {
            let Some(storage) = self.storage(**slot) else {
                return false;
            };
            let alike =
                (from.dtype, &from.shape, &from.layout) == (to.dtype, &to.shape, &to.layout);
            let once = call
                .args
                .iter()
                .filter(|s| self.storage(**s) == Some(storage))
                .count()
                == 1;
            from.scope == Scope::Input
                && alike
                && once
                && self.lives[&storage].1 == begin
                && self.bytes[&storage] == self.bytes[&made]
        };
        let ((operand, _), from) = args().find(fits)?;
        Some(Pair {
            call,
            buffers: (*operand, *result),
            storages: (self.storage(*from)?, made),
        })
    }

    /// Units: bytes that are live at one time, at most, where storages share places.
    fn most_live(&self, places: &HashMap<StorageId, StorageId>) -> i64 {
        let mut joined: HashMap<StorageId, (Life, i64)> = HashMap::new();
        for (storage, life) in &self.lives {
            let place = places.get(storage).copied().unwrap_or(*storage);
            let known = joined.entry(place).or_insert((*life, self.bytes[storage]));
            known.0 = (known.0.0.min(life.0), known.0.1.max(life.1));
        }
        let mut events: Vec<(usize, i64)> = Vec::new();
        for ((begin, end), bytes) in joined.into_values() {
            events.extend([(begin, bytes), (end + 1, -bytes)]);
        }
        events.sort_unstable();
        let mut now = 0;
        let sums = events.into_iter().map(|(_, change)| {
            now += change;
            now
        });
        sums.max().unwrap_or(0)
    }
}
