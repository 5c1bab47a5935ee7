//! Writes sums, products and comparisons in one order, however they are spelled.
//!
//! Requires: the standard precision: sums and products are rounded in another order.
//! Ensures: the values that a sum or a product of one shape joins are in an order that depends on
//! what they are: contractions first, operands that repeat behind, constants joined, one number
//! only. A sum with a constant times a constant is a product and a sum; no number 0 is added. There
//! is no `gt` and no `ge`; operands that repeat have no leading axes of extent 1.
//! Products of run-time values keep their pairs, as another pairing may overflow where the model's
//! does not: `(a * b) * c` is never `a * (b * c)`. Numbers move past them if they are moderate
//! ([`moderate`]).
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "m" : f32[1, 3] = [1.0, 2.0, 3.0]
//!   %2 = const "s" : f32[] = [2.0]
//!   %3 = const "b" : f32[] = [3.0]
//!   %4 = sub(%0, %1) {} "c" : f32[2, 3]
//!   %5 = div(%4, %2) {} "d" : f32[2, 3]
//!   %6 = mul(%3, %5) {} "m" : f32[2, 3]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "m" : f32[] = [1.5]
//!   %2 = mul(%0, %1) {} "m" : f32[2, 3]
//!   %3 = const "m" : f32[3] = [-1.5, -3.0, -4.5]
//!   %4 = add(%2, %3) {} "m" : f32[2, 3]
//!   output "y" = %4
//! }
//! ```
//! Source: sums and products commute and associate in real numbers.
use super::Rewriter;
use super::fold_identities::{moderate, uniform};
use super::round_quotients::Quotients;
use super::shape_groups::broadcasts;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use tensmith_ir::eval::{Sizes, eval_node};

use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Def, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Class;
use tensmith_ir::tensor::Tensor;

/// Values that one sum or product joins, at most.
const MOST: usize = 16;
/// Elements of constants that are computed here, and looked at; larger ones are joined by nodes.
const FEW: usize = 4096;
/// Digits by which constants are told apart: spellings round them differently.
const DIGITS: usize = 3;

type Made = Result<ValueId, GraphError>;

/// The graph with sums and products in one order.
///
/// Errors: never for a valid graph.
pub fn order_operands(graph: &Graph) -> Result<Graph, GraphError> {
    let uses = graph.uses();
    let quotients = Quotients::new(graph);
    let mut state = State::default();
    Rewriter::run(graph, &mut |cx, node| {
        let [result] = node.outputs[..] else {
            return Ok(None);
        };
        if node.op.class != Class::Elementwise || quotients.has(node) {
            return Ok(None);
        }
        let mut orderer = Orderer {
            cx,
            node,
            state: &mut state,
        };
        let before = orderer.cx.new.values.len();
        let new = orderer.ordered()?;
        let fresh = new.0 as usize >= before;
        let inner = before as u32..new.0;
        let once = uses[result.0 as usize].len() == 1 && !graph.outputs.contains(&result);
        state.open.extend(inner.map(ValueId));
        if once && fresh {
            state.open.insert(new);
        }
        Ok(Some(vec![new]))
    })
}

/// What is known of new values.
#[derive(Default)]
struct State {
    /// Those that are used once, so that they may be taken apart.
    open: HashSet<ValueId>,
    /// What each one is, as a number; by its position.
    keys: Vec<u64>,
    /// Whether each one depends on constants only.
    fixed: Vec<bool>,
    /// The numbers of constants that were made here, before they were rounded: what is multiplied to
    /// them later is rounded once, since all elements of many layers share that error.
    exact: HashMap<ValueId, f64>,
}

struct Orderer<'c, 'g> {
    cx: &'c mut Rewriter<'g>,
    node: &'c Node,
    state: &'c mut State,
}

/// A sum: terms, and whether each is subtracted.
type Terms = Vec<(ValueId, bool)>;

/// A product: a number, constants, and run-time values in pairs as the model has them.
struct Factors {
    number: f64,
    fixed: Vec<ValueId>,
    varying: Option<Pairs>,
}

/// Run-time values that are multiplied.
enum Pairs {
    One(ValueId),
    Two(Box<[Pairs; 2]>),
}

impl Factors {
    fn one() -> Self {
        Factors {
            number: 1.0,
            fixed: vec![],
            varying: None,
        }
    }

    fn add(&mut self, value: Pairs) {
        self.varying = Some(match self.varying.take() {
            None => value,
            Some(other) => Pairs::Two(Box::new([other, value])),
        });
    }

    fn join(&mut self, other: Factors) {
        self.number *= other.number;
        self.fixed.extend(other.fixed);
        if let Some(varying) = other.varying {
            self.add(varying);
        }
    }
}

impl Orderer<'_, '_> {
    fn ordered(&mut self) -> Made {
        let mut operands = self.cx.operands(self.node);
        let result = &self.cx.old.ty(self.node.outputs[0]);
        let (rank, wide) = (result.rank(), result.dtype.is_float());
        if operands.iter().any(|v| self.cx.ty(*v).rank() == rank) || operands.len() > 1 {
            for operand in &mut operands {
                *operand = self.trimmed(*operand)?;
            }
            let shapes: Vec<&[Expr]> = operands.iter().map(|v| &self.cx.ty(*v).shape[..]).collect();
            if !broadcasts(&shapes, &result.shape) {
                operands = self.cx.operands(self.node);
            }
        }
        self.learn();
        match (self.node.op.name, &operands[..]) {
            ("add" | "sub" | "neg", _) if wide => self.sum(&operands),
            ("mul", _) if wide => self.product(&operands),
            ("div", [_, y]) if wide && self.fixed(*y) => self.product(&operands),
            ("gt", [x, y]) => self.plain("lt", &[*y, *x]),
            ("ge", [x, y]) => self.plain("le", &[*y, *x]),
            (name @ ("add" | "mul" | "max" | "min" | "and" | "or" | "eq" | "ne"), [x, y]) => {
                let mut pair = [*x, *y];
                pair.sort_by_key(|v| self.rank_of(*v));
                self.plain(name, &pair)
            }
            _ => self.cx.new.add_one(
                self.node.op,
                &self.node.name,
                &operands,
                self.node.attrs.clone(),
            ),
        }
    }

    fn plain(&mut self, name: &str, operands: &[ValueId]) -> Made {
        self.cx.add(name, &self.node.name, operands, Attrs::new())
    }

    /// A constant or a view without leading axes of extent 1; a constant of one number as a scalar.
    fn trimmed(&mut self, value: ValueId) -> Made {
        let shape = self.cx.ty(value).shape.clone();
        let source = self.cx.producer(value, "reshape").map(|n| n.inputs[0]);
        let constant = self.cx.constant(value);
        if let Some(number) = constant.and_then(uniform) {
            let t = Tensor::splat(self.cx.ty(value).dtype, vec![], number);
            return Ok(match shape.is_empty() {
                true => value,
                false => self.cx.new.add_constant(&self.node.name, t),
            });
        }
        let ones = shape.iter().take_while(|d| d.is(1)).count();
        if ones == 0 || shape == self.cx.old.ty(self.node.outputs[0]).shape {
            return Ok(value);
        }
        if let Some(t) = constant.cloned() {
            let t = Tensor::new(t.dtype, t.shape[ones..].to_vec(), t.data);
            let t = t.expect("invariant: the same elements");
            return Ok(self.cx.new.add_constant(&self.node.name, t));
        }
        match source {
            Some(source) => self.cx.reshape(source, &shape[ones..], &self.node.name),
            None => Ok(value),
        }
    }

    /// Fills in what new values are.
    fn learn(&mut self) {
        let graph = &self.cx.new;
        let State { keys, fixed, .. } = &mut *self.state;
        for k in keys.len()..graph.values.len() {
            let id = ValueId(k as u32);
            let (key, is_fixed) = match &graph.value(id).def {
                Def::Input(n) => (hash(&("input", n)), false),
                Def::Constant(t) => (constant_key(t), true),
                Def::Node(n, part) => {
                    let node = graph.node(*n);
                    let mut of: Vec<u64> = node.inputs.iter().map(|v| keys[v.0 as usize]).collect();
                    if matches!(node.op.name, "add" | "mul") {
                        of.sort_unstable();
                    }
                    let head = (node.op.name, node.attrs.to_string(), part, of);
                    let of_constants = node.inputs.iter().all(|v| fixed[v.0 as usize]);
                    let plain = node.regions.is_empty() && !node.inputs.is_empty();
                    (hash(&head), plain && of_constants)
                }
            };
            keys.push(key);
            fixed.push(is_fixed);
        }
    }

    fn fixed(&mut self, value: ValueId) -> bool {
        self.learn();
        self.state.fixed[value.0 as usize]
    }

    /// The place of a value among others: what repeats behind what does not, constants last.
    fn rank_of(&mut self, value: ValueId) -> (bool, bool, bool, u64) {
        let repeats = self.cx.ty(value).shape != self.cx.old.ty(self.node.outputs[0]).shape;
        let fixed = self.fixed(value);
        let node = self.cx.new.producer(value).map(|n| self.cx.new.node(n));
        let contracted = node.is_some_and(|n| n.op.class == Class::Contraction);
        (
            repeats,
            fixed,
            !contracted,
            self.state.keys[value.0 as usize],
        )
    }

    /// The operation that computes a value which may be taken apart.
    fn open(&self, value: ValueId) -> Option<(&'static str, Vec<ValueId>)> {
        let node = self.cx.new.node(self.cx.new.producer(value)?);
        let open = self.state.open.contains(&value);
        open.then(|| (node.op.name, node.inputs.clone()))
    }

    /// As [`Orderer::open`], for values of the result's shape.
    fn open_whole(&self, value: ValueId) -> Option<(&'static str, Vec<ValueId>)> {
        let same = self.cx.ty(value).shape == self.cx.old.ty(self.node.outputs[0]).shape;
        self.open(value).filter(|_| same)
    }

    fn sum(&mut self, operands: &[ValueId]) -> Made {
        let mut terms = Terms::new();
        self.terms(self.node.op.name, operands, false, &mut terms)?;
        self.joined(terms)
    }

    fn terms(
        &mut self,
        name: &str,
        operands: &[ValueId],
        negative: bool,
        into: &mut Terms,
    ) -> Result<(), GraphError> {
        for (k, value) in operands.iter().enumerate() {
            let negative = negative != (name == "neg" || name == "sub" && k == 1);
            match self.open_whole(*value) {
                Some((inner @ ("add" | "sub" | "neg"), of)) if into.len() < MOST => {
                    self.terms(inner, &of, negative, into)?;
                }
                _ => {
                    let (value, negative) = self.turned(*value, negative)?;
                    into.push((value, negative));
                }
            }
        }
        Ok(())
    }

    /// A term that is added, if the sign can move into a number or into a sum.
    fn turned(&mut self, value: ValueId, negative: bool) -> Result<(ValueId, bool), GraphError> {
        match self.open(value).filter(|_| negative) {
            Some(("mul", of)) => {
                let number = of.iter().position(|v| self.cx.constant(*v).is_some());
                let factor = number.and_then(|k| Some((k, uniform(self.cx.constant(of[k])?)?)));
                let Some((k, number)) = factor else {
                    return Ok((value, true));
                };
                let turned = match self.is_moderate(number) {
                    true => self.scaled(of[1 - k], -number)?,
                    false => self.by_extreme(of[1 - k], -number)?,
                };
                Ok((turned, false))
            }
            Some((name @ ("add" | "sub"), of)) => {
                let mut terms = Terms::new();
                self.terms(name, &of, true, &mut terms)?;
                Ok((self.joined(terms)?, false))
            }
            _ => Ok((value, negative)),
        }
    }

    /// The sum of terms: constants behind the first of the others.
    fn joined(&mut self, terms: Terms) -> Made {
        let (fixed, mut rest): (Terms, Terms) = terms.into_iter().partition(|t| self.fixed(t.0));
        rest.sort_by_key(|(v, negative)| (*negative, self.rank_of(*v)));
        let mut constants = self.constants(fixed)?;
        let is_zero = |v: &ValueId| self.cx.ty(*v).shape.is_empty() && self.is_zero(*v);
        if !rest.is_empty() {
            constants.retain(|v| !is_zero(v));
        }
        let mut order: Terms = rest;
        let at = usize::from(order.first().is_some_and(|(_, negative)| !negative));
        order.splice(at..at, constants.into_iter().map(|c| (c, false)));
        let all_negative = order.iter().all(|(_, negative)| *negative);
        let mut total: Option<ValueId> = None;
        for (value, negative) in order {
            total = Some(match total {
                None => value,
                Some(sum) => {
                    let name = if negative && !all_negative {
                        "sub"
                    } else {
                        "add"
                    };
                    self.plain(name, &[sum, value])?
                }
            });
        }
        let total = total.expect("invariant: a sum has terms");
        match all_negative {
            true => self.plain("neg", &[total]),
            false => Ok(total),
        }
    }

    fn is_zero(&self, value: ValueId) -> bool {
        self.cx.constant(value).and_then(uniform) == Some(0.0)
    }

    /// Constant terms, those of one shape joined; numbers join the first one.
    fn constants(&mut self, terms: Terms) -> Result<Vec<ValueId>, GraphError> {
        let mut order = Vec::new();
        for (value, negative) in terms {
            order.push(match negative {
                true => self.computed("neg", &[value])?,
                false => value,
            });
        }
        order.sort_by_key(|v| (std::cmp::Reverse(self.cx.ty(*v).rank()), self.rank_of(*v)));
        let mut all: Vec<ValueId> = Vec::new();
        for value in order {
            let shape = self.cx.ty(value).shape.clone();
            let fits = |v: &&mut ValueId| shape.is_empty() || self.cx.ty(**v).shape == shape;
            match all.iter_mut().find(fits) {
                Some(sum) => {
                    let pair = [*sum, value];
                    *sum = self.computed("add", &pair)?;
                }
                None => all.push(value),
            }
        }
        Ok(all)
    }

    /// An operation on constants, computed if they are small.
    fn computed(&mut self, name: &str, operands: &[ValueId]) -> Made {
        let value = self.plain(name, operands)?;
        let graph = &self.cx.new;
        let of: Option<Vec<&Tensor>> = operands.iter().map(|v| graph.constant(*v)).collect();
        let small = |of: &Vec<&Tensor>| of.iter().all(|t| t.count() <= FEW);
        let node = graph.nodes.last().expect("invariant: a node was added");
        let results = of
            .filter(small)
            .and_then(|of| eval_node(graph, node, &of, &Sizes::new()).ok());
        let Some(result) = results.and_then(|r| r.into_iter().next()) else {
            return Ok(value);
        };
        Ok(self.cx.new.add_constant(&self.node.name, result))
    }

    fn product(&mut self, operands: &[ValueId]) -> Made {
        if let Some(product) = self.extreme(operands)? {
            return Ok(product);
        }
        let factors = self.factors(self.node.op.name, operands)?;
        if !self.is_moderate(factors.number) {
            return self.plain(self.node.op.name, operands);
        }
        let fixed = self.grouped(factors.fixed.clone())?;
        if let (Some(Pairs::One(one)), false) =
            (&factors.varying, factors.number == 1.0 && fixed.is_empty())
            && let Some((name @ ("add" | "sub"), of)) = self.open_whole(*one)
            && let Some(sum) = self.distributed(name, &of, factors.number, &fixed)?
        {
            return Ok(sum);
        }
        let product = self.multiplied(Factors { fixed, ..factors })?;
        self.sized(product)
    }

    /// A product with a number that is not moderate: as the model has it, but for its sign, which
    /// moves into a sum.
    fn extreme(&mut self, operands: &[ValueId]) -> Result<Option<ValueId>, GraphError> {
        let number = |v: &ValueId| self.cx.constant(*v).and_then(uniform);
        let numbers: Vec<Option<f64>> = operands.iter().map(number).collect();
        let [x, y] = operands[..] else {
            return Ok(None);
        };
        let (value, number) = match (self.node.op.name, numbers[0], numbers[1]) {
            ("mul", None, Some(n)) => (x, n),
            ("mul", Some(n), None) => (y, n),
            (_, None, Some(n)) if !self.is_moderate(n) => {
                return self.plain("div", &[x, y]).map(Some);
            }
            _ => return Ok(None),
        };
        if self.is_moderate(number) {
            return Ok(None);
        }
        let product = self.by_extreme(value, number)?;
        self.sized(product).map(Some)
    }

    fn by_extreme(&mut self, value: ValueId, number: f64) -> Made {
        let sum = self.open(value).filter(|_| number < 0.0);
        if let Some((name @ ("add" | "sub"), of)) = sum {
            let mut terms = Terms::new();
            self.terms(name, &of, true, &mut terms)?;
            let turned = self.joined(terms)?;
            return self.scaled(turned, -number);
        }
        self.scaled(value, number)
    }

    fn is_moderate(&self, number: f64) -> bool {
        moderate(self.cx.old.ty(self.node.outputs[0]).dtype, number)
    }

    /// The product of factors: the number stands at the first run-time value, constants behind all.
    fn multiplied(&mut self, factors: Factors) -> Made {
        let Factors {
            number,
            fixed,
            varying,
        } = factors;
        let mut total = match varying {
            Some(pairs) => Some(self.paired(&pairs, number)?),
            None => None,
        };
        for value in fixed {
            total = Some(match total {
                None => self.scaled(value, number)?,
                Some(product) => self.plain("mul", &[product, value])?,
            });
        }
        Ok(total.unwrap_or_else(|| self.number(number)))
    }

    /// Run-time values multiplied in their pairs, the first one by a number.
    fn paired(&mut self, pairs: &Pairs, number: f64) -> Made {
        let two = match pairs {
            Pairs::One(value) => return self.scaled(*value, number),
            Pairs::Two(two) => two,
        };
        let mut values = [self.paired(&two[0], 1.0)?, self.paired(&two[1], 1.0)?];
        let swapped = self.rank_of(values[0]) > self.rank_of(values[1]);
        if number != 1.0 {
            let first = usize::from(swapped);
            values[first] = self.paired(&two[first], number)?;
        }
        if swapped {
            values.reverse();
        }
        self.plain("mul", &values)
    }

    /// Factors in order; those that repeat are joined if the product is no larger than one of them.
    fn grouped(&mut self, mut factors: Vec<ValueId>) -> Result<Vec<ValueId>, GraphError> {
        factors.sort_by_key(|v| self.rank_of(*v));
        let mut all: Vec<ValueId> = Vec::new();
        for value in factors {
            let (repeats, ..) = self.rank_of(value);
            let small = |v: &ValueId| self.cx.ty(*v).shape.clone();
            let shape = small(&value);
            let fits = |of: &[Expr], to: &[Expr]| {
                let aligned = of.iter().rev().zip(to.iter().rev());
                of.len() <= to.len() && aligned.into_iter().all(|(a, b)| a == b || a.is(1))
            };
            let joins = |v: &ValueId| fits(&shape, &small(v)) || fits(&small(v), &shape);
            let whole = self.cx.old.ty(self.node.outputs[0]).shape.clone();
            let partner = all
                .iter()
                .position(|v| repeats && small(v) != whole && joins(v));
            match partner {
                Some(k) => all[k] = self.computed("mul", &[all[k], value])?,
                None => all.push(value),
            }
        }
        Ok(all)
    }

    /// A value of the shape of the result.
    fn sized(&mut self, value: ValueId) -> Made {
        let shape = self.cx.old.ty(self.node.outputs[0]).shape.clone();
        if self.cx.ty(value).shape == shape {
            return Ok(value);
        }
        let attrs = Attrs::new().with("shape", shape);
        self.cx.add("expand", &self.node.name, &[value], attrs)
    }

    /// The factors of a product of operands, those of inner products among them.
    fn factors(&mut self, name: &str, operands: &[ValueId]) -> Result<Factors, GraphError> {
        let mut all = Factors::one();
        if name == "neg" {
            all.number = -1.0;
        }
        for (k, value) in operands.iter().enumerate() {
            let divides = name == "div" && k == 1;
            let exact = self.state.exact.get(value).copied();
            let number = exact.or_else(|| self.cx.constant(*value).and_then(uniform));
            match number {
                Some(n) if divides => all.number /= n,
                Some(n) => all.number *= n,
                None if divides => {
                    let inverse = self.computed("reciprocal", &[*value])?;
                    all.fixed.push(inverse);
                }
                None => {
                    let inner = self.opened(*value)?;
                    all.join(inner);
                }
            }
        }
        Ok(all)
    }

    /// A factor as the product that computes it, if it may be taken apart; else as it is.
    fn opened(&mut self, value: ValueId) -> Result<Factors, GraphError> {
        if let Some((name @ ("mul" | "neg"), of)) = self.open(value) {
            let factors = self.factors(name, &of)?;
            if self.is_moderate(factors.number) {
                return Ok(factors);
            }
        }
        let mut factors = Factors::one();
        match self.fixed(value) {
            true => factors.fixed.push(value),
            false => factors.varying = Some(Pairs::One(value)),
        }
        Ok(factors)
    }

    fn number(&mut self, number: f64) -> ValueId {
        let dtype = self.cx.old.ty(self.node.outputs[0]).dtype;
        let t = Tensor::splat(dtype, vec![], number);
        let value = self.cx.new.add_constant(&self.node.name, t);
        self.state.exact.insert(value, number);
        value
    }

    fn scaled(&mut self, value: ValueId, number: f64) -> Made {
        if number == 1.0 {
            return Ok(value);
        }
        if number == -1.0 {
            return self.plain("neg", &[value]);
        }
        let number = self.number(number);
        self.plain("mul", &[value, number])
    }

    /// A sum with constants times constants as a sum of products.
    fn distributed(
        &mut self,
        name: &str,
        of: &[ValueId],
        number: f64,
        fixed: &[ValueId],
    ) -> Result<Option<ValueId>, GraphError> {
        let mut terms = Terms::new();
        self.terms(name, of, false, &mut terms)?;
        let (constants, rest): (Terms, Terms) = terms.into_iter().partition(|t| self.fixed(t.0));
        if constants.is_empty() || rest.is_empty() {
            return Ok(None);
        }
        let mut sum = Terms::new();
        let negative = rest.iter().all(|(_, negative)| *negative);
        let turned = rest.into_iter().map(|(v, n)| (v, n != negative));
        let rest = self.joined(turned.collect())?;
        let mut factors = self.opened(rest)?;
        factors.number *= if negative { -number } else { number };
        factors.fixed.extend_from_slice(fixed);
        factors.fixed = self.grouped(factors.fixed)?;
        let product = self.multiplied(factors)?;
        sum.push((product, false));
        for (value, negative) in constants {
            let number = self.number(number);
            let mut product = self.computed("mul", &[value, number])?;
            for factor in fixed {
                product = self.computed("mul", &[product, *factor])?;
            }
            sum.push((product, negative));
        }
        self.joined(sum).map(Some)
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn constant_key(t: &Tensor) -> u64 {
    let ty = (t.dtype.name(), &t.shape);
    let values = t.data.len().min(FEW * t.dtype.bytes());
    let some = Tensor::new(
        t.dtype,
        vec![values / t.dtype.bytes()],
        t.data.slice(..values),
    );
    let values = some.map_or(vec![], |t| t.to_f64());
    let weighted = values
        .iter()
        .enumerate()
        .map(|(k, x)| x * (k % 97 + 1) as f64);
    hash(&(ty, format!("{:.DIGITS$e}", weighted.sum::<f64>())))
}
