//! An oracle of barriers: the bytes that calls touch, found by going through all iterations.
use std::collections::{HashMap, HashSet};
use tensmith_ir::expr::{Atom, Expr, Var};
use tensmith_ir::loops::{BufferId, Cond, Kernel, Scalar, Scope, Stmt};
use tensmith_ir::plan::{Call, Place, Plan, Step};

/// Bytes of a place: its kind, its number, and the offset.
type Byte = (u8, usize, i64);

/// What a call reads and writes.
#[derive(Default)]
struct Touched {
    parallel: bool,
    reads: HashSet<Byte>,
    writes: HashSet<Byte>,
}

/// Checks that no two calls between barriers touch one byte that either writes, unless both run on
/// thread 0; plans of static shapes, without control flow.
pub fn assert_no_races(plan: &Plan) {
    let mut open: Vec<(&Call, Touched)> = Vec::new();
    for step in &plan.steps {
        match step {
            Step::Barrier => open.clear(),
            Step::Call(call) => {
                let new = touched(plan, call);
                for (other, old) in &open {
                    let meets = !new.writes.is_disjoint(&old.writes)
                        || !new.writes.is_disjoint(&old.reads)
                        || !new.reads.is_disjoint(&old.writes);
                    let (a, b) = (&other.nodes, &call.nodes);
                    assert!(
                        !meets || !(new.parallel || old.parallel),
                        "{a:?} and {b:?} race:\n{plan}"
                    );
                }
                open.push((call, new));
            }
            Step::If { .. } | Step::Loop { .. } => panic!("control flow:\n{plan}"),
        }
    }
}

fn touched(plan: &Plan, call: &Call) -> Touched {
    let kernel = plan.kernel(call.kernel);
    let mut walk = Walk {
        kernel,
        values: HashMap::new(),
        touched: HashSet::new(),
    };
    walk.stmts(&kernel.body);
    let mut found = Touched {
        parallel: kernel.is_parallel(),
        ..Touched::default()
    };
    let params: Vec<BufferId> = kernel.params().map(|(id, _)| id).collect();
    for (id, at) in walk.touched {
        let Some(param) = params.iter().position(|p| *p == id) else {
            continue;
        };
        let bytes = kernel.buffer(id).dtype.bytes() as i64;
        let (kind, number, base) = match &plan.slot(call.args[param]).place {
            Place::Input(k) => (0, *k, 0),
            Place::Output(k) => (1, *k, 0),
            Place::Constant(k) => (2, *k, 0),
            Place::Arena(at) => (3, 0, at.as_const().expect("static")),
        };
        let list = match kernel.buffer(id).scope {
            Scope::Input => &mut found.reads,
            _ => &mut found.writes,
        };
        list.extend((0..bytes).map(|b| (kind, number, base + at * bytes + b)));
    }
    found
}

struct Walk<'k> {
    kernel: &'k Kernel,
    values: HashMap<Var, i64>,
    touched: HashSet<(BufferId, i64)>,
}

impl Walk<'_> {
    fn eval(&self, e: &Expr) -> i64 {
        let value = |atom: &Atom| match atom {
            Atom::Var(v) => self.values.get(v).copied(),
            _ => None,
        };
        e.eval(&value).expect("static shapes")
    }

    fn holds(&self, conds: &[Expr]) -> bool {
        conds.iter().all(|e| self.eval(e) >= 0)
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::For(l) => self.repeat(l.var, &l.extent, &l.body),
                Stmt::Check {
                    var,
                    value,
                    extent,
                    body,
                    ..
                } => {
                    self.scalar(value);
                    self.repeat(*var, extent, body);
                }
                Stmt::Store {
                    buffer,
                    index,
                    value,
                } => {
                    self.scalar(value);
                    self.touch(*buffer, index);
                }
                Stmt::If {
                    cond: Cond::Affine(es),
                    then,
                    otherwise,
                } => match self.holds(es) {
                    true => self.stmts(then),
                    false => self.stmts(otherwise),
                },
                Stmt::If {
                    cond: Cond::Scalar(s),
                    then,
                    otherwise,
                } => {
                    self.scalar(s);
                    self.stmts(then);
                    self.stmts(otherwise);
                }
                Stmt::While { cond, body } => {
                    self.scalar(cond);
                    self.stmts(body);
                }
            }
        }
    }

    fn repeat(&mut self, var: Var, extent: &Expr, body: &[Stmt]) {
        for k in 0..self.eval(extent) {
            self.values.insert(var, k);
            self.stmts(body);
        }
        self.values.remove(&var);
    }

    fn scalar(&mut self, s: &Scalar) {
        match s {
            Scalar::Load(buffer, index) => self.touch(*buffer, index),
            Scalar::Guard(conds, a, b) => match self.holds(conds) {
                true => self.scalar(a),
                false => self.scalar(b),
            },
            _ => s.children().into_iter().for_each(|c| self.scalar(c)),
        }
    }

    fn touch(&mut self, id: BufferId, index: &[Expr]) {
        let buffer = self.kernel.buffer(id);
        if matches!(buffer.scope, Scope::Input | Scope::Output) {
            let index: Vec<i64> = index.iter().map(|e| self.eval(e)).collect();
            let mut at = 0;
            for d in &buffer.layout.0 {
                let part = index[d.dim].div_euclid(d.step);
                let extent = d.extent.unwrap_or_else(|| {
                    let extent = buffer.shape[d.dim].as_const().expect("static shapes");
                    (extent + d.step - 1) / d.step
                });
                at = at * extent + d.extent.map_or(part, |e| part.rem_euclid(e));
            }
            self.touched.insert((id, at));
        }
    }
}
