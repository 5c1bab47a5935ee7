//! Barriers: which steps must wait for others.
//!
//! Requires: a plan with final places, without barriers.
//! Ensures: two calls that touch overlapping bytes, one of them writing, are ordered by a barrier
//! unless both run on thread 0 alone; conditions are read after a barrier and not overwritten
//! before the next one.
use tensmith_ir::expr::{Expr, Ranges};
use tensmith_ir::loops::{Kernel, Scope};
use tensmith_ir::plan::{Call, Place, Plan, SlotId, Step};

#[derive(Clone)]
struct Touch {
    slot: SlotId,
    writes: bool,
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
}

/// Puts barriers into a plan.
pub fn insert_barriers(plan: &mut Plan) {
    let steps = std::mem::take(&mut plan.steps);
    let mut ranges = Ranges::new();
    for size in &plan.sizes {
        ranges.bind_size(size.symbol.clone(), size.min, size.max);
    }
    let parallel = plan.kernels.iter().map(Kernel::is_parallel).collect();
    let cx = Barriers {
        plan,
        parallel,
        ranges,
    };
    let steps = cx.order(steps, &mut vec![]);
    plan.steps = steps;
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
        let params = self.plan.kernel(call.kernel).params();
        let touch = |(slot, (_, b)): (&SlotId, (_, &tensmith_ir::loops::Buffer))| Touch {
            slot: *slot,
            writes: b.scope == Scope::Output,
        };
        Running {
            touches: call.args.iter().zip(params).map(touch).collect(),
            parallel: self.parallel[call.kernel.0 as usize],
        }
    }

    fn conflict(&self, a: &Running, b: &Running) -> bool {
        (a.parallel || b.parallel)
            && a.touches.iter().any(|x| {
                b.touches
                    .iter()
                    .any(|y| (x.writes || y.writes) && self.overlap(x.slot, y.slot))
            })
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
