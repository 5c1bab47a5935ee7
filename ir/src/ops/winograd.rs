//! Winograd's minimal filtering: 3x3 convolutions as products of transformed tiles.
//!
//! The result of a convolution with step 1 falls into tiles of `m x m` elements; each needs
//! `a x a` elements of x, `a = m + 2`. With matrices B, G and A, a tile is
//! `A' [ sum over channels of (G w G') . (B' x B) ] A`, where `.` multiplies element by element:
//! `a * a` products instead of `9 * m * m`. The sum over channels is a `contract`, so the three
//! rows here are the transforms around it.
use super::elementwise::result;
use super::{Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::define::Define;
use crate::dtype::DType;
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, NodeId, TensorType};
use crate::loops::{BinaryOp, Scalar};
use crate::tensor::{Tensor, Wide};

/// The types in which transforms are exact enough.
const REALS: &[DType] = &[DType::F32, DType::F64];
const TILE: super::AttrDef = attr("tile", AttrKind::Int, "m, elements of a tile along an axis");
const SOURCE: &str = "Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016";
/// Coefficients of opposite signs cancel: intermediate sums exceed the results' magnitude.
const TOLERANCE: Tolerance = Tolerance::Sum(32.0);

/// The rows of this family.
pub const OPS: &[OpDef] = &[
    OpDef {
        name: "winograd_input",
        doc: "y[i, j, n, t, u, c] = sum over r and s of B[r, i] * B[s, j] * x[n, c, m*t + r, m*u + s]: tiles of m + 2 elements along both axes, which overlap by 2; divided by 8 for m = 4",
        arity: (1, 1),
        attrs: &[TILE],
        class: Class::Contraction,
        types: REALS,
        infer: infer_input,
        eval: eval_input,
        lower: Lower::Pointwise(lower_input),
        row_axes: None,
        tolerance: TOLERANCE,
        samples: sample_input,
        source: SOURCE,
    },
    OpDef {
        name: "winograd_weights",
        doc: "y[i, j, c, o] = sum over r and s of G[i, r] * G[j, s] * w[o, c, r, s]; times 8 for m = 4",
        arity: (1, 1),
        attrs: &[TILE],
        class: Class::Contraction,
        types: REALS,
        infer: infer_weights,
        eval: eval_weights,
        lower: Lower::Pointwise(lower_weights),
        row_axes: None,
        tolerance: TOLERANCE,
        samples: sample_weights,
        source: SOURCE,
    },
    OpDef {
        name: "winograd_output",
        doc: "y[n, o, h, w] = sum over i and j of A[i, h mod m] * A[j, w mod m] * z[i, j, n, h / m, w / m, o]",
        arity: (1, 1),
        attrs: &[
            TILE,
            attr("extents", AttrKind::Ints, "height and width of the result"),
        ],
        class: Class::Contraction,
        types: REALS,
        infer: infer_output,
        eval: eval_output,
        lower: Lower::Pointwise(lower_output),
        row_axes: None,
        tolerance: TOLERANCE,
        samples: sample_output,
        source: SOURCE,
    },
];

/// Taps along an axis.
const TAPS: usize = 3;

/// The points at which polynomials are evaluated, besides infinity. All coefficients of `B` and
/// `A` are exact in binary. For `m = 4`, errors of random layers are 2.2 times smaller (root of
/// the mean square; 4 times for the largest) than with the usual 0, 1, -1, 2, -2.
fn points(m: usize) -> &'static [f64] {
    match m {
        2 => &[0.0, 1.0, -1.0],
        _ => &[0.0, 0.75, -0.75, 1.5, -1.5],
    }
}

/// What tiles are divided by along their second axis, and weights multiplied with. Rows of `B` add
/// up to 5.7 in magnitude for `m = 4`, so without it tiles of inputs beyond a 32nd of the largest
/// number would overflow. A power of two is exact; one axis costs less than both.
fn divisor(m: usize) -> f64 {
    match m {
        2 => 1.0,
        _ => 8.0,
    }
}

/// A matrix whose coefficients are multiplied with a number.
fn scaled(matrix: &Matrix, by: f64) -> Matrix {
    let row = |row: &Vec<f64>| row.iter().map(|c| c * by).collect();
    matrix.iter().map(row).collect()
}

/// The coefficients of the product of `x - p` over points, lowest first.
fn polynomial(roots: impl Iterator<Item = f64>) -> Vec<f64> {
    roots.fold(vec![1.0], |poly, p| {
        let shifted = [0.0].into_iter().chain(poly.iter().copied());
        let scaled = poly.iter().map(|c| c * p).chain([0.0]);
        shifted.zip(scaled).map(|(x, y)| x - y).collect()
    })
}

/// A row of coefficients for each output of a transform, in order of its terms.
pub type Matrix = Vec<Vec<f64>>;

/// The matrices of tiles of `m` times `m` results, whose rows are what one axis is made of. A power
/// of two goes from tiles to weights besides.
pub struct Matrices {
    /// B transposed: transformed elements of `m + 2` elements.
    pub input: Matrix,
    /// G: transformed weights of 3 taps.
    pub weights: Matrix,
    /// A transposed: results of `m + 2` products.
    pub output: Matrix,
}

impl Matrices {
    /// For `m` of 2 or 4.
    pub fn new(m: usize) -> Self {
        Matrices {
            input: input_matrix(m),
            weights: weight_matrix(m),
            output: output_matrix(m),
        }
    }
}

/// B transposed: row `i` gives transformed element `i` of `a` elements.
fn input_matrix(m: usize) -> Matrix {
    let p = points(m);
    let others = |i: usize| (0..p.len()).filter(move |k| *k != i).map(|k| p[k]);
    let row = |i| [polynomial(others(i)), vec![0.0]].concat();
    let last = polynomial(p.iter().copied());
    (0..p.len()).map(row).chain([last]).collect()
}

/// G: row `i` gives transformed weight `i` of 3 taps.
fn weight_matrix(m: usize) -> Matrix {
    let p = points(m);
    let scale = |i: usize| -> f64 {
        let others = (0..p.len()).filter(|k| *k != i);
        others.map(|k| p[i] - p[k]).product()
    };
    let row = |i: usize| (0..TAPS).map(|r| p[i].powi(r as i32) / scale(i)).collect();
    let last = vec![0.0, 0.0, 1.0];
    (0..p.len()).map(row).chain([last]).collect()
}

/// A transposed: row `u` gives element `u` of a tile of `a` products.
fn output_matrix(m: usize) -> Matrix {
    let row = |u: usize| {
        let at_points = points(m).iter().map(|p| p.powi(u as i32));
        at_points.chain([f64::from(u + 1 == m)]).collect()
    };
    (0..m).map(row).collect()
}

// Types and shapes

fn tile(attrs: &Attrs) -> usize {
    attrs.int("tile") as usize
}

fn check(cx: &InferCx<'_>, rank: usize) -> Result<i64, String> {
    let found = cx.inputs[0].rank();
    if found != rank {
        return Err(format!("operand 0 has rank {found}, want {rank}"));
    }
    match cx.attrs.int("tile") {
        m @ (2 | 4) => Ok(m),
        m => Err(format!("`tile` is {m}, want 2 or 4")),
    }
}

fn infer_input(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let m = check(cx, 4)?;
    let x = &cx.inputs[0].shape;
    let tiles = |extent: &Expr| match extent.as_const() {
        Some(e) if e >= 2 && (e - 2) % m == 0 => Ok(Expr::from((e - 2) / m)),
        _ => Err(format!(
            "extent {extent} is not 2 more than a multiple of {m}"
        )),
    };
    let (a, t, u) = (Expr::from(m + 2), tiles(&x[2])?, tiles(&x[3])?);
    let shape = vec![a.clone(), a, x[0].clone(), t, u, x[1].clone()];
    Ok(vec![TensorType::new(cx.inputs[0].dtype, shape)])
}

fn infer_weights(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let a = Expr::from(check(cx, 4)? + 2);
    let w = &cx.inputs[0].shape;
    if !w[2].is(3) || !w[3].is(3) {
        return Err(format!("the taps are {}x{}, want 3x3", w[2], w[3]));
    }
    let shape = vec![a.clone(), a, w[1].clone(), w[0].clone()];
    Ok(vec![TensorType::new(cx.inputs[0].dtype, shape)])
}

fn infer_output(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let m = check(cx, 6)?;
    let z = &cx.inputs[0].shape;
    let extents = cx.attrs.ints("extents");
    if extents.len() != 2 || extents.iter().any(|e| !(0..1 << 31).contains(e)) {
        return Err(format!("`extents` is {extents:?}, want 2 numbers"));
    }
    let fits = |d: usize| z[d].is(m + 2) && z[d + 3].is((extents[d] + m - 1) / m);
    if !fits(0) || !fits(1) {
        return Err(format!(
            "products of {}x{} for {}x{} tiles do not make {}x{} elements in tiles of {m}",
            z[0], z[1], z[3], z[4], extents[0], extents[1]
        ));
    }
    let spatial = extents.iter().map(|e| Expr::from(*e));
    let shape = [z[2].clone(), z[5].clone()].into_iter().chain(spatial);
    Ok(vec![TensorType::new(cx.inputs[0].dtype, shape.collect())])
}

// Definition in loops

/// Row `at` of a matrix times `terms`, added up in a register: zeros of the matrix add nothing.
fn combine(
    cx: &mut Define<'_>,
    matrix: &Matrix,
    at: &Expr,
    terms: &[Scalar],
    dtype: DType,
) -> Scalar {
    let sum = cx.register(dtype);
    cx.store(sum, vec![], Scalar::num(dtype, 0.0));
    let so_far = Scalar::load(sum, vec![]);
    for (s, x) in terms.iter().enumerate() {
        let plus = |c: f64| match c {
            0.0 => so_far.clone(),
            1.0 => Scalar::binary(BinaryOp::Add, so_far.clone(), x.clone()),
            -1.0 => Scalar::binary(BinaryOp::Sub, so_far.clone(), x.clone()),
            _ => {
                let product = Scalar::binary(BinaryOp::Mul, x.clone(), Scalar::num(dtype, c));
                Scalar::binary(BinaryOp::Add, so_far.clone(), product)
            }
        };
        let last = matrix.len() - 1;
        let rows = matrix[..last].iter().enumerate().rev();
        let value = rows.fold(plus(matrix[last][s]), |rest, (k, row)| {
            let cond = vec![Expr::from(k) - at.clone()];
            Scalar::Guard(cond, Box::new(plus(row[s])), Box::new(rest))
        });
        cx.store(sum, vec![], value);
    }
    so_far
}

/// A matrix times elements times the transposed other one, at `(i, j)`: `element` gives the terms.
fn transform(
    cx: &mut Define<'_>,
    node: NodeId,
    (matrix, other): (&Matrix, &Matrix),
    (i, j): (&Expr, &Expr),
    element: &dyn Fn(usize, usize) -> Vec<Expr>,
) -> Scalar {
    let dtype = cx.operand_type(node, 0).dtype;
    let terms = matrix[0].len();
    let columns: Vec<Scalar> = (0..terms)
        .map(|s| {
            let column: Vec<Scalar> = (0..terms)
                .map(|r| cx.operand(node, 0, &element(r, s)))
                .collect();
            combine(cx, matrix, i, &column, dtype)
        })
        .collect();
    let y = combine(cx, other, j, &columns, dtype);
    result(cx, node, y)
}

fn lower_input(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let m = tile(&cx.node(node).attrs);
    let [i, j, n, t, u, c] = index else {
        panic!("invariant: inference gave six axes");
    };
    let element = |r: usize, s: usize| {
        let (h, w) = (t.clone() * m as i64, u.clone() * m as i64);
        vec![n.clone(), c.clone(), h + Expr::from(r), w + Expr::from(s)]
    };
    let matrix = input_matrix(m);
    let other = scaled(&matrix, 1.0 / divisor(m));
    transform(cx, node, (&matrix, &other), (i, j), &element)
}

fn lower_weights(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let m = tile(&cx.node(node).attrs);
    let [i, j, c, o] = index else {
        panic!("invariant: inference gave four axes");
    };
    let element = |r: usize, s: usize| vec![o.clone(), c.clone(), r.into(), s.into()];
    let matrix = weight_matrix(m);
    let other = scaled(&matrix, divisor(m));
    transform(cx, node, (&matrix, &other), (i, j), &element)
}

fn lower_output(cx: &mut Define<'_>, node: NodeId, _: usize, index: &[Expr]) -> Scalar {
    let m = tile(&cx.node(node).attrs);
    let [n, o, h, w] = index else {
        panic!("invariant: inference gave four axes");
    };
    let (t, u) = (h.div(m as i64), w.div(m as i64));
    let element = |i: usize, j: usize| {
        let tile = [n, &t, &u, o].into_iter().cloned();
        [i.into(), j.into()].into_iter().chain(tile).collect()
    };
    let at = (&h.rem(m as i64), &w.rem(m as i64));
    let matrix = output_matrix(m);
    transform(cx, node, (&matrix, &matrix), at, &element)
}

// Reference evaluation: for every element, the double sum of its formula.

/// The double sum over `terms x terms` elements with two rows of coefficients.
fn double_sum(rows: (&[f64], &[f64]), element: &dyn Fn(usize, usize) -> f64) -> f64 {
    let mut sum = 0.0;
    for (r, p) in rows.0.iter().enumerate() {
        for (s, q) in rows.1.iter().enumerate() {
            sum += p * q * element(r, s);
        }
    }
    sum
}

/// The row-major place of an index.
fn place(shape: &[usize], index: &[usize]) -> usize {
    let axes = shape.iter().zip(index);
    axes.fold(0, |at, (extent, i)| at * extent + i)
}

/// The element of the operand that a term of the double sum reads.
type Element<'a> = dyn Fn(&[usize], usize, usize) -> Vec<usize> + 'a;

/// Evaluates a transform, whose result is multiplied with `by`: `at` gives the rows for an index of
/// the result.
fn evaluate(
    cx: &EvalCx<'_>,
    (matrix, by): (&Matrix, f64),
    at: &dyn Fn(&[usize]) -> (usize, usize),
    element: &Element<'_>,
) -> Result<Vec<Tensor>, EvalError> {
    let (x, shape) = (cx.inputs[0], cx.output_shape(0)?);
    let elements = x.to_f64();
    let count: usize = shape.iter().product();
    let mut y = Vec::with_capacity(count);
    for k in 0..count {
        let mut index = vec![0; shape.len()];
        let mut left = k;
        for d in (0..shape.len()).rev() {
            (index[d], left) = (left % shape[d], left / shape[d]);
        }
        let (i, j) = at(&index);
        let read = |r, s| elements[place(&x.shape, &element(&index, r, s))];
        y.push(by * double_sum((&matrix[i], &matrix[j]), &read));
    }
    Ok(vec![Tensor::from_wide(x.dtype, shape, &Wide::Float(y))])
}

fn eval_input(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let m = tile(cx.attrs);
    let element = |at: &[usize], r, s| vec![at[2], at[5], m * at[3] + r, m * at[4] + s];
    let by = 1.0 / divisor(m);
    evaluate(cx, (&input_matrix(m), by), &|at| (at[0], at[1]), &element)
}

fn eval_weights(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let element = |at: &[usize], r, s| vec![at[3], at[2], r, s];
    let m = tile(cx.attrs);
    let matrix = weight_matrix(m);
    evaluate(cx, (&matrix, divisor(m)), &|at| (at[0], at[1]), &element)
}

fn eval_output(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let m = tile(cx.attrs);
    let element = |at: &[usize], i, j| vec![i, j, at[0], at[2] / m, at[3] / m, at[1]];
    let matrix = output_matrix(m);
    evaluate(cx, (&matrix, 1.0), &|at| (at[2] % m, at[3] % m), &element)
}

// Samples

fn sample(s: &mut Sampler, shape: &[usize], attrs: Attrs) -> Vec<Sample> {
    let dtype = s.dtype(REALS);
    vec![Sample::new(vec![s.tensor(dtype, shape, -4.0, 4.0)], attrs)]
}

fn sample_input(s: &mut Sampler) -> Vec<Sample> {
    let m = *s.pick(&[2, 4]);
    let extent = |s: &mut Sampler| *s.pick(&[0, 1, 2, 3]) * m + 2;
    let (h, w) = (extent(s), extent(s));
    let shape = [*s.pick(&[1, 1, 2]), *s.pick(&[1, 3, 8, 17, 32]), h, w];
    sample(s, &shape, Attrs::new().with("tile", m as i64))
}

fn sample_weights(s: &mut Sampler) -> Vec<Sample> {
    let m = *s.pick(&[2i64, 4]);
    let shape = [*s.pick(&[0, 1, 5, 16, 19]), *s.pick(&[1, 3, 8]), 3, 3];
    sample(s, &shape, Attrs::new().with("tile", m))
}

fn sample_output(s: &mut Sampler) -> Vec<Sample> {
    let m = *s.pick(&[2usize, 4]);
    let (h, w) = (*s.pick(&[0, 1, 4, 7, 14]), *s.pick(&[1, 2, 5, 8]));
    let (n, o) = (*s.pick(&[1, 1, 2]), *s.pick(&[1, 3, 16, 24, 33]));
    let shape = [
        m + 2,
        m + 2,
        n,
        usize::div_ceil(h, m),
        usize::div_ceil(w, m),
        o,
    ];
    let extents = vec![h as i64, w as i64];
    let attrs = Attrs::new().with("tile", m as i64).with("extents", extents);
    sample(s, &shape, attrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y[u] = sum over i of A[i, u] * (G w)[i] * (B' x)[i] is the sum over r of w[r] * x[u + r].
    #[test]
    fn matrices_give_a_filter_of_three_taps() {
        let times = |matrix: &Matrix, x: &[f64]| -> Vec<f64> {
            let dot = |row: &Vec<f64>| row.iter().zip(x).map(|(a, b)| a * b).sum();
            matrix.iter().map(dot).collect()
        };
        for m in [2, 4] {
            let x: Vec<f64> = (0..m + 2).map(|k| (k * k + 3 * k + 1) as f64).collect();
            let w = [3.0, -5.0, 7.0];
            let (p, q) = (times(&input_matrix(m), &x), times(&weight_matrix(m), &w));
            let products: Vec<f64> = p.iter().zip(q).map(|(p, q)| p * q).collect();
            let y = times(&output_matrix(m), &products);
            let direct = |u: usize| -> f64 { (0..3).map(|r| w[r] * x[u + r]).sum() };
            for (u, y) in y.iter().enumerate() {
                assert!((y - direct(u)).abs() < 1e-9, "{m}, {u}: {y}, {}", direct(u));
            }
        }
    }
}
