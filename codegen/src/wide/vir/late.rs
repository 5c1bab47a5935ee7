//! Computes what is stored where it is stored, if registers run short otherwise.
//!
//! Statements run in lock step, each for all vectors of a tile before the next one. Where several
//! statements lie between a sum and its store, what they compute for all vectors is live at once,
//! beside the sums: more than there are registers for, and sums that are spilled behind a loop are
//! often spilled in it, too. So the stores of such a block are taken in groups, each with what it
//! needs before it. Loads keep their places among stores.
//!
//! Before: `a = x * x; b = y * y; store p, a; store q, b`. After:
//! `a = x * x; store p, a; b = y * y; store q, b`.
use super::{BlockData, Class, Def, Function, FunctionBuilder, Terminator, Value, Width};
use std::collections::HashSet;

/// Stores of a group: as many as are computed in turns, to hide the latency of functions.
const GROUPS: [usize; 3] = [4, 2, 1];

/// Vectors that fit the registers, beside one for what an instruction needs.
fn vectors(width: Width) -> usize {
    match width {
        Width::Y256 => 15,
        Width::Z512 => 31,
    }
}

/// Masks that fit registers of their own.
const MASKS: usize = 7;

impl FunctionBuilder {
    /// Reorders the blocks that need more registers than there are.
    pub fn compute_late(&mut self) {
        let live = live_out(&self.func);
        for (block, live) in live.iter().enumerate() {
            let Some(order) = late(&self.func, block, live) else {
                continue;
            };
            let data = &mut self.func.blocks[block];
            let mut insts: Vec<_> = data.insts.drain(..).map(Some).collect();
            let taken = order.into_iter().map(|at| insts[at].take());
            data.insts = taken
                .map(|inst| inst.expect("invariant: an order has each place once"))
                .collect();
        }
        super::forward::renumber(&mut self.func);
    }
}

/// The values that are read after each block.
fn live_out(f: &Function) -> Vec<HashSet<Value>> {
    let mut before: Vec<HashSet<Value>> = vec![HashSet::new(); f.blocks.len()];
    let mut after = before.clone();
    let mut changes = true;
    while changes {
        changes = false;
        for (k, data) in f.blocks.iter().enumerate().rev() {
            let targets = data.term.iter().flat_map(Terminator::targets);
            after[k] = targets
                .flat_map(|t| before[t.block.index()].iter().copied())
                .collect();
            let mut live = after[k].clone();
            data.term
                .iter()
                .for_each(|t| t.operands(|v| drop(live.insert(v))));
            for (result, inst) in data.insts.iter().rev() {
                result.map(|v| live.remove(&v));
                inst.operands(|v, _| drop(live.insert(v)));
            }
            data.params.iter().for_each(|v| drop(live.remove(v)));
            changes |= live != before[k];
            before[k] = live;
        }
    }
    after
}

/// The order for the instructions of a block, if one needs fewer registers that are not there.
fn late(f: &Function, block: usize, live: &HashSet<Value>) -> Option<Vec<usize>> {
    let data = &f.blocks[block];
    let mut stores = data.insts.iter().map(|(_, inst)| inst.writes());
    let first = stores.position(|writes| writes)?;
    if !stores.any(|writes| writes) {
        return None;
    }
    let plain: Vec<usize> = (0..data.insts.len()).collect();
    let mut least = excess(f, data, live, &plain);
    let mut found = None;
    for group in GROUPS {
        if least == 0 {
            break;
        }
        let order = grouped(f, block, first, group);
        let needed = excess(f, data, live, &order);
        if needed < least {
            (least, found) = (needed, Some(order));
        }
    }
    found
}

/// Values that are live at a place, and how many need registers.
struct Live<'f> {
    f: &'f Function,
    values: HashSet<Value>,
    vectors: usize,
    masks: usize,
}

impl Live<'_> {
    fn insert(&mut self, v: Value) {
        if self.values.insert(v) {
            let [vectors, masks] = needs(self.f, v);
            self.vectors += vectors;
            self.masks += masks;
        }
    }

    fn remove(&mut self, v: Value) {
        if self.values.remove(&v) {
            let [vectors, masks] = needs(self.f, v);
            self.vectors -= vectors;
            self.masks -= masks;
        }
    }

    /// Registers that are not there.
    fn excess(&self) -> usize {
        let most = vectors(self.f.width);
        self.vectors.saturating_sub(most) + self.masks.saturating_sub(MASKS)
    }
}

/// The registers of vectors and of masks that a value needs; those of 256 bits are both.
fn needs(f: &Function, v: Value) -> [usize; 2] {
    match (f.class(v), f.width) {
        (Class::Int, _) => [0, 0],
        (Class::Mask, Width::Z512) => [0, 1],
        (Class::Vec | Class::Mask, _) => [1, 0],
    }
}

/// Registers that a block needs and that are not there, where its instructions run in an order.
fn excess(f: &Function, data: &BlockData, after: &HashSet<Value>, order: &[usize]) -> usize {
    let mut live = Live {
        f,
        values: HashSet::new(),
        vectors: 0,
        masks: 0,
    };
    after.iter().for_each(|v| live.insert(*v));
    let term = data.term.iter();
    term.for_each(|t| t.operands(|v| live.insert(v)));
    let mut most = live.excess();
    for at in order.iter().rev() {
        let (result, inst) = &data.insts[*at];
        result.into_iter().for_each(|v| live.remove(*v));
        inst.operands(|v, _| live.insert(v));
        most = most.max(live.excess());
    }
    most
}

/// The instructions of a block with so many stores at a time, each group behind what it needs; what
/// comes before the last load before the first store stays where it is.
fn grouped(f: &Function, block: usize, first: usize, group: usize) -> Vec<usize> {
    let insts = &f.blocks[block].insts;
    let reads = |at: &usize| super::forward::reads(&insts[*at].1);
    let kept = (0..first).rfind(reads).map_or(0, |at| at + 1);
    let mut order: Vec<usize> = (0..kept).collect();
    let mut done = vec![false; insts.len()];
    done[..kept].fill(true);
    let effects: Vec<usize> = (kept..insts.len())
        .filter(|at| insts[*at].0.is_none())
        .collect();
    let place = |v: Value| match f.def(v) {
        Def::Inst(b, at) if b.index() == block => Some(at as usize),
        _ => None,
    };
    for group in effects.chunks(group) {
        let last = group[group.len() - 1];
        let mut needed = vec![false; last + 1];
        group.iter().for_each(|at| needed[*at] = true);
        for at in (kept..=last).rev() {
            needed[at] |= reads(&at);
            if needed[at] {
                let operand = |v, _| place(v).into_iter().for_each(|at| needed[at] = true);
                insts[at].1.operands(operand);
            }
        }
        let next = (kept..=last).filter(|at| needed[*at] && !done[*at]);
        let next: Vec<usize> = next.collect();
        next.iter().for_each(|at| done[*at] = true);
        order.extend(next);
    }
    order.extend((kept..insts.len()).filter(|at| !done[*at]));
    order
}
