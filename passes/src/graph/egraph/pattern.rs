//! Matching modulo algebra: a pattern is found however its products and sums are spelled.
//!
//! Products are compared as a number times factors in any order, whether they are written with
//! multiplications, divisions, reciprocals or signs; sums as a number plus multiples of terms. So
//! `x/2 * (1 + y)` and `x * (y * 0.5 + 0.5)` are one pattern.
use super::facts::Terms;
use super::syntax::Syntax;
use super::term::{Call, Term};
use egg::Id;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use tensmith_ir::graph::Attrs;

/// Spellings of one class that are looked at.
const SPELLINGS: usize = 32;
/// Operations deep that products and sums are looked into.
const DEPTH: usize = 6;
/// Constants are equal if they differ by less: exporters write them as `f32`, with a few digits.
const RELATIVE: f64 = 2e-6;

/// A pattern whose products and sums are flat.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Any value, the same for all uses of a variable.
    Var(usize),
    /// A number in all places.
    Number(f64),
    /// An application of an op that is no product and no sum.
    Call(&'static str, Option<usize>, Vec<Pattern>),
    /// A number times factors; `true`: divided by it.
    Product(f64, Vec<(Pattern, bool)>),
    /// A number plus multiples of terms.
    Sum(f64, Vec<(Pattern, f64)>),
}

/// What the names of a pattern stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bindings {
    /// Values by the position of their variable.
    pub vars: Vec<Option<Id>>,
    /// Attributes by the position of their name.
    pub attrs: Vec<Option<Arc<Attrs>>>,
}

/// A class as a number times factors, each the numerator or (`true`) a divisor.
type Factors = (f64, Vec<(Id, bool)>);
/// A class as a number plus multiples of terms.
type Multiples = (f64, Vec<(Id, f64)>);
/// Ways to match: the class is so many times the pattern.
type Found = Vec<(f64, Bindings)>;

/// A product or a sum in all the ways that a class has.
type Ways<T> = RefCell<HashMap<Id, Rc<Vec<T>>>>;

/// Terms between two changes: products and sums are taken apart once for all rules.
pub struct View<'t> {
    terms: &'t Terms,
    /// The classes that have an application of an op, in order.
    places: HashMap<&'static str, Vec<Id>>,
    products: Ways<Factors>,
    sums: Ways<Multiples>,
}

impl<'t> View<'t> {
    /// The terms as they are.
    pub fn new(terms: &'t Terms) -> Self {
        let mut places: HashMap<&'static str, Vec<Id>> = HashMap::new();
        let mut classes: Vec<Id> = terms.classes().map(|c| c.id).collect();
        classes.sort();
        for class in classes {
            for call in calls(terms, class) {
                let of = places.entry(call.op.name).or_default();
                if of.last() != Some(&class) {
                    of.push(class);
                }
            }
        }
        View {
            terms,
            places,
            products: Ways::default(),
            sums: Ways::default(),
        }
    }

    /// The classes that have an application of one of some ops, if there are some of all others.
    pub fn places(&self, ops: &[&'static str], others: &[&'static str]) -> Vec<Id> {
        if others.iter().any(|name| !self.places.contains_key(name)) {
            return vec![];
        }
        let of = ops.iter().filter_map(|name| self.places.get(name));
        let mut places: Vec<Id> = of.flatten().copied().collect();
        places.sort();
        places.dedup();
        places
    }

    fn products(&self, class: Id) -> Rc<Vec<Factors>> {
        kept(&self.products, class, || products(self, class, DEPTH))
    }

    fn sums(&self, class: Id) -> Rc<Vec<Multiples>> {
        kept(&self.sums, class, || sums(self, class, DEPTH))
    }
}

impl Deref for View<'_> {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        self.terms
    }
}

fn kept<T>(ways: &Ways<T>, class: Id, find: impl Fn() -> Vec<T>) -> Rc<Vec<T>> {
    if let Some(found) = ways.borrow().get(&class) {
        return found.clone();
    }
    let found = Rc::new(find());
    ways.borrow_mut().insert(class, found.clone());
    found
}

impl Pattern {
    /// The pattern of one side of an equation.
    pub fn new(side: &Syntax) -> Pattern {
        match side {
            Syntax::Var(v) => Pattern::Var(*v),
            Syntax::Number(n) => Pattern::Number(*n),
            Syntax::Call { op, attrs, args } => {
                let args: Vec<Pattern> = args.iter().map(Pattern::new).collect();
                match (op.name, &args[..]) {
                    ("mul", _) => product(args.into_iter().map(|a| (a, false)).collect()),
                    ("div", [x, y]) => product(vec![(x.clone(), false), (y.clone(), true)]),
                    ("reciprocal", [x]) => product(vec![(x.clone(), true)]),
                    ("neg", [x]) => {
                        product(vec![(Pattern::Number(-1.0), false), (x.clone(), false)])
                    }
                    ("add", _) => sum(args.into_iter().map(|a| (a, 1.0)).collect()),
                    ("sub", [x, y]) => sum(vec![(x.clone(), 1.0), (y.clone(), -1.0)]),
                    (name, _) => Pattern::Call(name, *attrs, args),
                }
            }
        }
    }

    /// The ways in which a class is this pattern.
    pub fn search(&self, terms: &View<'_>, class: Id, names: (usize, usize)) -> Vec<Bindings> {
        let none = Bindings {
            vars: vec![None; names.0],
            attrs: vec![None; names.1],
        };
        let mut found: Vec<Bindings> = Vec::new();
        for (scale, bindings) in self.matches(terms, class, &none) {
            if near(scale, 1.0) && !found.contains(&bindings) {
                found.push(bindings);
            }
        }
        found
    }

    /// The ops of which a class that is this pattern has one.
    pub fn roots(&self) -> Vec<&'static str> {
        match self {
            Pattern::Call(name, ..) => vec![name],
            Pattern::Product(_, factors) => {
                let mut roots = vec!["mul", "div", "reciprocal", "neg"];
                if matches!(factors[..], [(Pattern::Sum(..), false)]) {
                    roots.extend(["add", "sub"]);
                }
                roots
            }
            Pattern::Sum(..) => vec!["add", "sub", "mul", "div", "neg"],
            Pattern::Var(_) | Pattern::Number(_) => vec![],
        }
    }

    /// The ops that are no products and no sums.
    pub fn calls(&self) -> Vec<&'static str> {
        match self {
            Pattern::Call(name, _, args) => {
                let inner = args.iter().flat_map(Pattern::calls);
                inner.chain([*name]).collect()
            }
            Pattern::Product(_, factors) => factors.iter().flat_map(|(p, _)| p.calls()).collect(),
            Pattern::Sum(_, pairs) => pairs.iter().flat_map(|(p, _)| p.calls()).collect(),
            Pattern::Var(_) | Pattern::Number(_) => vec![],
        }
    }

    /// Whether applications of some ops can be this pattern: all that it names is there, and what
    /// multiplies, divides and adds.
    pub fn may_be_among(&self, ops: &BTreeSet<&'static str>) -> bool {
        let one = |names: [&str; 2]| names.iter().any(|name| ops.contains(name));
        match self {
            Pattern::Var(_) | Pattern::Number(_) => true,
            Pattern::Call(name, _, args) => {
                ops.contains(name) && args.iter().all(|p| p.may_be_among(ops))
            }
            Pattern::Product(_, factors) => {
                let divides = factors.iter().any(|(_, divides)| *divides);
                let multiplied = factors.len() < 2 || one(["mul", "div"]);
                let divided = !divides || one(["div", "reciprocal"]);
                multiplied && divided && factors.iter().all(|(p, _)| p.may_be_among(ops))
            }
            Pattern::Sum(number, pairs) => {
                let added = pairs.len() < 2 && *number == 0.0 || one(["add", "sub"]);
                added && pairs.iter().all(|(p, _)| p.may_be_among(ops))
            }
        }
    }

    fn matches(&self, terms: &View<'_>, class: Id, known: &Bindings) -> Found {
        let class = terms.find(class);
        match self {
            Pattern::Var(v) => match known.vars[*v] {
                Some(bound) if bound != class => vec![],
                _ => {
                    let mut bindings = known.clone();
                    bindings.vars[*v] = Some(class);
                    vec![(1.0, bindings)]
                }
            },
            Pattern::Number(n) => {
                let is = |c: f64| near(c, *n);
                let found = terms[class].data.uniform().is_some_and(is);
                found.then(|| (1.0, known.clone())).into_iter().collect()
            }
            Pattern::Call(name, attrs, args) => {
                let calls = calls(terms, class).filter(|c| c.op.name == *name);
                let found = calls.flat_map(|c| call_matches(terms, (*attrs, args), c, known));
                found.map(|b| (1.0, b)).collect()
            }
            Pattern::Product(number, factors) => {
                let mut found = Found::new();
                for (scale, atoms) in terms.products(class).iter() {
                    if atoms.len() == factors.len() {
                        let start = (scale / number, known.clone());
                        found.extend(pair_factors(terms, factors, atoms, start));
                    }
                }
                found
            }
            Pattern::Sum(number, pairs) => {
                let mut found = Found::new();
                for (constant, atoms) in terms.sums(class).iter() {
                    if atoms.len() == pairs.len() {
                        let all = pair_terms(terms, pairs, atoms, (None, known.clone()));
                        found.extend(
                            all.into_iter()
                                .filter(|(scale, _)| near(*constant, number * scale)),
                        );
                    }
                }
                found
            }
        }
    }
}

/// Whether two numbers are one, written with different care.
pub fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= RELATIVE * b.abs() || a == b
}

fn product(args: Vec<(Pattern, bool)>) -> Pattern {
    let (mut number, mut factors) = (1.0, Vec::new());
    for (arg, divides) in args {
        let power = if divides { -1 } else { 1 };
        match arg {
            Pattern::Number(n) => number *= n.powi(power),
            Pattern::Product(n, inner) => {
                number *= n.powi(power);
                factors.extend(inner.into_iter().map(|(p, d)| (p, d != divides)));
            }
            other => factors.push((other, divides)),
        }
    }
    Pattern::Product(number, factors)
}

fn sum(args: Vec<(Pattern, f64)>) -> Pattern {
    let (mut number, mut pairs) = (0.0, Vec::new());
    for (arg, times) in args {
        match arg {
            Pattern::Number(n) => number += times * n,
            Pattern::Sum(n, inner) => {
                number += times * n;
                pairs.extend(inner.into_iter().map(|(p, k)| (p, k * times)));
            }
            Pattern::Product(n, factors) => match &factors[..] {
                [(one, false)] => pairs.push((one.clone(), n * times)),
                _ => pairs.push((Pattern::Product(1.0, factors), n * times)),
            },
            other => pairs.push((other, times)),
        }
    }
    Pattern::Sum(number, pairs)
}

/// The applications among the members of a class.
pub fn calls(terms: &Terms, class: Id) -> impl Iterator<Item = &Call> {
    let nodes = terms[class].nodes.iter();
    nodes.filter_map(|n| match n {
        Term::Call(call) => Some(call),
        _ => None,
    })
}

/// Ops whose operands may change places.
fn commutes(name: &str) -> bool {
    matches!(
        name,
        "max" | "min" | "add" | "mul" | "and" | "or" | "eq" | "ne"
    )
}

fn call_matches(
    terms: &View<'_>,
    (attrs, args): (Option<usize>, &[Pattern]),
    call: &Call,
    known: &Bindings,
) -> Vec<Bindings> {
    if call.args.len() != args.len() {
        return vec![];
    }
    let mut bindings = known.clone();
    if let Some(slot) = attrs {
        match &bindings.attrs[slot] {
            Some(bound) if **bound != *call.attrs => return vec![],
            _ => bindings.attrs[slot] = Some(call.attrs.clone()),
        }
    }
    let in_order = |operands: &[Id]| {
        let mut all = vec![bindings.clone()];
        for (pattern, id) in args.iter().zip(operands) {
            let next = all.iter().flat_map(|b| pattern.matches(terms, *id, b));
            all = next
                .filter(|(s, _)| near(*s, 1.0))
                .map(|(_, b)| b)
                .collect();
        }
        all
    };
    let mut found = in_order(&call.args);
    if let ([x, y], true) = (&call.args[..], commutes(call.op.name)) {
        found.extend(in_order(&[*y, *x]));
    }
    found
}

fn pair_factors(
    terms: &View<'_>,
    factors: &[(Pattern, bool)],
    atoms: &[(Id, bool)],
    (scale, known): (f64, Bindings),
) -> Found {
    let Some(((first, divides), rest)) = factors.split_first() else {
        return vec![(scale, known)];
    };
    let mut found = Found::new();
    for (k, (id, divisor)) in atoms.iter().enumerate() {
        if divisor != divides || atoms[..k].contains(&atoms[k]) {
            continue;
        }
        let others = [&atoms[..k], &atoms[k + 1..]].concat();
        for (by, bindings) in first.matches(terms, *id, &known) {
            let scale = if *divides { scale / by } else { scale * by };
            found.extend(pair_factors(terms, rest, &others, (scale, bindings)));
        }
    }
    found
}

fn pair_terms(
    terms: &View<'_>,
    pairs: &[(Pattern, f64)],
    atoms: &[(Id, f64)],
    (scale, known): (Option<f64>, Bindings),
) -> Found {
    let Some(((first, times), rest)) = pairs.split_first() else {
        return vec![(scale.unwrap_or(1.0), known)];
    };
    let mut found = Found::new();
    for (k, (id, multiple)) in atoms.iter().enumerate() {
        let others = [&atoms[..k], &atoms[k + 1..]].concat();
        for (by, bindings) in first.matches(terms, *id, &known) {
            let whole = multiple * by / times;
            if scale.is_none_or(|s| near(whole, s)) {
                found.extend(pair_terms(terms, rest, &others, (Some(whole), bindings)));
            }
        }
    }
    found
}

/// A class as products: itself, and what its members multiply and divide.
fn products(terms: &View<'_>, class: Id, depth: usize) -> Vec<Factors> {
    let class = terms.find(class);
    if let Some(c) = terms[class].data.uniform() {
        return vec![(c, vec![])];
    }
    let mut found: Vec<Factors> = vec![(1.0, vec![(class, false)])];
    if depth == 0 {
        return found;
    }
    for call in calls(terms, class) {
        let of = |k: usize| products(terms, call.args[k], depth - 1);
        let more: Vec<Factors> = match call.op.name {
            "mul" => multiplied(&of(0), &of(1)),
            "div" => multiplied(&of(0), &inverse(of(1))),
            "reciprocal" => inverse(of(0)),
            "neg" => multiplied(&[(-1.0, vec![])], &of(0)),
            _ => continue,
        };
        for way in more {
            if found.len() < SPELLINGS && !found.contains(&way) {
                found.push(way);
            }
        }
    }
    found
}

fn inverse(ways: Vec<Factors>) -> Vec<Factors> {
    let turn = |(n, atoms): Factors| {
        let atoms = atoms.into_iter().map(|(id, d)| (id, !d)).collect();
        (1.0 / n, atoms)
    };
    ways.into_iter().map(turn).collect()
}

fn multiplied(a: &[Factors], b: &[Factors]) -> Vec<Factors> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    let join = |(x, y): (&Factors, &Factors)| {
        // What is divided by itself is not 1 where it is 0 or infinite.
        let cancels = |(id, d): &(Id, bool)| y.1.contains(&(*id, !d));
        let mut atoms = [&x.1[..], &y.1[..]].concat();
        atoms.sort();
        (!x.1.iter().any(cancels)).then_some((x.0 * y.0, atoms))
    };
    pairs.filter_map(join).take(SPELLINGS).collect()
}

/// A class as sums: itself, and what its members add and subtract.
fn sums(terms: &View<'_>, class: Id, depth: usize) -> Vec<Multiples> {
    let class = terms.find(class);
    if let Some(c) = terms[class].data.uniform() {
        return vec![(c, vec![])];
    }
    let mut found: Vec<Multiples> = vec![(0.0, vec![(class, 1.0)])];
    if depth == 0 {
        return found;
    }
    for call in calls(terms, class) {
        let of = |k: usize| sums(terms, call.args[k], depth - 1);
        let number = |k: usize| terms[call.args[k]].data.uniform();
        let more: Vec<Multiples> = match call.op.name {
            "add" => added(&of(0), &of(1)),
            "sub" => added(&of(0), &scaled(of(1), -1.0)),
            "neg" => scaled(of(0), -1.0),
            "mul" => match (number(0), number(1)) {
                (_, Some(c)) => scaled(of(0), c),
                (Some(c), _) => scaled(of(1), c),
                _ => continue,
            },
            "div" => match number(1) {
                Some(c) => scaled(of(0), 1.0 / c),
                None => continue,
            },
            _ => continue,
        };
        for way in more {
            if found.len() < SPELLINGS && !found.contains(&way) {
                found.push(way);
            }
        }
    }
    found
}

fn scaled(ways: Vec<Multiples>, by: f64) -> Vec<Multiples> {
    let scale = |(n, atoms): Multiples| {
        let atoms = atoms.into_iter().map(|(id, k)| (id, k * by)).collect();
        (n * by, atoms)
    };
    ways.into_iter().map(scale).collect()
}

fn added(a: &[Multiples], b: &[Multiples]) -> Vec<Multiples> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    let join = |(x, y): (&Multiples, &Multiples)| (x.0 + y.0, [&x.1[..], &y.1[..]].concat());
    pairs.map(join).take(SPELLINGS).collect()
}
