//! The memory plan: offsets in one arena for everything that is not an input, output or constant.
//!
//! Requires: a plan whose steps are final but for barriers, and which storage each slot views.
//! Ensures: storages that are live at the same time do not overlap; an input and an output of one
//! call only do where the kernel may write over that input. What crosses a loop's edge is live during the whole loop.
mod in_place;
mod offsets;
mod waves;

pub use in_place::share_places;
pub use waves::order_by_waves;

use offsets::Piece;
use std::collections::{HashMap, HashSet};
use tensmith_ir::eval::Sizes;
use tensmith_ir::expr::{Atom, Expr, Ranges};
use tensmith_ir::loops::Scope;
use tensmith_ir::plan::{Place, Plan, SlotId, Step};

/// Bytes that slots share; places other than the arena are known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(pub u32);

/// Units: bytes. Offsets are multiples of a cache line, which also suits every vector.
const ALIGN: i64 = 64;

/// Times of the first and last access, inclusive.
type Life = (usize, usize);

/// When things are accessed, over the steps in order.
struct Timeline<'a, K> {
    key: &'a dyn Fn(SlotId) -> Option<K>,
    now: usize,
    lives: HashMap<K, Life>,
    loops: Vec<Life>,
}

impl<K: Copy + Eq + std::hash::Hash> Timeline<'_, K> {
    fn touch(&mut self, slot: SlotId) {
        let now = self.now;
        if let Some(k) = (self.key)(slot) {
            let life = self.lives.entry(k).or_insert((now, now));
            life.1 = now;
        }
    }

    fn walk(&mut self, steps: &[Step]) {
        for step in steps {
            self.now += 1;
            match step {
                Step::Barrier => {}
                Step::Call(call) => call.args.iter().for_each(|s| self.touch(*s)),
                Step::If {
                    cond,
                    then,
                    otherwise,
                } => {
                    self.touch(*cond);
                    self.walk(then);
                    self.walk(otherwise);
                }
                Step::Loop {
                    trip,
                    cond,
                    counter,
                    body,
                } => self.walk_loop([*trip, *cond, *counter], body),
            }
        }
    }

    fn walk_loop(&mut self, state: [SlotId; 3], body: &[Step]) {
        let start = self.now;
        state.iter().for_each(|s| self.touch(*s));
        self.walk(body);
        self.now += 1;
        state.iter().for_each(|s| self.touch(*s));
        self.loops.push((start, self.now));
    }

    /// Extends lives that cross the edge of a loop to the whole loop. Inner loops come first.
    fn extend(&mut self) {
        for &(a, b) in &self.loops {
            for life in self.lives.values_mut() {
                let inside = a <= life.0 && life.1 <= b;
                if !inside && life.0 <= b && a <= life.1 {
                    *life = (life.0.min(a), life.1.max(b));
                }
            }
        }
    }
}

fn lives<K: Copy + Eq + std::hash::Hash>(
    steps: &[Step],
    key: &dyn Fn(SlotId) -> Option<K>,
) -> HashMap<K, Life> {
    let mut timeline = Timeline {
        key,
        now: 0,
        lives: HashMap::new(),
        loops: vec![],
    };
    timeline.walk(steps);
    timeline.extend();
    timeline.lives
}

fn overlap(a: Life, b: Life) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

/// A storage to be placed.
struct Item {
    id: StorageId,
    bytes: Expr,
    life: Life,
}

/// Gives each slot that lies in the arena its offset; `storage_of` says which bytes it views, and
/// what is touched in one of `waves` is live during all of it.
pub fn place_arena(plan: &mut Plan, storage_of: &[StorageId], waves: &[Life]) {
    let slots = &plan.slots;
    let in_arena = |slot: SlotId| matches!(plan.slot(slot).place, Place::Arena(_));
    let key = |slot: SlotId| in_arena(slot).then(|| storage_of[slot.0 as usize]);
    let mut lives = lives(&plan.steps, &key);
    waves::extend_to_waves(&mut lives, waves);
    let mut bytes: HashMap<StorageId, Expr> = HashMap::new();
    for (slot, storage) in slots.iter().zip(storage_of) {
        bytes.entry(*storage).or_insert_with(|| slot.bytes());
    }
    let mut items: Vec<Item> = lives
        .into_iter()
        .map(|(id, life)| Item {
            id,
            bytes: bytes[&id].clone(),
            life,
        })
        .collect();
    items.sort_by_key(|i| (i.life, i.id));
    let (fixed, symbolic): (Vec<Item>, Vec<Item>) = items
        .into_iter()
        .partition(|i| i.bytes.as_const().is_some());
    let mut offsets = HashMap::new();
    let used = place_fixed(fixed, &mut offsets);
    let mut ranges = Ranges::new();
    for size in &plan.sizes {
        ranges.bind_size(size.symbol.clone(), size.min, size.max);
    }
    plan.arena_bytes = place_symbolic(symbolic, used.into(), &ranges, &mut offsets);
    for (slot, storage) in plan.slots.iter_mut().zip(storage_of) {
        if let Place::Arena(at) = &mut slot.place {
            *at = offsets.get(storage).cloned().unwrap_or_else(|| 0.into());
        }
    }
}

fn round_up(bytes: i64) -> i64 {
    bytes.saturating_add(ALIGN - 1) / ALIGN * ALIGN
}

/// Gives the bytes used.
fn place_fixed(items: Vec<Item>, found: &mut HashMap<StorageId, Expr>) -> i64 {
    let piece = |i: &Item| Piece {
        bytes: round_up(i.bytes.as_const().unwrap_or(0)),
        life: i.life,
    };
    let pieces: Vec<Piece> = items.iter().map(piece).collect();
    let (at, used) = offsets::place(&pieces);
    let pairs = items.iter().zip(at);
    found.extend(pairs.map(|(item, at)| (item.id, at.into())));
    used
}

/// Storages one after the other; those whose sizes are provably ordered share a place if they
/// are not live at the same time. Gives the end.
fn place_symbolic(
    items: Vec<Item>,
    start: Expr,
    ranges: &Ranges,
    offsets: &mut HashMap<StorageId, Expr>,
) -> Expr {
    struct Bin {
        bytes: Expr,
        items: Vec<(StorageId, Life)>,
    }
    let mut bins: Vec<Bin> = Vec::new();
    for item in items {
        let free = |b: &Bin| b.items.iter().all(|(_, life)| !overlap(*life, item.life));
        let fits = |b: &Bin| ranges.proves_le(&item.bytes, &b.bytes);
        let grows = |b: &Bin| ranges.proves_le(&b.bytes, &item.bytes);
        let found = bins.iter().position(|b| free(b) && fits(b));
        let found = found.or_else(|| bins.iter().position(|b| free(b) && grows(b)));
        let entry = (item.id, item.life);
        match found {
            Some(k) => {
                if !fits(&bins[k]) {
                    bins[k].bytes = item.bytes;
                }
                bins[k].items.push(entry);
            }
            None => bins.push(Bin {
                bytes: item.bytes,
                items: vec![entry],
            }),
        }
    }
    let mut at = start;
    for bin in bins {
        for (id, _) in bin.items {
            offsets.insert(id, at.clone());
        }
        at = at + bin.bytes.ceil_div(ALIGN) * ALIGN;
    }
    at
}

/// The least number of arena bytes that any order-preserving memory plan needs for given sizes:
/// the most that is live at one time. `None` if a size is missing.
pub fn liveness_bound(plan: &Plan, sizes: &Sizes) -> Option<i64> {
    let value = |a: &Atom| match a {
        Atom::Size(s) => sizes.get(s).copied(),
        _ => None,
    };
    let mut events: Vec<(usize, i64)> = Vec::new();
    for (slot, life) in lives_by_writer(plan) {
        let bytes = plan.slot(slot).bytes().eval(&value)?;
        events.push((life.0, bytes));
        events.push((life.1 + 1, -bytes));
    }
    events.sort_unstable();
    let mut now = 0;
    let mut most = 0;
    for (_, change) in events {
        now += change;
        most = most.max(now);
    }
    Some(most)
}

/// Lives of arena slots; slots of one place are views of the same bytes and count once, if they are
/// live at the same time or nothing writes the later one.
fn lives_by_writer(plan: &Plan) -> Vec<(SlotId, Life)> {
    let in_arena = |slot: SlotId| matches!(plan.slot(slot).place, Place::Arena(_)).then_some(slot);
    let mut all: Vec<(SlotId, Life)> = lives(&plan.steps, &in_arena).into_iter().collect();
    all.sort_unstable_by_key(|(slot, life)| (*life, *slot));
    let mut written = HashSet::new();
    collect_written(plan, &plan.steps, &mut written);
    let mut merged: Vec<(SlotId, Life)> = Vec::new();
    for (slot, life) in all {
        let same = |(other, known): &&mut (SlotId, Life)| {
            plan.slot(*other).place == plan.slot(slot).place
                && (overlap(*known, life) || !written.contains(&slot))
        };
        match merged.iter_mut().rev().find(same) {
            Some((_, known)) => *known = (known.0.min(life.0), known.1.max(life.1)),
            None => merged.push((slot, life)),
        }
    }
    merged
}

/// The slots that steps write.
fn collect_written(plan: &Plan, steps: &[Step], written: &mut HashSet<SlotId>) {
    for step in steps {
        match step {
            Step::Barrier => {}
            Step::Call(call) => {
                let params = plan.kernel(call.kernel).params();
                let outputs = params
                    .zip(&call.args)
                    .filter(|((_, b), _)| b.scope != Scope::Input);
                written.extend(outputs.map(|(_, slot)| *slot));
            }
            Step::If {
                then, otherwise, ..
            } => {
                collect_written(plan, then, written);
                collect_written(plan, otherwise, written);
            }
            Step::Loop {
                trip: _,
                cond,
                counter,
                body,
            } => {
                written.extend([*cond, *counter]);
                collect_written(plan, body, written);
            }
        }
    }
}
