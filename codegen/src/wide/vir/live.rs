//! Which values are live, and whether there are registers for them.
use super::{BlockData, Class, Function, Terminator, Value, Width};
use std::collections::HashSet;

/// Vectors that fit the registers, beside one for what an instruction needs.
fn vectors(width: Width) -> usize {
    match width {
        Width::Y256 => 15,
        Width::Z512 => 31,
    }
}

/// Masks that fit registers of their own.
const MASKS: usize = 7;

/// The values that are read after each block.
pub(super) fn live_out(f: &Function) -> Vec<HashSet<Value>> {
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
            let mut read = |v| {
                live.insert(v);
            };
            data.term.iter().for_each(|t| t.operands(&mut read));
            for (result, inst) in data.insts.iter().rev() {
                if let Some(v) = result {
                    live.remove(v);
                }
                inst.operands(|v, _| {
                    live.insert(v);
                });
            }
            for v in &data.params {
                live.remove(v);
            }
            changes |= live != before[k];
            before[k] = live;
        }
    }
    after
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
pub(super) fn excess(
    f: &Function,
    data: &BlockData,
    after: &HashSet<Value>,
    order: &[usize],
) -> usize {
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
        result.iter().for_each(|v| live.remove(*v));
        inst.operands(|v, _| live.insert(v));
        most = most.max(live.excess());
    }
    most
}
