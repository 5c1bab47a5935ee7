//! What moves between levels of memory.
//!
//! A loop of which one iteration fits a cache brings everything it touches there once: what
//! iterations share stays. A loop of which one iteration does not fit brings in each iteration
//! what its body brings.
use super::nest::{Access, Kind, Nest, Node};
use std::collections::BTreeMap;
use tensmith_ir::loops::BufferId;

/// The part of a cache that data of a kernel is taken to fill: lines fall on ways unevenly.
const FILL: f64 = 0.75;

/// Units: bytes of the cache lines that a node touches while it runs once, at most.
pub fn footprint(nest: &Nest, node: &Node) -> f64 {
    touched(&nest.accesses[node.accesses.clone()], node.level)
}

/// Units: bytes of the cache lines that accesses touch while the loops from a level on run.
pub fn touched(accesses: &[Access], level: usize) -> f64 {
    let mut buffers: BTreeMap<BufferId, Hull> = BTreeMap::new();
    for access in accesses {
        let hull = buffers.entry(access.buffer).or_default();
        hull.add(access, level);
    }
    buffers.values().map(Hull::bytes).sum()
}

/// What several accesses of one buffer touch together.
#[derive(Default)]
struct Hull {
    ranges: Vec<(i64, i64)>,
    /// Units: elements, by each access on its own.
    elements: f64,
    waste: f64,
    element: f64,
    count: f64,
}

impl Hull {
    fn add(&mut self, access: &Access, level: usize) {
        let ranges = &access.ranges[level];
        if self.ranges.is_empty() {
            self.ranges.clone_from(ranges);
        }
        for (own, other) in self.ranges.iter_mut().zip(ranges) {
            *own = (own.0.min(other.0), own.1.max(other.1));
        }
        let elements = access.elements(level);
        // Lines that one access touches in part, others may fill.
        let waste = access.waste(level);
        self.waste = match self.elements > 0.0 {
            true => self.waste.min(waste),
            false => waste,
        };
        self.elements += elements;
        (self.element, self.count) = (access.element, access.count);
    }

    fn bytes(&self) -> f64 {
        let extents = self
            .ranges
            .iter()
            .map(|(lo, hi)| hi.saturating_sub(*lo) as f64 + 1.0);
        let elements = extents.product::<f64>().min(self.elements);
        (elements * self.waste).min(self.count) * self.element
    }
}

/// Units: bytes that come from beyond a cache of `bytes` bytes in a call.
pub fn beyond(nest: &Nest, bytes: f64) -> f64 {
    brought(nest, &nest.root, FILL * bytes)
}

fn brought(nest: &Nest, node: &Node, bytes: f64) -> f64 {
    let body = |level| touched(&nest.accesses[node.accesses.clone()], level);
    let of_parts = || -> f64 {
        node.body
            .iter()
            .map(|n| n.share * brought(nest, n, bytes))
            .sum()
    };
    match node.kind {
        Kind::Loop(number) if body(node.level + 1) > bytes => {
            let l = &nest.loops[number];
            // Iterations in lock step run together: none of them is before another.
            match l.is_lock_step() {
                true => body(node.level),
                false => l.trips * of_parts(),
            }
        }
        Kind::List if body(node.level) > bytes => of_parts(),
        _ => body(node.level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Setting;
    use tensmith_ir::loops::parse_kernel;

    fn nest(text: &str) -> Nest {
        let kernel = parse_kernel(text).unwrap_or_else(|e| panic!("{e}"));
        Nest::new(&kernel, &Setting::default())
    }

    /// A product of matrices of 256 x 256, column panels of 64 outermost.
    const PRODUCT: &str = "kernel product() {
  out o0: f32[256, 256]
  in a1: f32[256, 256]
  in a2: f32[256, 256] layout(d1/64, d0, d1 mod 64)
  reg r3: f32[]
  for i0 < 4 space {
    for i1 < 64 space {
      for i2 < 4 space jam {
        for i3 < 64 space vector {
          r3 = 0.0f32
          for i4 < 256 reduce {
            r3 = fma(a1[4*i1 + i2, i4], a2[i4, 64*i0 + i3], r3)
          }
          o0[4*i1 + i2, 64*i0 + i3] = r3
        }
      }
    }
  }
}
";

    #[test]
    fn a_panel_that_fits_is_brought_once() {
        let nest = nest(PRODUCT);
        let matrix = 4.0 * 65536.0;
        // All three matrices fit: each comes once.
        assert_eq!(beyond(&nest, 2e6), 3.0 * matrix);
        // A panel and some rows fit: the rows come again for each of the 4 panels.
        assert_eq!(beyond(&nest, 200e3), (4.0 + 1.0 + 1.0) * matrix);
        // Only a tile's step fits: the panel comes again for each of the 64 tiles of rows.
        let least = 64.0 * matrix;
        assert!((least..1.2 * least).contains(&beyond(&nest, 16e3)));
    }

    #[test]
    fn windows_that_overlap_come_once() {
        let nest = nest(
            "kernel window() {
  out o0: f32[1000]
  in a1: f32[1002]
  reg r2: f32[]
  for i0 < 1000 space {
    r2 = 0.0f32
    for i1 < 3 reduce {
      r2 = r2 + a1[i0 + i1]
    }
    o0[i0] = r2
  }
}
",
        );
        assert_eq!(beyond(&nest, 1e3), 4.0 * 2002.0);
        assert_eq!(footprint(&nest, &nest.root), 4.0 * 2002.0);
    }

    #[test]
    fn columns_of_rows_touch_whole_lines() {
        let nest = nest(
            "kernel column() {
  out o0: f32[100]
  in a1: f32[100, 50]
  for i0 < 100 space {
    o0[i0] = a1[i0, 3]
  }
}
",
        );
        let lines = 64.0 * 100.0;
        let result = 64.0 * 7.0;
        assert!((footprint(&nest, &nest.root) - lines - result).abs() < 64.0);
    }
}
