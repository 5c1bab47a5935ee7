//! Which values are live, and whether there are registers for them.
use super::{BlockData, Class, Function, Terminator, Value, Width};
use fixedbitset::FixedBitSet;

/// Vectors that fit the registers, beside one for what an instruction needs.
fn vectors(width: Width) -> usize {
    match width {
        Width::Y256 => 15,
        Width::Z512 => 31,
    }
}

/// Masks that fit registers of their own.
const MASKS: usize = 7;

/// The values that are read after each block, by their numbers.
pub(super) fn live_out(f: &Function) -> Vec<FixedBitSet> {
    let none = FixedBitSet::with_capacity(f.values.len());
    let mut before: Vec<FixedBitSet> = vec![none.clone(); f.blocks.len()];
    let mut after = before.clone();
    let mut changes = true;
    while changes {
        changes = false;
        for (k, data) in f.blocks.iter().enumerate().rev() {
            let targets = data.term.iter().flat_map(Terminator::targets);
            after[k].clear();
            targets.for_each(|t| after[k].union_with(&before[t.block.index()]));
            let mut live = after[k].clone();
            let term = data.term.iter();
            term.for_each(|t| t.operands(|v| live.insert(v.index())));
            for (result, inst) in data.insts.iter().rev() {
                result.iter().for_each(|v| live.remove(v.index()));
                inst.operands(|v, _| live.insert(v.index()));
            }
            data.params.iter().for_each(|v| live.remove(v.index()));
            changes |= live != before[k];
            before[k] = live;
        }
    }
    after
}

/// Values that are live at a place, and how many need registers.
struct Live<'f> {
    f: &'f Function,
    values: FixedBitSet,
    vectors: usize,
    masks: usize,
}

impl Live<'_> {
    fn insert(&mut self, v: Value) {
        if !self.values.put(v.index()) {
            let [vectors, masks] = needs(self.f, v);
            self.vectors += vectors;
            self.masks += masks;
        }
    }

    fn remove(&mut self, v: Value) {
        if self.values.contains(v.index()) {
            self.values.remove(v.index());
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
pub(super) fn excess(
    f: &Function,
    data: &BlockData,
    after: &FixedBitSet,
    order: &[usize],
) -> usize {
    let mut live = Live {
        f,
        values: FixedBitSet::with_capacity(f.values.len()),
        vectors: 0,
        masks: 0,
    };
    after.ones().for_each(|v| live.insert(Value(v as u32)));
    let term = data.term.iter();
    term.for_each(|t| t.operands(|v| live.insert(v)));
    let mut most = live.excess();
    for at in order.iter().rev() {
        let (result, inst) = &data.insts[*at];
        result.iter().for_each(|v| live.remove(*v));
        inst.operands(|v, _| live.insert(v));
        most = most.max(live.excess());
    }
    most
}
