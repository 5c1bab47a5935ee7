//! Resampling along axes: nearest, linear and cubic.
//!
//! Coordinates depend on one axis each.
mod lower;

use super::movement::{pick, position};
use super::types::{ANY, FLOATS};
use super::{Class, InferCx, Lower, OpDef, Sample, Sampler, Tolerance, attr};
use crate::eval::{EvalCx, EvalError};
use crate::expr::Expr;
use crate::graph::{AttrKind, Attrs, TensorType};
use crate::tensor::{Tensor, Wide};

const MODES: &[&str] = &["nearest", "linear", "cubic"];
const ROUNDINGS: &[&str] = &["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
const COORDINATES: &[&str] = &[
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "tf_crop_and_resize",
];

/// The greatest number of elements along one axis that an antialiased element is made of: tables
/// hold that many weights per element.
const MAX_TAPS: i64 = 4096;

/// The row of `resize`.
pub const OPS: &[OpDef] = &[OpDef {
    name: "resize",
    doc: "y[i] = sum over taps t of w(t)*x[t] with, along each axis, taps around the coordinate of i in x: the nearest element, or linear or cubic weights; taps beyond the border read the border",
    arity: (1, 1),
    attrs: &[
        attr("sizes", AttrKind::Dims, "the extents of the result"),
        attr("mode", AttrKind::Str, "nearest, linear or cubic"),
        attr(
            "scales",
            AttrKind::Floats,
            "one per axis; none: extents of the result over those of x",
        ),
        attr(
            "coordinate",
            AttrKind::Str,
            "half_pixel, half_pixel_symmetric, pytorch_half_pixel, asymmetric, align_corners or tf_crop_and_resize",
        ),
        attr(
            "nearest",
            AttrKind::Str,
            "round_prefer_floor, round_prefer_ceil, floor or ceil",
        ),
        attr(
            "cubic_coeff",
            AttrKind::Float,
            "the coefficient a of cubic weights",
        ),
        attr(
            "exclude_outside",
            AttrKind::Bool,
            "whether taps beyond the border weigh nothing",
        ),
        attr(
            "antialias",
            AttrKind::Bool,
            "whether weights stretch when the result is smaller",
        ),
        attr(
            "roi",
            AttrKind::Floats,
            "tf_crop_and_resize: starts, then ends, as shares of the extents",
        ),
        attr(
            "extrapolation",
            AttrKind::Float,
            "tf_crop_and_resize: the value outside of x",
        ),
    ],
    class: Class::Opaque,
    types: ANY,
    infer,
    eval,
    lower: Lower::Kernel(lower::define),
    row_axes: None,
    // Per axis a rounded weight and a rounded product, then the sum over taps.
    tolerance: Tolerance::Sum(8.0),
    samples,
    source: "ONNX operators, Resize",
}];

// Types and shapes

fn one_of(cx: &InferCx<'_>, name: &str, words: &[&str]) -> Result<(), String> {
    let word = cx.attrs.str(name);
    if words.contains(&word) {
        return Ok(());
    }
    Err(format!("`{name}` is `{word}`, want one of {words:?}"))
}

fn infer(cx: &InferCx<'_>) -> Result<Vec<TensorType>, String> {
    let (x, a) = (cx.inputs[0], cx.attrs);
    one_of(cx, "mode", MODES)?;
    one_of(cx, "coordinate", COORDINATES)?;
    one_of(cx, "nearest", ROUNDINGS)?;
    let (sizes, scales, roi) = (a.dims("sizes"), a.floats("scales"), a.floats("roi"));
    let crops = a.str("coordinate") == "tf_crop_and_resize";
    let counts = sizes.len() == x.rank()
        && [0, x.rank()].contains(&scales.len())
        && (roi.len() == 2 * x.rank() || (!crops && roi.is_empty()));
    if !counts {
        return Err(format!(
            "{} sizes, {} scales and {} region bounds do not fit rank {}",
            sizes.len(),
            scales.len(),
            roi.len(),
            x.rank()
        ));
    }
    if !scales.iter().all(|s| s.is_finite() && *s > 0.0) {
        return Err(format!("`scales` is {scales:?}, want positive numbers"));
    }
    if a.str("mode") != "nearest" && !x.dtype.is_float() {
        return Err(format!(
            "operand 0 is {}, want a float unless `mode` is nearest",
            x.dtype
        ));
    }
    for (d, (size, n)) in sizes.iter().zip(&x.shape).enumerate() {
        let negative = size.as_const().is_some_and(|s| s < 0);
        if negative || (n.is(0) && !size.is(0)) {
            return Err(format!("axis {d} cannot grow from {n} to {size} elements"));
        }
        if a.flag("antialias") && !is_kept(a, d, n) {
            taps(a, d, n).ok_or_else(|| {
                format!("axis {d}: antialiasing needs a known scale of at least 1/1024")
            })?;
        }
    }
    Ok(vec![TensorType::new(x.dtype, sizes.to_vec())])
}

/// Whether an axis with extent `n` is the same in x and y.
fn is_kept(attrs: &Attrs, d: usize, n: &Expr) -> bool {
    let (sizes, scales, roi) = (
        attrs.dims("sizes"),
        attrs.floats("scales"),
        attrs.floats("roi"),
    );
    let whole = attrs.str("coordinate") != "tf_crop_and_resize"
        || (roi[d] == 0.0 && roi[sizes.len() + d] == 1.0);
    sizes[d] == *n && scales.get(d).is_none_or(|s| *s == 1.0) && whole
}

/// The scale of an axis, if it is known before run time.
fn known_scale(attrs: &Attrs, d: usize, n: &Expr) -> Option<f64> {
    if let Some(scale) = attrs.floats("scales").get(d) {
        return Some(*scale);
    }
    let (size, n) = (attrs.dims("sizes")[d].as_const()?, n.as_const()?);
    (n > 0).then(|| size as f64 / n as f64)
}

/// The first tap relative to the coordinate rounded down, and the number of taps.
fn taps(attrs: &Attrs, d: usize, n: &Expr) -> Option<(i64, i64)> {
    let reach = match attrs.str("mode") {
        "nearest" => return Some((0, 1)),
        "linear" => 1.0,
        _ => 2.0,
    };
    let stretch = stretch(attrs, d, n)?;
    let first = (-reach / stretch).floor() as i64 + 1;
    let count = 2 - 2 * first;
    (count <= MAX_TAPS).then_some((first, count))
}

/// What distances are multiplied by before they are weighed.
fn stretch(attrs: &Attrs, d: usize, n: &Expr) -> Option<f64> {
    let empty = attrs.dims("sizes")[d].is(0);
    if !attrs.flag("antialias") || attrs.str("mode") == "nearest" || empty {
        return Some(1.0);
    }
    let scale = known_scale(attrs, d, n)?.min(1.0);
    (scale > 1.0 / 1024.0).then_some(scale)
}

// Definition in loops

// Reference evaluation

/// One axis, with numbers.
struct Line<'a> {
    attrs: &'a Attrs,
    d: usize,
    n: usize,
    size: usize,
}

impl Line<'_> {
    /// A result of arithmetic of coordinates: that of nearest elements is in single precision.
    fn round(&self, x: f64) -> f64 {
        match self.attrs.str("mode") {
            "nearest" => f64::from(x as f32),
            _ => x,
        }
    }

    fn coordinate(&self, o: usize) -> f64 {
        let r = |x: f64| self.round(x);
        let (o, n, size) = (o as f64, self.n as f64, self.size as f64);
        let given = self.attrs.floats("scales").get(self.d);
        let scale = given.copied().unwrap_or(r(size / n));
        let length = given.map_or(size, |s| r(s * n));
        let roi = self.attrs.floats("roi");
        let centre = r(r(r(o + 0.5) / scale) - 0.5);
        match self.attrs.str("coordinate") {
            "align_corners" if length == 1.0 => 0.0,
            "align_corners" => r(r(o * (n - 1.0)) / r(length - 1.0)),
            "asymmetric" => r(o / scale),
            "tf_crop_and_resize" => {
                let (start, end) = (roi[self.d], roi[roi.len() / 2 + self.d]);
                let share = r(end - start);
                let within = if length == 1.0 {
                    r(share * (n - 1.0)) / 2.0
                } else {
                    r(r(r(o * share) * (n - 1.0)) / r(length - 1.0))
                };
                r(within + r(start * (n - 1.0)))
            }
            "pytorch_half_pixel" if length == 1.0 => 0.0,
            "half_pixel_symmetric" => {
                let offset = r(n / 2.0 * r(1.0 - r(size / length)));
                r(offset + centre)
            }
            _ => centre,
        }
    }

    /// The taps of a position: index and weight; none outside of a cropped x.
    fn taps(&self, o: usize) -> Option<Vec<(usize, f64)>> {
        let (x, last) = (self.coordinate(o), self.n as f64 - 1.0);
        if self.attrs.str("coordinate") == "tf_crop_and_resize" && (x < 0.0 || x > last) {
            return None;
        }
        let inside = |at: f64| at.clamp(0.0, last) as usize;
        if self.attrs.str("mode") == "nearest" {
            let at = match self.attrs.str("nearest") {
                "round_prefer_floor" => (x - 0.5).ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                "floor" => x.floor(),
                _ => x.ceil(),
            };
            return Some(vec![(inside(at), 1.0)]);
        }
        let given = self.attrs.floats("scales").get(self.d);
        let scale = given.copied().unwrap_or(self.size as f64 / self.n as f64);
        let (antialias, excludes) = (
            self.attrs.flag("antialias"),
            self.attrs.flag("exclude_outside"),
        );
        let stretch = if antialias { scale.min(1.0) } else { 1.0 };
        let reach = (2.0 / stretch).ceil() as i64 + 1;
        let mut taps: Vec<(f64, f64)> = (-reach..=reach)
            .map(|t| x.floor() + t as f64)
            .map(|at| (at, self.weigh((at - x).abs() * stretch)))
            .filter(|(at, _)| !excludes || (0.0..=last).contains(at))
            .collect();
        if antialias || excludes {
            let total: f64 = taps.iter().map(|(_, w)| w).sum();
            let total = if total == 0.0 { 1.0 } else { total };
            taps.iter_mut().for_each(|(_, w)| *w /= total);
        }
        Some(taps.into_iter().map(|(at, w)| (inside(at), w)).collect())
    }

    fn weigh(&self, d: f64) -> f64 {
        let a = self.attrs.float("cubic_coeff");
        match self.attrs.str("mode") {
            "linear" => (1.0 - d).max(0.0),
            // (a + 2) d^3 - (a + 3) d^2 + 1
            _ if d <= 1.0 => (d - 1.0) * ((a + 2.0) * d.powi(2) - d - 1.0),
            // a d^3 - 5 a d^2 + 8 a d - 4 a
            _ if d < 2.0 => a * (d - 1.0) * (d - 2.0).powi(2),
            _ => 0.0,
        }
    }
}

fn eval(cx: &EvalCx<'_>) -> Result<Vec<Tensor>, EvalError> {
    let (x, shape) = (cx.inputs[0], cx.output_shape(0)?);
    let lines = x.shape.iter().zip(&shape).enumerate();
    let lines: Vec<Line<'_>> = lines
        .map(|(d, (n, size))| Line {
            attrs: cx.attrs,
            d,
            n: *n,
            size: *size,
        })
        .filter(|l| !is_kept(cx.attrs, l.d, &l.n.into()))
        .collect();
    if !shape.contains(&0)
        && let Some(line) = lines.iter().find(|l| l.n == 0)
    {
        return Err(cx.error(format!("axis {} has no elements to resize", line.d)));
    }
    if cx.attrs.str("mode") == "nearest" {
        return Ok(vec![eval_nearest(cx, &lines, shape)]);
    }
    let (mut now, mut values) = (x.shape.clone(), x.to_f64());
    for line in &lines {
        values = resample(line, &now, &values);
        now[line.d] = line.size;
    }
    Ok(vec![Tensor::from_wide(
        x.dtype,
        shape,
        &Wide::Float(values),
    )])
}

fn eval_nearest(cx: &EvalCx<'_>, lines: &[Line<'_>], shape: Vec<usize>) -> Tensor {
    let x = cx.inputs[0];
    let fill = Tensor::splat(x.dtype, vec![1], cx.attrs.float("extrapolation"));
    pick(x, shape, &fill.data, &mut |index| {
        let mut from = index.to_vec();
        for line in lines {
            from[line.d] = line.taps(index[line.d])?[0].0;
        }
        Some(from)
    })
}

/// Resizes one axis.
fn resample(line: &Line<'_>, shape: &[usize], values: &[f64]) -> Vec<f64> {
    let mut to = shape.to_vec();
    to[line.d] = line.size;
    let taps: Vec<_> = (0..line.size).map(|o| line.taps(o)).collect();
    let mut out = Vec::new();
    super::movement::each_index(&to, &mut |index| {
        let Some(taps) = &taps[index[line.d]] else {
            out.push(line.attrs.float("extrapolation"));
            return;
        };
        let mut from = index.to_vec();
        out.push(
            taps.iter()
                .map(|(at, w)| {
                    from[line.d] = *at;
                    w * values[position(shape, &from)]
                })
                .sum(),
        );
    });
    out
}

// Samples

fn samples(s: &mut Sampler) -> Vec<Sample> {
    let mode = *s.pick(MODES);
    let dtype = s.dtype(if mode == "nearest" { ANY } else { FLOATS });
    let rank = s.int(1, 4) as usize;
    let shape: Vec<usize> = (0..rank).map(|_| *s.pick(&[1, 2, 3, 5, 8])).collect();
    let given = s.int(0, 1) == 1;
    let (mut sizes, mut scales) = (Vec::new(), Vec::new());
    for n in &shape {
        let scale = *s.pick(&[1.0, 1.0, 2.0, 3.0, 0.5, 0.6, 1.5, 0.3]);
        sizes.push(Expr::from((*n as f64 * scale) as usize));
        // As files have them.
        scales.push(f64::from(scale as f32));
    }
    let coordinate = *s.pick(COORDINATES);
    let roi: Vec<f64> = [-0.2, 0.3, 0.0, 0.1][..rank]
        .iter()
        .chain(&[0.8, 1.4, 1.0, 0.9][..rank])
        .copied()
        .collect();
    let attrs = Attrs::new()
        .with("sizes", sizes)
        .with("mode", mode)
        .with("scales", if given { scales } else { vec![] })
        .with("coordinate", coordinate)
        .with("nearest", *s.pick(ROUNDINGS))
        .with("cubic_coeff", -0.75)
        .with("exclude_outside", s.int(0, 2) == 0)
        .with("antialias", s.int(0, 2) == 0)
        .with("roi", roi)
        .with("extrapolation", 7.0);
    vec![Sample::new(vec![s.tensor(dtype, &shape, -4.0, 4.0)], attrs)]
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
