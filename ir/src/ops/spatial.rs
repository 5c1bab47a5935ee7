//! Windows that slide over spatial axes: what convolutions and pools share.
use super::Sampler;
use crate::expr::Expr;
use crate::graph::Attrs;
use crate::tensor::{Tensor, Wide};
use std::ops::Range;

/// A window: one entry per spatial axis.
pub(super) struct Window {
    /// The number of taps.
    pub kernel: Vec<Expr>,
    /// The distance of neighbouring windows.
    pub strides: Vec<i64>,
    /// The distance of neighbouring taps.
    pub dilations: Vec<i64>,
    /// How far windows reach out before the first element.
    pub before: Vec<i64>,
    /// How far windows reach out behind the last element.
    pub after: Vec<i64>,
}

impl Window {
    /// The window of the attributes `strides`, `dilations`, `pads_before` and `pads_after`.
    pub fn new(attrs: &Attrs, kernel: Vec<Expr>) -> Self {
        Window {
            kernel,
            strides: attrs.ints("strides").to_vec(),
            dilations: attrs.ints("dilations").to_vec(),
            before: attrs.ints("pads_before").to_vec(),
            after: attrs.ints("pads_after").to_vec(),
        }
    }

    /// Checks lengths and signs.
    ///
    /// Errors: the first attribute that does not fit `rank` spatial axes.
    pub fn check(&self, rank: usize) -> Result<(), String> {
        let lists = [
            ("strides", &self.strides, 1),
            ("dilations", &self.dilations, 1),
            ("pads_before", &self.before, 0),
            ("pads_after", &self.after, 0),
        ];
        for (name, list, least) in lists {
            // The bound keeps products of attributes and extents far from overflow.
            if list.len() != rank || list.iter().any(|v| !(least..1 << 31).contains(v)) {
                return Err(format!(
                    "`{name}` is {list:?}, want {rank} numbers that are at least {least}"
                ));
            }
        }
        let empty = |k: &Expr| k.as_const().is_some_and(|c| !(1..1 << 31).contains(&c));
        if self.kernel.len() != rank || self.kernel.iter().any(empty) {
            return Err(format!(
                "the kernel is {}, want {rank} extents of at least 1",
                super::show_shape(&self.kernel)
            ));
        }
        Ok(())
    }

    /// How many elements the taps of a window span on axis `d`.
    pub fn span(&self, d: usize) -> Expr {
        (self.kernel[d].clone() - 1) * self.dilations[d] + 1
    }

    /// The number of windows per axis.
    ///
    /// Errors: an axis that is known to be shorter than its window.
    pub fn counts(&self, extents: &[Expr]) -> Result<Vec<Expr>, String> {
        let count = |d: usize| {
            let padded = extents[d].clone() + self.before[d] + self.after[d];
            let count = (padded.clone() - self.span(d)).div(self.strides[d]) + 1;
            if count.as_const().is_some_and(|c| c < 0) {
                return Err(format!(
                    "spatial axis {d} has {padded} elements with padding, its window spans {}",
                    self.span(d)
                ));
            }
            Ok(count)
        };
        (0..extents.len()).map(count).collect()
    }

    /// The element that tap `taps` of window `at` reads.
    pub fn position(&self, at: &[Expr], taps: &[Expr]) -> Vec<Expr> {
        let one = |d: usize| {
            at[d].clone() * self.strides[d] + taps[d].clone() * self.dilations[d] - self.before[d]
        };
        (0..at.len()).map(one).collect()
    }

    /// What must be at least 0 for a position to lie inside. Where there is no padding, nothing.
    pub fn inside(&self, position: &[Expr], extents: &[Expr]) -> Vec<Expr> {
        let mut conds = Vec::new();
        for (d, p) in position.iter().enumerate() {
            if self.before[d] > 0 {
                conds.push(p.clone());
            }
            if self.after[d] > 0 {
                conds.push(extents[d].clone() - 1 - p.clone());
            }
        }
        conds
    }
}

/// One spatial axis of a reference evaluation. Axes that are missing up to three have extent 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// The number of elements.
    pub input: usize,
    /// The number of windows.
    pub output: usize,
    /// The number of taps.
    pub kernel: usize,
    /// The distance of neighbouring windows.
    pub stride: usize,
    /// The distance of neighbouring taps.
    pub dilation: usize,
    /// How far windows reach out before the first element.
    pub before: usize,
}

impl Axis {
    /// The windows whose tap `tap` lies inside.
    pub fn windows(&self, tap: usize) -> Range<usize> {
        let at = tap * self.dilation;
        let first = self.before.saturating_sub(at).div_ceil(self.stride);
        let end = (self.input + self.before)
            .saturating_sub(at)
            .div_ceil(self.stride);
        let end = end.min(self.output);
        first.min(end)..end
    }

    /// The element that tap `tap` of window `at` reads; it must lie inside.
    pub fn element(&self, at: usize, tap: usize) -> usize {
        at * self.stride + tap * self.dilation - self.before
    }
}

/// The spatial axes of a reference evaluation, as three.
pub(super) fn three_axes(
    attrs: &Attrs,
    input: &[usize],
    output: &[usize],
    kernel: &[usize],
) -> [Axis; 3] {
    let none = Axis {
        input: 1,
        output: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
    };
    let mut axes = [none; 3];
    let skip = 3 - input.len();
    for d in 0..input.len() {
        axes[skip + d] = Axis {
            input: input[d],
            output: output[d],
            kernel: kernel[d],
            stride: attrs.ints("strides")[d] as usize,
            dilation: attrs.ints("dilations")[d] as usize,
            before: attrs.ints("pads_before")[d] as usize,
        };
    }
    axes
}

/// For each tap and each row of windows that it lies inside: calls `visit` with the tap's number,
/// the row-major range of windows and the first element of the range; neighbouring windows are
/// `axes[2].stride` elements apart.
pub(super) fn visit_rows(axes: &[Axis; 3], mut visit: impl FnMut(usize, Range<usize>, usize)) {
    let [a, b, c] = axes;
    for tap in 0..a.kernel * b.kernel * c.kernel {
        let (i, j, k) = (
            tap / (b.kernel * c.kernel),
            tap / c.kernel % b.kernel,
            tap % c.kernel,
        );
        let row = c.windows(k);
        if row.is_empty() {
            continue;
        }
        for y in a.windows(i) {
            for x in b.windows(j) {
                let out = (y * b.output + x) * c.output;
                let from = (a.element(y, i) * b.input + b.element(x, j)) * c.input;
                visit(
                    tap,
                    out + row.start..out + row.end,
                    from + c.element(row.start, k),
                );
            }
        }
    }
}

/// What reference evaluation computes in: `f64`, or integers modulo 2^64.
pub(super) trait Number: Copy {
    /// The neutral element of the sum.
    const ZERO: Self;
    /// `self + a*b`.
    fn plus_product(self, a: Self, b: Self) -> Self;
    /// `self + a`.
    fn plus(self, a: Self) -> Self;
}

impl Number for f64 {
    const ZERO: f64 = 0.0;

    fn plus_product(self, a: f64, b: f64) -> f64 {
        self + a * b
    }

    fn plus(self, a: f64) -> f64 {
        self + a
    }
}

impl Number for i64 {
    const ZERO: i64 = 0;

    fn plus_product(self, a: i64, b: i64) -> i64 {
        self.wrapping_add(a.wrapping_mul(b))
    }

    fn plus(self, a: i64) -> i64 {
        self.wrapping_add(a)
    }
}

/// The elements of one or two tensors in what reference evaluation computes in.
pub(super) enum Pair {
    /// Floats.
    Float(Vec<f64>, Vec<f64>),
    /// Integers.
    Int(Vec<i64>, Vec<i64>),
}

impl Pair {
    /// The elements of two tensors of one type.
    pub fn new(a: &Tensor, b: &Tensor) -> Pair {
        if a.dtype.is_float() {
            Pair::Float(a.to_f64(), b.to_f64())
        } else {
            Pair::Int(a.to_i64(), b.to_i64())
        }
    }
}

/// Integers as elements of a tensor.
pub(super) fn wide_ints(values: Vec<i64>) -> Wide {
    Wide::Int(values.into_iter().map(i128::from).collect())
}

/// `out[k] += x[k*stride] * w` over a row.
pub(super) fn add_row<T: Number>(out: &mut [T], x: &[T], stride: usize, w: T) {
    if stride == 1 {
        for (o, v) in out.iter_mut().zip(x) {
            *o = o.plus_product(*v, w);
        }
    } else {
        for (o, v) in out.iter_mut().zip(x.iter().step_by(stride)) {
            *o = o.plus_product(*v, w);
        }
    }
}

/// A random window for extents that it returns, too: windows fit, strides, dilations and padding
/// vary.
pub(super) fn sample_window(s: &mut Sampler, rank: usize) -> (Vec<usize>, Window) {
    let mut window = Window {
        kernel: vec![],
        strides: vec![],
        dilations: vec![],
        before: vec![],
        after: vec![],
    };
    let mut extents = Vec::new();
    for _ in 0..rank {
        let (kernel, dilation) = (*s.pick(&[1, 1, 2, 3, 3, 5]), *s.pick(&[1, 1, 1, 2]));
        let (before, after) = (s.int(0, kernel - 1), s.int(0, kernel - 1));
        let least = ((kernel - 1) * dilation + 1 - before - after).max(0);
        let most = if rank == 1 { 40 } else { 9 };
        extents.push(s.int(least, least.max(most)) as usize);
        window.kernel.push(kernel.into());
        window.strides.push(*s.pick(&[1, 1, 1, 2, 3]));
        window.dilations.push(dilation);
        window.before.push(before);
        window.after.push(after);
    }
    (extents, window)
}

impl Window {
    /// The attributes that [`Window::new`] reads.
    pub fn attrs(&self) -> Attrs {
        Attrs::new()
            .with("strides", self.strides.clone())
            .with("dilations", self.dilations.clone())
            .with("pads_before", self.before.clone())
            .with("pads_after", self.after.clone())
    }

    /// The numbers of taps; all must be numbers.
    pub fn kernel_ints(&self) -> Vec<i64> {
        self.kernel.iter().filter_map(Expr::as_const).collect()
    }
}
