//! What the weights of a 3x3 convolution are like: sums of taps and of their products, from which
//! rounding errors of algorithms are estimated.
use std::collections::HashMap;
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::{Sizes, eval_node};
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Graph, NodeId, ValueId};
use tensmith_ir::tensor::Tensor;

/// Taps of a filter.
pub(super) const TAPS: usize = 9;
/// Elements of constant expressions that are computed for one graph, at most: what is beyond is
/// left to compiled code.
const COMPUTED: usize = 1 << 24;

/// The filters that make one channel of results.
#[derive(Clone)]
pub(super) struct Filters {
    /// Sums over channels of products of two taps.
    pub products: [[f64; TAPS]; TAPS],
    /// Sums over channels of each tap.
    pub sums: [f64; TAPS],
}

/// The filters that one channel of inputs goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Channel {
    /// Sums over results of the squares of each tap.
    pub squares: [f64; TAPS],
    /// The squares of the largest of each tap.
    pub largest: [f64; TAPS],
}

/// The weights of a convolution.
pub(super) struct Moments {
    /// For each channel of inputs.
    pub channels: Vec<Channel>,
    /// For each channel of results.
    pub results: Vec<Filters>,
    /// The magnitude of the largest weight; NaN if one is.
    pub largest: f64,
}

/// Looks at weights, of which parts may be computed from constants.
pub(super) struct Weights<'g> {
    graph: &'g Graph,
    /// What was computed, or could not be.
    computed: HashMap<NodeId, Option<Tensor>>,
    /// Units: elements that may still be computed.
    left: usize,
}

impl<'g> Weights<'g> {
    pub fn new(graph: &'g Graph) -> Self {
        Weights {
            graph,
            computed: HashMap::new(),
            left: COMPUTED,
        }
    }

    /// The moments of weights of 3x3 taps; `None` if the weights are not known.
    pub fn moments(&mut self, value: ValueId) -> Option<Moments> {
        let (mut value, mut factors) = (value, None);
        while let Some((inner, factor)) = self.scaled(value) {
            let more = self.tensor(factor)?.to_f64();
            let before = factors.unwrap_or_else(|| vec![1.0; more.len()]);
            factors = Some(more.iter().zip(before).map(|(a, b)| a * b).collect());
            value = inner;
        }
        Some(Moments::of(&self.tensor(value)?, factors.as_deref()))
    }

    /// The operands of a product with one factor for each result: weights that took a factor from
    /// behind their convolution.
    fn scaled(&self, value: ValueId) -> Option<(ValueId, ValueId)> {
        let node = self.graph.node(self.graph.producer(value)?);
        let shape = |v: ValueId| &self.graph.ty(v).shape;
        let [a, b] = node.inputs[..] else {
            return None;
        };
        let one = Expr::from(1);
        let results = shape(value)[0].clone();
        let factor = [results, one.clone(), one.clone(), one];
        let fits = |w: ValueId, s: ValueId| shape(w) == shape(value) && shape(s)[..] == factor;
        let orders = [(a, b), (b, a)];
        let found = orders.into_iter().find(|(w, s)| fits(*w, *s));
        found.filter(|_| node.op.name == "mul")
    }

    /// A value that depends on constants only.
    pub fn tensor(&mut self, value: ValueId) -> Option<Tensor> {
        let Some(id) = self.graph.producer(value) else {
            return self.graph.constant(value).cloned();
        };
        if let Some(known) = self.computed.get(&id) {
            return known.clone();
        }
        let result = self.compute(id);
        self.computed.insert(id, result.clone());
        result
    }

    fn compute(&mut self, id: NodeId) -> Option<Tensor> {
        let node = self.graph.node(id);
        let [output] = node.outputs[..] else {
            return None;
        };
        let shape = self.graph.ty(output).static_shape()?;
        let count = shape.into_iter().try_fold(1usize, usize::checked_mul)?;
        self.left = self.left.checked_sub(count)?;
        let inputs: Option<Vec<Tensor>> = node.inputs.iter().map(|v| self.tensor(*v)).collect();
        let inputs = inputs?;
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let results = eval_node(self.graph, node, &inputs, &Sizes::new());
        results.ok()?.pop()
    }
}

impl Moments {
    /// Of `f32` weights of shape `[results, channels, 3, 3]`, times a factor for each result.
    pub fn of(weights: &Tensor, factors: Option<&[f64]>) -> Self {
        assert_eq!(weights.dtype, DType::F32, "invariant: types were looked at");
        let count = weights.shape[1];
        let mut moments = Moments {
            channels: vec![Channel::default(); count],
            results: Vec::with_capacity(weights.shape[0]),
            largest: 0.0,
        };
        let filters = weights.data.chunks_exact(count.max(1) * TAPS * 4);
        for (k, bytes) in filters.enumerate() {
            let filters = moments.filters(bytes, factors.map_or(1.0, |f| f[k]));
            moments.results.push(filters);
        }
        moments
    }

    /// The filters of one channel of results, which channels of inputs take note of.
    fn filters(&mut self, bytes: &[u8], factor: f64) -> Filters {
        let mut filters = Filters {
            products: [[0.0; TAPS]; TAPS],
            sums: [0.0; TAPS],
        };
        let (words, _) = bytes.as_chunks::<4>();
        for (channel, filter) in self.channels.iter_mut().zip(words.as_chunks::<TAPS>().0) {
            let taps = filter.map(|w| factor * f64::from(f32::from_le_bytes(w)));
            filters.add(&taps);
            channel.add(&taps);
            self.largest = taps.iter().fold(self.largest, |m, w| larger(m, w.abs()));
        }
        filters
    }
}

impl Channel {
    fn add(&mut self, taps: &[f64; TAPS]) {
        let sums = self.squares.iter_mut().zip(&mut self.largest);
        for ((sum, largest), w) in sums.zip(taps) {
            *sum += w * w;
            *largest = largest.max(w * w);
        }
    }
}

/// The larger of two numbers; NaN if one is.
fn larger(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

impl Filters {
    fn add(&mut self, taps: &[f64; TAPS]) {
        for (row, a) in self.products.iter_mut().zip(taps) {
            row.iter_mut().zip(taps).for_each(|(sum, b)| *sum += a * b);
        }
        self.sums
            .iter_mut()
            .zip(taps)
            .for_each(|(sum, a)| *sum += a);
    }

    /// The sum over channels of the squares of what taps with these coefficients add up to.
    pub fn energy(&self, coefficients: &[f64; TAPS]) -> f64 {
        let row = |(row, c): (&[f64; TAPS], &f64)| c * dot(row, coefficients);
        self.products.iter().zip(coefficients).map(row).sum()
    }

    /// The sum over channels of what taps with these coefficients add up to.
    pub fn sum(&self, coefficients: &[f64; TAPS]) -> f64 {
        dot(&self.sums, coefficients)
    }

    /// The sum over channels of the squares of each tap.
    pub fn squares(&self) -> [f64; TAPS] {
        std::array::from_fn(|k| self.products[k][k])
    }
}

/// The sum of the products of pairs.
pub(super) fn dot(a: &[f64; TAPS], b: &[f64; TAPS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::graph::{Attrs, TensorType};
    use tensmith_ir::ops::op;

    fn weights(factor: &[usize]) -> (Graph, ValueId) {
        let mut g = Graph::default();
        let values: Vec<f32> = (0..36).map(|k| k as f32 - 10.0).collect();
        let w = g.add_constant("w", Tensor::from_f32(vec![2, 2, 3, 3], &values));
        let count = factor.iter().product();
        let s = g.add_constant(
            "s",
            Tensor::from_f32(factor.to_vec(), &[3.0, -2.0][..count]),
        );
        let y = g.add_one(op("mul"), "m", &[w, s], Attrs::new()).unwrap();
        (g, y)
    }

    #[test]
    fn factors_of_results_are_taken_without_computing_the_product() {
        let (g, y) = weights(&[2, 1, 1, 1]);
        let mut reader = Weights::new(&g);
        let product = Moments::of(&reader.tensor(y).unwrap(), None);
        let mut reader = Weights::new(&g);
        let found = reader.moments(y).unwrap();
        assert!(reader.computed.is_empty());
        for (a, b) in product.results.iter().zip(&found.results) {
            assert_eq!((a.products, a.sums), (b.products, b.sums));
        }
        assert_eq!(product.channels, found.channels);
        assert_eq!((product.largest, found.largest), (50.0, 50.0));
        assert_eq!(found.channels[1].largest[8], 2500.0);
    }

    #[test]
    fn other_constant_weights_are_computed_and_inputs_are_unknown() {
        let (g, y) = weights(&[1, 2, 1, 1]);
        let found = Weights::new(&g).moments(y).unwrap();
        assert_eq!(found.results[0].sums[0], -10.0 * 3.0 + -1.0 * -2.0);
        let mut g = Graph::default();
        let shape = [2, 2, 3, 3].map(Expr::from).to_vec();
        let x = g.add_input("x", TensorType::new(DType::F32, shape));
        assert!(Weights::new(&g).moments(x).is_none());
    }

    #[test]
    fn nan_is_seen() {
        let nan = Tensor::from_f32(
            vec![1, 1, 3, 3],
            &[1.0, f32::NAN, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        );
        assert!(Moments::of(&nan, None).largest.is_nan());
    }
}
