//! Gives loads what was stored before, and drops stores that are written over.
//!
//! The rows of a softmax are written and read again to be divided by their sums. Where a row is
//! straight code, its vectors can stay in registers: a load of the very elements that a store of
//! its block wrote is that store's value, and a store whose elements are stored again before
//! anything may read them is none. A load of what a masked store wrote would wait until the store
//! has left the core.
//!
//! Before: `store p, v; w = load p; store p, w * x`. After: `store p, v * x`.
use super::{
    Addr, BlockData, Class, Def, Elem, Function, FunctionBuilder, Inst, LoadForm, StoreForm, Value,
    Width,
};
use std::collections::HashMap;

/// Elements in memory.
#[derive(Clone, Copy)]
struct Range {
    addr: Addr,
    bytes: i64,
}

impl Range {
    /// Whether two ranges may have a byte in common: all of different pointers may.
    fn meets(&self, other: &Range) -> bool {
        let same = self.addr.disp(0) == other.addr.disp(0);
        let ends_before = |a: &Range, b: &Range| {
            i64::from(a.addr.disp).saturating_add(a.bytes) <= i64::from(b.addr.disp)
        };
        !(same && (ends_before(self, other) || ends_before(other, self)))
    }
}

/// What an instruction reads of memory.
fn read(inst: &Inst, width: Width) -> Option<Range> {
    let (addr, bytes) = match inst {
        Inst::IntLoad { ty, addr } => (addr, ty.bytes()),
        Inst::Load { form, addr, .. } => match form {
            LoadForm::Full | LoadForm::Masked(_) => (addr, width.bytes()),
            LoadForm::Broadcast | LoadForm::Lane => (addr, Elem::F32.bytes()),
            LoadForm::Part(..) => (addr, 4 * Elem::F32.bytes()),
        },
        Inst::LoadShort { ty, addr, .. } => (addr, width.lanes(Elem::I32) * ty.bytes()),
        _ => return None,
    };
    let (addr, bytes) = (*addr, bytes as i64);
    Some(Range { addr, bytes })
}

/// Whether an instruction reads memory.
pub(super) fn reads(inst: &Inst) -> bool {
    read(inst, Width::Y256).is_some()
}

/// What an instruction writes of memory.
fn written(inst: &Inst, width: Width) -> Option<Range> {
    let (addr, bytes) = match inst {
        Inst::IntStore { ty, addr, .. } => (addr, ty.bytes()),
        Inst::Store { form, addr, .. } => match form {
            StoreForm::Full | StoreForm::Masked(_) => (addr, width.bytes()),
            StoreForm::Lane => (addr, Elem::F32.bytes()),
            StoreForm::Part(_) => (addr, 4 * Elem::F32.bytes()),
        },
        Inst::StoreShort { ty, addr, .. } => (addr, width.lanes(Elem::I32) * ty.bytes()),
        _ => return None,
    };
    let (addr, bytes) = (*addr, bytes as i64);
    Some(Range { addr, bytes })
}

impl FunctionBuilder {
    /// Gives loads of each block what the block stored before, then drops stores that it writes
    /// over.
    pub fn forward_stores(&mut self) {
        let renamed = self.forward_loads();
        for data in &mut self.func.blocks {
            let insts = data.insts.iter_mut().map(|(_, inst)| inst);
            insts.for_each(|inst| inst.operands_mut(|v| *v = *renamed.get(v).unwrap_or(v)));
            let term = data.term.iter_mut();
            term.for_each(|t| t.operands_mut(|v| *v = *renamed.get(v).unwrap_or(v)));
        }
        let width = self.func.width;
        for data in &mut self.func.blocks {
            drop_overwritten(data, width);
        }
        renumber(&mut self.func);
    }

    /// Takes out the loads whose values are known, or puts choices in their places; the values that
    /// stand for those that are gone.
    fn forward_loads(&mut self) -> HashMap<Value, Value> {
        let width = self.func.width;
        let mut renamed = HashMap::new();
        for at in 0..self.func.blocks.len() {
            let insts = std::mem::take(&mut self.func.blocks[at].insts);
            let mut stored: Vec<(Range, StoreForm, Value)> = Vec::new();
            let mut kept = Vec::with_capacity(insts.len());
            for (result, inst) in insts {
                if let Some(range) = written(&inst, width) {
                    stored.retain(|(r, ..)| !r.meets(&range));
                }
                if let Inst::Store {
                    form, value, addr, ..
                } = &inst
                    && matches!(form, StoreForm::Full | StoreForm::Masked(_))
                {
                    let bytes = width.bytes() as i64;
                    let value = *renamed.get(value).unwrap_or(value);
                    stored.push((Range { addr: *addr, bytes }, *form, value));
                }
                let known = match (result, &inst) {
                    (Some(v), Inst::Load { form, addr, .. }) => stored
                        .iter()
                        .find(|(r, f, _)| r.addr == *addr && same_lanes(*form, *f))
                        .map(|(.., value)| (v, *form, *value)),
                    _ => None,
                };
                match known {
                    Some((v, LoadForm::Masked(mask), a)) => {
                        // Lanes that were not stored are zero, as if they had been loaded.
                        self.func.values.push((Class::Vec, Def::Args));
                        let b = Value(self.func.values.len() as u32 - 1);
                        let (elem, bits) = (Elem::F32, 0);
                        kept.push((Some(b), Inst::Splat { elem, bits }));
                        kept.push((Some(v), Inst::Select { elem, mask, a, b }));
                    }
                    Some((v, _, value)) => drop(renamed.insert(v, value)),
                    None => kept.push((result, inst)),
                }
            }
            self.func.blocks[at].insts = kept;
        }
        renamed
    }
}

/// Whether a load has the lanes that a store had.
fn same_lanes(load: LoadForm, store: StoreForm) -> bool {
    match (load, store) {
        (LoadForm::Full, StoreForm::Full) => true,
        (LoadForm::Masked(a), StoreForm::Masked(b)) => a == b,
        _ => false,
    }
}

/// Drops the stores of a block whose elements are stored again before anything may read them.
fn drop_overwritten(data: &mut BlockData, width: Width) {
    let mut later: Vec<(Range, StoreForm)> = Vec::new();
    let mut kept = Vec::with_capacity(data.insts.len());
    for (result, inst) in std::mem::take(&mut data.insts).into_iter().rev() {
        if let Some(range) = read(&inst, width) {
            later.retain(|(r, _)| !r.meets(&range));
        }
        if let Inst::Store { form, addr, .. } = &inst {
            if later.iter().any(|(r, f)| r.addr == *addr && f == form) {
                continue;
            }
            later.extend(written(&inst, width).map(|r| (r, *form)));
        }
        kept.push((result, inst));
    }
    kept.reverse();
    data.insts = kept;
}

/// Says of each value where it is defined now.
pub(super) fn renumber(f: &mut Function) {
    for (block, data) in f.blocks.iter().enumerate() {
        for (at, (result, _)) in data.insts.iter().enumerate() {
            if let Some(v) = result {
                f.values[v.index()].1 = Def::Inst(super::Block(block as u32), at as u32);
            }
        }
    }
}
