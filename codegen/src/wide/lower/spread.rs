//! Elements of vector lanes that do not lie one after the other.
use super::address::Access;
use super::{Lowering, WhyNot};
use crate::wide::vir::{Addr, BinaryOp, Cmp, Elem, IntTy, LoadForm, Value, Width};
use tensmith_ir::expr::{Expr, Var};

/// Units: bytes of an element.
pub(super) const ELEMENT: i64 = 4;

/// Vectors of 256 and of 512 bits that one vector is chosen out of, at most, where it could be a
/// column of a block.
const MOST_VECTORS: [usize; 2] = [3, 5];

/// How the elements of a vector lie.
struct Spread {
    /// Units: bytes from the first element to the one that lies first in memory.
    least: i64,
    /// Units: elements from there, a lane.
    at: Vec<i64>,
    /// Elements from the first to the last.
    span: i64,
    /// The vectors in memory that have them.
    parts: Vec<Part>,
}

/// A vector in memory that has elements in lanes where no other one has any, so that one permutation
/// puts all in order.
struct Part {
    /// Units: elements from the one that lies first.
    start: i64,
    /// Which lanes are those of elements.
    bits: u32,
}

impl Part {
    /// The vectors that have the elements at these places, `span` from the first to the last: each
    /// begins where it has the most of the next ones in free lanes, and ends with the last one if it
    /// can.
    fn cover(at: &[i64], span: i64, width: i64) -> Vec<Part> {
        let mut left = at.to_vec();
        left.sort_unstable();
        left.dedup();
        let (mut left, mut taken) = (&left[..], 0u32);
        let mut parts = Vec::new();
        while let Some(first) = left.first() {
            let starts = (0..=*first).rev().take(width as usize);
            let free = |start: i64| {
                let lanes = left.iter().map(move |k| k - start);
                let lanes = lanes.take_while(|lane| *lane < width && taken >> lane & 1 == 0);
                lanes.fold(0u32, |bits, lane| bits | 1 << lane)
            };
            let all = starts.map(|start| Part {
                start,
                bits: free(start),
            });
            let whole = |p: &Part| p.start + width <= span;
            let best = all.max_by_key(|p| (p.bits.count_ones(), whole(p), p.start));
            let Some(part) = best else { break };
            left = &left[part.bits.count_ones() as usize..];
            taken |= part.bits;
            parts.push(part);
        }
        parts
    }
}

impl Lowering<'_> {
    pub(super) fn scratch(&self, lane: i64) -> Addr {
        Addr::at(self.b.args(), (ELEMENT * lane) as i32)
    }

    /// Stores lanes one by one, by way of the scratch words.
    pub(super) fn scatter(&mut self, access: &Access, mask: u32, v: Value) -> Result<(), WhyNot> {
        self.scatter_each(IntTy::I32, access, mask, v)
    }

    /// The same for elements of any type.
    pub(super) fn scatter_each(
        &mut self,
        ty: IntTy,
        access: &Access,
        mask: u32,
        v: Value,
    ) -> Result<(), WhyNot> {
        self.b.store(Elem::F32, self.scratch(0), v);
        for j in 0..self.live_lanes(mask) {
            let addr = self.addr(access, j)?;
            let lane = self.b.int_load(IntTy::I32, self.scratch(j));
            self.b.int_store(ty, addr, lane);
        }
        Ok(())
    }

    /// The elements of the vector at hand: out of the vectors from the first to the last of them
    /// where these are few, else one by one by way of the scratch words.
    pub(super) fn gather(&mut self, access: &Access, mask: u32) -> Result<Value, WhyNot> {
        let live = self.live_lanes(mask);
        if let Some(offsets) = self.lane_offsets(access, live)
            && let Some(v) = self.permuted(access, &offsets)?
        {
            return Ok(v);
        }
        self.gather_each(IntTy::I32, access, mask)
    }

    /// The elements of the vector at hand, of any type, one by one by way of the scratch words.
    pub(super) fn gather_each(
        &mut self,
        ty: IntTy,
        access: &Access,
        mask: u32,
    ) -> Result<Value, WhyNot> {
        for j in 0..self.live_lanes(mask) {
            let addr = self.addr(access, j)?;
            let lane = self.b.int_load(ty, addr);
            self.b.int_store(IntTy::I32, self.scratch(j), lane);
        }
        Ok(self.b.load(Elem::F32, self.scratch(0)))
    }

    /// The 32-bit values of an index that differs between the lanes of the vector at hand: constants
    /// from the first one where they are, else one by one by way of the scratch words.
    pub(super) fn index_lanes(&mut self, e: &Expr) -> Result<Value, WhyNot> {
        let first = self.at_lanes(e, 0);
        let offset = |j| (self.at_lanes(e, j) - first.clone()).as_const();
        let offsets: Option<Vec<i64>> = (0..self.width_lanes()).map(offset).collect();
        if let Some(offsets) = offsets
            && offsets.iter().all(|o| i32::try_from(*o).is_ok())
        {
            let first = self.int_expr(e)?;
            let first = self.b.splat_int(first);
            let offsets = self.b.lanes_i32(|j| offsets[j] as i32);
            return Ok(self.b.binary(BinaryOp::Add, Elem::I32, first, offsets));
        }
        let lanes: Vec<Var> = (self.lanes.iter().filter(|l| l.vector).map(|l| l.var)).collect();
        for j in 0..self.width_lanes() {
            let at = e.substitute(&|v| lanes.contains(&v).then(|| Expr::from(v) + j));
            let v = self.int_expr(&at)?;
            self.b.int_store(IntTy::I32, self.scratch(j), v);
        }
        Ok(self.b.load(Elem::F32, self.scratch(0)))
    }

    /// Whether the elements of the vector at hand lie in so few vectors that choosing them out of
    /// these takes less than turning a block.
    pub(super) fn is_near(&self, access: &Access, mask: u32) -> bool {
        let offsets = self.lane_offsets(access, self.live_lanes(mask));
        let spread = offsets.and_then(|o| self.spread(&o));
        let most = MOST_VECTORS[usize::from(self.b.width() == Width::Z512)];
        spread.is_some_and(|s| s.parts.len() <= most)
    }

    /// How elements lie that are so many bytes from the first one, if at whole elements.
    fn spread(&self, offsets: &[i64]) -> Option<Spread> {
        let least = offsets.iter().copied().min().unwrap_or(0);
        let whole = offsets.iter().all(|o| (o - least) % ELEMENT == 0);
        let at: Vec<i64> = offsets.iter().map(|o| (o - least) / ELEMENT).collect();
        let span = 1 + at.iter().copied().max().unwrap_or(0);
        whole.then(|| Spread {
            parts: Part::cover(&at, span, self.width_lanes()),
            least,
            at,
            span,
        })
    }

    /// The elements at constant distances out of the vectors that have them, where that takes less
    /// than one by one.
    fn permuted(&mut self, access: &Access, offsets: &[i64]) -> Result<Option<Value>, WhyNot> {
        let width = self.width_lanes();
        let Some(s) = self.spread(offsets) else {
            return Ok(None);
        };
        let two = s.span > width && s.span <= 2 * width;
        if s.parts.len() > 2 && s.parts.len() >= offsets.len() {
            return Ok(None);
        }
        let first = self.addr(access, 0)?;
        if two && self.b.width() == Width::Z512 {
            return self.picked(first, &s).map(Some);
        }
        let mut places = vec![0; s.at.len()];
        let mut found = None;
        for part in &s.parts {
            for (place, at) in places.iter_mut().zip(&s.at) {
                let lane = at - part.start;
                if (0..width).contains(&lane) && part.bits >> lane & 1 != 0 {
                    *place = lane;
                }
            }
            let live = (s.span - part.start).min(width);
            let v = self.part(first, s.least + part.start * ELEMENT, live)?;
            found = Some(match found {
                None => v,
                Some(others) => {
                    let own = self.lane_mask(part.bits);
                    self.b.select(Elem::F32, own, v, others)
                }
            });
        }
        Ok(found.map(|v| self.pick(v, &places)))
    }

    /// The elements out of two vectors, the second of which ends with the last of them.
    fn picked(&mut self, first: Addr, s: &Spread) -> Result<Value, WhyNot> {
        let width = self.width_lanes();
        let behind = s.span - width;
        let a = self.part(first, s.least, width)?;
        let b = self.part(first, s.least + behind * ELEMENT, width)?;
        let place = |k: &i64| if *k < width { *k } else { width + k - behind };
        let lanes = (0..width as usize).map(|j| s.at.get(j).map_or(0, place) as u8);
        Ok(self.b.pick(Elem::F32, [a, b], lanes.collect()))
    }

    /// The first `count` elements of a vector that begins `disp` bytes after an address.
    fn part(&mut self, first: Addr, disp: i64, count: i64) -> Result<Value, WhyNot> {
        let disp = i64::from(first.disp) + disp;
        let addr = first.disp(i32::try_from(disp).map_err(|_| WhyNot::Distance)?);
        Ok(match self.first_lanes(count) {
            Some(m) => self.b.load_form(Elem::F32, LoadForm::Masked(m), addr),
            None => self.b.load(Elem::F32, addr),
        })
    }

    /// Lane `at[j]`, modulo the width, of a vector as lane `j`.
    pub(super) fn pick(&mut self, v: Value, at: &[i64]) -> Value {
        let width = self.width_lanes();
        let lanes = (0..width as usize).map(|j| at.get(j).map_or(0, |k| (k % width) as u8));
        self.b.permute(Elem::F32, v, lanes.collect())
    }

    /// The mask of the lanes of these bits.
    pub(super) fn lane_mask(&mut self, bits: u32) -> Value {
        if let Some(v) = self.masks.get(&bits) {
            return *v;
        }
        let entry = self.scopes[0].block;
        let v = self.within(entry, |cx| {
            let lanes = cx.b.lanes_i32(|j| (bits >> j & 1) as i32);
            let zero = cx.b.zero();
            cx.b.cmp(Cmp::Ne, Elem::I32, lanes, zero)
        });
        self.masks.insert(bits, v);
        v
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    /// How many vectors have these elements, each of them once, and in a lane of its own.
    fn count(at: &[i64], width: i64) -> usize {
        let span = 1 + at.iter().max().unwrap();
        let parts = Part::cover(at, span, width);
        let mut lanes = 0;
        let mut found: Vec<i64> = Vec::new();
        for p in &parts {
            assert!(p.start >= 0 && p.bits != 0 && lanes & p.bits == 0, "{at:?}");
            assert!(u64::from(p.bits) < 1 << width, "{at:?}");
            lanes |= p.bits;
            let own = (0..width).filter(|lane| p.bits >> lane & 1 != 0);
            found.extend(own.map(|lane| p.start + lane));
        }
        let mut all = at.to_vec();
        all.sort_unstable();
        all.dedup();
        found.sort_unstable();
        assert_eq!(found, all);
        parts.len()
    }

    #[test]
    fn elements_go_to_lanes_of_their_own() {
        for width in [8, 16] {
            for step in 1..=8 {
                let at: Vec<i64> = (0..width).map(|j| step * j).collect();
                assert_eq!(count(&at, width), step as usize);
            }
            let far: Vec<i64> = (0..width).map(|j| 100 * j * j).collect();
            assert_eq!(count(&far, width), width as usize);
            let twice: Vec<i64> = (0..width).map(|j| j / 2 * 7).collect();
            assert!(count(&twice, width) <= 4);
        }
    }
}
