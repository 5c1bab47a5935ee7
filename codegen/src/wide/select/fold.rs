//! Which values are read where: last uses, and loads that may become memory operands.

use crate::wide::vir::{Block, Def, Function, Inst, LoadForm, Value, Width};

/// Facts about the uses of every value.
pub(super) struct Uses {
    /// Uses of each value, by position.
    facts: Vec<Fact>,
    postponed: Vec<bool>,
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
            uses.postpone_loads(f.width, &data.insts);
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

    fn postpone_loads(&mut self, width: Width, insts: &[(Option<Value>, Inst)]) {
        // Stores up to each position; a load moves down only where the count stays.
        let mut stores = Vec::with_capacity(insts.len());
        let mut count = 0usize;
        for (_, inst) in insts {
            stores.push(count);
            count += usize::from(inst.writes());
        }
        for (at, (result, inst)) in insts.iter().enumerate() {
            let (Some(v), true) = (result, foldable_load(inst, width)) else {
                continue;
            };
            let fact = self.facts[v.index()];
            if fact.count != 1 || fact.escapes || fact.last >= insts.len() {
                continue;
            }
            let user = &insts[fact.last].1;
            if accepts_memory(user, *v) && stores[at] == stores[fact.last] {
                self.postponed[v.index()] = true;
            }
        }
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

fn foldable_load(inst: &Inst, width: Width) -> bool {
    match inst {
        Inst::Load { form, .. } => match form {
            LoadForm::Full => true,
            LoadForm::Broadcast => width == Width::Z512,
            LoadForm::Lane | LoadForm::Masked(_) => false,
        },
        _ => false,
    }
}

/// Whether `inst` can read operand `v` from memory.
fn accepts_memory(inst: &Inst, v: Value) -> bool {
    match inst {
        Inst::Unary { .. } | Inst::Fma { .. } => true,
        Inst::Permute { .. } => true,
        Inst::Binary { op, b, .. } => *b == v || op.commutes(),
        Inst::Cmp { .. } => true,
        Inst::Select { a, .. } => *a == v,
        Inst::Dot { b, .. } => *b == v,
        _ => false,
    }
}
