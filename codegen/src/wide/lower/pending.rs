//! Stores that wait for their neighbours.
//!
//! A vector whose lanes go to elements that lie far apart is stored lane by lane. Where a list of
//! statements stores such vectors to neighbouring elements, four of them are turned in registers to
//! rows of four elements, each stored at once. Until then they wait: till something reads or
//! writes the buffer in another way, or the list ends.
use super::address::Access;
use super::spread::ELEMENT;
use super::{Lowering, WhyNot};
use crate::wide::vir::{Elem, StoreForm, Value};
use std::rc::Rc;
use tensmith_ir::loops::{BufferId, Scalar, Stmt};

/// Vectors that make rows of 128 bits.
const ROW: usize = 4;

/// A store that waits.
#[derive(Clone)]
pub(super) struct Pending {
    buffer: BufferId,
    access: Rc<Access>,
    mask: u32,
    /// The values of all open lanes.
    at: Vec<i64>,
    value: Value,
}

impl Pending {
    /// Whether two stores differ by a constant distance only.
    fn beside(&self, other: &Pending) -> bool {
        let same = self.buffer == other.buffer && self.mask == other.mask;
        same && self.at == other.at && self.access.differs_by_constant(&other.access)
    }
}

impl Lowering<'_> {
    /// Lets a store wait.
    pub(super) fn postpone(
        &mut self,
        buffer: BufferId,
        access: &Rc<Access>,
        mask: u32,
        value: Value,
    ) -> Result<(), WhyNot> {
        let new = Pending {
            buffer,
            access: Rc::clone(access),
            mask,
            at: self.lanes.iter().map(|l| l.value).collect(),
            value,
        };
        let again = |p: &Pending| {
            let apart = p.access.differs_by_constant(&new.access);
            let same = p.at == new.at && p.access.constant == new.access.constant;
            p.buffer == new.buffer && (same || !apart)
        };
        if self.pending.iter().any(again) {
            self.flush()?;
        }
        self.pending.push(new);
        Ok(())
    }

    /// Emits the stores that wait, if a statement must not pass them.
    pub(super) fn flush_before(&mut self, stmt: &Stmt) -> Result<(), WhyNot> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let passes = match stmt {
            Stmt::Store { value, .. } => !self.pending.iter().any(|p| loads(value, p.buffer)),
            _ => false,
        };
        if passes { Ok(()) } else { self.flush() }
    }

    /// Emits the stores that wait, if any of them is to a buffer.
    pub(super) fn flush_of(&mut self, buffer: BufferId) -> Result<(), WhyNot> {
        match self.pending.iter().any(|p| p.buffer == buffer) {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Emits the stores that wait.
    pub(super) fn flush(&mut self) -> Result<(), WhyNot> {
        let mut waiting = std::mem::take(&mut self.pending);
        let here: Vec<i64> = self.lanes.iter().map(|l| l.value).collect();
        while let Some(first) = waiting.first().cloned() {
            let (mut beside, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|p| p.beside(&first));
            waiting = rest;
            beside.sort_by_key(|p| p.access.constant);
            self.go_to(&first.at);
            let mut left = &beside[..];
            while let [next, ..] = left {
                let follows = |k: usize| {
                    let want = next.access.constant + ELEMENT * k as i64;
                    left.get(k).is_some_and(|p| p.access.constant == want)
                };
                let count = if (0..ROW).all(follows) { ROW } else { 1 };
                let (now, later) = left.split_at(count);
                match count {
                    ROW => self.store_rows(now)?,
                    _ => self.scatter(&next.access, next.mask, next.value)?,
                }
                left = later;
            }
        }
        self.go_to(&here);
        Ok(())
    }

    fn go_to(&mut self, at: &[i64]) {
        for (lane, value) in self.lanes.iter_mut().zip(at) {
            lane.value = *value;
        }
    }

    /// Stores four vectors whose lanes lie side by side.
    fn store_rows(&mut self, columns: &[Pending]) -> Result<(), WhyNot> {
        let values: Vec<Value> = columns.iter().map(|p| p.value).collect();
        let quads = self.turn_quad(&values, ROW);
        let Pending { access, mask, .. } = &columns[0];
        for lane in 0..self.live_lanes(*mask) {
            let addr = self.addr(access, lane)?;
            let (part, k) = (lane as usize / ROW, lane as usize % ROW);
            let form = StoreForm::Part(part as u8);
            self.b.store_form(Elem::F32, form, addr, quads[k]);
        }
        Ok(())
    }
}

/// Whether a scalar loads from a buffer.
pub(super) fn loads(value: &Scalar, buffer: BufferId) -> bool {
    let mut found = false;
    value.visit(&mut |s| found |= matches!(s, Scalar::Load(b, _) if *b == buffer));
    found
}
