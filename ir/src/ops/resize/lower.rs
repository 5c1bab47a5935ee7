//! Definition in loops. Where coordinates move by a ratio of whole numbers, positions and weights are
//! quotients and remainders; else the definition fills, per resized axis, a table of both, and then
//! goes over the result.
mod coordinate;
mod passes;
mod ratio;
mod table;

use super::super::movement::convert;
use super::{is_kept, stretch};
use crate::define::Define;
use crate::dtype::DType;
use crate::expr::Expr;
use crate::graph::{Attrs, NodeId};
use crate::loops::{BinaryOp, Role, Scalar};
use coordinate::{Line, Number, nearest};
use passes::Passes;
use ratio::{Ratio, fraction, simplest_fraction};
use table::Table;

/// Positions that are compared at most with those that a ratio gives.
const MOST_POSITIONS: i64 = 1 << 16;

fn num(value: f64) -> Scalar {
    Scalar::num(DType::F64, value)
}

fn add(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Add, a, b)
}

fn sub(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Sub, a, b)
}

fn mul(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Mul, a, b)
}

fn div(a: Scalar, b: Scalar) -> Scalar {
    Scalar::binary(BinaryOp::Div, a, b)
}

/// One axis of the result.
struct Axis<'a> {
    attrs: &'a Attrs,
    d: usize,
    /// Extents of x and y.
    n: &'a Expr,
    size: &'a Expr,
}

/// How positions on an axis of x follow from those of y.
enum Source {
    /// The quotient by a whole number.
    Quotient(i64),
    /// The nearest element.
    Nearest(Ratio),
    /// Two neighbours, by their distances.
    Linear(Ratio),
    /// Four neighbours, by cubic weights with this coefficient.
    Cubic(Ratio, f64),
    Table(Table),
}

impl Source {
    /// Whether elements are sums of weighted ones.
    fn weighs(&self) -> bool {
        match self {
            Source::Quotient(_) | Source::Nearest(_) => false,
            Source::Linear(_) | Source::Cubic(..) => true,
            Source::Table(table) => table.weights.is_some(),
        }
    }

    fn table(&self) -> Option<&Table> {
        match self {
            Source::Table(table) => Some(table),
            _ => None,
        }
    }
}

impl Axis<'_> {
    /// The number that positions are divided by, where nearest elements come down to that.
    fn quotient(&self) -> Option<i64> {
        if is_kept(self.attrs, self.d, self.n) {
            return Some(1);
        }
        let k = self.size.div(self.n).as_const().filter(|k| *k > 0)?;
        let whole = self.n.clone() * k == *self.size
            && self
                .attrs
                .floats("scales")
                .get(self.d)
                .is_none_or(|s| *s == k as f64);
        let (coordinate, nearest) = (self.attrs.str("coordinate"), self.attrs.str("nearest"));
        let plain = match coordinate {
            "asymmetric" => nearest == "floor",
            "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel" => {
                nearest.starts_with("round")
            }
            _ => false,
        };
        (whole && plain && self.attrs.str("mode") == "nearest").then_some(k)
    }

    /// How coordinates are computed, with the extents of x and y.
    fn line<N: Number>(&self, n: N, size: N) -> Line<'_, N> {
        let roi = self.attrs.floats("roi");
        let region = match roi.len() {
            0 => (0.0, 1.0),
            bounds => (roi[self.d], roi[bounds / 2 + self.d]),
        };
        Line {
            coordinate: self.attrs.str("coordinate"),
            n,
            size,
            scale: self.attrs.floats("scales").get(self.d).copied(),
            region,
            single: self.attrs.str("mode") == "nearest",
        }
    }

    /// The extents of x and y, where they are known.
    fn extents(&self) -> Option<(i64, i64)> {
        let known = |e: &Expr| e.as_const().filter(|n| (1..1 << 24).contains(n));
        Some((known(self.n)?, known(self.size)?))
    }

    /// The ratio by which coordinates move, where that is known.
    fn ratio(&self) -> Option<Ratio> {
        let (n, size) = self.extents()?;
        let scale = match self.attrs.floats("scales").get(self.d) {
            Some(scale) => fraction(*scale)?,
            None => (size, n),
        };
        Ratio::of(self.attrs.str("coordinate"), scale, (n, size))
    }

    /// A ratio by which coordinates move that are next to the same elements.
    fn nearest_ratio(&self) -> Option<Ratio> {
        let (n, size) = self.extents()?;
        if size > MOST_POSITIONS {
            return None;
        }
        let scales = match self.attrs.floats("scales").get(self.d) {
            Some(scale) => vec![simplest_fraction(*scale)?, fraction(*scale)?],
            None => vec![(size, n)],
        };
        let (coordinate, rounding) = (self.attrs.str("coordinate"), self.attrs.str("nearest"));
        let line = self.line(n as f64, size as f64);
        let place = |o: i64| nearest(line.at(o as f64), rounding).clamp(0.0, (n - 1) as f64) as i64;
        let same = |ratio: &Ratio| {
            let at = |o: i64| ratio.nearest(&o.into(), rounding).as_const();
            (0..size).all(|o| at(o) == Some(place(o)))
        };
        let ratios = scales.into_iter();
        let mut ratios = ratios.filter_map(|scale| Ratio::of(coordinate, scale, (n, size)));
        ratios.find(same)
    }

    /// How positions follow from those of y without a table, if they do.
    fn source(&self) -> Option<Source> {
        if let Some(k) = self.quotient() {
            return Some(Source::Quotient(k));
        }
        let mode = self.attrs.str("mode");
        if mode == "nearest" {
            return self.nearest_ratio().map(Source::Nearest);
        }
        let stretches = stretch(self.attrs, self.d, self.n) != Some(1.0);
        if stretches || self.attrs.flag("exclude_outside") {
            return None;
        }
        let ratio = self.ratio()?;
        Some(match mode {
            "linear" => Source::Linear(ratio),
            _ => Source::Cubic(ratio, self.attrs.float("cubic_coeff")),
        })
    }
}

pub(super) fn define(cx: &mut Define<'_>, node: NodeId) {
    let attrs = &cx.node(node).attrs;
    let x = cx.operand_type(node, 0);
    let axes: Vec<Axis<'_>> = x
        .shape
        .iter()
        .zip(attrs.dims("sizes"))
        .enumerate()
        .map(|(d, (n, size))| Axis { attrs, d, n, size })
        .collect();
    let compute = if x.dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let out = cx.output_buffer(cx.node(node).outputs[0]);
    // Where one axis needs a table of weights, the others that have weights have one, too.
    let known = axes.iter().all(|a| a.source().is_some());
    let source = |axis: &Axis<'_>| axis.source().filter(|s| known || !s.weighs());
    let first = axes.iter().position(|a| source(a).is_none());
    let (outer, inner) = axes.split_at(first.unwrap_or(axes.len()));
    let extents = |axes: &[Axis<'_>]| axes.iter().map(|a| a.size.clone()).collect::<Vec<_>>();
    let mut outer_extents = extents(outer);
    if outer.is_empty() {
        // Tables belong to an iteration: scratch memory does not outlast one.
        outer_extents.push(1.into());
    }
    cx.nest(&outer_extents, Role::Space, &mut |cx, vars| {
        let before = &vars[..outer.len()];
        let sources: Vec<Source> = axes
            .iter()
            .map(|axis| match source(axis) {
                Some(source) => source,
                None => Source::Table(axis.fill(cx, compute)),
            })
            .collect();
        let last = sources.iter().rposition(|s| s.table().is_some());
        if let Some(last) = last.filter(|last| sources[*last].weighs()) {
            let passes = Passes {
                node,
                axes: &axes,
                sources: &sources,
                compute,
                out,
                last,
            };
            return passes.define(cx, before);
        }
        cx.nest(&extents(inner), Role::Space, &mut |cx, vars| {
            let index = [before, vars].concat();
            let y = define_element(cx, node, &sources, &index, compute);
            cx.store(out, index, y);
        });
    });
}

/// The element of y at an index, where no axis has a table of weights.
fn define_element(
    cx: &mut Define<'_>,
    node: NodeId,
    sources: &[Source],
    index: &[Expr],
    compute: DType,
) -> Scalar {
    if sources.iter().any(Source::weighs) {
        let sum = interpolate(cx, node, sources, index, compute);
        return convert(cx.result_type(node, 0).dtype, compute, sum);
    }
    let value = read_nearest(cx, node, sources, index);
    extrapolated(cx, node, sources, index, value)
}

/// A value, or what stands in its place where its coordinate is outside of a cropped x.
fn extrapolated(
    cx: &Define<'_>,
    node: NodeId,
    sources: &[Source],
    index: &[Expr],
    value: Scalar,
) -> Scalar {
    let flags = sources.iter().zip(index).filter_map(|(source, o)| {
        let outside = source.table()?.outside?;
        Some(Scalar::load(outside, vec![o.clone()]))
    });
    let instead = cx.node(node).attrs.float("extrapolation");
    let instead = Scalar::num(cx.result_type(node, 0).dtype, instead);
    match flags.reduce(|a, b| Scalar::binary(BinaryOp::Or, a, b)) {
        Some(outside) => Scalar::select(outside, instead, value),
        None => value,
    }
}

/// The positions in x that an element is made of along one axis, and their weights (1 if none).
type Taps = Vec<(Expr, Option<Scalar>)>;

/// What lies between neighbours, on all axes that have them.
fn interpolate(
    cx: &mut Define<'_>,
    node: NodeId,
    sources: &[Source],
    index: &[Expr],
    compute: DType,
) -> Scalar {
    let axes = sources.iter().zip(index).map(|(source, o)| {
        let (ratio, taps) = match source {
            Source::Quotient(k) => return vec![(o.div(*k), None)],
            Source::Linear(ratio) => {
                let past = cx.bind(ratio.past(o, compute));
                let before = cx.bind(sub(Scalar::num(compute, 1.0), past.clone()));
                (ratio, vec![(0, before), (1, past)])
            }
            Source::Cubic(ratio, a) => {
                let [past, before] =
                    [Ratio::past, Ratio::before].map(|part| part(*ratio, o, compute));
                let [past, before] = [past, before].map(|part| cx.bind(part));
                let taps = cubic(*a, compute, [before, past]);
                let taps = taps.into_iter().map(|(tap, weight)| (tap, cx.bind(weight)));
                (ratio, taps.collect())
            }
            Source::Nearest(_) | Source::Table(_) => unreachable!("invariant: all axes weigh"),
        };
        let tap = |(tap, weight)| (ratio.position(o, tap), Some(weight));
        taps.into_iter().map(tap).collect()
    });
    let axes: Vec<Taps> = axes.collect();
    between(cx, node, &axes, compute, &[])
}

/// Taps, counted from the element at or below a coordinate on, and their weights by the cubic
/// convolution kernel with coefficient `a`, for a coordinate so far before the next element, and
/// past that one.
fn cubic(a: f64, compute: DType, [before, past]: [Scalar; 2]) -> Vec<(i64, Scalar)> {
    let number = |v| Scalar::num(compute, v);
    let square = |u: &Scalar| mul(u.clone(), u.clone());
    // The kernel at distances u and 1 + u, where u + v is 1, as products that do not cancel near
    // its zeros.
    let near = |u: &Scalar, v: &Scalar| {
        let sum = add(number(1.0), u.clone());
        mul(v.clone(), sub(sum, mul(number(a + 2.0), square(u))))
    };
    let far = |u: &Scalar, v: &Scalar| mul(mul(number(a), u.clone()), square(v));
    vec![
        (-1, far(&past, &before)),
        (0, near(&past, &before)),
        (1, near(&before, &past)),
        (2, far(&before, &past)),
    ]
}

/// The weighted sum over the axes behind those of which `own` has the positions in x.
fn between(
    cx: &mut Define<'_>,
    node: NodeId,
    axes: &[Taps],
    compute: DType,
    own: &[Expr],
) -> Scalar {
    let Some((axis, others)) = axes.split_first() else {
        let dtype = cx.result_type(node, 0).dtype;
        let x = cx.operand(node, 0, own);
        return convert(compute, dtype, x);
    };
    let parts = axis.iter().map(|(position, weight)| {
        let own = [own, std::slice::from_ref(position)].concat();
        let x = between(cx, node, others, compute, &own);
        match weight {
            Some(weight) => mul(x, weight.clone()),
            None => x,
        }
    });
    let parts: Vec<Scalar> = parts.collect();
    let sum = parts.into_iter().reduce(add);
    cx.bind(sum.expect("invariant: each axis has a position"))
}

/// The element of x next to the coordinates of an index.
fn read_nearest(cx: &mut Define<'_>, node: NodeId, sources: &[Source], index: &[Expr]) -> Scalar {
    let rounding = cx.node(node).attrs.str("nearest");
    let mut own = Vec::new();
    for (d, (source, o)) in sources.iter().zip(index).enumerate() {
        own.push(match source {
            Source::Quotient(k) => o.div(*k),
            Source::Nearest(ratio) => ratio.nearest(o, rounding),
            Source::Linear(_) | Source::Cubic(..) => {
                unreachable!("invariant: interpolated elsewhere")
            }
            Source::Table(table) => {
                let at = Scalar::load(table.positions, vec![o.clone(), 0.into()]);
                let extent = &cx.operand_type(node, 0).shape[d];
                cx.checked(node, &format!("position on axis {d}"), at, extent)
            }
        });
    }
    cx.operand(node, 0, &own)
}
