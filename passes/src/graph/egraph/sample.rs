//! Graphs in which a rule has something to do, spelled in random ways.
//!
//! The left side of an equation is written with factors and terms in any order, with divisions for
//! multiplications by numbers, reciprocals for divisions, powers for squares, and numbers moved into
//! sums: a rule must find all of them.
use super::pattern::Pattern;
use super::rule::{Equation, Kind, Rule};
use super::syntax::{Names, Syntax, parse};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Sampler, op};
use tensmith_ir::tensor::Tensor;

/// How a graph for an equation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// The left side, in a random way.
    Left,
    /// The right side, as it stands.
    Right,
}

impl Rule {
    /// A graph with a place for the rule; of an equation, either side of it. The same seed gives
    /// both sides of one instance. `None`: the rule has no right side to write.
    pub fn sample(&self, seed: u64, spelling: Spelling) -> Option<Graph> {
        let mut sampler = Sampler::new(seed);
        match &self.kind {
            Kind::Equation(e) => Some(Writer::write(e, &mut sampler, spelling)),
            Kind::Structure(s) => (spelling == Spelling::Left).then(|| (s.sample)(&mut sampler)),
        }
    }
}

struct Writer<'s> {
    graph: Graph,
    sampler: &'s mut Sampler,
    vars: Vec<ValueId>,
    axis: i64,
}

impl Writer<'_> {
    fn write(e: &Equation, sampler: &mut Sampler, spelling: Spelling) -> Graph {
        let mut names = Names::default();
        let left = parse(e.left, &mut names);
        let right = parse(e.right, &mut names);
        let rank = sampler.int(1, 3);
        let shape: Vec<i64> = (0..rank).map(|_| sampler.int(1, 5)).collect();
        let axis = sampler.int(0, rank - 1);
        let mut writer = Writer {
            graph: Graph::default(),
            sampler,
            vars: vec![],
            axis,
        };
        for (k, name) in names.vars.iter().enumerate() {
            // Rows of the first operand have the others' extents, or repeat them.
            let repeats = |d: &i64| match k > 0 && writer.sampler.int(0, 3) == 0 {
                true => Expr::from(1),
                false => Expr::from(*d),
            };
            let shape = shape.iter().map(repeats).collect();
            let x = writer
                .graph
                .add_input(name, TensorType::new(DType::F32, shape));
            writer.vars.push(x);
        }
        if let Some(of) = e.first {
            let mut names = Names::default();
            let inner = parse(of, &mut names);
            writer.vars[0] = writer.plain(&inner);
        }
        let y = match spelling {
            Spelling::Left => writer.spell(&Pattern::new(&left)),
            Spelling::Right => writer.plain(&right),
        };
        writer.graph.add_output("y", y);
        writer.graph
    }

    fn add(&mut self, name: &str, operands: &[ValueId], attrs: Attrs) -> ValueId {
        let node = self.graph.add_one(op(name), name, operands, attrs);
        node.expect("invariant: the operands of an equation fit")
    }

    fn number(&mut self, n: f64) -> ValueId {
        let tensor = Tensor::splat(DType::F32, vec![], n);
        self.graph.add_constant("c", tensor)
    }

    /// The attributes of an application: rows run along one axis everywhere.
    fn attrs(&self, name: &str) -> Attrs {
        match name {
            "softmax" | "log_softmax" => Attrs::new().with("axis", self.axis),
            name if name.starts_with("reduce") => Attrs::new()
                .with("axes", vec![self.axis])
                .with("keepdims", true),
            _ => Attrs::new(),
        }
    }

    fn plain(&mut self, side: &Syntax) -> ValueId {
        match side {
            Syntax::Var(v) => self.vars[*v],
            Syntax::Number(n) => self.number(*n),
            Syntax::Call { op, args, .. } => {
                let args: Vec<ValueId> = args.iter().map(|a| self.plain(a)).collect();
                let attrs = self.attrs(op.name);
                match &args[..] {
                    [first, rest @ ..] if rest.len() > 1 && matches!(op.name, "add" | "mul") => {
                        rest.iter()
                            .fold(*first, |a, b| self.add(op.name, &[a, *b], Attrs::new()))
                    }
                    _ => self.add(op.name, &args, attrs),
                }
            }
        }
    }

    fn either(&mut self) -> bool {
        self.sampler.int(0, 1) == 0
    }

    fn spell(&mut self, pattern: &Pattern) -> ValueId {
        match pattern {
            Pattern::Var(v) => self.vars[*v],
            Pattern::Number(n) => self.number(*n),
            Pattern::Call(name, _, args) => {
                let mut args: Vec<ValueId> = args.iter().map(|a| self.spell(a)).collect();
                if matches!(*name, "max" | "min") && self.either() {
                    args.reverse();
                }
                let attrs = self.attrs(name);
                self.add(name, &args, attrs)
            }
            Pattern::Product(number, factors) => self.product(*number, factors.clone()),
            Pattern::Sum(number, pairs) => self.sum(*number, pairs.clone()),
        }
    }

    fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for k in (1..items.len()).rev() {
            let other = self.sampler.int(0, k as i64) as usize;
            items.swap(k, other);
        }
        items
    }

    fn product(&mut self, mut number: f64, factors: Vec<(Pattern, bool)>) -> ValueId {
        let mut factors = self.shuffled(factors);
        let sum = factors.iter_mut().find_map(|(p, divides)| match p {
            Pattern::Sum(n, pairs) if !*divides => Some((n, pairs)),
            _ => None,
        });
        if let Some((n, pairs)) = sum
            && self.sampler.int(0, 3) == 0
        {
            *n *= number;
            pairs.iter_mut().for_each(|(_, k)| *k *= number);
            number = 1.0;
        }
        let at = self.sampler.int(0, factors.len() as i64) as usize;
        let mut made: Option<ValueId> = None;
        for k in 0..=factors.len() {
            if k == at && number != 1.0 {
                made = Some(self.times(made, number));
            }
            let Some((pattern, divides)) = factors.get(k).cloned() else {
                continue;
            };
            let value = self.spell(&pattern);
            made = Some(match (made, divides) {
                (None, false) => value,
                (None, true) => self.add("reciprocal", &[value], Attrs::new()),
                (Some(a), true) if self.either() => self.add("div", &[a, value], Attrs::new()),
                (Some(a), true) => {
                    let inverse = self.add("reciprocal", &[value], Attrs::new());
                    self.add("mul", &[inverse, a], Attrs::new())
                }
                (Some(a), false) if a == value && self.either() => {
                    let two = self.number(2.0);
                    self.add("pow", &[a, two], Attrs::new())
                }
                (Some(a), false) if self.either() => self.add("mul", &[a, value], Attrs::new()),
                (Some(a), false) => self.add("mul", &[value, a], Attrs::new()),
            });
        }
        made.unwrap_or_else(|| self.number(number))
    }

    /// A value times a number.
    fn times(&mut self, value: Option<ValueId>, number: f64) -> ValueId {
        let Some(value) = value else {
            return self.number(number);
        };
        if number == -1.0 && self.either() {
            return self.add("neg", &[value], Attrs::new());
        }
        match self.sampler.int(0, 2) {
            0 => {
                let c = self.number(1.0 / number);
                self.add("div", &[value, c], Attrs::new())
            }
            1 => {
                let c = self.number(number);
                self.add("mul", &[value, c], Attrs::new())
            }
            _ => {
                let c = self.number(number);
                self.add("mul", &[c, value], Attrs::new())
            }
        }
    }

    fn sum(&mut self, number: f64, pairs: Vec<(Pattern, f64)>) -> ValueId {
        let pairs = self.shuffled(pairs);
        let at = self.sampler.int(0, pairs.len() as i64) as usize;
        let mut made: Option<ValueId> = None;
        for k in 0..=pairs.len() {
            if k == at && number != 0.0 {
                made = Some(self.plus(made, number));
            }
            let Some((pattern, times)) = pairs.get(k).cloned() else {
                continue;
            };
            let value = self.spell(&pattern);
            made = Some(match made {
                Some(a) if times == -1.0 && self.either() => {
                    self.add("sub", &[a, value], Attrs::new())
                }
                _ => {
                    let value = if times == 1.0 {
                        value
                    } else {
                        self.times(Some(value), times)
                    };
                    match made {
                        None => value,
                        Some(a) if self.either() => self.add("add", &[a, value], Attrs::new()),
                        Some(a) => self.add("add", &[value, a], Attrs::new()),
                    }
                }
            });
        }
        made.unwrap_or_else(|| self.number(number))
    }

    /// A value plus a number.
    fn plus(&mut self, value: Option<ValueId>, number: f64) -> ValueId {
        let Some(value) = value else {
            return self.number(number);
        };
        if self.either() {
            let c = self.number(-number);
            return self.add("sub", &[value, c], Attrs::new());
        }
        let c = self.number(number);
        self.add("add", &[c, value], Attrs::new())
    }
}
