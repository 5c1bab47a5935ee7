//! Sums the weights of linear maps of one value whose results are summed: branches of a block that
//! was trained with several, and adapters of low rank.
//!
//! The product of two constant matrices stands for two products, one after the other, where their
//! result is summed with that of another product. A smaller window is one of zeros around it. To
//! convolutions that are summed so, their value is added, or its channels times constants: as a
//! convolution of one tap.
//!
//! Requires: the standard precision: sums are rounded in another order; factors are in weights.
//! Ensures: no sum of products of one value by one form with constant matrices, or of convolutions of
//! one value with constant weights and steps of one length, if all taps of one are among those of the
//! other, and if nothing else reads them.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 1, 4]
//!   %1 = const "w" : f32[1, 1, 3] = [1.0, 2.0, 3.0]
//!   %2 = const "v" : f32[1, 1, 1] = [4.0]
//!   %3 = conv(%0, %1) {dilations=[1], groups=1, pads_after=[1], pads_before=[1], strides=[1]} "a" : f32[1, 1, 4]
//!   %4 = conv(%0, %2) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "b" : f32[1, 1, 4]
//!   %5 = add(%3, %4) {} "y" : f32[1, 1, 4]
//!   output "y" = %5
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 1, 4]
//!   %1 = const "v" : f32[1, 1, 1] = [4.0]
//!   %2 = const "zero" : f32[] = [0.0]
//!   %3 = pad(%1, %2) {after=[0, 0, 1], before=[0, 0, 1], mode="constant"} "y" : f32[1, 1, 3]
//!   %4 = const "w" : f32[1, 1, 3] = [1.0, 2.0, 3.0]
//!   %5 = add(%4, %3) {} "y" : f32[1, 1, 3]
//!   %6 = conv(%0, %5) {dilations=[1], groups=1, pads_after=[1], pads_before=[1], strides=[1]} "a" : f32[1, 1, 4]
//!   output "y" = %6
//! }
//! ```
//! Source: linearity; Ding et al., RepVGG, section 3.3; Hu et al., LoRA, section 4.1.
use super::Rewriter;
use super::fold_factors::is_fixed;
use super::share_operands::spelled;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Spec;
use tensmith_ir::tensor::Tensor;

/// Terms of a sum that are looked at, at most.
const TERMS: usize = 16;
/// Elements of the weights of a convolution that passes on what it reads, at most.
const UNITS: i64 = 1 << 22;

/// The graph with sums of weights.
///
/// Errors: never for a valid graph.
pub fn sum_weights(graph: &Graph) -> Result<Graph, GraphError> {
    let finder = Finder {
        graph,
        uses: graph.uses(),
    };
    Rewriter::run(graph, &mut |cx, node| {
        if !finder.is_whole_sum(node) {
            return Ok(None);
        }
        let mut terms = finder.terms(cx, node)?;
        let before = terms.len();
        while let Some((i, j, merged)) = first_pair(cx, &terms, node)? {
            terms[i].value = Value::Map(merged);
            terms.remove(j);
        }
        match terms.len() < before {
            true => rebuilt(cx, &terms, node).map(|v| Some(vec![v])),
            false => Ok(None),
        }
    })
}

/// A linear map of a value, by constant weights.
#[derive(Clone)]
struct Map<'g> {
    /// The value before the pass, and the node whose form the map has.
    of: ValueId,
    node: &'g Node,
    /// The weights, in the new graph.
    weights: ValueId,
    /// Elements before an image, of a convolution.
    before: Vec<i64>,
    made: Made,
}

#[derive(Clone, Copy, PartialEq)]
enum Made {
    /// As the graph has it.
    AsIs,
    /// Of two products, one after the other.
    OfProducts,
    /// Of two terms.
    OfTerms,
}

enum Value<'g> {
    Map(Map<'g>),
    /// Channels of a value times constants of the new graph, or the value.
    Channels(ValueId, Option<ValueId>),
    Other,
}

/// A term of a sum.
struct Term<'g> {
    old: ValueId,
    negative: bool,
    value: Value<'g>,
}

struct Finder<'g> {
    graph: &'g Graph,
    uses: Vec<Vec<NodeId>>,
}

impl<'g> Finder<'g> {
    fn maker(&self, value: ValueId) -> Option<&'g Node> {
        self.graph.producer(value).map(|id| self.graph.node(id))
    }

    fn is_once(&self, value: ValueId) -> bool {
        self.uses[value.0 as usize].len() == 1 && !self.graph.outputs.contains(&value)
    }

    /// Whether a node sums two values of the shape of its result.
    fn is_sum(&self, node: &Node) -> bool {
        let ty = self.graph.ty(node.outputs[0]);
        let alike = |v: &ValueId| self.graph.ty(*v).shape == ty.shape;
        matches!(node.op.name, "add" | "sub")
            && ty.dtype.is_float()
            && node.inputs.iter().any(alike)
            && !node.inputs.iter().all(|v| is_fixed(self.graph, *v))
    }

    /// Whether a node is a sum, and no term of another one.
    fn is_whole_sum(&self, node: &Node) -> bool {
        let result = node.outputs[0];
        let mut users = self.uses[result.0 as usize]
            .iter()
            .map(|n| self.graph.node(*n));
        let inside =
            |n: &Node| self.is_sum(n) && self.graph.ty(n.outputs[0]) == self.graph.ty(result);
        self.is_sum(node) && !(self.is_once(result) && users.any(inside))
    }

    /// The terms of a sum, in their order.
    fn terms(&self, cx: &mut Rewriter<'g>, node: &'g Node) -> Result<Vec<Term<'g>>, GraphError> {
        let ty = self.graph.ty(node.outputs[0]);
        let mut todo = vec![(node.outputs[0], false)];
        let mut terms = Vec::new();
        while let Some((value, negative)) = todo.pop() {
            let is_root = value == node.outputs[0];
            let inner = self.maker(value).filter(|n| {
                let joins = is_root || self.is_once(value) && self.graph.ty(value) == ty;
                joins && self.is_sum(n) && terms.len() + todo.len() < TERMS
            });
            match inner {
                Some(n) => {
                    let second = negative != (n.op.name == "sub");
                    todo.push((n.inputs[1], second));
                    todo.push((n.inputs[0], negative));
                }
                None => {
                    let value_of = match self.graph.ty(value) == ty {
                        true => self.value(cx, value)?,
                        false => Value::Other,
                    };
                    terms.push(Term {
                        old: value,
                        negative,
                        value: value_of,
                    });
                }
            }
        }
        Ok(terms)
    }

    fn value(&self, cx: &mut Rewriter<'g>, value: ValueId) -> Result<Value<'g>, GraphError> {
        let unit = Value::Channels(value, None);
        let Some(node) = self.maker(value) else {
            return Ok(unit);
        };
        if !self.is_once(value) {
            return Ok(unit);
        }
        Ok(match (node.op.name, &node.inputs[..]) {
            ("conv" | "contract", [x, w])
                if is_fixed(self.graph, *w) && !is_fixed(self.graph, *x) =>
            {
                self.map(cx, node)?
            }
            ("mul", [a, b]) => {
                let operands = match is_fixed(self.graph, *a) {
                    true => (*b, *a),
                    false => (*a, *b),
                };
                let (x, c) = operands;
                let whole = self.graph.ty(x) == self.graph.ty(value);
                match whole && is_fixed(self.graph, c) && !is_fixed(self.graph, x) {
                    true => Value::Channels(x, Some(cx.get(c))),
                    false => unit,
                }
            }
            _ => unit,
        })
    }

    /// The map that a product or a convolution is; two products one after the other are one.
    fn map(&self, cx: &mut Rewriter<'g>, node: &'g Node) -> Result<Value<'g>, GraphError> {
        let [x, w] = [node.inputs[0], node.inputs[1]];
        let before = match node.op.name {
            "conv" => node.attrs.ints("pads_before").to_vec(),
            _ => vec![],
        };
        let map = Map {
            of: x,
            node,
            weights: cx.get(w),
            before,
            made: Made::AsIs,
        };
        let inner = self
            .maker(x)
            .filter(|n| self.is_once(x) && n.op.name == "contract");
        let inner = inner
            .filter(|n| is_fixed(self.graph, n.inputs[1]) && !is_fixed(self.graph, n.inputs[0]));
        let Some(inner) = inner.filter(|n| is_rows(n) && is_rows(node)) else {
            return Ok(Value::Map(map));
        };
        let (first, second) = (Spec::of(&inner.attrs), Spec::of(&node.attrs));
        if first.a.len() != second.a.len() {
            return Ok(Value::Map(map));
        }
        let operands = [cx.get(inner.inputs[1]), map.weights];
        let attrs = Attrs::new().with("spec", "ab,bc->ac");
        let weights = cx.add("contract", &node.name, &operands, attrs)?;
        Ok(Value::Map(Map {
            of: inner.inputs[0],
            weights,
            made: Made::OfProducts,
            ..map
        }))
    }
}

/// Whether a contraction multiplies rows by a matrix of constants that lies as in a product of
/// matrices.
fn is_rows(node: &Node) -> bool {
    if node.op.name != "contract" {
        return false;
    }
    let spec = Spec::of(&node.attrs);
    let ([rows @ .., sum], [down, column], [others @ .., last]) =
        (&spec.a[..], &spec.b[..], &spec.out[..])
    else {
        return false;
    };
    rows == others && sum == down && column == last && !rows.contains(column)
}

/// The first two terms that are one map.
fn first_pair<'g>(
    cx: &mut Rewriter<'g>,
    terms: &[Term<'g>],
    node: &Node,
) -> Result<Option<(usize, usize, Map<'g>)>, GraphError> {
    for i in 0..terms.len() {
        for j in i + 1..terms.len() {
            let (first, second) = (&terms[i].value, &terms[j].value);
            let subtracts = terms[i].negative != terms[j].negative;
            let name = if subtracts { "sub" } else { "add" };
            if let Some(map) = joined(cx, [first, second], name, node)? {
                return Ok(Some((i, j, map)));
            }
        }
    }
    Ok(None)
}

/// The sum or the difference of two maps as one.
fn joined<'g>(
    cx: &mut Rewriter<'g>,
    values: [&Value<'g>; 2],
    name: &str,
    node: &Node,
) -> Result<Option<Map<'g>>, GraphError> {
    let joins = |map: &Map<'_>, x: ValueId| map.of == x && map.made == Made::OfTerms;
    let (first, second) = match values {
        [Value::Map(first), Value::Map(second)] => (first.clone(), second.clone()),
        [Value::Map(map), Value::Channels(x, factor)] if joins(map, *x) => {
            match channels(cx, map, *factor, node)? {
                Some(unit) => (map.clone(), unit),
                None => return Ok(None),
            }
        }
        [Value::Channels(x, factor), Value::Map(map)] if joins(map, *x) => {
            match channels(cx, map, *factor, node)? {
                Some(unit) => (unit, map.clone()),
                None => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    // Two products by matrices of low rank are fewer operations than one by a full one.
    let narrow = [&first, &second].iter().all(|m| m.made == Made::OfProducts);
    if narrow || first.of != second.of || first.node.op.name != second.node.op.name {
        return Ok(None);
    }
    let weights = [first.weights, second.weights];
    let (weights, form) = match first.node.op.name {
        "contract" if same_form(first.node, second.node) => (weights, first),
        "conv" => match windows(cx, &first, &second, node)? {
            Some(found) => found,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(Map {
        weights: cx.add(name, &node.name, &weights, Attrs::new())?,
        made: Made::OfTerms,
        ..form
    }))
}

/// Whether contractions differ in the names of their axes only.
fn same_form(first: &Node, second: &Node) -> bool {
    let form = |node: &Node| {
        let spec = Spec::of(&node.attrs);
        let mut known: Vec<u8> = Vec::new();
        let mut name = |letters: &[u8]| -> Vec<u8> {
            let place = |c: &u8| {
                let at = known.iter().position(|k| k == c).unwrap_or_else(|| {
                    known.push(*c);
                    known.len() - 1
                });
                b'a' + at as u8
            };
            letters.iter().map(place).collect()
        };
        let letters = [name(&spec.a), name(&spec.b), name(&spec.out)];
        spelled([&letters[0], &letters[1], &letters[2]])
    };
    form(first) == form(second)
}

/// A convolution of one tap that multiplies each channel by a factor, or by one, with the form of
/// another one; `None` if its weights are too many, or the factor has other axes.
fn channels<'g>(
    cx: &mut Rewriter<'g>,
    like: &Map<'g>,
    factor: Option<ValueId>,
    node: &Node,
) -> Result<Option<Map<'g>>, GraphError> {
    let ty = cx.ty(like.weights).clone();
    let result = cx.old.ty(like.node.outputs[0]).shape.clone();
    let is_conv = like.node.op.name == "conv";
    let extents = [0, 1].map(|d| ty.shape.get(d).and_then(Expr::as_const));
    let [Some(count), Some(each)] = extents else {
        return Ok(None);
    };
    let strides = is_conv && like.node.attrs.ints("strides").iter().all(|s| *s == 1);
    if !strides || count * each > UNITS || ty.dtype != DType::F32 {
        return Ok(None);
    }
    let shape: Vec<usize> = (0..ty.shape.len())
        .map(|d| [count, each].get(d).map_or(1, |e| *e as usize))
        .collect();
    let units: Vec<f32> = (0..count * each)
        .map(|k| f32::from(u8::from(k / each % each == k % each)))
        .collect();
    let units = Tensor::from_f32(shape, &units);
    let mut weights = cx.new.add_constant("units", units);
    if let Some(factor) = factor {
        let own = cx.ty(factor).shape.clone();
        let missing = result.len() - own.len();
        let many = |d: &usize| !own[*d].is(1);
        let fits = (0..own.len()).filter(many).all(|d| d + missing == 1);
        if !fits {
            return Ok(None);
        }
        let mut under = vec![Expr::from(1); ty.shape.len()];
        under[0] = own.iter().find(|e| !e.is(1)).cloned().unwrap_or(1.into());
        let factor = cx.reshape(factor, &under, &node.name)?;
        weights = cx.add("mul", &node.name, &[weights, factor], Attrs::new())?;
    }
    Ok(Some(Map {
        weights,
        before: vec![0; like.before.len()],
        ..like.clone()
    }))
}

/// The weights of two convolutions with one window, and the one that has this window; `None` if
/// neither has all taps of the other, or their steps differ.
fn windows<'g>(
    cx: &mut Rewriter<'g>,
    first: &Map<'g>,
    second: &Map<'g>,
    node: &Node,
) -> Result<Option<([ValueId; 2], Map<'g>)>, GraphError> {
    let ints = |map: &Map<'_>, name: &str| map.node.attrs.ints(name).to_vec();
    let same = first.node.attrs.int("groups") == second.node.attrs.int("groups")
        && ints(first, "strides") == ints(second, "strides");
    let extents =
        |cx: &Rewriter<'_>, map: &Map<'_>, from: usize| cx.ty(map.weights).shape[from..].to_vec();
    let fits = extents(cx, first, 0)[..2] == extents(cx, second, 0)[..2]
        && cx.ty(first.weights).dtype == cx.ty(second.weights).dtype;
    let taps = |map: &Map<'_>| -> Option<Vec<i64>> {
        extents(cx, map, 2).iter().map(Expr::as_const).collect()
    };
    let (Some(of_first), Some(of_second)) = (taps(first), taps(second)) else {
        return Ok(None);
    };
    if !same || !fits {
        return Ok(None);
    }
    if let Some(around) = around((first, &of_first), (second, &of_second)) {
        let small = widened(cx, second.weights, &around, node)?;
        return Ok(Some(([first.weights, small], first.clone())));
    }
    match around((second, &of_second), (first, &of_first)) {
        Some(around) => {
            let small = widened(cx, first.weights, &around, node)?;
            Ok(Some(([small, second.weights], second.clone())))
        }
        None => Ok(None),
    }
}

/// The taps of a window before and behind those of another one, along each axis; `None` if some of
/// the other one's are not among them.
fn around(
    (large, of_large): (&Map<'_>, &[i64]),
    (small, of_small): (&Map<'_>, &[i64]),
) -> Option<Vec<(i64, i64)>> {
    let steps = |map: &Map<'_>, d: usize| map.node.attrs.ints("dilations")[d];
    let axis = |d: usize| {
        let (many, few) = (of_large[d], of_small[d]);
        let step = if many > 1 { steps(large, d) } else { 1 };
        if few > 1 && steps(small, d) != step {
            return None;
        }
        let shift = large.before[d] - small.before[d];
        let (before, after) = (shift / step, many - few - shift / step);
        (shift % step == 0 && before >= 0 && after >= 0).then_some((before, after))
    };
    (0..of_large.len()).map(axis).collect()
}

/// Weights with zeros around their taps.
fn widened(
    cx: &mut Rewriter<'_>,
    weights: ValueId,
    around: &[(i64, i64)],
    node: &Node,
) -> Result<ValueId, GraphError> {
    if around.iter().all(|a| *a == (0, 0)) {
        return Ok(weights);
    }
    let side = |of: &dyn Fn(&(i64, i64)) -> i64| -> Vec<Expr> {
        let taps = around.iter().map(of);
        [0, 0].into_iter().chain(taps).map(Expr::from).collect()
    };
    let zero = Tensor::splat(cx.ty(weights).dtype, vec![], 0.0);
    let zero = cx.new.add_constant("zero", zero);
    let attrs = Attrs::new()
        .with("before", side(&|a| a.0))
        .with("after", side(&|a| a.1))
        .with("mode", "constant");
    cx.add("pad", &node.name, &[weights, zero], attrs)
}

/// The sum of terms, in their order.
fn rebuilt(cx: &mut Rewriter<'_>, terms: &[Term<'_>], node: &Node) -> Result<ValueId, GraphError> {
    let mut sum: Option<ValueId> = None;
    for term in terms {
        let value = match &term.value {
            Value::Map(map) if map.made == Made::OfTerms => {
                let x = cx.get(map.of);
                let attrs = map.node.attrs.clone();
                cx.add(map.node.op.name, &map.node.name, &[x, map.weights], attrs)?
            }
            _ => cx.get(term.old),
        };
        sum = Some(match sum {
            None => value,
            Some(sum) => {
                let name = if term.negative { "sub" } else { "add" };
                cx.add(name, &node.name, &[sum, value], Attrs::new())?
            }
        });
    }
    Ok(sum.expect("invariant: a sum has terms"))
}

#[cfg(test)]
mod tests {
    use crate::graph::{eliminate_dead_code, sum_weights};
    use crate::pipeline::{PassOptions, Precision, optimise};
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::{Graph, parse_graph};
    use tensmith_ir::tensor::Tensor;

    /// The sum of windows of 3 and 1 taps of channels by themselves, and of channels times constants.
    fn branches() -> Graph {
        let text = r#"graph "g" () {
  %0 = input "x" : f32[1, 2, 6]
  %1 = const "w" : f32[2, 1, 3] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
  %2 = const "v" : f32[2, 1, 1] = [7.0, 8.0]
  %3 = const "s" : f32[2, 1] = [0.5, 0.25]
  %4 = conv(%0, %1) {dilations=[2], groups=2, pads_after=[2], pads_before=[2], strides=[1]} "a" : f32[1, 2, 6]
  %5 = conv(%0, %2) {dilations=[1], groups=2, pads_after=[0], pads_before=[0], strides=[1]} "b" : f32[1, 2, 6]
  %6 = sub(%4, %5) {} "d" : f32[1, 2, 6]
  %7 = mul(%0, %3) {} "m" : f32[1, 2, 6]
  %8 = add(%6, %7) {} "y" : f32[1, 2, 6]
  output "y" = %8
}
"#;
        parse_graph(text).unwrap()
    }

    #[test]
    fn sums_stay_as_they_are_where_operations_do() {
        for (precision, convs) in [(Precision::Exact, 2), (Precision::Standard, 1)] {
            let options = PassOptions {
                precision,
                ..PassOptions::default()
            };
            let graph = optimise(branches(), &options).unwrap();
            let found = graph.nodes.iter().filter(|n| n.op.name == "conv");
            assert_eq!(found.count(), convs, "{graph}");
        }
    }

    #[test]
    fn taps_meet_the_elements_that_they_met() {
        let graph = branches();
        let summed = eliminate_dead_code(&sum_weights(&graph).unwrap()).unwrap();
        let convs = summed.nodes.iter().filter(|n| n.op.name == "conv");
        assert_eq!(convs.count(), 1, "{summed}");
        let x: Vec<f32> = (0..12).map(|k| (k * k % 7) as f32).collect();
        let x = [Tensor::from_f32(vec![1, 2, 6], &x)];
        let of = |g| eval_graph(g, &x).unwrap()[0].to_f64();
        assert_eq!(of(&summed), of(&graph));
    }

    /// Two chains by matrices of low rank are fewer operations than one full matrix.
    #[test]
    fn products_of_low_rank_stay_where_all_are() {
        let text = r#"graph "g" () {
  %0 = input "x" : f32[1, 2]
  %1 = const "a" : f32[2, 1] = [1.0, 2.0]
  %2 = const "b" : f32[1, 2] = [3.0, 4.0]
  %3 = const "c" : f32[2, 1] = [5.0, 6.0]
  %4 = contract(%0, %1) {spec="ab,bc->ac"} "p" : f32[1, 1]
  %5 = contract(%4, %2) {spec="ab,bc->ac"} "q" : f32[1, 2]
  %6 = contract(%0, %3) {spec="ab,bc->ac"} "r" : f32[1, 1]
  %7 = contract(%6, %2) {spec="ab,bc->ac"} "s" : f32[1, 2]
  %8 = add(%5, %7) {} "y" : f32[1, 2]
  output "y" = %8
}
"#;
        let graph = parse_graph(text).unwrap();
        let summed = eliminate_dead_code(&sum_weights(&graph).unwrap()).unwrap();
        let products = summed.nodes.iter().filter(|n| n.op.name == "contract");
        assert_eq!(products.count(), 4, "{summed}");
    }
}
