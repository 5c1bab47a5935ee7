//! Registers of the kernel as SSA values.
use super::shorts::{in_memory, is_word};
use super::{Lowering, TileArg, WhyNot};
use crate::kernel::lanes::RegisterLanes;
use crate::wide::vir::{Cmp, Elem, StoreForm, Value};
use std::collections::{BTreeMap, BTreeSet};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::{BufferId, Cond, For, Kernel, Scalar, Scope, Stmt};

/// How statements use registers: numbers of loads and of stores.
#[derive(Default)]
struct Uses {
    read: BTreeMap<BufferId, usize>,
    written: BTreeMap<BufferId, usize>,
}

impl Uses {
    fn of(kernel: &Kernel, stmts: &[Stmt]) -> Self {
        let mut uses = Uses::default();
        uses.visit(kernel, stmts);
        uses
    }

    fn visit(&mut self, kernel: &Kernel, stmts: &[Stmt]) {
        let register = |b: BufferId| kernel.buffer(b).scope == Scope::Register;
        for stmt in stmts {
            if let Stmt::Store { buffer, .. } = stmt
                && register(*buffer)
            {
                *self.written.entry(*buffer).or_default() += 1;
            }
            if let Some(s) = scalars(stmt) {
                s.visit(&mut |s| match s {
                    Scalar::Load(b, _) if register(*b) => *self.read.entry(*b).or_default() += 1,
                    _ => {}
                });
            }
            for body in stmt.bodies() {
                self.visit(kernel, body);
            }
        }
    }

    fn reads(&self, b: BufferId) -> usize {
        self.read.get(&b).copied().unwrap_or(0)
    }
}

fn scalars(stmt: &Stmt) -> Option<&Scalar> {
    match stmt {
        Stmt::Store { value, .. } | Stmt::Check { value, .. } => Some(value),
        Stmt::While { cond, .. } => Some(cond),
        Stmt::If {
            cond: Cond::Scalar(s),
            ..
        } => Some(s),
        _ => None,
    }
}

/// The registers that the loop writes and others use too. They must have one value for all lanes,
/// and all registers must be of types that vectors hold.
pub(super) fn shared(
    kernel: &Kernel,
    nest: &For,
    lanes: &RegisterLanes,
) -> Result<Vec<BufferId>, WhyNot> {
    let inside = Uses::of(kernel, &nest.body);
    let all = Uses::of(kernel, &kernel.body);
    let mut shared = Vec::new();
    for (b, stores) in &inside.written {
        let own = inside.reads(*b) == all.reads(*b) && all.written.get(b) == Some(stores);
        let uniform = lanes.shape(*b).lanes.is_empty() && is_word(kernel.buffer(*b).dtype);
        if !kernel.buffer(*b).shape.is_empty() || !own && !uniform {
            return Err(WhyNot::Escapes);
        }
        if !own {
            shared.push(*b);
        }
    }
    let used = inside.read.keys().chain(inside.written.keys());
    for b in used {
        let dtype = kernel.buffer(*b).dtype;
        let outer = !inside.written.contains_key(b);
        if !is_word(dtype) && (outer || in_memory(dtype).is_none()) {
            return Err(WhyNot::Type(dtype));
        }
    }
    Ok(shared)
}

/// Adds the registers that may be read before the statements have written them.
fn read_first(
    kernel: &Kernel,
    stmts: &[Stmt],
    written: &mut BTreeSet<BufferId>,
    found: &mut BTreeSet<BufferId>,
) {
    for stmt in stmts {
        if let Some(s) = scalars(stmt) {
            s.visit(&mut |s| {
                if let Scalar::Load(b, _) = s
                    && kernel.buffer(*b).scope == Scope::Register
                    && !written.contains(b)
                {
                    found.insert(*b);
                }
            });
        }
        match stmt {
            Stmt::Store { buffer, .. } => drop(written.insert(*buffer)),
            // What a nested statement writes may not have been run.
            _ => stmt
                .bodies()
                .into_iter()
                .for_each(|body| read_first(kernel, body, &mut written.clone(), found)),
        }
    }
}

impl Lowering<'_> {
    /// Loads the registers that the tile shares with its caller.
    pub(super) fn take_registers(&mut self) {
        for b in self.shared.clone() {
            let word = self.word(TileArg::Register(b));
            let addr = self.word_addr(word);
            let v = self.b.broadcast(Elem::F32, addr);
            self.registers.insert((b, vec![]), v);
        }
    }

    /// Stores them again.
    pub(super) fn give_registers(&mut self) {
        for b in self.shared.clone() {
            let v = self.slot_value(&(b, vec![]));
            let word = self.word(TileArg::Register(b));
            let addr = self.word_addr(word);
            self.b.store_form(Elem::F32, StoreForm::Lane, addr, v);
        }
    }

    /// Registers that a part of the tile writes: those whose values go in or out, and the others.
    pub(super) fn written(&self, parts: &[&[Stmt]]) -> (Vec<BufferId>, Vec<BufferId>) {
        let all = Uses::of(self.kernel, &self.nest.body);
        let mut inside = Uses::default();
        parts.iter().for_each(|p| inside.visit(self.kernel, p));
        let mut first = BTreeSet::new();
        for part in parts {
            read_first(self.kernel, part, &mut BTreeSet::new(), &mut first);
        }
        let carried = |b: &BufferId| {
            let later = all.reads(*b) > inside.reads(*b) || self.shared.contains(b);
            later || first.contains(b)
        };
        inside.written.keys().copied().partition(carried)
    }

    /// The variables of the lanes of a register.
    fn register_vars(&self, b: BufferId) -> Vec<tensmith_ir::expr::Var> {
        let lanes = &self.register_lanes.shape(b).lanes;
        lanes.iter().map(|(v, _)| *v).collect()
    }

    /// The open lanes of a register as bits.
    pub(super) fn register_mask(&self, b: BufferId) -> u32 {
        let vars = self.register_vars(b);
        let open = self.lanes.iter().enumerate();
        open.filter(|(_, l)| !l.pinned && vars.contains(&l.var))
            .fold(0, |m, (k, _)| m | 1 << k)
    }

    /// The position of the lanes at hand within a register.
    pub(super) fn register_position(&self, b: BufferId) -> Vec<i64> {
        let value = |v| {
            let lane = self.lanes.iter().find(|l| l.var == v);
            lane.map_or(0, |l| l.value)
        };
        self.register_vars(b).into_iter().map(value).collect()
    }

    /// All positions of registers that the code at hand may touch.
    pub(super) fn slots(&self, buffers: &[BufferId]) -> Vec<(BufferId, Vec<i64>)> {
        let mut slots = Vec::new();
        for b in buffers {
            let mut positions: Vec<Vec<i64>> = vec![vec![]];
            for var in self.register_vars(*b) {
                let values = self.lane_values(var);
                positions = positions
                    .iter()
                    .flat_map(|p| values.iter().map(move |v| [&p[..], &[*v]].concat()))
                    .collect();
            }
            slots.extend(positions.into_iter().map(|p| (*b, p)));
        }
        slots
    }

    fn lane_values(&self, var: tensmith_ir::expr::Var) -> Vec<i64> {
        if let Some(lane) = self.lanes.iter().find(|l| l.var == var && l.pinned) {
            return vec![lane.value];
        }
        match self.lane_loops.get(&var) {
            Some((extent, vector)) => {
                let step = if *vector { self.width_lanes() } else { 1 };
                (0..*extent).step_by(step as usize).collect()
            }
            None => vec![0],
        }
    }

    pub(super) fn width_lanes(&self) -> i64 {
        self.b.lanes(Elem::F32) as i64
    }

    /// The value of a register; zero before its first store.
    pub(super) fn slot_value(&mut self, slot: &(BufferId, Vec<i64>)) -> Value {
        match self.registers.get(slot) {
            Some(v) => *v,
            None => self.zero_of(self.kernel.buffer(slot.0).dtype),
        }
    }

    fn zero_of(&mut self, dtype: DType) -> Value {
        let zero = self.b.zero();
        if dtype == DType::Bool {
            return self.b.cmp(Cmp::Ne, Elem::I32, zero, zero);
        }
        zero
    }
}
