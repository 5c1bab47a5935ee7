//! Which values are read where: last uses, and loads that may become memory operands.

use crate::wide::vir::{Block, Def, Function, Inst, IntTy, LoadForm, UnaryOp, Value, Width};

/// Facts about the uses of every value.
pub(super) struct Uses {
    /// Uses of each value, by position.
    facts: Vec<Fact>,
    postponed: Vec<bool>,
    merged: Vec<bool>,
}

/// Uses of a constant that are worth a register.
const OFTEN: usize = 3;

#[derive(Clone, Copy, Default)]
struct Fact {
    count: usize,
    /// Read outside the block that defines it.
    escapes: bool,
    /// Last position in its block; the terminator's is the number of instructions.
    last: usize,
}

impl Uses {
    pub(super) fn new(f: &Function) -> Self {
        let mut uses = Self {
            facts: vec![Fact::default(); f.num_values()],
            postponed: vec![false; f.num_values()],
            merged: vec![false; f.num_values()],
        };
        for (b, data) in f.blocks.iter().enumerate() {
            for (at, (_, inst)) in data.insts.iter().enumerate() {
                inst.operands(|v, _| uses.note(f, v, b, at));
            }
            if let Some(term) = &data.term {
                term.operands(|v| uses.note(f, v, b, data.insts.len()));
            }
        }
        for data in &f.blocks {
            let stores = stores_before(&data.insts);
            uses.postpone_loads(f.width, &data.insts, &stores);
            uses.merge_stores(f, &data.insts);
            if f.width == Width::Z512 {
                uses.merge_choices(f, &data.insts, &stores);
            }
        }
        uses
    }

    fn note(&mut self, f: &Function, v: Value, block: usize, at: usize) {
        let home = match f.def(v) {
            Def::Args => 0,
            Def::Param(b, _) | Def::Inst(b, _) => b.index(),
        };
        let fact = &mut self.facts[v.index()];
        fact.count += 1;
        fact.escapes |= home != block;
        fact.last = fact.last.max(at);
        // A use in another block says nothing of the home block's positions.
        if home != block {
            fact.last = usize::MAX;
        }
    }

    /// A load moves down only where no store is passed.
    fn postpone_loads(&mut self, width: Width, insts: &[(Option<Value>, Inst)], stores: &[usize]) {
        for (at, (result, inst)) in insts.iter().enumerate() {
            let (Some(v), true) = (result, foldable_load(inst, width)) else {
                continue;
            };
            let fact = self.facts[v.index()];
            if fact.count != 1 || fact.escapes || fact.last >= insts.len() {
                continue;
            }
            let user = &insts[fact.last].1;
            let accepts = match inst {
                Inst::LoadShort { .. } => converts(user, UnaryOp::FromF16),
                _ => accepts_memory(user, *v),
            };
            if accepts && stores[at] == stores[fact.last] {
                self.postponed[v.index()] = true;
            }
        }
    }

    /// Conversions to binary16 that are only stored: one instruction does both.
    fn merge_stores(&mut self, f: &Function, insts: &[(Option<Value>, Inst)]) {
        for (at, (_, inst)) in insts.iter().enumerate() {
            let Inst::StoreShort { ty, value, .. } = inst else {
                continue;
            };
            let fact = self.facts[value.index()];
            let alone = fact.count == 1 && !fact.escapes && fact.last == at;
            let narrows = f
                .def_inst(*value)
                .is_some_and(|i| converts(i, UnaryOp::ToF16));
            if ty.bytes() == 2 && narrows && alone {
                self.merged[value.index()] = true;
            }
        }
    }

    /// Choices between an operation and its first operand, which are one instruction under a mask.
    fn merge_choices(&mut self, f: &Function, insts: &[(Option<Value>, Inst)], stores: &[usize]) {
        for (at, (_, inst)) in insts.iter().enumerate() {
            let Inst::Select { a, b: old, .. } = inst else {
                continue;
            };
            let fact = self.facts[a.index()];
            let (
                Def::Inst(_, from),
                Some(Inst::Binary {
                    op,
                    a: left,
                    b: right,
                    ..
                }),
            ) = (f.def(*a), f.def_inst(*a))
            else {
                continue;
            };
            let updates = left == old || right == old && op.commutes();
            let alone = fact.count == 1 && !fact.escapes && fact.last == at;
            if updates && alone && stores[from as usize] == stores[at] {
                self.merged[a.index()] = true;
            }
        }
    }

    /// Whether the operation that defines `v` is left to the choice, or the store, that reads it.
    pub(super) fn merged(&self, v: Value) -> bool {
        self.merged[v.index()]
    }

    /// Whether the load that defines `v` is left to its only user.
    pub(super) fn postponed(&self, v: Value) -> bool {
        self.postponed[v.index()]
    }

    /// Whether `v` is read so often, and only in its block, that it is worth a register.
    pub(super) fn often(&self, v: Value) -> bool {
        let fact = self.facts[v.index()];
        fact.count >= OFTEN && !fact.escapes
    }

    /// Whether `v`, defined in `block`, is read for the last time at this position.
    pub(super) fn last_in(&self, v: Value, _block: Block, at: usize) -> bool {
        let fact = self.facts[v.index()];
        !fact.escapes && fact.last == at
    }
}

/// The stores of a block before each position.
fn stores_before(insts: &[(Option<Value>, Inst)]) -> Vec<usize> {
    let mut count = 0;
    let counts = insts.iter().map(|(_, inst)| {
        let before = count;
        count += usize::from(inst.writes());
        before
    });
    counts.collect()
}

fn foldable_load(inst: &Inst, width: Width) -> bool {
    match inst {
        Inst::Load { form, .. } => match form {
            LoadForm::Full => true,
            LoadForm::Broadcast => width == Width::Z512,
            LoadForm::Lane | LoadForm::Masked(_) | LoadForm::Part(..) => false,
        },
        Inst::LoadShort { ty, .. } => *ty == IntTy::U16,
        _ => false,
    }
}

/// Whether `inst` is that conversion.
fn converts(inst: &Inst, conversion: UnaryOp) -> bool {
    matches!(inst, Inst::Unary { op, .. } if *op == conversion)
}

/// Whether `inst` can read operand `v` from memory.
fn accepts_memory(inst: &Inst, v: Value) -> bool {
    match inst {
        Inst::Unary { op, .. } => !matches!(op, UnaryOp::FromF16 | UnaryOp::ToF16),
        Inst::Fma { .. } => true,
        Inst::Permute { .. } => true,
        Inst::Binary { op, b, .. } => *b == v || op.commutes(),
        Inst::Cmp { .. } => true,
        Inst::Select { a, .. } => *a == v,
        Inst::Pick { b, .. } => *b == v,
        Inst::Dot { b, .. } => *b == v,
        _ => false,
    }
}
