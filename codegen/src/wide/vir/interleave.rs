//! Interleaves runs of instructions that compute the same for several vectors.
//!
//! A run is a long chain of operations that wait for each other. One after the other, few runs fit
//! the instructions that a core looks ahead at; in turns, all of a group proceed together.
use super::{Block, Def, FunctionBuilder, Inst, Value};
use std::collections::HashSet;

/// A place in a function under construction: a block, and a number of its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(Block, usize);

impl FunctionBuilder {
    /// Where the next instruction will be.
    pub fn place(&self) -> Place {
        let block = &self.func.blocks[self.current.index()];
        Place(self.current, block.insts.len())
    }

    /// Takes the runs between neighbouring places in turns, instruction by instruction. The runs
    /// must be independent but for values; memory that one writes is not read by others. Runs
    /// that write before their ends, or span blocks, stay as they are.
    pub fn interleave(&mut self, places: &[Place]) {
        let in_block = places.iter().all(|p| p.0 == self.current);
        let (Some(first), Some(last), true) = (places.first(), places.last(), in_block) else {
            return;
        };
        let (start, end) = (first.1, last.1);
        let ends: Vec<usize> = places[1..].iter().map(|p| p.1 - start).collect();
        let block = &mut self.func.blocks[self.current.index()];
        let runs = &block.insts[start..end];
        let written = |(k, (_, inst)): (usize, &(_, Inst))| {
            !inst.writes()
                || ends.contains(&(k + 1))
                    && matches!(inst, Inst::Store { .. } | Inst::StoreShort { .. })
        };
        if !runs.iter().enumerate().all(written) {
            return;
        }
        let tail = block.insts.split_off(end);
        let runs = block.insts.split_off(start);
        block.insts.extend(in_turns(runs, &ends));
        block.insts.extend(tail);
        for (at, (result, _)) in block.insts.iter().enumerate().skip(start) {
            if let Some(v) = result {
                self.func.values[v.index()].1 = Def::Inst(self.current, at as u32);
            }
        }
    }
}

type Numbered = (Option<Value>, Inst);

/// The runs that end at `ends`, in turns; an instruction waits for what it reads.
fn in_turns(runs: Vec<Numbered>, ends: &[usize]) -> Vec<Numbered> {
    let mut pending: HashSet<Value> = runs.iter().filter_map(|(v, _)| *v).collect();
    let begins = [0].iter().chain(ends);
    let mut cursors: Vec<usize> = begins.copied().take(ends.len()).collect();
    let total = runs.len();
    let mut runs: Vec<Option<Numbered>> = runs.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(total);
    while out.len() < total {
        for (cursor, end) in cursors.iter_mut().zip(ends) {
            let ready = |(_, inst): &Numbered| {
                let mut ready = true;
                inst.operands(|v, _| ready &= !pending.contains(&v));
                ready
            };
            if *cursor < *end
                && let Some((result, inst)) = runs[*cursor].take_if(|next| ready(next))
            {
                result.map(|v| pending.remove(&v));
                out.push((result, inst));
                *cursor += 1;
            }
        }
    }
    out
}
