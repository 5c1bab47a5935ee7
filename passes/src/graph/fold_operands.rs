//! Moves constant factors and summands of what a convolution or a product of matrices reads behind
//! it: factors go into its weights, and summands become one for each filter or column.
//!
//! Exporters write the normalisation of an image before the first convolution, batch norm before a
//! linear layer, and the scale of a layer norm before what alone reads it, which would be a kernel
//! of its own or work on each element. Where several products read it, all of them take it.
//!
//! Requires: the standard precision: products and sums are rounded in another order.
//! Ensures: no operand of convolutions and contractions with constant weights, which alone read it,
//! is a product or a quotient with a constant along axes of the weights, under a reshape perhaps, or
//! a sum of that kind, if the convolution reads no padding and the constants are no larger than
//! bytes, unless it is converted or a contraction computes it, or unless weights of a contraction
//! have other readers.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2, 4]
//!   %1 = const "w" : f32[1, 2, 1] = [1.0, 2.0]
//!   %2 = const "o" : f32[] = [0.5]
//!   %3 = const "s" : f32[2, 1] = [2.0, 4.0]
//!   %4 = sub(%0, %2) {} "d" : f32[1, 2, 4]
//!   %5 = mul(%4, %3) {} "n" : f32[1, 2, 4]
//!   %6 = conv(%5, %1) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "y" : f32[1, 1, 4]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[1, 2, 4]
//!   %1 = const "s" : f32[2, 1] = [2.0, 4.0]
//!   %2 = reshape(%1) {shape=[1, 2, 1]} "y" : f32[1, 2, 1]
//!   %3 = const "w" : f32[1, 2, 1] = [1.0, 2.0]
//!   %4 = mul(%3, %2) {} "y" : f32[1, 2, 1]
//!   %5 = const "o" : f32[] = [0.5]
//!   %6 = mul(%4, %5) {} "y" : f32[1, 2, 1]
//!   %7 = reduce_sum(%6) {axes=[1, 2], keepdims=false} "y" : f32[1]
//!   %8 = neg(%7) {} "y" : f32[1]
//!   %9 = conv(%0, %4) {dilations=[1], groups=1, pads_after=[0], pads_before=[0], strides=[1]} "y" : f32[1, 1, 4]
//!   %10 = reshape(%8) {shape=[1, 1]} "y" : f32[1, 1]
//!   %11 = add(%9, %10) {} "y" : f32[1, 1, 4]
//!   output "y" = %11
//! }
//! ```
//! Source: linearity; Jacob et al., Quantization and training of neural networks, section 3.2.
use super::Rewriter;
use super::fold_factors::is_fixed;
use super::keep_half_weights::are_half_weights;
use super::shape_groups::dim_groups;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::{Class, Spec};

/// Magnitude of a summand, at most, as it stands and times the factors behind it: that of a byte. A
/// larger one may be far larger than what is left of the image, and its product with the weights
/// would take digits of the result.
const LARGEST: f64 = 256.0;

/// The graph with factors and summands behind convolutions and products of matrices.
///
/// Errors: never for a valid graph.
pub fn fold_operands(graph: &Graph) -> Result<Graph, GraphError> {
    let finder = Finder {
        graph,
        uses: graph.uses(),
    };
    Rewriter::run(graph, &mut |cx, node| {
        let Some(product) = finder.product(node) else {
            return Ok(None);
        };
        match finder.chain(&product) {
            Some(chain) => folded(cx, &product, &chain).map(|v| Some(vec![v])),
            None => Ok(None),
        }
    })
}

/// A convolution or a contraction of an image with constant weights.
struct Product<'g> {
    node: &'g Node,
    /// Which operand is the image.
    image: usize,
    /// The axes of image, weights and result, of a contraction.
    letters: Option<[Vec<u8>; 3]>,
    /// The shape of the weights, with an axis for groups.
    parted: Vec<Expr>,
    /// The axes of these which the result lacks.
    summed: Vec<usize>,
}

/// Scalar work on an image with a constant.
struct Step<'g> {
    op: &'g str,
    constant: ValueId,
    /// The shapes in which it multiplies the weights: how it repeats before it is reshaped, and how it
    /// broadcasts to them.
    shapes: [Vec<Expr>; 2],
}

/// What an image is scalar work on, and the steps of that work, the last one first.
struct Chain<'g> {
    from: ValueId,
    steps: Vec<Step<'g>>,
}

impl Product<'_> {
    fn weights(&self) -> ValueId {
        self.node.inputs[1 - self.image]
    }

    /// The shape under which a constant that broadcasts to the image multiplies the parted weights;
    /// `None` if it varies along axes that these lack.
    fn under(&self, of: &[Expr], rank: usize) -> Option<Vec<Expr>> {
        if of.iter().all(|e| e.is(1)) {
            return Some(vec![]);
        }
        let missing = rank.checked_sub(of.len())?;
        let mut under = vec![Expr::from(1); self.parted.len()];
        let many = of.iter().enumerate().filter(|(_, e)| !e.is(1));
        let Some([image, weights, _]) = &self.letters else {
            let channels = self.channels();
            under[channels..=channels].clone_from_slice(&self.parted[channels..=channels]);
            if channels == 2 {
                under[0] = self.parted[0].clone();
            }
            return many
                .into_iter()
                .all(|(d, _)| d + missing == 1)
                .then_some(under);
        };
        let mut last = None;
        for (d, extent) in many {
            let place = weights.iter().position(|c| *c == image[d + missing])?;
            if last.is_some_and(|l| l >= place) {
                return None;
            }
            last = Some(place);
            under[place] = extent.clone();
        }
        Some(under)
    }

    /// The axis of the parted weights of a convolution that its channels are.
    fn channels(&self) -> usize {
        self.summed[0]
    }

    fn is_padded(&self) -> bool {
        let pads = |name: &str| self.node.attrs.ints(name).iter().any(|p| *p != 0);
        self.letters.is_none() && (pads("pads_before") || pads("pads_after"))
    }
}

struct Finder<'g> {
    graph: &'g Graph,
    uses: Vec<Vec<NodeId>>,
}

impl<'g> Finder<'g> {
    fn product(&self, node: &'g Node) -> Option<Product<'g>> {
        let graph = self.graph;
        if !graph.ty(*node.outputs.first()?).dtype.is_float() {
            return None;
        }
        match node.op.name {
            "conv" if is_fixed(graph, node.inputs[1]) => {
                let shape = &graph.ty(node.inputs[1]).shape;
                let groups = node.attrs.int("groups");
                let parted = match groups {
                    1 => shape.clone(),
                    _ => [&[groups.into(), shape[0].div(groups)], &shape[1..]].concat(),
                };
                let channels = parted.len() - shape.len() + 1;
                Some(Product {
                    node,
                    image: 0,
                    letters: None,
                    summed: (channels..parted.len()).collect(),
                    parted,
                })
            }
            "contract" => self.contraction(node),
            _ => None,
        }
    }

    fn contraction(&self, node: &'g Node) -> Option<Product<'g>> {
        let fixed = |k: &usize| is_fixed(self.graph, node.inputs[*k]);
        let k = (0..2).rev().find(fixed).filter(|k| !fixed(&(1 - k)))?;
        if are_half_weights(self.graph, node, k) || !self.is_read_once(node.inputs[k]) {
            return None;
        }
        let Spec { a, b, out } = Spec::of(&node.attrs);
        let (image, weights) = if k == 1 { (a, b) } else { (b, a) };
        let known = |c: &u8| weights.contains(c) || out.contains(c);
        let places = 0..weights.len();
        image.iter().all(known).then(|| Product {
            node,
            image: 1 - k,
            parted: self.graph.ty(node.inputs[k]).shape.clone(),
            summed: places.filter(|d| !out.contains(&weights[*d])).collect(),
            letters: Some([image, weights, out]),
        })
    }

    /// Whether nothing else reads a constant, nor what it is made of: else it would be there twice.
    fn is_read_once(&self, value: ValueId) -> bool {
        let once = self.uses[value.0 as usize].len() == 1 && !self.graph.outputs.contains(&value);
        let of = self.graph.producer(value);
        let inputs = of.map(|id| &self.graph.node(id).inputs);
        once && inputs.is_none_or(|of| of.iter().all(|v| self.is_read_once(*v)))
    }

    /// The work on an image that all products which read it can take.
    fn chain(&self, product: &Product<'g>) -> Option<Chain<'g>> {
        let image = product.node.inputs[product.image];
        let chain = self.steps(product);
        if chain.steps.is_empty() || self.graph.outputs.contains(&image) {
            return None;
        }
        let takes = |id: &NodeId| {
            let other = self.product(self.graph.node(*id));
            let other = other.filter(|p| p.node.inputs[p.image] == image);
            other.is_some_and(|p| self.steps(&p).steps.len() == chain.steps.len())
        };
        self.uses[image.0 as usize]
            .iter()
            .all(takes)
            .then_some(chain)
    }

    fn steps(&self, product: &Product<'g>) -> Chain<'g> {
        let graph = self.graph;
        let image = product.node.inputs[product.image];
        let (mut at, mut view) = (image, None);
        let mut chain = Chain {
            from: image,
            steps: vec![],
        };
        // What the steps so far multiply a summand before them by, at most.
        let mut factor = 1.0;
        while let Some(id) = graph.producer(at) {
            let node = graph.node(id);
            let once = self.uses[at.0 as usize].len() == 1 && !graph.outputs.contains(&at);
            if at != image && !once {
                break;
            }
            if node.op.class == Class::Contraction || matches!(node.op.name, "cast" | "dequantize")
            {
                chain.steps.clear();
                break;
            }
            if node.op.name == "reshape" && view.is_none() {
                view = Some((&graph.ty(node.inputs[0]).shape, &graph.ty(at).shape));
                at = node.inputs[0];
                continue;
            }
            let Some((from, step)) = self.step(product, node, view, &mut factor) else {
                break;
            };
            (at, chain.from) = (from, from);
            chain.steps.push(step);
        }
        chain
    }

    /// A step, and the operand that is no constant.
    fn step(
        &self,
        product: &Product<'g>,
        node: &'g Node,
        view: Option<(&Vec<Expr>, &Vec<Expr>)>,
        factor: &mut f64,
    ) -> Option<(ValueId, Step<'g>)> {
        let (graph, op) = (self.graph, node.op.name);
        let [a, b] = node.inputs[..] else { return None };
        let (x, constant) = match op {
            "mul" | "add" if is_fixed(graph, a) => (b, a),
            "mul" | "add" | "sub" | "div" => (a, b),
            _ => return None,
        };
        let ty = graph.ty(node.outputs[0]);
        if graph.ty(x) != ty || !is_fixed(graph, constant) || is_fixed(graph, x) {
            return None;
        }
        let values = graph.constant(constant).map(|t| t.to_f64());
        let most = |f: fn(f64) -> f64| match &values {
            Some(values) => values.iter().map(|v| f(*v)).fold(0.0, f64::max),
            None => f64::INFINITY,
        };
        match op {
            "mul" => *factor *= most(f64::abs),
            "div" => *factor *= most(|v| v.abs().recip()),
            _ if product.is_padded() || most(f64::abs) * factor.max(1.0) > LARGEST => return None,
            _ => {}
        }
        let shape = &graph.ty(constant).shape;
        let (repeated, seen) = match view {
            None => (shape.clone(), shape.clone()),
            Some((from, to)) => seen_behind(shape, from, to)?,
        };
        let rank = graph.ty(product.node.inputs[product.image]).rank();
        let step = Step {
            op,
            constant,
            shapes: [repeated, product.under(&seen, rank)?],
        };
        Some((x, step))
    }
}

/// How a constant that broadcasts to a shape is repeated, and reshaped then, so that it broadcasts
/// to what the shape is reshaped to.
fn seen_behind(shape: &[Expr], from: &[Expr], to: &[Expr]) -> Option<(Vec<Expr>, Vec<Expr>)> {
    let missing = from.len().checked_sub(shape.len())?;
    let varies = |d: usize| d >= missing && !shape[d - missing].is(1);
    let (mut repeated, mut seen) = (vec![], vec![]);
    for (f, t) in dim_groups(from, to)? {
        let many = f.clone().any(varies);
        let own = |shape: &[Expr], k: usize| match many {
            true => shape[k].clone(),
            false => 1.into(),
        };
        repeated.extend(f.map(|k| own(from, k)));
        seen.extend(t.map(|k| own(to, k)));
    }
    Some((repeated, seen))
}

fn folded(
    cx: &mut Rewriter<'_>,
    product: &Product<'_>,
    chain: &Chain<'_>,
) -> Result<ValueId, GraphError> {
    let (node, label) = (product.node, &product.node.name);
    let mut weights = cx.get(product.weights());
    let shape = cx.ty(weights).shape.clone();
    weights = cx.reshape(weights, &product.parted, label)?;
    let mut summand: Option<ValueId> = None;
    for step in &chain.steps {
        let constant = cx.get(step.constant);
        let constant = placed(cx, constant, &step.shapes, label)?;
        if matches!(step.op, "mul" | "div") {
            weights = cx.add(step.op, label, &[weights, constant], Attrs::new())?;
            continue;
        }
        let moved = cx.add("mul", label, &[weights, constant], Attrs::new())?;
        let axes: Vec<i64> = product.summed.iter().map(|d| *d as i64).collect();
        let attrs = Attrs::new().with("axes", axes).with("keepdims", false);
        let sum = cx.add("reduce_sum", label, &[moved], attrs)?;
        summand = Some(match summand {
            Some(before) => cx.add(step.op, label, &[before, sum], Attrs::new())?,
            None if step.op == "sub" => cx.add("neg", label, &[sum], Attrs::new())?,
            None => sum,
        });
    }
    weights = cx.reshape(weights, &shape, label)?;
    let image = cx.get(chain.from);
    let of = &cx.old.ty(node.inputs[product.image]).shape;
    let image = cx.reshape(image, of, label)?;
    let operands = match product.image {
        0 => [image, weights],
        _ => [weights, image],
    };
    let y = cx.add(node.op.name, label, &operands, node.attrs.clone())?;
    let Some(summand) = summand else {
        return Ok(y);
    };
    let summand = behind(cx, product, summand)?;
    cx.add("add", label, &[y, summand], Attrs::new())
}

/// A constant in the shape in which it multiplies the weights.
fn placed(
    cx: &mut Rewriter<'_>,
    constant: ValueId,
    [repeated, under]: &[Vec<Expr>; 2],
    label: &str,
) -> Result<ValueId, GraphError> {
    let mut constant = constant;
    let count = |shape: &[Expr]| tensmith_ir::expr::product(shape);
    if count(&cx.ty(constant).shape) != count(repeated) {
        let attrs = Attrs::new().with("shape", repeated.clone());
        constant = cx.add("expand", label, &[constant], attrs)?;
    }
    cx.reshape(constant, under, label)
}

/// What is added to each filter or column in the shape in which it broadcasts to the result.
fn behind(
    cx: &mut Rewriter<'_>,
    product: &Product<'_>,
    summand: ValueId,
) -> Result<ValueId, GraphError> {
    let label = &product.node.name;
    let Some([_, weights, out]) = &product.letters else {
        let rank = cx.old.ty(product.node.inputs[0]).rank();
        let mut of = vec![Expr::from(1); rank - 1];
        of[0] = cx.old.ty(product.weights()).shape[0].clone();
        return cx.reshape(summand, &of, label);
    };
    let place = |c: &u8| out.iter().position(|o| o == c);
    let left: Vec<usize> = weights.iter().filter_map(place).collect();
    let (summand, sorted) = cx.sort_axes(label, summand, &left)?;
    let result = &cx.old.ty(product.node.outputs[0]).shape;
    let first = sorted.first().copied().unwrap_or(out.len());
    let extent = |d: usize| match sorted.contains(&d) {
        true => result[d].clone(),
        false => 1.into(),
    };
    let of: Vec<Expr> = (first..out.len()).map(extent).collect();
    cx.reshape(summand, &of, label)
}

#[cfg(test)]
mod tests {
    use crate::graph::{eliminate_dead_code, fold_operands};
    use tensmith_ir::eval::eval_graph;
    use tensmith_ir::graph::{Graph, parse_graph};
    use tensmith_ir::tensor::Tensor;

    /// Four channels in two groups, moved by one constant and scaled by four.
    fn normalised(pad: usize, summand: &str) -> Graph {
        let extent = 3 + 2 * pad;
        let text = format!(
            r#"graph "g" () {{
  %0 = input "x" : f32[1, 4, 4]
  %1 = const "w" : f32[2, 2, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
  %2 = const "s" : f32[4, 1] = [2.0, 4.0, 0.5, 8.0]
  %3 = const "o" : f32[] = [{summand}]
  %4 = mul(%0, %2) {{}} "m" : f32[1, 4, 4]
  %5 = sub(%4, %3) {{}} "a" : f32[1, 4, 4]
  %6 = conv(%5, %1) {{dilations=[1], groups=2, pads_after=[{pad}], pads_before=[{pad}], strides=[1]}} "y" : f32[1, 2, {extent}]
  output "y" = %6
}}
"#
        );
        parse_graph(&text).unwrap()
    }

    fn reads_its_input(graph: &Graph) -> bool {
        let conv = graph.nodes.iter().find(|n| n.op.name == "conv").unwrap();
        graph.inputs.contains(&conv.inputs[0])
    }

    #[test]
    fn groups_have_constants_of_their_own() {
        let graph = normalised(0, "3.0");
        let folded = eliminate_dead_code(&fold_operands(&graph).unwrap()).unwrap();
        assert!(reads_its_input(&folded), "{folded}");
        let x: Vec<f32> = (0..16).map(|k| (k * k % 7) as f32).collect();
        let x = [Tensor::from_f32(vec![1, 4, 4], &x)];
        let of = |g| eval_graph(g, &x).unwrap()[0].to_f64();
        assert_eq!(of(&folded), of(&graph));
    }

    /// Zeros around an image are not moved, and what is far larger than an image takes its digits.
    #[test]
    fn summands_stay_before_padding_and_where_they_are_large() {
        for graph in [normalised(1, "3.0"), normalised(0, "1000000.0")] {
            assert!(!reads_its_input(&fold_operands(&graph).unwrap()));
        }
    }
}
