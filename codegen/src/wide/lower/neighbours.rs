//! Loads of neighbouring elements in straight code.
//!
//! A vector whose lanes are elements that lie far apart is loaded lane by lane. Where a list of
//! statements loads such vectors of neighbouring elements, rows of up to four elements are loaded at
//! once, one a lane, and turned in registers to those vectors. Stores go the reverse way
//! (`pending.rs`).
use super::address::Access;
use super::spread::ELEMENT;
use super::{Lowering, WhyNot};
use crate::wide::vir::{Elem, LoadForm, Value};
use std::rc::Rc;
use tensmith_ir::expr::Expr;
use tensmith_ir::loops::{BufferId, Kernel, Scalar, Scope, Stmt};

/// Elements of a row at most: those of 128 bits.
const ROW: usize = 4;

/// What a list of statements loads.
#[derive(Default)]
pub(super) struct Neighbours<'k> {
    /// Loads that are made in any case: the scalar, as a key, its buffer and its index.
    loads: Vec<(usize, BufferId, &'k [Expr])>,
    /// Vectors that were loaded with their neighbours.
    vectors: Vec<Loaded>,
}

/// A vector that was loaded.
struct Loaded {
    access: Rc<Access>,
    /// The values of the open lanes on which it depends.
    at: Vec<i64>,
    value: Value,
}

impl<'k> Neighbours<'k> {
    /// What statements load of operands, but for what depends on a condition.
    pub fn of(kernel: &Kernel, stmts: &'k [Stmt]) -> Self {
        let mut found = Neighbours::default();
        for stmt in stmts {
            if let Stmt::Store { value, .. } = stmt {
                found.visit(kernel, value);
            }
        }
        found
    }

    fn visit(&mut self, kernel: &Kernel, s: &'k Scalar) {
        match s {
            Scalar::Guard(..) => {}
            Scalar::Load(b, index) if kernel.buffer(*b).scope == Scope::Input => {
                self.loads.push((std::ptr::from_ref(s) as usize, *b, index));
            }
            _ => s.children().iter().for_each(|s| self.visit(kernel, s)),
        }
    }
}

impl<'k> Lowering<'k> {
    /// The vector at hand of a load whose lanes lie far apart, if others of the list of statements
    /// load its neighbours.
    pub(super) fn loaded_beside(
        &mut self,
        buffer: BufferId,
        access: &Rc<Access>,
        mask: u32,
    ) -> Result<Option<Value>, WhyNot> {
        // What is loaded under a condition is known there only.
        if !self.guarded.is_empty() {
            return Ok(None);
        }
        let at = self.lanes_of(mask);
        let known = self.neighbours.vectors.iter().find(|l| {
            let same = l.at == at && l.access.constant == access.constant;
            same && l.access.differs_by_constant(access)
        });
        if let Some(known) = known {
            return Ok(Some(known.value));
        }
        let row = self.row_of(buffer, access)?;
        if row.len() < 2 {
            return Ok(None);
        }
        let quads = self.load_rows(&row, mask)?;
        let columns = self.turn_quad(&quads, row.len());
        let mut found = None;
        for (access_of, value) in row.into_iter().zip(columns) {
            if access_of.constant == access.constant {
                found = Some(value);
            }
            let (access, at) = (access_of, at.clone());
            (self.neighbours.vectors).push(Loaded { access, at, value });
        }
        Ok(found)
    }

    /// The loads of the row that an access belongs to, one after the other in memory.
    fn row_of(&mut self, buffer: BufferId, access: &Rc<Access>) -> Result<Vec<Rc<Access>>, WhyNot> {
        let mut beside = vec![Rc::clone(access)];
        for k in 0..self.neighbours.loads.len() {
            let (key, b, index) = self.neighbours.loads[k];
            if b == buffer {
                let other = self.access(key, b, index)?;
                if other.differs_by_constant(access) {
                    beside.push(other);
                }
            }
        }
        beside.sort_by_key(|a| a.constant);
        beside.dedup_by_key(|a| a.constant);
        let runs = beside.chunk_by(|a, b| b.constant == a.constant + ELEMENT);
        let mut rows = runs.flat_map(|run| run.chunks(ROW));
        let own = rows.find(|row| row.iter().any(|a| a.constant == access.constant));
        Ok(own.unwrap_or_default().to_vec())
    }

    /// Four vectors of rows, of which each part of 128 bits is that of the next four lanes.
    fn load_rows(&mut self, row: &[Rc<Access>], mask: u32) -> Result<Vec<Value>, WhyNot> {
        let live = self.live_lanes(mask);
        let mut vectors = vec![self.b.zero(); ROW];
        for lane in 0..live {
            let addr = self.addr(&row[0], lane)?;
            let (part, k) = (lane as usize / ROW, lane as usize % ROW);
            let others = vectors[k];
            vectors[k] = if row.len() == ROW {
                let form = LoadForm::Part(part as u8, others);
                self.b.load_form(Elem::F32, form, addr)
            } else {
                let own = self.lane_mask(((1 << row.len()) - 1) << (ROW * part));
                let disp = i64::from(addr.disp) - ELEMENT * (ROW * part) as i64;
                let addr = addr.disp(i32::try_from(disp).map_err(|_| WhyNot::Distance)?);
                let form = LoadForm::Masked(own);
                let v = self.b.load_form(Elem::F32, form, addr);
                match part {
                    0 => v,
                    _ => self.b.select(Elem::F32, own, v, others),
                }
            };
        }
        Ok(vectors)
    }
}
