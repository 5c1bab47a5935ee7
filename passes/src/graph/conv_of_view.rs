//! Convolutions of reshaped images: which convolution of the image itself is the same.
use super::cancel_transposes::has_conv;
use super::shape_groups::dim_groups;
use std::ops::Range;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::Attrs;

/// The windows of a convolution along its spatial axes.
struct Windows<'a> {
    kernel: &'a [i64],
    strides: &'a [i64],
    dilations: &'a [i64],
    before: &'a [i64],
    after: &'a [i64],
}

/// A convolution along other spatial axes.
pub struct Viewed {
    /// Extents of the kernel.
    pub kernel: Vec<i64>,
    /// Attributes, with all that does not depend on these axes.
    pub attrs: Attrs,
}

/// The convolution of an image of shape `from` that is one of its reshape to `to`: spatial axes of
/// extent 1 under taps of 1 are left out, and axes that only have taps of 1 may be others. `None` if
/// there is none, or if it has the same axes.
pub fn under(from: &[Expr], to: &[Expr], kernel: &[i64], attrs: &Attrs) -> Option<Viewed> {
    let windows = Windows {
        kernel,
        strides: attrs.ints("strides"),
        dilations: attrs.ints("dilations"),
        before: attrs.ints("pads_before"),
        after: attrs.ints("pads_after"),
    };
    if !has_conv(from.len()) || from[..2] != to[..2] {
        return None;
    }
    let mut axes: Vec<Option<usize>> = Vec::new();
    for (f, t) in dim_groups(&from[2..], &to[2..])? {
        axes.extend(windows.axes_of(&from[2..], &to[2..], f, t)?);
    }
    let same = axes.iter().copied().eq((0..kernel.len()).map(Some));
    if axes.is_empty() || same {
        return None;
    }
    let pick = |of: &[i64], other: i64| -> Vec<i64> {
        axes.iter().map(|a| a.map_or(other, |k| of[k])).collect()
    };
    let attrs = attrs.clone();
    let attrs = attrs.with("strides", pick(windows.strides, 1));
    let attrs = attrs.with("dilations", pick(windows.dilations, 1));
    let attrs = attrs.with("pads_before", pick(windows.before, 0));
    Some(Viewed {
        kernel: pick(kernel, 1),
        attrs: attrs.with("pads_after", pick(windows.after, 0)),
    })
}

impl Windows<'_> {
    /// Whether an axis has one tap and no padding.
    fn has_one_tap(&self, k: usize) -> bool {
        self.kernel[k] == 1 && self.before[k] == 0 && self.after[k] == 0
    }

    /// The axes of the windows for the dimensions of a group, `None` for one of a single tap.
    fn axes_of(
        &self,
        from: &[Expr],
        to: &[Expr],
        f: Range<usize>,
        t: Range<usize>,
    ) -> Option<Vec<Option<usize>>> {
        if f.len() == 1 && t.len() == 1 {
            return Some(vec![Some(t.start)]);
        }
        let plain = |k: usize| self.has_one_tap(k) && self.strides[k] == 1;
        if t.clone().all(plain) {
            return Some(f.map(|_| None).collect());
        }
        let (many, unit): (Vec<usize>, Vec<usize>) = t.partition(|k| !to[*k].is(1));
        let dropped = unit.iter().all(|k| self.has_one_tap(*k));
        match (many[..].first(), f.len()) {
            (Some(one), 1) if dropped && many.len() == 1 && from[f.start] == to[*one] => {
                Some(vec![Some(*one)])
            }
            (None, 0) if dropped => Some(vec![]),
            _ => None,
        }
    }
}
