//! Blocks of elements that lie far apart along the lanes of a vector, and one after the other along
//! another open loop.
//!
//! Such a block is loaded by vectors along that other loop, one a lane, which are the rows of a
//! matrix, and turned in registers to its columns; stores take the reverse way.
use super::address::{Access, LaneStep};
use super::spread::ELEMENT;
use super::{Lowering, Stride, WhyNot};
use crate::wide::vir::{Elem, IntTy, LoadForm, StoreForm, Value, Width, ZipOp};
use tensmith_ir::loops::Scalar;

/// Columns of a block without gaps at most that are put together by permutations: one for each
/// column, or for each column and each vector.
const MOST_DENSE: i64 = 5;

impl Lowering<'_> {
    /// The open loop along which the elements of an access follow one another, if those of the
    /// vector's lanes do not, and if all elements along it are accessed.
    pub(super) fn across(&self, access: &Access) -> Option<usize> {
        let straight = |k: &usize| {
            let lane = &self.lanes[*k];
            let next = (lane.var, Stride::Const(access.scale));
            let follows = !access.bent.mentions(lane.var) && access.strides.contains(&next);
            (lane.vector || follows) && !self.guarded.iter().any(|c| c.mentions(lane.var))
        };
        let open = |vector: bool| {
            let lanes = (0..self.lanes.len()).filter(move |k| self.lanes[*k].vector == vector);
            lanes.filter(|k| !self.lanes[*k].pinned).find(straight)
        };
        open(true)?;
        open(false).filter(|_| access.lane_step == LaneStep::Far)
    }

    /// Whether rows of integers of fewer than 32 bits along the loop `across` are loaded as vectors.
    pub(super) fn widens(&self, across: usize) -> bool {
        let width = self.width_lanes();
        self.b.width() == Width::Z512 || self.lanes[across].extent % width == 0
    }

    /// A vector of a load out of a block, which is loaded once for the statement at hand; `short` are
    /// integers that lanes hold as words.
    pub(super) fn turned_load(
        &mut self,
        key: usize,
        access: &Access,
        mask: u32,
        (across, short): (usize, Option<IntTy>),
    ) -> Result<Value, WhyNot> {
        let at = self.lanes[across].value;
        let first = at - at % self.width_lanes();
        self.lanes[across].value = first;
        let lanes = self.lanes.iter().enumerate();
        let block = lanes.filter(|(k, _)| mask & (1 << k) != 0);
        let block = (key, block.map(|(_, l)| l.value).collect());
        if !self.memo.blocks.contains_key(&block) {
            let columns = self.load_columns(access, mask, (across, short))?;
            self.memo.blocks.insert(block.clone(), columns);
        }
        self.lanes[across].value = at;
        Ok(self.memo.blocks[&block][(at - first) as usize])
    }

    fn load_columns(
        &mut self,
        access: &Access,
        mask: u32,
        (across, short): (usize, Option<IntTy>),
    ) -> Result<Vec<Value>, WhyNot> {
        let count = self.left(across);
        let live = self.live_lanes(mask);
        let mut rows = Vec::new();
        for j in 0..live {
            let addr = self.addr(access, j)?;
            rows.push(match (short, self.first_lanes(count)) {
                (Some(ty), tail) => self.b.load_short(ty, tail, addr),
                (None, Some(m)) => self.b.load_form(Elem::F32, LoadForm::Masked(m), addr),
                (None, None) => self.b.load(Elem::F32, addr),
            });
        }
        Ok(self.turn(rows, count as usize))
    }

    /// Iterations from the one at hand on, at most as many as a vector has lanes.
    fn left(&self, lane: usize) -> i64 {
        let lane = &self.lanes[lane];
        (lane.extent - lane.value).min(self.width_lanes())
    }

    /// A store of vectors whose elements follow one another along the loop `across`.
    pub(super) fn turned_store(
        &mut self,
        access: &Access,
        mask: u32,
        across: usize,
        value: &Scalar,
    ) -> Result<(), WhyNot> {
        let width = self.width_lanes();
        let extent = self.lanes[across].extent;
        self.each(mask & !(1 << across), &mut |cx| {
            for first in (0..extent).step_by(width as usize) {
                cx.lanes[across].value = first;
                cx.store_columns(access, mask, across, value)?;
            }
            cx.lanes[across].value = 0;
            Ok(())
        })
    }

    fn store_columns(
        &mut self,
        access: &Access,
        mask: u32,
        across: usize,
        value: &Scalar,
    ) -> Result<(), WhyNot> {
        let (first, count) = (self.lanes[across].value, self.left(across));
        let mut columns = Vec::new();
        for at in first..first + count {
            self.lanes[across].value = at;
            columns.push(self.scalar(value)?);
        }
        self.lanes[across].value = first;
        let live = self.live_lanes(mask);
        if self.is_dense(access, across) {
            return self.store_dense(access, &columns, live);
        }
        let rows = self.turn(columns, live as usize);
        for (j, row) in (0..live).zip(rows) {
            let addr = self.addr(access, j)?;
            let form = match self.first_lanes(count) {
                Some(m) => StoreForm::Masked(m),
                None => StoreForm::Full,
            };
            self.b.store_form(Elem::F32, form, addr, row);
        }
        Ok(())
    }

    /// Whether the elements of a short loop follow those of its lanes without a gap.
    fn is_dense(&self, access: &Access, across: usize) -> bool {
        let extent = self.lanes[across].extent;
        let lane = self.lanes.iter().find(|l| l.vector);
        lane.is_some_and(|l| {
            let dense = (l.var, Stride::Const(extent * ELEMENT));
            extent <= MOST_DENSE && !access.bent.mentions(l.var) && access.strides.contains(&dense)
        })
    }

    /// Stores columns of which each lane's elements lie side by side, and those of the next lane
    /// behind them: whole vectors, put together of all columns.
    fn store_dense(&mut self, access: &Access, columns: &[Value], live: i64) -> Result<(), WhyNot> {
        let width = self.width_lanes();
        let count = columns.len() as i64;
        let first = self.addr(access, 0)?;
        let mut spread = Vec::new();
        for start in (0..live * count).step_by(width as usize) {
            // Where the count is odd, no two lanes of a column go to one place, whatever the vector.
            if spread.is_empty() || count % 2 == 0 {
                let columns = columns.iter().zip(0..);
                spread = columns
                    .map(|(v, c)| self.spread_column(*v, (c, count), start))
                    .collect();
            }
            let mut vector = spread[0];
            for (c, column) in spread.iter().enumerate().skip(1) {
                let own = (0..width).filter(|l| (start + l) % count == c as i64);
                let own = self.lane_mask(own.fold(0, |bits, l| bits | 1 << l));
                vector = self.b.select(Elem::F32, own, *column, vector);
            }
            let form = match self.first_lanes((live * count - start).min(width)) {
                Some(m) => StoreForm::Masked(m),
                None => StoreForm::Full,
            };
            let disp = i64::from(first.disp) + start * ELEMENT;
            let addr = first.disp(i32::try_from(disp).map_err(|_| WhyNot::Distance)?);
            self.b.store_form(Elem::F32, form, addr, vector);
        }
        Ok(())
    }

    /// Column `c` of `count`, its lanes where they belong in the vector of elements from `start` on.
    fn spread_column(&mut self, v: Value, (c, count): (i64, i64), start: i64) -> Value {
        let width = self.width_lanes();
        let mut at = vec![0; width as usize];
        for lane in 0..width {
            let place = count * lane + c - start;
            if count % 2 == 1 || (0..width).contains(&place) {
                at[place.rem_euclid(width) as usize] = lane;
            }
        }
        self.pick(v, &at)
    }

    /// The first `count` columns of the matrix of these rows, zero where there is no row.
    fn turn(&mut self, mut rows: Vec<Value>, count: usize) -> Vec<Value> {
        let width = self.width_lanes() as usize;
        let zero = self.b.zero();
        rows.resize(width, zero);
        let quads = rows.chunks(4).map(|rows| self.turn_quad(rows, count));
        let quads: Vec<Vec<Value>> = quads.collect();
        let mut columns = vec![zero; count];
        for k in 0..count.min(4) {
            let vectors = quads.iter().map(|q| q[k]).collect();
            let parts = self.gather_parts(vectors, (count - k).div_ceil(4));
            for (part, v) in parts.into_iter().enumerate() {
                columns[4 * part + k] = v;
            }
        }
        columns
    }

    /// In each part of 128 bits, the first columns, up to `count`, of the matrix of four rows.
    pub(super) fn turn_quad(&mut self, rows: &[Value], count: usize) -> Vec<Value> {
        use ZipOp::{High32, High64, Low32, Low64};
        let [a, b, c, d] = [rows[0], rows[1], rows[2], rows[3]];
        let mut columns = Vec::new();
        for half in [Low32, High32].into_iter().take(count.div_ceil(2)) {
            let (upper, lower) = (self.b.zip(half, a, b), self.b.zip(half, c, d));
            columns.push(self.b.zip(Low64, upper, lower));
            columns.push(self.b.zip(High64, upper, lower));
        }
        columns
    }

    /// For each of the first `count` parts, the vector of that part of all of these vectors, of
    /// which there are as many as parts of a vector.
    fn gather_parts(&mut self, vectors: Vec<Value>, count: usize) -> Vec<Value> {
        if vectors.len() == 1 {
            return vectors;
        }
        let mut parts = vec![vectors[0]; count];
        for (offset, op) in [ZipOp::EvenParts, ZipOp::OddParts].into_iter().enumerate() {
            let own = (count + 1 - offset) / 2;
            if own == 0 {
                break;
            }
            let pairs = vectors.chunks(2).map(|p| self.b.zip(op, p[0], p[1]));
            let pairs = pairs.collect();
            for (k, v) in self.gather_parts(pairs, own).into_iter().enumerate() {
                parts[2 * k + offset] = v;
            }
        }
        parts
    }
}
