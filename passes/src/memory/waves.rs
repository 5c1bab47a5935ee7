//! The order of calls on several threads: branches run side by side.
//!
//! Between two places at which a single value is live, calls stand in waves: each comes as soon as
//! what it depends on is done. So threads wait once for all branches, not once for each kernel.
//!
//! Requires: a plan whose steps are final but for barriers and their order, and which storage each
//! slot views.
//! Ensures: calls that depend on each other keep their order, and the most that is live at one time
//! does not grow, where what a wave touches is live during all of it.
use super::{Life, StorageId, lives};
use crate::barriers::{Touch, Touches};
use std::collections::{BTreeMap, HashMap};
use tensmith_ir::plan::{Call, Place, Plan, SlotId, Step};

/// Calls between two such places that are put in order together, at most.
const CALLS: usize = 64;

/// Orders the calls of a plan; gives the times of the waves that have several.
pub fn order_by_waves(plan: &mut Plan, storage_of: &[StorageId]) -> Vec<Life> {
    let (mut order, mut waves) = (Vec::new(), Vec::new());
    let Some(cx) = Cx::of(plan, storage_of) else {
        return waves;
    };
    for segment in cx.segments() {
        match cx.in_waves(segment.clone()) {
            Some(found) => {
                for wave in found {
                    let first = order.len() + 1;
                    order.extend(wave);
                    waves.push((first, order.len()));
                }
            }
            None => order.extend(segment),
        }
    }
    let steps = order.into_iter().map(|k| plan.steps[k].clone());
    plan.steps = steps.collect();
    waves.retain(|(first, last)| first < last);
    waves
}

/// Lives where what a wave touches is live during all of it.
pub fn extend_to_waves<K>(lives: &mut HashMap<K, Life>, waves: &[Life]) {
    for life in lives.values_mut() {
        let around = |time: usize| waves.iter().find(|w| w.0 <= time && time <= w.1);
        let (begin, end) = (around(life.0), around(life.1));
        *life = (begin.map_or(life.0, |w| w.0), end.map_or(life.1, |w| w.1));
    }
}

struct Cx<'p> {
    storage_of: &'p [StorageId],
    calls: Vec<&'p Call>,
    touches: Touches<'p>,
    /// Of storages in the arena: when they are live, and their bytes.
    arena: BTreeMap<StorageId, (Life, i64)>,
}

impl<'p> Cx<'p> {
    /// `None` if the plan has control flow or sizes that are not known.
    fn of(plan: &'p Plan, storage_of: &'p [StorageId]) -> Option<Self> {
        let call = |step: &'p Step| match step {
            Step::Call(call) => Some(call),
            _ => None,
        };
        let calls = plan.steps.iter().map(call).collect::<Option<Vec<_>>>()?;
        let in_arena = |slot: SlotId| matches!(plan.slot(slot).place, Place::Arena(_));
        let key = |slot: SlotId| in_arena(slot).then(|| storage_of[slot.0 as usize]);
        let lives = lives(&plan.steps, &key);
        let mut arena = BTreeMap::new();
        for (slot, storage) in plan.slots.iter().zip(storage_of) {
            if let Some(life) = lives.get(storage) {
                arena.insert(*storage, (*life, slot.bytes().as_const()?));
            }
        }
        Some(Cx {
            storage_of,
            calls,
            touches: Touches::of(plan),
            arena,
        })
    }

    /// Runs of calls between places at which one value at most is live.
    fn segments(&self) -> Vec<std::ops::Range<usize>> {
        let mut segments = Vec::new();
        let mut start = 0;
        for end in 1..=self.calls.len() {
            let crosses = |(life, _): &&(Life, i64)| life.0 <= end && life.1 > end;
            if self.arena.values().filter(crosses).count() <= 1 {
                segments.push(start..end);
                start = end;
            }
        }
        segments
    }

    /// The calls of a segment in waves, if that is another order and needs no more memory.
    fn in_waves(&self, segment: std::ops::Range<usize>) -> Option<Vec<Vec<usize>>> {
        if segment.len() < 3 || segment.len() > CALLS {
            return None;
        }
        let mut waves: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (call, level) in segment.clone().zip(self.levels(segment.clone())) {
            waves.entry(level).or_default().push(call);
        }
        let waves: Vec<Vec<usize>> = waves.into_values().collect();
        let fits = waves.len() < segment.len() && self.live(segment, &waves) <= self.most_live();
        fits.then_some(waves)
    }

    /// The wave of each call: one behind the last of those that it depends on.
    fn levels(&self, segment: std::ops::Range<usize>) -> Vec<usize> {
        let mut known: HashMap<StorageId, Vec<(usize, Touch)>> = HashMap::new();
        let mut levels = Vec::new();
        for call in segment {
            let own = self.touches.of_call(self.calls[call]);
            let storage = |slot: SlotId| self.storage_of[slot.0 as usize];
            let needs = own.iter().flat_map(|new| {
                let old = known.get(&storage(new.slot)).into_iter().flatten();
                old.filter(|(_, old)| self.touches.conflict(old, new))
            });
            let level = needs.map(|(level, _)| level + 1).max().unwrap_or(0);
            for touch in own {
                known
                    .entry(storage(touch.slot))
                    .or_default()
                    .push((level, touch));
            }
            levels.push(level);
        }
        levels
    }

    /// Units: bytes that are live at one time, at most, as the calls stand.
    fn most_live(&self) -> i64 {
        let mut changes: BTreeMap<usize, i64> = BTreeMap::new();
        for ((begin, end), bytes) in self.arena.values() {
            *changes.entry(*begin).or_default() += bytes;
            *changes.entry(end + 1).or_default() -= bytes;
        }
        let mut now = 0;
        let sums = changes.into_values().map(|change| {
            now += change;
            now
        });
        sums.max().unwrap_or(0)
    }

    /// Units: bytes that are live in one wave of a segment, at most.
    fn live(&self, segment: std::ops::Range<usize>, waves: &[Vec<usize>]) -> i64 {
        let mut touched: HashMap<StorageId, (usize, usize)> = HashMap::new();
        for (k, wave) in waves.iter().enumerate() {
            for slot in wave.iter().flat_map(|call| &self.calls[*call].args) {
                let span = touched
                    .entry(self.storage_of[slot.0 as usize])
                    .or_insert((k, k));
                span.1 = k;
            }
        }
        let mut live = vec![0; waves.len()];
        // The first call of the segment has the time `start + 1`.
        let (start, end) = (segment.start + 1, segment.end);
        for (storage, (life, bytes)) in &self.arena {
            if life.1 < start || life.0 > end {
                continue;
            }
            let span = touched.get(storage).copied();
            let first = span.filter(|_| life.0 >= start).map_or(0, |s| s.0);
            let last = span.filter(|_| life.1 <= end);
            let last = last.map_or(waves.len() - 1, |s| s.1);
            live[first..=last].iter_mut().for_each(|sum| *sum += bytes);
        }
        live.into_iter().max().unwrap_or(0)
    }
}
