//! Statements in lock step.
use super::address::LaneStep;
use super::neighbours::Neighbours;
use super::pending::loads;
use super::shorts::in_memory;
use super::{Lane, Lowering, Memo, WhyNot};
use crate::wide::vir::{Addr, Cmp, Elem, LoadForm, StoreForm, Value, Width};
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::{BufferId, Cond, Scalar, Scope, Stmt};

/// Vectors that are computed in turns at most: enough to hide the latency of a chain.
const GROUP: i64 = 4;
/// Units: registers that a function needs for a vector, about.
const LIVE: i64 = 5;

impl<'k> Lowering<'k> {
    pub(super) fn statements(&mut self, stmts: &'k [Stmt]) -> Result<(), WhyNot> {
        let own = Neighbours::of(self.kernel, stmts);
        let outer = std::mem::replace(&mut self.neighbours, own);
        for stmt in stmts {
            self.flush_before(stmt)?;
            self.statement(stmt)?;
        }
        self.neighbours = outer;
        self.flush()
    }

    fn statement(&mut self, stmt: &'k Stmt) -> Result<(), WhyNot> {
        match stmt {
            Stmt::For(l) => self.for_loop(l),
            Stmt::If {
                cond: Cond::Affine(conds),
                then,
                otherwise,
            } => self.branch(conds, then, otherwise),
            Stmt::If { .. } | Stmt::Check { .. } | Stmt::While { .. } => Err(WhyNot::Statement),
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                self.memo = Memo::default();
                self.stored = None;
                if self.kernel.buffer(*buffer).scope == Scope::Register {
                    self.store_register(*buffer, value)
                } else {
                    let key = std::ptr::from_ref(stmt) as usize;
                    self.store_chosen(key, *buffer, index, value)
                }
            }
        }
    }

    /// Runs `f` for each combination of the lanes in `mask`, vectors innermost.
    pub(super) fn each(
        &mut self,
        mask: u32,
        f: &mut dyn FnMut(&mut Self) -> Result<(), WhyNot>,
    ) -> Result<(), WhyNot> {
        let open = |vector: bool| {
            let chosen = move |k: &usize, l: &Lane| mask & (1 << k) != 0 && l.vector == vector;
            let lanes = self.lanes.iter().enumerate();
            lanes.filter(move |(k, l)| chosen(k, l)).map(|(k, _)| k)
        };
        let order: Vec<usize> = open(false).chain(open(true)).collect();
        self.each_of(&order, f)
    }

    fn each_of(
        &mut self,
        order: &[usize],
        f: &mut dyn FnMut(&mut Self) -> Result<(), WhyNot>,
    ) -> Result<(), WhyNot> {
        let Some((first, rest)) = order.split_first() else {
            return f(self);
        };
        let lane = self.lanes[*first];
        let step = if lane.vector { self.width_lanes() } else { 1 };
        let mut result = Ok(());
        for value in (0..lane.extent).step_by(step as usize) {
            self.lanes[*first].value = value;
            result = self.each_of(rest, f);
            if result.is_err() {
                break;
            }
        }
        self.lanes[*first].value = 0;
        result
    }

    /// Runs `f` as [`Self::each`], which computes `value`: if that takes functions, and there are
    /// registers for several vectors of what they need, for these in turns.
    fn each_in_turns(
        &mut self,
        mask: u32,
        value: &Scalar,
        f: &mut dyn FnMut(&mut Self) -> Result<(), WhyNot>,
    ) -> Result<(), WhyNot> {
        let group = self.group(mask, value);
        if group < 2 {
            return self.each(mask, f);
        }
        let mut places = vec![self.b.place()];
        self.b.share_splats(true);
        let result = self.each(mask, &mut |cx| {
            f(cx)?;
            places.push(cx.b.place());
            if places.len() > group {
                cx.b.interleave(&places);
                cx.b.share_splats(true);
                places = vec![cx.b.place()];
            }
            Ok(())
        });
        self.b.share_splats(false);
        self.b.interleave(&places);
        result
    }

    /// Vectors of a value that are computed in turns.
    fn group(&self, mask: u32, value: &Scalar) -> usize {
        let mut calls = false;
        value.visit(&mut |s| calls |= matches!(s, Scalar::Call(..)));
        // Constants that the vectors share have registers where they are no operands in memory.
        let (registers, shared): (i64, i64) = match self.b.width() {
            Width::Y256 => (16, 0),
            Width::Z512 => (32, 1),
        };
        let step = |l: &Lane| if l.vector { self.width_lanes() } else { 1 };
        let lanes = self.lanes.iter().enumerate();
        let chosen = lanes.filter(|(k, _)| mask & (1 << k) != 0);
        let vectors: i64 = chosen
            .map(|(_, l)| (l.extent + step(l) - 1) / step(l))
            .product();
        match calls {
            true => ((registers - vectors) / LIVE - shared).clamp(1, GROUP) as usize,
            false => 1,
        }
    }

    fn store_register(&mut self, buffer: BufferId, value: &Scalar) -> Result<(), WhyNot> {
        let mask = self.register_mask(buffer);
        let sums = self.sums.lanes(self.lanes.iter().map(|l| l.var), buffer);
        let joined = (self.scalar_mask(value)? | sums) & !mask;
        if joined != 0 {
            return self.join(buffer, value, mask, joined);
        }
        self.each_in_turns(mask, value, &mut |cx| {
            let v = cx.scalar(value)?;
            let slot = (buffer, cx.register_position(buffer));
            cx.registers.insert(slot, v);
            Ok(())
        })
    }

    /// A store, of which the loops around the tile's lanes may choose the value: then there are two.
    fn store_chosen(
        &mut self,
        key: usize,
        buffer: BufferId,
        index: &[Expr],
        value: &Scalar,
    ) -> Result<(), WhyNot> {
        let Scalar::Guard(conds, then, otherwise) = value else {
            return self.store(key, buffer, index, value);
        };
        // A tile that lies on one side of a border is told by its number.
        let conds: Vec<Expr> = (conds.iter())
            .flat_map(|c| c.conditions(&self.ranges))
            .collect();
        if conds.is_empty() || self.mentioned(&conds) != 0 {
            return self.store(key, buffer, index, value);
        }
        self.flush()?;
        let least = self.least(&conds)?;
        let zero = self.b.iconst(0);
        let (yes, _) = self.b.block(&[]);
        let (no, _) = self.b.block(&[]);
        let (join, _) = self.b.block(&[]);
        self.b.branch((Cmp::Ge, least, zero), (yes, &[]), (no, &[]));
        let outer = self.guarded.len();
        self.guarded.extend(conds);
        for (block, side) in [(yes, then), (no, otherwise)] {
            self.switch_to(block);
            self.memo = Memo::default();
            self.store_chosen(key, buffer, index, side)?;
            self.flush()?;
            self.b.jump(join, &[]);
        }
        self.guarded.truncate(outer);
        self.memo = Memo::default();
        self.switch_to(join);
        Ok(())
    }

    fn store(
        &mut self,
        key: usize,
        buffer: BufferId,
        index: &[Expr],
        value: &Scalar,
    ) -> Result<(), WhyNot> {
        self.stored = Some(buffer);
        let access = self.access(key, buffer, index)?;
        let mask = self.access_mask(&access) | self.scalar_mask(value)?;
        let vector = self.vector_lane(mask).is_some();
        if vector && access.lane_step == LaneStep::Same {
            return Err(WhyNot::Operation("stores of all lanes to one element"));
        }
        let dtype = self.kernel.buffer(buffer).dtype;
        if let Some(ty) = in_memory(dtype) {
            return self.each_in_turns(mask, value, &mut |cx| {
                let v = cx.scalar(value)?;
                cx.store_short((dtype, ty), &access, mask, v)
            });
        }
        let across = match access.lane_step {
            LaneStep::Far => self.across(&access).filter(|_| !loads(value, buffer)),
            _ => None,
        };
        if across.is_some() || access.lane_step != LaneStep::Far {
            self.flush_of(buffer)?;
        }
        if let Some(across) = across {
            return self.turned_store(&access, mask, across, value);
        }
        self.each_in_turns(mask, value, &mut |cx| {
            let v = cx.scalar(value)?;
            match access.lane_step {
                LaneStep::Same => {
                    let addr = cx.addr(&access, 0)?;
                    cx.b.store_form(Elem::F32, StoreForm::Lane, addr, v);
                }
                LaneStep::Next => {
                    let addr = cx.addr(&access, 0)?;
                    let form = match cx.tail(mask) {
                        Some(m) => StoreForm::Masked(m),
                        None => StoreForm::Full,
                    };
                    cx.b.store_form(Elem::F32, form, addr, v);
                }
                LaneStep::Far => cx.postpone(buffer, &access, mask, v)?,
            }
            Ok(())
        })
    }

    /// The open vector lane among `mask`.
    pub(super) fn vector_lane(&self, mask: u32) -> Option<Lane> {
        let lanes = self.lanes.iter().enumerate();
        let mut found = lanes.filter(|(k, l)| mask & (1 << k) != 0 && l.vector);
        found.next().map(|(_, l)| *l)
    }

    /// Lanes of the vector at hand that exist.
    pub(super) fn live_lanes(&self, mask: u32) -> i64 {
        let all = self.width_lanes();
        self.vector_lane(mask)
            .map_or(all, |l| (l.extent - l.value).min(all))
    }

    /// The mask of the vector at hand, if not all of its lanes exist.
    pub(super) fn tail(&mut self, mask: u32) -> Option<Value> {
        self.first_lanes(self.live_lanes(mask))
    }

    /// The mask of the first `live` lanes; none if these are all.
    pub(super) fn first_lanes(&mut self, live: i64) -> Option<Value> {
        if live == self.width_lanes() {
            return None;
        }
        if let Some(v) = self.tails.get(&live) {
            return Some(*v);
        }
        let entry = self.scopes[0].block;
        let v = self.within(entry, |cx| {
            let count = cx.b.iconst(live);
            cx.b.tail_mask(Elem::F32, count)
        });
        self.tails.insert(live, v);
        Some(v)
    }

    /// The element, or elements, of a load for the lanes at hand.
    pub(super) fn load(
        &mut self,
        key: usize,
        buffer: BufferId,
        index: &[Expr],
    ) -> Result<Value, WhyNot> {
        let access = self.access(key, buffer, index)?;
        let mask = self.access_mask(&access);
        let dtype = self.kernel.buffer(buffer).dtype;
        if let Some(ty) = in_memory(dtype) {
            let turned = self.across(&access).filter(|k| self.widens(*k));
            let v = match turned.filter(|_| self.stored != Some(buffer)) {
                Some(across) => self.turned_load(key, &access, mask, (across, Some(ty)))?,
                None => self.load_short(ty, &access, mask)?,
            };
            return Ok(self.truth(dtype, v));
        }
        match access.lane_step {
            LaneStep::Same => {
                let addr = self.addr(&access, 0)?;
                Ok(self.b.broadcast(Elem::F32, addr))
            }
            LaneStep::Next => {
                let addr = self.addr(&access, 0)?;
                self.fetch_ahead(buffer, addr);
                Ok(match self.tail(mask) {
                    Some(m) => self.b.load_form(Elem::F32, LoadForm::Masked(m), addr),
                    None => self.b.load(Elem::F32, addr),
                })
            }
            LaneStep::Far => match self.across(&access) {
                Some(across) if self.stored != Some(buffer) && !self.is_near(&access, mask) => {
                    self.turned_load(key, &access, mask, (across, None))
                }
                _ if self.is_near(&access, mask) => self.gather(&access, mask),
                _ => match self.loaded_beside(buffer, &access, mask)? {
                    Some(v) => Ok(v),
                    None => self.gather(&access, mask),
                },
            },
        }
    }
}

impl Lowering<'_> {
    /// Asks for what lies behind a vector, as the buffer wants.
    pub(super) fn fetch_ahead(&mut self, buffer: BufferId, addr: Addr) {
        let buffer = self.kernel.buffer(buffer);
        let ahead = buffer.prefetch.saturating_mul(buffer.dtype.bytes() as i64);
        let disp = i64::from(addr.disp).saturating_add(ahead);
        if ahead > 0
            && let Ok(disp) = i32::try_from(disp)
        {
            self.b.prefetch(addr.disp(disp));
        }
    }
}
