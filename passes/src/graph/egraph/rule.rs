//! Rules: what may stand for what, and what that does to rounding.
use super::facts::{Terms, infer};
use super::pattern::{Bindings, Pattern, View, calls};
use super::syntax::{DERIVED, Names, Syntax, parse};
use super::term::{Call, Known, Term};
use egg::Id;
use std::collections::BTreeSet;
use std::sync::Arc;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph};
use tensmith_ir::ops::{Op, Sampler};
use tensmith_ir::tensor::Tensor;

/// What a rule does to rounding.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Rounding {
    /// Both sides have the same bits.
    Exact,
    /// Both sides are equal in real numbers; roundings differ.
    Reassociates,
    /// Both sides differ by so much of the largest result, at most.
    Approximates(f64),
}

impl Rounding {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Rounding::Exact => "exact",
            Rounding::Reassociates => "reassociates",
            Rounding::Approximates(_) => "approximates",
        }
    }
}

/// One rule.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it does to rounding.
    pub rounding: Rounding,
    /// What it replaces by what.
    pub kind: Kind,
    /// What decides whether that which it makes stands in the end.
    pub stands: Stands,
}

/// What decides whether that which a rule makes stands in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// What the kernels of all rules together are predicted to take, against those of the directed
    /// path alone.
    IfAllAreCheaper,
    /// Nothing: the left side overflows, or loses all digits, where the right one does not; or
    /// without it the steps of recurrent cells would be other tasks where their operands are joined.
    Always,
}

/// The form of a rule.
pub enum Kind {
    /// An equation between terms, matched modulo algebra.
    Equation(Equation),
    /// A rule over attributes and shapes.
    Structure(Structure),
}

/// What of the right side of a rule is a normal form, which is taken even where another term of its
/// class looks cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normal {
    /// Nothing: cost decides.
    No,
    /// Its root; what is below has normal forms of its own.
    Root,
    /// All of it.
    All,
}

/// Derives attributes from those of the left side, and from what its variables stand for.
pub type Derive = fn(&[Arc<Attrs>], &Terms, &Bindings) -> Option<Attrs>;

/// An equation; see [`super::syntax`] for its text.
pub struct Equation {
    /// What is found.
    pub left: &'static str,
    /// What may stand for it.
    pub right: &'static str,
    /// What the first variable stands for in tests, where not everything may; the text of a term.
    pub first: Option<&'static str>,
    /// Whether the right side is the normal form of what is found.
    pub normal: Normal,
    /// The attributes `@!` of the right side, from those of the left side in the order of their
    /// names, and the types of the variables; `None`: the equation does not hold.
    pub derive: Option<Derive>,
}

/// A rule in code.
pub struct Structure {
    /// The equation, for people.
    pub equation: &'static str,
    /// The name of the op that is looked at.
    pub op: &'static str,
    /// The ops of which there is one below it where the rule finds something; empty: any or none.
    pub below: &'static [&'static str],
    /// Whether what stands for it is its normal form.
    pub normal: Normal,
    /// What may stand for an application.
    pub rewrite: fn(&Terms, &Call) -> Vec<Tree>,
    /// A graph with a place for the rule, for tests.
    pub sample: fn(&mut Sampler) -> Graph,
}

/// A term to be added.
#[derive(Clone, Debug)]
pub enum Tree {
    /// A class that exists.
    Class(Id),
    /// A number of an element type.
    Number(f64, DType),
    /// An application.
    Call(Op, Attrs, Vec<Tree>),
}

/// A rule that is ready to be looked for.
pub struct Ready {
    /// The rule.
    pub rule: &'static Rule,
    sides: Option<Sides>,
}

struct Sides {
    pattern: Pattern,
    right: Syntax,
    names: Names,
}

impl Rule {
    /// The rule, standing whatever it costs.
    pub const fn always(self) -> Self {
        Rule {
            stands: Stands::Always,
            ..self
        }
    }

    /// What of that which it adds are normal forms.
    pub fn normal(&self) -> Normal {
        match &self.kind {
            Kind::Equation(e) => e.normal,
            Kind::Structure(s) => s.normal,
        }
    }

    /// The equation, for people.
    pub fn equation(&self) -> String {
        match &self.kind {
            Kind::Equation(e) => format!("{} => {}", e.left, e.right),
            Kind::Structure(s) => s.equation.into(),
        }
    }
}

impl Ready {
    /// Parses a rule.
    pub fn new(rule: &'static Rule) -> Self {
        let sides = match &rule.kind {
            Kind::Structure(_) => None,
            Kind::Equation(e) => {
                let mut names = Names::default();
                let left = parse(e.left, &mut names);
                let right = parse(e.right, &mut names);
                Some(Sides {
                    pattern: Pattern::new(&left),
                    right,
                    names,
                })
            }
        };
        Ready { rule, sides }
    }

    /// Whether it may find something among applications of some ops.
    pub fn may_match(&self, ops: &BTreeSet<&'static str>) -> bool {
        match (&self.rule.kind, &self.sides) {
            (Kind::Structure(s), _) => {
                let below = s.below.is_empty() || s.below.iter().any(|op| ops.contains(op));
                ops.contains(s.op) && below
            }
            (Kind::Equation(_), Some(sides)) => {
                let mut roots = sides.pattern.roots().into_iter();
                roots.any(|op| ops.contains(op)) && sides.pattern.may_be_among(ops)
            }
            (Kind::Equation(_), None) => false,
        }
    }

    /// The classes at which it may be found.
    pub fn places(&self, terms: &View<'_>) -> Vec<Id> {
        match (&self.rule.kind, &self.sides) {
            (Kind::Structure(s), _) => terms.places(&[s.op], &[]),
            (Kind::Equation(_), Some(sides)) => {
                terms.places(&sides.pattern.roots(), &sides.pattern.calls())
            }
            (Kind::Equation(_), None) => vec![],
        }
    }

    /// The terms that may stand for a class.
    pub fn search(&self, terms: &View<'_>, class: Id) -> Vec<Tree> {
        match (&self.rule.kind, &self.sides) {
            (Kind::Structure(s), _) => {
                let places = calls(terms, class).filter(|c| c.op.name == s.op);
                places.flat_map(|c| (s.rewrite)(terms, c)).collect()
            }
            (Kind::Equation(e), Some(sides)) => {
                let dtype = terms[class].data.ty().dtype;
                let wide = matches!(dtype, DType::F32 | DType::F64);
                if !wide {
                    return vec![];
                }
                let counts = (sides.names.vars.len(), sides.names.attrs.len());
                let found = sides.pattern.search(terms, class, counts);
                let build = |b: &Bindings| sides.build(terms, e, b, dtype);
                found.iter().filter_map(build).collect()
            }
            (Kind::Equation(_), None) => vec![],
        }
    }
}

impl Sides {
    fn build(&self, terms: &Terms, e: &Equation, found: &Bindings, dtype: DType) -> Option<Tree> {
        let known = |k: usize| found.attrs[k].clone();
        let of_left = (0..self.names.attrs.len()).filter(|k| self.names.attrs[*k] != DERIVED);
        let left: Vec<Arc<Attrs>> = of_left.map(known).collect::<Option<_>>()?;
        let derived = match e.derive {
            Some(derive) => Some(derive(&left, terms, found)?),
            None => None,
        };
        self.tree(&self.right, found, derived.as_ref(), dtype)
    }

    fn tree(
        &self,
        side: &Syntax,
        found: &Bindings,
        derived: Option<&Attrs>,
        dtype: DType,
    ) -> Option<Tree> {
        Some(match side {
            Syntax::Var(v) => Tree::Class(found.vars[*v]?),
            Syntax::Number(n) => Tree::Number(*n, dtype),
            Syntax::Call { op, attrs, args } => {
                let attrs = match attrs {
                    None => Attrs::new(),
                    Some(k) if self.names.attrs[*k] == DERIVED => derived?.clone(),
                    Some(k) => (*found.attrs[*k].clone()?).clone(),
                };
                let args = args.iter().map(|a| self.tree(a, found, derived, dtype));
                let mut args: Vec<Tree> = args.collect::<Option<_>>()?;
                // Of ops of any number of operands in the text.
                while args.len() > 2 && matches!(op.name, "add" | "mul") {
                    let rest = args.split_off(2);
                    args = vec![Tree::Call(*op, attrs.clone(), args)];
                    args.extend(rest);
                }
                Tree::Call(*op, attrs, args)
            }
        })
    }
}

/// Adds a term; `None` if its operands do not fit each other. `made` are its nodes, and whether
/// they are new.
pub fn add(terms: &mut Terms, tree: Tree, made: &mut Vec<(Term, bool)>) -> Option<Id> {
    let term = match tree {
        Tree::Class(id) => return Some(terms.find(id)),
        Tree::Number(n, dtype) => Term::Constant(Known(Arc::new(Tensor::splat(dtype, vec![], n)))),
        Tree::Call(op, attrs, args) => {
            let args = args.into_iter().map(|t| add(terms, t, made));
            let call = Call::new(op, attrs, args.collect::<Option<_>>()?);
            if infer(terms, &call).ok()?.len() != 1 {
                return None;
            }
            Term::Call(call)
        }
    };
    let new = terms.lookup(term.clone()).is_none();
    made.push((term.clone(), new));
    Some(terms.add(term))
}
