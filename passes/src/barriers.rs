//! Barriers: which steps must wait for others.
//!
//! Requires: a plan with final places, without barriers.
//! Ensures: two calls that touch overlapping bytes, one of them writing, are ordered by a barrier
//! unless both run on thread 0 alone; conditions are read after a barrier and not overwritten
//! before the next one. Calls that touch one tensor need no order if the regions that they can
//! touch have no element in common: kernels that write parts of a concatenation in place run
//! side by side.
use std::cell::OnceCell;
use tensmith_ir::expr::{Expr, Ranges};
use tensmith_ir::loops::{Buffer, Kernel, Region, Scope, touched_regions};
use tensmith_ir::plan::{Call, KernelId, Place, Plan, SlotId, Step};

/// An access of a slot.
#[derive(Clone)]
pub struct Touch {
    /// The slot.
    pub slot: SlotId,
    writes: bool,
    /// The kernel and the number of its parameter; `None` where all threads read the slot.
    param: Option<(KernelId, usize)>,
}

/// What calls of a plan touch.
pub struct Touches<'p> {
    plan: &'p Plan,
    /// How many calls write each slot.
    writers: Vec<usize>,
    /// What each kernel touches of its parameters.
    regions: Vec<OnceCell<Vec<Region>>>,
}

impl<'p> Touches<'p> {
    /// Those of a plan.
    pub fn of(plan: &'p Plan) -> Self {
        let mut writers = vec![0; plan.slots.len()];
        for call in plan.calls() {
            let params = plan.kernel(call.kernel).params();
            let written = call.args.iter().zip(params);
            for (slot, _) in written.filter(|(_, (_, b))| b.scope == Scope::Output) {
                writers[slot.0 as usize] += 1;
            }
        }
        Touches {
            plan,
            writers,
            regions: vec![OnceCell::new(); plan.kernels.len()],
        }
    }

    /// Those of a call.
    pub fn of_call(&self, call: &Call) -> Vec<Touch> {
        let params = self.plan.kernel(call.kernel).params();
        let touch = |(k, (slot, (_, b))): (usize, (&SlotId, (_, &Buffer)))| Touch {
            slot: *slot,
            writes: b.scope == Scope::Output,
            param: Some((call.kernel, k)),
        };
        call.args
            .iter()
            .zip(params)
            .enumerate()
            .map(touch)
            .collect()
    }

    /// Whether two accesses of the same bytes need an order.
    pub fn conflict(&self, x: &Touch, y: &Touch) -> bool {
        (x.writes || y.writes) && !self.is_apart(x, y)
    }

    /// Whether two kernels touch different elements of one tensor. One that a single call writes has
    /// no parts.
    fn is_apart(&self, x: &Touch, y: &Touch) -> bool {
        let (Some((a, i)), Some((b, j))) = (x.param, y.param) else {
            return false;
        };
        if x.slot != y.slot || self.writers[x.slot.0 as usize] < 2 {
            return false;
        }
        let params = [(a, i), (b, j)].map(|(k, n)| self.plan.kernel(k).params().nth(n));
        let [Some((_, p)), Some((_, q))] = params else {
            return false;
        };
        (&p.shape, &p.layout) == (&q.shape, &q.layout)
            && self.regions(a)[i].is_apart(&self.regions(b)[j])
    }

    fn regions(&self, kernel: KernelId) -> &[Region] {
        let of = || touched_regions(self.plan.kernel(kernel));
        self.regions[kernel.0 as usize].get_or_init(of)
    }
}

/// What runs between two barriers.
#[derive(Clone)]
struct Running {
    touches: Vec<Touch>,
    parallel: bool,
}

struct Barriers<'p> {
    plan: &'p Plan,
    parallel: Vec<bool>,
    ranges: Ranges,
    touches: Touches<'p>,
}

/// Puts barriers into a plan.
pub fn insert_barriers(plan: &mut Plan) {
    let mut ranges = Ranges::new();
    for size in &plan.sizes {
        ranges.bind_size(size.symbol.clone(), size.min, size.max);
    }
    let cx = Barriers {
        plan,
        parallel: plan.kernels.iter().map(Kernel::is_parallel).collect(),
        ranges,
        touches: Touches::of(plan),
    };
    plan.steps = cx.order(plan.steps.clone(), &mut vec![]);
}

fn wait(steps: &mut Vec<Step>, running: &mut Vec<Running>) {
    if !running.is_empty() {
        steps.push(Step::Barrier);
        running.clear();
    }
}

/// A read by every thread.
fn read_by_all(slots: &[SlotId]) -> Running {
    let touches = slots.iter().map(|s| Touch {
        slot: *s,
        writes: false,
        param: None,
    });
    Running {
        touches: touches.collect(),
        parallel: true,
    }
}

impl Barriers<'_> {
    fn order(&self, steps: Vec<Step>, running: &mut Vec<Running>) -> Vec<Step> {
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Barrier => {}
                Step::Call(call) => {
                    let next = self.running(&call);
                    if running.iter().any(|r| self.conflict(r, &next)) {
                        wait(&mut out, running);
                    }
                    running.push(next);
                    out.push(Step::Call(call));
                }
                Step::If {
                    cond,
                    then,
                    otherwise,
                } => {
                    wait(&mut out, running);
                    let mut after_then = vec![read_by_all(&[cond])];
                    let mut after_otherwise = after_then.clone();
                    let then = self.order(then, &mut after_then);
                    let otherwise = self.order(otherwise, &mut after_otherwise);
                    running.extend(after_then);
                    running.extend(after_otherwise);
                    out.push(Step::If {
                        cond,
                        then,
                        otherwise,
                    });
                }
                Step::Loop {
                    trip,
                    cond,
                    counter,
                    body,
                } => {
                    wait(&mut out, running);
                    let read = read_by_all(&[trip, cond, counter]);
                    let body = self.order(body, &mut vec![read.clone()]);
                    running.push(read);
                    out.push(Step::Loop {
                        trip,
                        cond,
                        counter,
                        body,
                    });
                }
            }
        }
        out
    }

    fn running(&self, call: &Call) -> Running {
        Running {
            touches: self.touches.of_call(call),
            parallel: self.parallel[call.kernel.0 as usize],
        }
    }

    fn conflict(&self, a: &Running, b: &Running) -> bool {
        let clash =
            |x: &Touch, y: &Touch| self.touches.conflict(x, y) && self.overlap(x.slot, y.slot);
        (a.parallel || b.parallel)
            && (a.touches.iter()).any(|x| b.touches.iter().any(|y| clash(x, y)))
    }

    fn overlap(&self, a: SlotId, b: SlotId) -> bool {
        let (a, b) = (self.plan.slot(a), self.plan.slot(b));
        match (&a.place, &b.place) {
            (Place::Arena(at), Place::Arena(bt)) => {
                let apart = |lo: &Expr, bytes: Expr, hi: &Expr| {
                    self.ranges.proves_le(&(lo.clone() + bytes), hi)
                };
                !apart(at, a.bytes(), bt) && !apart(bt, b.bytes(), at)
            }
            (x, y) => x == y,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::plan::{parse_plan, verify_plan};

    /// Two kernels write 8 elements each of one tensor, from elements 0 and `second` on, and a
    /// third reads as many from `read` on.
    fn plan(second: usize, read: usize) -> Plan {
        let text = format!(
            "plan \"p\" () arena 64 {{
  input \"x\" : f32[16]
  output \"y\" : f32[8]
  kernel first() {{ in a0: f32[16] out o1: f32[16]
    for i0 < 8 space parallel {{ o1[i0] = a0[i0] }} }}
  kernel second() {{ in a0: f32[16] out o1: f32[16]
    for i0 < 2 space parallel {{ for i1 < 4 space {{ o1[4*i0 + i1 + {second}] = a0[i0] }} }} }}
  kernel third() {{ in a0: f32[16] out o1: f32[8]
    for i0 < 8 space parallel {{ o1[i0] = a0[i0 + {read}] }} }}
  slot 0 \"x\" : f32[16] layout(d0) input 0
  slot 1 \"t\" : f32[16] layout(d0) arena 0
  slot 2 \"y\" : f32[8] layout(d0) output 0
  steps {{
    call 0(0, 1) sites 0 of [\"a\"] alone \"\"
    call 1(0, 1) sites 0 of [\"b\"] alone \"\"
    call 2(1, 2) sites 0 of [\"c\"] alone \"\"
  }}
}}"
        );
        let mut plan = parse_plan(&text).unwrap_or_else(|e| panic!("{e}"));
        insert_barriers(&mut plan);
        plan
    }

    /// The calls before each barrier.
    fn groups(plan: &Plan) -> Vec<usize> {
        let groups = plan.steps.split(|s| *s == Step::Barrier);
        groups.map(<[Step]>::len).collect()
    }

    #[test]
    fn parts_of_a_tensor_that_are_apart_need_no_barrier() {
        for (second, read, want) in [
            (8, 0, vec![2, 1]),
            (8, 8, vec![2, 1]),
            // One element is in both parts.
            (7, 0, vec![1, 1, 1]),
        ] {
            let plan = plan(second, read);
            assert_eq!(groups(&plan), want, "{plan}");
            assert_eq!(verify_plan(&plan), Ok(()));
        }
    }

    #[test]
    fn plans_without_a_barrier_that_parts_need_are_refused() {
        for (second, kept) in [(8, 0), (7, 1)] {
            let mut plan = plan(second, 0);
            let mut barriers = 0;
            plan.steps.retain(|s| {
                barriers += usize::from(*s == Step::Barrier);
                *s != Step::Barrier || barriers > 1 && kept > 0
            });
            let error = verify_plan(&plan)
                .expect_err("two kernels meet")
                .to_string();
            assert!(error.contains("no barrier"), "{error}");
        }
    }
}
