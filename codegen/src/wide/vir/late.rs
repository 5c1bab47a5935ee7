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
use super::live::{excess, live_out};
use super::{Def, Function, FunctionBuilder, Value};
use fixedbitset::FixedBitSet;

/// Stores of a group: as many as are computed in turns, to hide the latency of functions.
const GROUPS: [usize; 3] = [4, 2, 1];

/// Instructions for a store at most that may be computed alone: those of a function wait for each
/// other longer than spills take.
const SHORT: usize = 12;

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

/// The order for the instructions of a block, if one needs fewer registers that are not there.
fn late(f: &Function, block: usize, live: &FixedBitSet) -> Option<Vec<usize>> {
    let data = &f.blocks[block];
    let mut stores = data.insts.iter().map(|(_, inst)| inst.writes());
    let first = stores.position(|writes| writes)?;
    if !stores.any(|writes| writes) {
        return None;
    }
    let plain: Vec<usize> = (0..data.insts.len()).collect();
    let mut least = excess(f, data, live, &plain);
    let mut found = None;
    let effects = data.insts.iter().filter(|(result, _)| result.is_none());
    let is_short = data.insts.len() <= SHORT * effects.count();
    for group in GROUPS {
        if least == 0 || group == 1 && !is_short {
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
