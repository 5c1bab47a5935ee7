//! Loads and stores of memory: their strides along loops, and how much they touch.
use super::Loop;
use super::count::Lanes;
use std::collections::BTreeMap;
use tensmith_ir::expr::{Atom, Expr, Ranges, Var};
use tensmith_ir::loops::{Buffer, BufferId, Kernel, Mark, Scope};

/// Where a variable is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The loop at this level.
    Loop(usize),
    /// A check with so many loops around; its value may depend on each of them.
    Check(usize),
}

/// A load or a store of memory.
#[derive(Clone, Debug)]
pub struct Access {
    /// The buffer.
    pub buffer: BufferId,
    /// Whether it is a store.
    pub is_write: bool,
    /// Units: bytes of an element.
    pub element: f64,
    /// Units: elements of the buffer.
    pub count: f64,
    /// How often its statement is executed, for all lanes together.
    pub times: f64,
    /// Instructions of one execution.
    pub issues: f64,
    /// How its lanes lie.
    pub lanes: LaneOrder,
    /// Whether the buffer has a layout of its own.
    pub is_packed: bool,
    /// Whether it is memory of one thread.
    pub is_scratch: bool,
    /// Units: elements ahead that are fetched; 0 if none are.
    pub prefetch: i64,
    /// Units: elements from one iteration to the next of each loop around, outermost first; 0 if
    /// the access does not depend on it, `None` if the distance is not known.
    pub strides: Vec<Option<i64>>,
    /// The iterations of each loop around, outermost first; 1 if the access does not depend on it.
    pub trips: Vec<f64>,
    /// For each level, the range of each dimension while the loops from that level on run and
    /// those around stand at their begin.
    pub ranges: Vec<Vec<(i64, i64)>>,
}

/// How the elements of lanes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneOrder {
    /// Side by side: a vector.
    Unit,
    /// All lanes have the same element, or there are none.
    Same,
    /// Apart, but side by side along another loop in lock step.
    Turned,
    /// Apart: element by element.
    Far,
}

/// What is needed to look at an access.
pub struct Reach<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) loops: &'a [Loop],
    pub(super) around: &'a [usize],
    pub(super) places: &'a BTreeMap<Var, Place>,
    pub(super) ranges: &'a Ranges,
}

impl Reach<'_> {
    pub(super) fn access(
        &self,
        (id, index): (BufferId, &[Expr]),
        is_write: bool,
        times: f64,
        lanes: &Lanes,
    ) -> Access {
        let buffer = self.kernel.buffer(id);
        let vars = self.variables(index);
        let depends = self.depends(&vars);
        let strides = self.strides(buffer, index, &vars);
        let order = self.order(&strides, lanes);
        let set = lanes.of_index(index);
        let issues = match order {
            LaneOrder::Far | LaneOrder::Turned => lanes.elements(set),
            _ => lanes.issues(set),
        };
        let trips = |(k, number): (usize, &usize)| match depends[k] {
            true => self.loops[*number].trips,
            false => 1.0,
        };
        Access {
            buffer: id,
            is_write,
            element: buffer.dtype.bytes() as f64,
            count: self.ranges.bounds(&buffer.count()).1.max(0) as f64,
            times,
            issues,
            lanes: order,
            is_packed: !buffer.layout.is_row_major(),
            is_scratch: buffer.scope == Scope::Scratch,
            prefetch: buffer.prefetch,
            trips: self.around.iter().enumerate().map(trips).collect(),
            ranges: (0..=self.around.len())
                .map(|level| self.ranges_from(level, index, &vars))
                .collect(),
            strides,
        }
    }

    /// Whether an index depends on each loop around.
    fn depends(&self, vars: &[(Var, Place)]) -> Vec<bool> {
        let mut depends = vec![false; self.around.len()];
        for (_, place) in vars {
            match place {
                Place::Loop(level) => depends[*level] = true,
                Place::Check(levels) => depends[..*levels].fill(true),
            }
        }
        depends
    }

    fn strides(&self, buffer: &Buffer, index: &[Expr], vars: &[(Var, Place)]) -> Vec<Option<i64>> {
        let depends = self.depends(vars);
        let extents = self.physical(buffer);
        let begin = self.offset(buffer, &extents, index, None);
        let stride = |(k, number): (usize, &usize)| {
            if !depends[k] {
                return Some(0);
            }
            let var = self.loops[*number].var?;
            let of_check = |(_, place): &(Var, Place)| matches!(place, Place::Check(n) if *n > k);
            if vars.iter().any(of_check) {
                return None;
            }
            let next = self.offset(buffer, &extents, index, Some(var))?;
            Some(next - begin?)
        };
        self.around.iter().enumerate().map(stride).collect()
    }

    fn physical(&self, buffer: &Buffer) -> Vec<i64> {
        let extents = buffer.layout.physical_shape(&buffer.shape);
        let extent = |e: &Expr| self.ranges.bounds(e).1.clamp(1, 1 << 40);
        extents.iter().map(extent).collect()
    }

    /// Units: elements from the begin of the buffer, where all variables are 0 but one, which is
    /// 1.
    fn offset(
        &self,
        buffer: &Buffer,
        extents: &[i64],
        index: &[Expr],
        one: Option<Var>,
    ) -> Option<i64> {
        let value = |atom: &Atom| match atom {
            Atom::Var(v) => Some(i64::from(Some(*v) == one)),
            _ => None,
        };
        let mut offset = 0_i64;
        for (dim, extent) in buffer.layout.0.iter().zip(extents) {
            let part = index[dim.dim].eval(&value)?.div_euclid(dim.step.max(1));
            let part = match dim.extent {
                Some(e) => part.rem_euclid(e.max(1)),
                None => part,
            };
            offset = offset.checked_mul(*extent)?.checked_add(part)?;
        }
        Some(offset)
    }

    fn order(&self, strides: &[Option<i64>], lanes: &Lanes) -> LaneOrder {
        let Some(vector) = lanes.vector() else {
            return LaneOrder::Same;
        };
        let at = self.around.iter().position(|n| *n == vector);
        match at.and_then(|k| strides[k]) {
            Some(0) => LaneOrder::Same,
            Some(1) => LaneOrder::Unit,
            _ if self.runs_along_jam(strides) => LaneOrder::Turned,
            _ => LaneOrder::Far,
        }
    }

    fn runs_along_jam(&self, strides: &[Option<i64>]) -> bool {
        let mut steps = self.around.iter().zip(strides);
        steps.any(|(k, stride)| self.loops[*k].mark == Mark::Jam && *stride == Some(1))
    }

    /// The variables of an index, with the places where they are bound.
    fn variables(&self, index: &[Expr]) -> Vec<(Var, Place)> {
        let mut found: Vec<(Var, Place)> = Vec::new();
        for e in index {
            e.visit(&mut |atom| {
                if let Atom::Var(v) = atom
                    && let Some(place) = self.places.get(v)
                    && found.iter().all(|(seen, _)| seen != v)
                {
                    found.push((*v, *place));
                }
            });
        }
        found
    }

    /// The range of each dimension while the loops from a level on run.
    fn ranges_from(&self, level: usize, index: &[Expr], vars: &[(Var, Place)]) -> Vec<(i64, i64)> {
        let mut ranges = Ranges::new();
        for (var, place) in vars {
            let runs = match place {
                Place::Loop(at) => *at >= level,
                Place::Check(levels) => *levels > level,
            };
            let extent = match runs {
                true => self.ranges.bounds(&Expr::var(*var)).1.saturating_add(1),
                false => 1,
            };
            ranges.bind(*var, &Expr::from(extent));
        }
        index.iter().map(|e| ranges.bounds(e)).collect()
    }
}

impl Access {
    /// Units: elements that it touches while the loops from a level on run, at most.
    pub fn elements(&self, level: usize) -> f64 {
        let ranges = self.ranges[level].iter();
        let box_of: f64 = ranges
            .map(|(lo, hi)| hi.saturating_sub(*lo) as f64 + 1.0)
            .product();
        let visits: f64 = self.trips[level..].iter().product();
        box_of.min(visits).min(self.count)
    }

    /// How many times the bytes of its elements the cache lines are that it touches while the
    /// loops from a level on run.
    pub fn waste(&self, level: usize) -> f64 {
        const LINE: f64 = 64.0;
        let steps = self.strides[level..].iter().zip(&self.trips[level..]);
        let mut steps: Vec<(f64, f64)> = steps
            .filter(|(_, trips)| **trips > 1.0)
            .map(|(s, trips)| (s.map_or(f64::INFINITY, |s| s.abs() as f64), *trips))
            .collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        // So far, neighbouring elements span so many, of which so many are touched.
        let (mut span, mut touched) = (1.0, 1.0);
        for (stride, trips) in steps {
            if (stride - span) * self.element >= LINE {
                break;
            }
            span += stride * (trips - 1.0);
            touched = f64::min(touched * trips, span);
        }
        let lines = (span * self.element / LINE).ceil();
        (lines * LINE / (touched * self.element)).max(1.0)
    }
}
