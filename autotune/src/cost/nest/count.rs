//! What the execution of a statement issues.
use super::{Access, LaneOrder, Loop};
use crate::cost::Setting;
use std::collections::BTreeMap;
use tensmith_ir::expr::{Expr, Var};
use tensmith_ir::loops::{BinaryOp, BufferId, Kernel, Mark, Scalar, Scope, Stmt, UnaryOp, math};

/// Units: instructions, but for the fields that say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ops {
    /// Multiply-adds.
    pub fma: f64,
    /// Sums, differences and the like.
    pub add: f64,
    /// Products.
    pub mul: f64,
    /// Comparisons, choices, minima and maxima.
    pub compare: f64,
    /// Quotients, remainders and roots.
    pub divide: f64,
    /// Those of the bodies of math functions.
    pub math: f64,
    /// Conversions.
    pub convert: f64,
    /// Loads of vectors.
    pub vector_loads: f64,
    /// Loads of single elements that lanes share.
    pub single_loads: f64,
    /// Elements that are loaded into lanes or stored from them one by one.
    pub far: f64,
    /// Elements that lie apart along the lanes and side by side along another loop in lock step:
    /// blocks of them are turned in registers.
    pub turned: f64,
    /// Stores of vectors and of single elements.
    pub stores: f64,
    /// Units: floating-point and integer operations, over all lanes.
    pub flops: f64,
    /// Units: lanes of vectors that compute nothing, over all arithmetic.
    pub idle_lanes: f64,
    /// Units: lanes of vectors, over all arithmetic.
    pub lanes: f64,
}

impl Ops {
    /// Adds what is issued `times` times.
    pub fn add(&mut self, more: &Ops, times: f64) {
        let fields = self.fields_mut().into_iter().zip(more.fields());
        fields.for_each(|(own, other)| *own += times * other);
    }

    /// Adds one execution of an access.
    pub fn access(&mut self, access: &Access) {
        let field = match (access.lanes, access.is_write) {
            (LaneOrder::Far, _) => &mut self.far,
            (LaneOrder::Turned, _) => &mut self.turned,
            (_, true) => &mut self.stores,
            (LaneOrder::Unit, false) => &mut self.vector_loads,
            (LaneOrder::Same, false) => &mut self.single_loads,
        };
        *field += access.issues;
    }

    fn fields(&self) -> [f64; 15] {
        [
            self.fma,
            self.add,
            self.mul,
            self.compare,
            self.divide,
            self.math,
            self.convert,
            self.vector_loads,
            self.single_loads,
            self.far,
            self.turned,
            self.stores,
            self.flops,
            self.idle_lanes,
            self.lanes,
        ]
    }

    fn fields_mut(&mut self) -> [&mut f64; 15] {
        [
            &mut self.fma,
            &mut self.add,
            &mut self.mul,
            &mut self.compare,
            &mut self.divide,
            &mut self.math,
            &mut self.convert,
            &mut self.vector_loads,
            &mut self.single_loads,
            &mut self.far,
            &mut self.turned,
            &mut self.stores,
            &mut self.flops,
            &mut self.idle_lanes,
            &mut self.lanes,
        ]
    }

    /// Instructions of arithmetic.
    pub fn arithmetic(&self) -> f64 {
        self.fma + self.add + self.mul + self.compare + self.divide + self.math + self.convert
    }

    /// Instructions that load.
    pub fn loads(&self) -> f64 {
        self.vector_loads + self.single_loads
    }

    /// All instructions.
    pub fn all(&self) -> f64 {
        self.arithmetic() + self.loads() + self.far + self.turned + self.stores
    }
}

/// The loops in lock step around a statement: a bit for each.
pub struct Lanes {
    loops: Vec<LaneLoop>,
}

struct LaneLoop {
    number: usize,
    var: Option<Var>,
    trips: f64,
    /// Lanes of a vector; `None` for a jam.
    lanes: Option<f64>,
}

/// A set of loops in lock step.
pub type LaneSet = u64;

impl Lanes {
    /// All of them.
    pub fn all(&self) -> LaneSet {
        (0..self.loops.len()).fold(0, |set, k| set | 1 << k)
    }

    fn of(&self, holds: impl Fn(&LaneLoop) -> bool) -> LaneSet {
        let mut set = 0;
        for (k, l) in self.loops.iter().enumerate() {
            if holds(l) {
                set |= 1 << k;
            }
        }
        set
    }

    /// The loops in whose variables an index is.
    pub fn of_index(&self, index: &[Expr]) -> LaneSet {
        self.of(|l| l.var.is_some_and(|v| index.iter().any(|e| e.mentions(v))))
    }

    fn product(&self, set: LaneSet, f: impl Fn(&LaneLoop) -> f64) -> f64 {
        let in_set = self
            .loops
            .iter()
            .enumerate()
            .filter(|(k, _)| set >> k & 1 == 1);
        in_set.map(|(_, l)| f(l)).product()
    }

    /// Instructions for a scalar that depends on these loops.
    pub fn issues(&self, set: LaneSet) -> f64 {
        self.product(set, |l| match l.lanes {
            Some(lanes) => (l.trips / lanes).ceil(),
            None => l.trips,
        })
    }

    /// Elements of a scalar that depends on these loops.
    pub fn elements(&self, set: LaneSet) -> f64 {
        self.product(set, |l| l.trips)
    }

    /// The lanes of all vectors of a scalar that depends on these loops.
    fn width(&self, set: LaneSet) -> f64 {
        self.product(set, |l| match l.lanes {
            Some(lanes) => (l.trips / lanes).ceil() * lanes,
            None => l.trips,
        })
    }

    /// Units: bytes of the vectors; those of an element if there are none.
    pub fn vector_bytes(&self) -> usize {
        let widest = self.loops.iter().filter_map(|l| l.lanes);
        4 * widest.fold(1.0, f64::max) as usize
    }

    /// The innermost loop whose iterations are lanes of vectors.
    pub fn vector(&self) -> Option<usize> {
        let of_vectors = self.loops.iter().rev().find(|l| l.lanes.is_some());
        of_vectors.map(|l| l.number)
    }
}

/// Counts what statements issue.
pub struct Counter<'a> {
    kernel: &'a Kernel,
    /// Lanes of the widest vectors.
    lanes: f64,
    /// The variables of the loops in lock step around the stores of each register.
    registers: BTreeMap<BufferId, Vec<Var>>,
}

impl<'a> Counter<'a> {
    /// For a kernel.
    pub fn new(kernel: &'a Kernel, setting: &Setting) -> Counter<'a> {
        let mut counter = Counter {
            kernel,
            lanes: (setting.vector_bytes.max(4) / 4) as f64,
            registers: BTreeMap::new(),
        };
        counter.collect(&kernel.body, &mut vec![]);
        counter
    }

    fn collect(&mut self, stmts: &[Stmt], around: &mut Vec<Var>) {
        for stmt in stmts {
            match stmt {
                Stmt::Store { buffer, .. } => {
                    let vars = self.registers.entry(*buffer).or_default();
                    vars.extend(around.iter());
                }
                Stmt::For(l) if matches!(l.mark, Mark::Vector | Mark::Jam) => {
                    around.push(l.var);
                    self.collect(&l.body, around);
                    around.pop();
                }
                other => {
                    for body in other.bodies() {
                        self.collect(body, around);
                    }
                }
            }
        }
    }

    /// The loops in lock step among those around.
    pub fn lanes(&self, loops: &[Loop], around: &[usize]) -> Lanes {
        let in_step = around.iter().filter(|k| loops[**k].is_lock_step());
        let one = |k: &usize| {
            let l = &loops[*k];
            // A loop of few lanes takes vectors that are as short.
            let narrow = l.trips.max(1.0).log2().ceil().exp2();
            LaneLoop {
                number: *k,
                var: l.var,
                trips: l.trips,
                lanes: (l.mark == Mark::Vector).then(|| self.lanes.min(narrow)),
            }
        };
        // A set has 64 bits; kernels have fewer loops in lock step around a statement.
        Lanes {
            loops: in_step.map(one).take(64).collect(),
        }
    }

    /// What one execution of a statement issues to compute a value.
    pub fn ops(&self, value: &Scalar, lanes: &Lanes) -> Ops {
        let mut ops = Ops::default();
        self.scalar(value, lanes, &mut ops);
        ops
    }

    /// Counts a scalar; gives the loops on which it depends.
    fn scalar(&self, value: &Scalar, lanes: &Lanes, ops: &mut Ops) -> LaneSet {
        let mut set = match value {
            Scalar::Load(buffer, index) => lanes.of_index(index) | self.register(*buffer, lanes),
            Scalar::Index(e) => lanes.of_index(std::slice::from_ref(e)),
            Scalar::Guard(conds, ..) => lanes.of_index(conds),
            _ => 0,
        };
        for child in value.children() {
            set |= self.scalar(child, lanes, ops);
        }
        let kind = match value {
            Scalar::Const(_) | Scalar::Load(..) | Scalar::Index(_) | Scalar::Bitcast(..) => {
                return set;
            }
            Scalar::Fma(..) => Kind::Fma,
            Scalar::Unary(UnaryOp::Sqrt, _) => Kind::Divide,
            Scalar::Unary(..) => Kind::Add,
            Scalar::Binary(op, ..) => binary(*op),
            Scalar::Select(..) | Scalar::Guard(..) => Kind::Compare,
            Scalar::Cast(..) => Kind::Convert,
            Scalar::Call(f, _) => {
                let dtype = value.dtype(&|b| self.kernel.buffer(b).dtype);
                let body = math::body(*f, dtype).or(math::body(*f, tensmith_ir::dtype::DType::F32));
                Kind::Math(body.map_or(1, |b| b.lets.len()))
            }
        };
        kind.count(lanes, set, ops);
        set
    }

    fn register(&self, buffer: BufferId, lanes: &Lanes) -> LaneSet {
        if self.kernel.buffer(buffer).scope != Scope::Register {
            return 0;
        }
        let own = self.registers.get(&buffer);
        lanes.of(|l| own.is_some_and(|vars| l.var.is_some_and(|v| vars.contains(&v))))
    }
}

enum Kind {
    Fma,
    Add,
    Mul,
    Compare,
    Divide,
    Math(usize),
    Convert,
}

fn binary(op: BinaryOp) -> Kind {
    match op {
        BinaryOp::Mul | BinaryOp::Scale => Kind::Mul,
        BinaryOp::Div | BinaryOp::Rem => Kind::Divide,
        BinaryOp::Min | BinaryOp::Max => Kind::Compare,
        op if op.is_compare() => Kind::Compare,
        _ => Kind::Add,
    }
}

impl Kind {
    fn count(&self, lanes: &Lanes, set: LaneSet, ops: &mut Ops) {
        let issues = lanes.issues(set);
        let (field, each, flops) = match self {
            Kind::Fma => (&mut ops.fma, 1, 2.0),
            Kind::Add => (&mut ops.add, 1, 1.0),
            Kind::Mul => (&mut ops.mul, 1, 1.0),
            Kind::Compare => (&mut ops.compare, 1, 1.0),
            Kind::Divide => (&mut ops.divide, 1, 1.0),
            Kind::Math(steps) => (&mut ops.math, *steps, *steps as f64),
            Kind::Convert => (&mut ops.convert, 1, 0.0),
        };
        *field += issues * each as f64;
        let elements = lanes.elements(set);
        ops.flops += flops * elements;
        ops.lanes += lanes.width(set);
        ops.idle_lanes += lanes.width(set) - elements;
    }
}
