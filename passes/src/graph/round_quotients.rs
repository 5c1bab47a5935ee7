//! Divides by constants without a division where a rounding to integers follows: two products that
//! give the rounded quotient.
//!
//! With `1/s = h + l`, where `h` has the digits of a float and `l` the next ones, `fma(x, h, x * l)`
//! is the quotient `x / s` rounded once, for all `x` whose quotient is no tiny number, or for none:
//! the constant decides, and it is looked at before. A product with the rounded reciprocal is not: it may
//! miss a quotient that is a half, whose rounding is another integer then.
//!
//! `h` is not above `1/s` in magnitude, so `l` has its sign: where `x` is infinite or the quotient
//! overflows, both terms are infinities of one sign.
//!
//! Requires: a target that multiplies and adds with one rounding.
//! Ensures: no `f32` division by a constant whose quotient is only rounded to integers, if the sum
//! gives it; quotients of sums of products stay, as these have errors of their own.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "s" : f32[] = [3.0]
//!   %2 = div(%0, %1) {} "q" : f32[2, 3]
//!   %3 = round(%2) {} "r" : f32[2, 3]
//!   output "y" = %3
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : f32[2, 3]
//!   %1 = const "q" : f32[] = [0.3333333]
//!   %2 = const "q" : f32[] = [1.9868216e-8]
//!   %3 = mul(%0, %2) {} "q" : f32[2, 3]
//!   %4 = fma(%0, %1, %3) {} "q" : f32[2, 3]
//!   %5 = round(%4) {} "r" : f32[2, 3]
//!   output "y" = %5
//! }
//! ```
//! Source: N. Brisebarre and J.-M. Muller, "Correctly Rounded Multiplication by Arbitrary Precision
//! Constants", 2008.
use super::Rewriter;
use std::collections::HashSet;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, NodeId, ValueId};
use tensmith_ir::ops::Class;
use tensmith_ir::tensor::{Tensor, Wide};

/// Nodes between a quotient and its rounding, and between sums of products and a quotient, at most.
const NODES: usize = 8;

/// Divisors of more elements are not looked at.
const FEW: usize = 4096;

/// Binary exponents of divisors, at most in magnitude: no digit is lost at either end of the range
/// that a quotient of a half or more needs.
const EXPONENTS: i32 = 60;

/// What is lost beside one.
const NOTHING: f32 = 1.0 / (1u64 << 60) as f32;

/// What the numerator of a quotient that is next to the middle of two floats may be, at most: the
/// products are rounded at 2^-46 of the result, and the divisor and the middle have 49 bits.
const NEAR: i64 = 8;

/// The graph without divisions before roundings.
///
/// Errors: never for a valid graph.
pub fn round_quotients(graph: &Graph) -> Result<Graph, GraphError> {
    let quotients = Quotients::new(graph);
    let uses = graph.uses();
    Rewriter::run(graph, &mut |cx, node| {
        if !quotients.has(node) || !is_only_rounded(graph, &uses, node.outputs[0], NODES) {
            return Ok(None);
        }
        match parts_of(graph, node.inputs[1]) {
            Some(parts) => rewrite(cx, node, parts).map(|v| Some(vec![v])),
            None => Ok(None),
        }
    })
}

/// The quotients by constants whose last bit decides how they are rounded to integers.
pub(super) struct Quotients(HashSet<ValueId>);

impl Quotients {
    /// Those of a graph.
    pub fn new(graph: &Graph) -> Self {
        let uses = graph.uses();
        let found = graph.nodes.iter().filter(|n| {
            n.op.name == "div"
                && graph.ty(n.outputs[0]).dtype == DType::F32
                && graph.constant(n.inputs[1]).is_some_and(|t| !powers(t))
                && is_rounded(graph, &uses, n.outputs[0], NODES)
                && !is_sum(graph, n.inputs[0], NODES)
        });
        Quotients(found.map(|n| n.outputs[0]).collect())
    }

    /// Whether a node makes one.
    pub fn has(&self, node: &Node) -> bool {
        self.0.contains(&node.outputs[0])
    }
}

/// Whether a division by any of these numbers is a product with a power of two.
fn powers(t: &Tensor) -> bool {
    t.count() <= FEW && t.to_f64().iter().all(|s| (*s as f32).to_bits() << 9 == 0)
}

/// Whether something that is made of a value is rounded to integers, past sums and bounds.
fn is_rounded(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId, nodes: usize) -> bool {
    let users = uses[value.0 as usize].iter().map(|n| graph.node(*n));
    let mut users = users.filter(|n| rounds(graph, n) || nodes > 0 && passes_on(n));
    users.any(|n| rounds(graph, n) || is_rounded(graph, uses, n.outputs[0], nodes - 1))
}

/// Whether nothing else is made of a value, and by roundings to which tiny numbers are zero.
fn is_only_rounded(graph: &Graph, uses: &[Vec<NodeId>], value: ValueId, nodes: usize) -> bool {
    let mut users = uses[value.0 as usize].iter().map(|n| graph.node(*n));
    let only = |n: &Node| {
        let deeper = || is_only_rounded(graph, uses, n.outputs[0], nodes - 1);
        let keeps_sign = matches!(n.op.name, "floor" | "ceil");
        rounds(graph, n) && !keeps_sign || nodes > 0 && passes_on(n) && deeper()
    };
    !graph.outputs.contains(&value) && users.all(only)
}

/// Whether a node rounds to integers.
fn rounds(graph: &Graph, node: &Node) -> bool {
    match node.op.name {
        "round" | "floor" | "ceil" => true,
        "cast" => !graph.ty(node.outputs[0]).dtype.is_float(),
        _ => false,
    }
}

/// Whether integers are rounded behind a node as they would be before it.
fn passes_on(node: &Node) -> bool {
    matches!(
        node.op.name,
        "add" | "sub" | "max" | "min" | "reshape" | "transpose"
    )
}

/// Whether a value is a sum of products, scaled and moved.
fn is_sum(graph: &Graph, value: ValueId, nodes: usize) -> bool {
    let Some(node) = graph.producer(value).map(|n| graph.node(n)) else {
        return false;
    };
    match node.op.name {
        _ if node.op.class == Class::Contraction => true,
        "add" | "sub" | "mul" | "div" | "neg" | "max" | "min" | "reshape" | "transpose"
        | "cast" => nodes > 0 && node.inputs.iter().any(|v| is_sum(graph, *v, nodes - 1)),
        _ => false,
    }
}

/// The digits of the reciprocals of a constant: what floats have of them, and the next ones.
fn parts_of(graph: &Graph, divisor: ValueId) -> Option<[Tensor; 2]> {
    let t = graph.constant(divisor).filter(|t| t.count() <= FEW)?;
    let parts: Option<Vec<(f32, f32)>> =
        (t.to_f64().iter()).map(|s| reciprocal(*s as f32)).collect();
    let (high, low): (Vec<f64>, Vec<f64>) = (parts?.into_iter())
        .map(|(h, l)| (f64::from(h), f64::from(l)))
        .unzip();
    let tensor = |v| Tensor::from_wide(DType::F32, t.shape.clone(), &Wide::Float(v));
    Some([tensor(high), tensor(low)])
}

fn rewrite(
    cx: &mut Rewriter<'_>,
    node: &Node,
    [high, low]: [Tensor; 2],
) -> Result<ValueId, GraphError> {
    let x = cx.get(node.inputs[0]);
    let [high, low] = [high, low].map(|t| cx.new.add_constant(&node.name, t));
    let rest = cx.add("mul", &node.name, &[x, low], Attrs::new())?;
    cx.add("fma", &node.name, &[x, high, rest], Attrs::new())
}

/// Two floats whose sum is `1/s`, if `fma(x, high, x * low)` is the float nearest to `x / s` for all
/// `x` whose quotient is neither tiny nor beyond the largest float.
fn reciprocal(s: f32) -> Option<(f32, f32)> {
    let exponent = (s.to_bits() >> 23 & 0xff) as i32 - 127;
    if s < 0.0 {
        return reciprocal(-s).map(|(high, low)| (-high, -low));
    }
    if exponent.abs() > EXPONENTS {
        return None;
    }
    let wide = f64::from(s);
    // Products of two floats are exact in `f64`.
    let nearest = (1.0 / wide) as f32;
    let high = match f64::from(nearest) * wide > 1.0 {
        true => f32::from_bits(nearest.to_bits() - 1),
        false => nearest,
    };
    let low = ((1.0 - f64::from(high) * wide) / wide) as f32;
    // No zero, whose product with an infinity is none.
    let low = low.max(high * NOTHING);
    let fine = (hard_cases(s).iter()).all(|x| x.mul_add(high, x * low) == x / s);
    fine.then_some((high, low))
}

/// Floats whose quotient by `s` lies so near to the middle of two floats that the sum of two
/// products may be rounded to the other one, up to powers of two.
///
/// With `s` and `x` scaled to integers `S` and `X` of 24 bits, and a middle to an odd `M` of 25, they
/// are those of `X * 2^t = M * S + d` for a small `d` and `t` of 24 or 25.
fn hard_cases(s: f32) -> Vec<f32> {
    let mantissa = i64::from(s.to_bits() & 0x7f_ffff | 0x80_0000);
    let zeros = mantissa.trailing_zeros();
    let inverse = inverse(mantissa >> zeros);
    let mut found = Vec::new();
    for (shift, numerators) in [(24, mantissa..1 << 24), (25, 1 << 23..mantissa)] {
        for d in (-NEAR..=NEAR).filter(|d| *d != 0 && d.trailing_zeros() >= zeros) {
            let step = 1i64 << (shift - zeros);
            let first = (-(d >> zeros)).wrapping_mul(inverse) & (step - 1);
            let middles = (first..1 << 25).step_by(step as usize);
            for middle in middles.filter(|m| m & 1 == 1 && *m > 1 << 24) {
                let x = (middle * mantissa + d) >> shift;
                found.extend(numerators.contains(&x).then_some(x as f32));
            }
        }
    }
    found
}

/// The inverse of an odd number modulo 2^64: each step doubles the bits that are right.
fn inverse(odd: i64) -> i64 {
    let step = |y: i64| y.wrapping_mul(2i64.wrapping_sub(odd.wrapping_mul(y)));
    (0..5).fold(odd, |y, _| step(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All numerators of one binade, and the quotients of the division unit.
    #[test]
    fn quotients_of_all_numerators_are_rounded_once() {
        let divisors = [3.0, 7.0, 0.1, 0.02, 1.999_999_9, 1.000_000_1, 1.423_456_7];
        for s in divisors {
            let (high, low) = reciprocal(s).expect("these have one");
            for bits in 0..1u32 << 23 {
                let x = f32::from_bits(1.0f32.to_bits() | bits);
                assert_eq!(x.mul_add(high, x * low), x / s, "{x} / {s}");
            }
        }
    }

    /// Halves, the numbers beside them, and what has no quotient.
    #[test]
    fn quotients_that_decide_a_rounding_are_exact() {
        let mut bits = 1u32;
        let mut refused = 0;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let s = f32::from_bits((bits & 0x80ff_ffff) + 0x3b00_0000);
            let Some((high, low)) = reciprocal(s) else {
                refused += 1;
                continue;
            };
            let quotient = |x: f32| x.mul_add(high, x * low);
            for k in 0..40i32 {
                let half = (k * k - 300) as f32 + 0.5;
                let near = (half * s).to_bits();
                for x in [near - 1, near, near + 1].map(f32::from_bits) {
                    assert_eq!(quotient(x).to_bits(), (x / s).to_bits(), "{x} / {s}");
                }
            }
            for x in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(quotient(x).to_bits(), (x / s).to_bits(), "{x} / {s}");
            }
            assert!(quotient(f32::NAN).is_nan());
            assert_eq!(quotient(f32::MIN_POSITIVE).round_ties_even(), 0.0);
        }
        assert!(refused < 2000, "{refused} divisors have no sum of products");
    }

    /// Each case that is found is as near to a middle as is said, and none within is missed.
    #[test]
    fn hard_cases_are_those_next_to_middles() {
        for s in [1.3f32, 1.75, 1.999_999_9] {
            let mantissa = i64::from(s.to_bits() & 0x7f_ffff | 0x80_0000);
            let near = |x: &i64| {
                let shift = if *x >= mantissa { 24 } else { 25 };
                let middle = ((x << shift) / mantissa) | 1;
                let apart = |m: i64| ((x << shift) - m * mantissa).abs();
                [middle - 2, middle, middle + 2]
                    .into_iter()
                    .any(|m| m > 1 << 24 && m < 1 << 25 && (1..=NEAR).contains(&apart(m)))
            };
            let mut want: Vec<i64> = (1 << 23..1 << 24).filter(near).collect();
            let mut found: Vec<i64> = hard_cases(s).iter().map(|x| *x as i64).collect();
            want.sort_unstable();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, want, "{s}");
        }
    }
}
