//! How many bytes a kernel moves over its boundary.
//!
//! Each parameter counts once as far as it is read, and once as far as it is written: at most its
//! bytes in memory, at most one element for each combination of the loop variables that an access
//! depends on. So a slice or a gather counts what it takes, not what it takes it from.
use super::{BufferId, Cond, Kernel, Scalar, Scope, Stmt};
use crate::expr::{Atom, Expr, Ranges, Var};
use std::collections::{BTreeSet, HashMap};

/// Reads and writes of each buffer.
type Touched = HashMap<(BufferId, Access), f64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Access {
    Read,
    Write,
}

/// Units: bytes that one call of a kernel moves, given the sizes in `ranges`.
pub fn boundary_bytes(kernel: &Kernel, ranges: &Ranges) -> f64 {
    let mut walk = Walk {
        ranges: ranges.clone(),
        loops: Vec::new(),
        checked: HashMap::new(),
    };
    let touched = walk.stmts(&kernel.body);
    let bytes = |((id, _), elements): (&(BufferId, Access), &f64)| {
        let buffer = kernel.buffer(*id);
        match buffer.scope {
            Scope::Input | Scope::Output => {
                let all = ranges.bounds(&buffer.count()).1 as f64;
                elements.min(all).max(0.0) * buffer.dtype.bytes() as f64
            }
            Scope::Scratch | Scope::Register => 0.0,
        }
    };
    touched.iter().map(bytes).sum()
}

struct Walk {
    ranges: Ranges,
    /// The loops around, with the greatest number of iterations.
    loops: Vec<(Var, f64)>,
    /// Checked variables, and how many loops were around their check.
    checked: HashMap<Var, usize>,
}

fn add(touched: &mut Touched, more: Touched) {
    for (key, count) in more {
        *touched.entry(key).or_default() += count;
    }
}

impl Walk {
    fn stmts(&mut self, stmts: &[Stmt]) -> Touched {
        let mut touched = Touched::new();
        for stmt in stmts {
            let more = self.stmt(stmt);
            add(&mut touched, more);
        }
        touched
    }

    fn stmt(&mut self, stmt: &Stmt) -> Touched {
        match stmt {
            Stmt::For(l) => {
                let count = self.ranges.bounds(&l.extent).1.max(0) as f64;
                self.ranges.bind(l.var, &l.extent);
                self.loops.push((l.var, count));
                let touched = self.stmts(&l.body);
                self.loops.pop();
                touched
            }
            Stmt::Store {
                buffer,
                index,
                value,
            } => {
                let mut touched = self.reads(value);
                let count = self.elements(index);
                *touched.entry((*buffer, Access::Write)).or_default() += count;
                touched
            }
            Stmt::If {
                cond,
                then,
                otherwise,
            } => {
                let mut touched = match cond {
                    Cond::Affine(_) => Touched::new(),
                    Cond::Scalar(s) => self.reads(s),
                };
                add(&mut touched, self.either(then, otherwise));
                touched
            }
            Stmt::Check {
                var,
                value,
                extent,
                body,
                ..
            } => {
                let mut touched = self.reads(value);
                self.checked.insert(*var, self.loops.len());
                self.ranges.bind(*var, extent);
                add(&mut touched, self.stmts(body));
                touched
            }
            Stmt::While { cond, body } => {
                let mut touched = self.reads(cond);
                // Of what is computed anew in every round nothing is known.
                self.loops.push((Var(u32::MAX), f64::INFINITY));
                add(&mut touched, self.stmts(body));
                self.loops.pop();
                touched
            }
        }
    }

    /// The two sides of a branch often share out one range: the larger one counts.
    fn either(&mut self, then: &[Stmt], otherwise: &[Stmt]) -> Touched {
        let mut touched = self.stmts(then);
        for (key, count) in self.stmts(otherwise) {
            let most = touched.entry(key).or_default();
            *most = most.max(count);
        }
        touched
    }

    fn reads(&self, value: &Scalar) -> Touched {
        let mut touched = Touched::new();
        value.visit(&mut |s| {
            if let Scalar::Load(buffer, index) = s {
                *touched.entry((*buffer, Access::Read)).or_default() += self.elements(index);
            }
        });
        touched
    }

    /// How many elements an index names, at most: one for each combination of the loop variables
    /// in it. A checked variable may depend on every loop around its check.
    fn elements(&self, index: &[Expr]) -> f64 {
        let mut depends = BTreeSet::new();
        for e in index {
            e.visit(&mut |atom| {
                if let Atom::Var(v) = atom {
                    match self.checked.get(v) {
                        Some(around) => {
                            depends.extend(self.loops[..*around].iter().map(|(v, _)| *v));
                        }
                        None => {
                            depends.insert(*v);
                        }
                    }
                }
            });
        }
        let counts = self.loops.iter().filter(|(v, _)| depends.contains(v));
        counts.map(|(_, count)| count).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::parse_kernel;

    fn bytes(text: &str) -> f64 {
        let kernel = parse_kernel(text).unwrap_or_else(|e| panic!("{e}"));
        boundary_bytes(&kernel, &kernel.ranges())
    }

    #[test]
    fn reuse_counts_once() {
        let text = "kernel contract() {
  in a0: f32[10, 20]
  in a1: f32[20, 30]
  out o2: f32[10, 30]
  reg r3: f32[]
  for i0 < 10 space parallel {
    for i1 < 30 space {
      r3 = 0.0f32
      for i2 < 20 reduce {
        r3 = fma(a0[i0, i2], a1[i2, i1], r3)
      }
      o2[i0, i1] = r3
    }
  }
}
";
        assert_eq!(bytes(text), 4.0 * (200.0 + 600.0 + 300.0));
    }

    #[test]
    fn slices_and_gathers_count_what_they_take() {
        let slice = "kernel slice() {
  in a0: f32[1000]
  out o1: f32[10]
  for i0 < 10 space {
    o1[i0] = a0[i0 + 500]
  }
}
";
        assert_eq!(bytes(slice), 4.0 * 20.0);
        let gather = "kernel gather() {
  in a0: f32[1000, 8]
  in a1: i64[3]
  out o2: f32[3, 8]
  for i0 < 3 space {
    check i1 = a1[i0] in 1000 site 0 {
      for i2 < 8 space {
        o2[i0, i2] = a0[i1, i2]
      }
    }
  }
}
";
        assert_eq!(bytes(gather), 4.0 * 24.0 + 8.0 * 3.0 + 4.0 * 24.0);
    }

    #[test]
    fn sides_of_a_branch_share_a_range() {
        let text = "kernel copy() {
  in a0: f32[100]
  out o1: f32[20]
  for i0 < 4 space {
    if [-i0 + 2] {
      for i1 < 5 space {
        o1[5*i0 + i1] = a0[5*i0 + i1]
      }
    } else {
      for i2 < 5 space {
        o1[5*i0 + i2] = a0[5*i0 + i2]
      }
    }
  }
}
";
        assert_eq!(bytes(text), 4.0 * 40.0);
    }
}
