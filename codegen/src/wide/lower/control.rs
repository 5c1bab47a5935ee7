//! Loops and branches to blocks.
use super::{Lane, LoopScope, Lowering, TileArg, WhyNot};
use crate::wide::vir::{Block, Class, Cmp, IntOp, Value};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::{BufferId, For, Mark, Role, Stmt};

type Slot = (BufferId, Vec<i64>);

impl<'k> Lowering<'k> {
    pub(super) fn collect_lanes(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            if let Stmt::For(l) = stmt {
                self.note_lane(l);
            }
            stmt.bodies()
                .into_iter()
                .for_each(|b| self.collect_lanes(b));
        }
    }

    pub(super) fn note_lane(&mut self, l: &For) {
        if let (Mark::Vector | Mark::Jam, Some(extent)) = (l.mark, l.extent.as_const()) {
            self.lane_loops
                .insert(l.var, (extent, l.mark == Mark::Vector));
        }
    }

    pub(super) fn for_loop(&mut self, l: &'k For) -> Result<(), WhyNot> {
        self.ranges.bind(l.var, &l.extent);
        let extent = l.extent.as_const();
        let lock_step = matches!(l.mark, Mark::Vector | Mark::Jam);
        match extent {
            Some(e) if e <= 0 => Ok(()),
            Some(e) if l.mark == Mark::Vector || lock_step && l.role == Role::Space => {
                self.lock_step(l, e)
            }
            Some(e) if lock_step || l.mark == Mark::Unroll => self.unrolled(l, e),
            _ => match self.dot_loop(l)? {
                true => Ok(()),
                false => self.plain_loop(l),
            },
        }
    }

    fn lock_step(&mut self, l: &'k For, extent: i64) -> Result<(), WhyNot> {
        let vector = l.mark == Mark::Vector;
        if vector && self.lanes.iter().any(|lane| lane.vector) {
            return Err(WhyNot::Operation("vector in a vector"));
        }
        self.lanes.push(Lane {
            var: l.var,
            extent,
            vector,
            pinned: false,
            value: 0,
        });
        self.sums.open(l);
        let result = self.statements(&l.body);
        self.sums.close(l.var);
        self.lanes.pop();
        result
    }

    fn unrolled(&mut self, l: &'k For, extent: i64) -> Result<(), WhyNot> {
        for value in 0..extent {
            self.lanes.push(Lane {
                var: l.var,
                extent,
                vector: false,
                pinned: true,
                value,
            });
            let result = self.statements(&l.body);
            self.lanes.pop();
            result?;
        }
        Ok(())
    }

    pub(super) fn switch_to(&mut self, block: Block) {
        self.current = block;
        self.b.switch_to(block);
    }

    fn class_of(&self, slot: &Slot) -> Class {
        if self.kernel.buffer(slot.0).dtype == DType::Bool {
            Class::Mask
        } else {
            Class::Vec
        }
    }

    fn slot_values(&mut self, slots: &[Slot]) -> Vec<Value> {
        slots.iter().map(|s| self.slot_value(s)).collect()
    }

    fn set_slots(&mut self, slots: &[Slot], values: &[Value]) {
        let pairs = slots.iter().cloned().zip(values.iter().copied());
        self.registers.extend(pairs);
    }

    fn forget(&mut self, buffers: &[BufferId]) {
        self.registers.retain(|(b, _), _| !buffers.contains(b));
    }

    /// A loop that tests at the end.
    fn plain_loop(&mut self, l: &'k For) -> Result<(), WhyNot> {
        let (carried, local) = self.written(&[&l.body]);
        let slots = self.slots(&carried);
        let classes: Vec<Class> = slots.iter().map(|s| self.class_of(s)).collect();
        let runs = l.mark != Mark::Parallel && l.extent.as_const().is_some();
        let (begin, end) = self.bounds(l)?;
        let init = self.slot_values(&slots);
        let (body, params) = self.b.block(&[&[Class::Int], &classes[..]].concat());
        let first = [&[begin], &init[..]].concat();
        let (exit, results) = self.b.block(&classes);
        if runs {
            self.b.jump(body, &first);
        } else {
            self.b
                .branch((Cmp::Lt, begin, end), (body, &first), (exit, &init));
        }
        self.switch_to(body);
        self.set_slots(&slots, &params[1..]);
        self.scopes
            .push(LoopScope::new(body, Some((l.var, params[0]))));
        self.statements(&l.body)?;
        self.scopes.pop();
        let next = self.b.int_add_const(params[0], 1);
        let values = self.slot_values(&slots);
        let again = [&[next], &values[..]].concat();
        self.b
            .branch((Cmp::Lt, next, end), (body, &again), (exit, &values));
        self.switch_to(exit);
        self.forget(&local);
        self.set_slots(&slots, &results);
        Ok(())
    }

    /// The first iteration, and the one after the last; those of a parallel loop are the caller's.
    fn bounds(&mut self, l: &For) -> Result<(Value, Value), WhyNot> {
        if l.mark == Mark::Parallel {
            let (begin, end) = (self.word(TileArg::Begin), self.word(TileArg::End));
            return Ok((self.word_value(begin), self.word_value(end)));
        }
        let begin = self.b.iconst(0);
        Ok((begin, self.int_expr(&l.extent)?))
    }

    /// The least of index expressions, to be compared with 0.
    pub(super) fn least(&mut self, conds: &[Expr]) -> Result<Value, WhyNot> {
        for cond in conds {
            let varies = |l: &Lane| l.vector && cond.mentions(l.var);
            if self.lanes.iter().any(varies) {
                return Err(WhyNot::LaneCondition);
            }
        }
        let mut least: Option<Value> = None;
        for cond in conds {
            let v = self.int_expr(cond)?;
            least = Some(match least {
                Some(l) => self.b.int(IntOp::Min, l, v),
                None => v,
            });
        }
        Ok(match least {
            Some(v) => v,
            None => self.b.iconst(0),
        })
    }

    /// A branch on index expressions that no lane changes.
    pub(super) fn branch(
        &mut self,
        conds: &[Expr],
        then: &'k [Stmt],
        otherwise: &'k [Stmt],
    ) -> Result<(), WhyNot> {
        let (carried, local) = self.written(&[then, otherwise]);
        let slots = self.slots(&carried);
        let classes: Vec<Class> = slots.iter().map(|s| self.class_of(s)).collect();
        let least = self.least(conds)?;
        let zero = self.b.iconst(0);
        let (yes, _) = self.b.block(&[]);
        let (no, _) = self.b.block(&[]);
        let (join, results) = self.b.block(&classes);
        self.b.branch((Cmp::Ge, least, zero), (yes, &[]), (no, &[]));
        let before = self.registers.clone();
        let fails = match conds {
            [cond] => vec![-cond.clone() - 1],
            _ => vec![],
        };
        for (block, stmts, said) in [(yes, then, conds), (no, otherwise, &fails[..])] {
            let known = self.ranges.clone();
            said.iter().for_each(|c| self.ranges.assume(c));
            self.switch_to(block);
            self.registers.clone_from(&before);
            self.statements(stmts)?;
            self.ranges = known;
            let values = self.slot_values(&slots);
            self.b.jump(join, &values);
        }
        self.switch_to(join);
        self.registers = before;
        self.forget(&local);
        self.set_slots(&slots, &results);
        Ok(())
    }
}
