//! Computes masks of constant lanes again behind loops that need all registers.
//!
//! The mask of the last vector of a tile is the same for each tile, so it is computed once, before
//! all loops. Vectors of 256 bits have their masks in the registers of vectors: one that stands
//! ready for the loads behind a sum takes the register of one of the sums, which then goes
//! through memory in each step. Computing the mask takes less than one such step.
//!
//! Before: `m = tail_mask 6; loop { .. }; v = load p where m`. After:
//! `loop { .. }; m = tail_mask 6; v = load p where m`.
use super::live::{excess, live_out};
use super::{Block, Class, Def, Function, FunctionBuilder, Inst, Terminator, Value};
use fixedbitset::FixedBitSet;

impl FunctionBuilder {
    /// Computes masks of constant lanes where they are used, if they are live through a block that
    /// has no register for them, and no loop of one block uses them.
    pub fn compute_again(&mut self) {
        for v in kept_too_long(&self.func) {
            for block in 0..self.func.blocks.len() {
                self.compute_in(Block(block as u32), v);
            }
        }
        super::forward::renumber(&mut self.func);
    }

    /// Gives the uses of a mask in a block other than its own a mask of the block's.
    fn compute_in(&mut self, block: Block, v: Value) {
        let is_own = matches!(self.func.def(v), Def::Inst(b, _) if b == block);
        if is_own || !uses(&self.func, block, v) {
            return;
        }
        let Some((elem, count)) = constant_mask(&self.func, v) else {
            return;
        };
        let mut made = |class| {
            self.func.values.push((class, Def::Args));
            Value(self.func.values.len() as u32 - 1)
        };
        let (lanes, mask) = (made(Class::Int), made(Class::Mask));
        let data = &mut self.func.blocks[block.index()];
        let rename = |used: &mut Value| {
            if *used == v {
                *used = mask;
            }
        };
        let first = data.insts.iter().position(|(_, inst)| reads(inst, v));
        let insts = data.insts.iter_mut();
        insts.for_each(|(_, inst)| inst.operands_mut(rename));
        data.term.iter_mut().for_each(|t| t.operands_mut(rename));
        let count_inst = (Some(lanes), Inst::IConst(count));
        let mask_inst = (Some(mask), Inst::TailMask { elem, count: lanes });
        let at = first.unwrap_or(data.insts.len());
        data.insts.splice(at..at, [count_inst, mask_inst]);
    }
}

/// The masks that are to be computed again.
fn kept_too_long(f: &Function) -> Vec<Value> {
    let after = live_out(f);
    let blocks = || (0..f.blocks.len()).map(|k| Block(k as u32));
    let crowded: Vec<Block> = blocks()
        .filter(|b| {
            let data = &f.blocks[b.index()];
            let order: Vec<usize> = (0..data.insts.len()).collect();
            excess(f, data, &after[b.index()], &order) > 0
        })
        .collect();
    let through = |v: Value, b: &Block| {
        let is_own = matches!(f.def(v), Def::Inst(own, _) if own == *b);
        after[b.index()].contains(v.index()) && !is_own && !uses(f, *b, v)
    };
    let looped = |v: Value| blocks().any(|b| repeats(f, b) && uses(f, b, v));
    let mut live = FixedBitSet::with_capacity(f.values.len());
    after.iter().for_each(|of_block| live.union_with(of_block));
    live.ones()
        .map(|v| Value(v as u32))
        .filter(|v| constant_mask(f, *v).is_some())
        .filter(|v| crowded.iter().any(|b| through(*v, b)) && !looped(*v))
        .collect()
}

/// The element type and the lanes of a mask of constant lanes.
fn constant_mask(f: &Function, v: Value) -> Option<(super::Elem, i64)> {
    match f.def_inst(v)? {
        Inst::TailMask { elem, count } => match f.def_inst(*count)? {
            Inst::IConst(count) => Some((*elem, *count)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a block is a loop of its own.
fn repeats(f: &Function, block: Block) -> bool {
    let term = f.blocks[block.index()].term.iter();
    term.flat_map(Terminator::targets).any(|t| t.block == block)
}

fn uses(f: &Function, block: Block, v: Value) -> bool {
    let data = &f.blocks[block.index()];
    let mut found = data.insts.iter().any(|(_, inst)| reads(inst, v));
    let term = data.term.iter();
    term.for_each(|t| t.operands(|used| found |= used == v));
    found
}

fn reads(inst: &Inst, v: Value) -> bool {
    let mut found = false;
    inst.operands(|used, _| found |= used == v);
    found
}
