//! Convolutions, and the geometry that they share with pools.
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("Conv", |cx, node| {
        let (x, w, b) = (
            cx.input(node, 0)?,
            cx.input(node, 1)?,
            cx.optional(node, 2)?,
        );
        conv(cx, node, x, w, b).map(one)
    }),
    onnx("ConvTranspose", conv_transpose),
];

/// Strides, dilations and padding of windows over spatial axes.
pub(crate) struct Geometry {
    pub(crate) kernel: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    pub(crate) dilations: Vec<i64>,
    pub(crate) before: Vec<i64>,
    pub(crate) after: Vec<i64>,
}

/// Values of window attributes far beyond any use; below, sums stay far from overflow.
const WINDOW_MAX: i64 = 1 << 24;

impl Geometry {
    /// The geometry of a node with a kernel of these extents; automatic padding is resolved for
    /// spatial extents `extents`.
    pub(crate) fn of(
        cx: &Cx<'_>,
        node: &NodeProto,
        kernel: Vec<i64>,
        extents: &[Expr],
    ) -> Result<Self> {
        let rank = kernel.len();
        let list = |name: &str, default: i64, len: usize| {
            let values = match node.attr_ints(name)? {
                Some(values) if !values.is_empty() => values.to_vec(),
                _ => vec![default; len],
            };
            let fits = values.len() == len && values.iter().all(|v| v.abs() <= WINDOW_MAX);
            match fits {
                true => Ok(values),
                false => Err(cx.invalid(format!("{name} {values:?}, want {len} small numbers"))),
            }
        };
        if extents.len() != rank {
            let found = extents.len();
            return Err(cx.invalid(format!("{found} spatial axes, but {rank} of the kernel")));
        }
        let mut pads = list("pads", 0, 2 * rank)?;
        let after = pads.split_off(rank);
        let mut geometry = Geometry {
            kernel,
            strides: list("strides", 1, rank)?,
            dilations: list("dilations", 1, rank)?,
            before: pads,
            after,
        };
        let positive = |v: &Vec<i64>| v.iter().all(|n| (1..=WINDOW_MAX).contains(n));
        let g = &geometry;
        if ![&g.kernel, &g.strides, &g.dilations]
            .into_iter()
            .all(positive)
        {
            return Err(cx.invalid("kernel, strides and dilations must be at least 1"));
        }
        match node.attr_s_or("auto_pad", "NOTSET")? {
            "" | "NOTSET" => {}
            "VALID" => (geometry.before, geometry.after) = (vec![0; rank], vec![0; rank]),
            mode @ ("SAME_UPPER" | "SAME_LOWER") => geometry.same(cx, extents, mode)?,
            other => return Err(cx.invalid(format!("auto_pad {other:?}"))),
        }
        Ok(geometry)
    }

    /// How far the taps of a window reach on an axis.
    pub(crate) fn span(&self, d: usize) -> i64 {
        (self.kernel[d] - 1) * self.dilations[d] + 1
    }

    fn same(&mut self, cx: &Cx<'_>, extents: &[Expr], mode: &str) -> Result<()> {
        for (d, extent) in extents.iter().enumerate() {
            let (stride, span) = (self.strides[d], self.span(d));
            let total = match (extent.as_const(), stride) {
                (_, 1) => span - 1,
                (Some(n), _) => ((n - 1) / stride * stride + span - n).max(0),
                (None, _) => {
                    let what = format!("automatic padding by stride {stride} of extent {extent}");
                    return Err(cx.unsupported(what));
                }
            };
            let half = total / 2;
            (self.before[d], self.after[d]) = match mode {
                "SAME_UPPER" => (half, total - half),
                _ => (total - half, half),
            };
        }
        Ok(())
    }

    /// Pads more behind, so that the last window that `ceil_mode` admits fits. Returns how much, and
    /// where a window more may fit than it admits, how many windows count.
    pub(crate) fn ceil(&mut self, extents: &[Expr]) -> (Vec<i64>, Vec<Option<Expr>>) {
        let mut extra = vec![0; extents.len()];
        let mut counts = vec![None; extents.len()];
        for (d, extent) in extents.iter().enumerate() {
            let (stride, span) = (self.strides[d], self.span(d));
            if stride == 1 {
                continue;
            }
            let Some(n) = extent.as_const() else {
                // Enough for any extent.
                extra[d] = stride - 1;
                if self.after[d] + stride > span {
                    // A window must not begin behind the elements.
                    counts[d] = Some((extent.clone() + self.before[d]).ceil_div(stride));
                }
                self.after[d] += extra[d];
                continue;
            };
            let padded = n + self.before[d] + self.after[d];
            let mut count = (padded - span).max(0).div_euclid(stride) + 1;
            if (padded - span).max(0) % stride != 0 && count * stride < n + self.before[d] {
                count += 1;
            }
            extra[d] = ((count - 1) * stride + span - padded).max(0);
            self.after[d] += extra[d];
        }
        (extra, counts)
    }

    /// The attributes that all rows with windows have.
    pub(crate) fn attrs(self) -> Attrs {
        Attrs::new()
            .with("strides", self.strides)
            .with("dilations", self.dilations)
            .with("pads_before", self.before)
            .with("pads_after", self.after)
    }
}

/// The spatial extents of weights.
fn kernel_of(cx: &Cx<'_>, node: &NodeProto, w: ValueId) -> Result<Vec<i64>> {
    let shape = cx.shape(w);
    if shape.len() < 3 {
        return Err(cx.invalid("the weights have no spatial axes"));
    }
    let kernel: Option<Vec<i64>> = shape[2..].iter().map(Expr::as_const).collect();
    let kernel = kernel.ok_or_else(|| cx.unsupported("a kernel of symbolic extent"))?;
    match node.attr_ints("kernel_shape")? {
        Some(said) if said != kernel => Err(cx.invalid(format!(
            "kernel_shape is {said:?}, and the weights have kernels of {kernel:?}"
        ))),
        _ => Ok(kernel),
    }
}

/// Adds a bias of shape `[channels]` along axis 1.
fn add_bias(cx: &mut Cx<'_>, y: ValueId, bias: Option<ValueId>) -> Result<ValueId> {
    let Some(bias) = bias else {
        return Ok(y);
    };
    let bias = cx.vector_along(("the bias", bias), y, 1)?;
    cx.binary("add", y, bias)
}

/// A convolution with the attributes of `node`.
pub(crate) fn conv(
    cx: &mut Cx<'_>,
    node: &NodeProto,
    x: ValueId,
    w: ValueId,
    bias: Option<ValueId>,
) -> Result<ValueId> {
    let kernel = kernel_of(cx, node, w)?;
    let shape = cx.shape(x);
    let geometry = Geometry::of(cx, node, kernel, shape.get(2..).unwrap_or(&[]))?;
    let groups = node.attr_i_or("group", 1)?;
    let y = cx.row("conv", &[x, w], geometry.attrs().with("groups", groups))?;
    add_bias(cx, y, bias)
}

fn conv_transpose(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (x, w, b) = (
        cx.input(node, 0)?,
        cx.input(node, 1)?,
        cx.optional(node, 2)?,
    );
    let kernel = kernel_of(cx, node, w)?;
    let rank = kernel.len();
    let shape = cx.shape(x);
    let extents = shape.get(2..).unwrap_or(&[]);
    // With stride 1, "same" padding of convolutions and of transposed ones agree; else the total
    // is computed here.
    let mut plain = node.clone();
    plain.attribute.retain(|a| a.name != "auto_pad");
    let mut g = Geometry::of(cx, &plain, kernel, extents)?;
    let mut more = match node.attr_ints("output_padding")? {
        Some(more) if more.len() == rank && more.iter().all(|m| m.abs() <= WINDOW_MAX) => {
            more.to_vec()
        }
        Some(more) => return Err(cx.invalid(format!("output_padding {more:?}"))),
        None => vec![0; rank],
    };
    let mode = node.attr_s_or("auto_pad", "NOTSET")?;
    let wanted = node
        .attr_ints("output_shape")?
        .map(|s| &s[s.len().saturating_sub(rank)..]);
    if mode == "VALID" {
        (g.before, g.after) = (vec![0; rank], vec![0; rank]);
    }
    for d in 0..rank {
        let (stride, span) = (g.strides[d], g.span(d));
        // Total padding: what the windows cover less what is wanted of it.
        let total = match wanted.and_then(|w| w.get(d)) {
            Some(want) if want.abs() > 1 << 40 => {
                return Err(cx.invalid(format!("output_shape has {want}")));
            }
            Some(want) => {
                let covered = (extents[d].clone() - 1) * stride + span + more[d] - *want;
                let total = covered.as_const();
                total.ok_or_else(|| cx.unsupported("output_shape with a symbolic extent"))?
            }
            None if mode.starts_with("SAME") => span - stride + more[d],
            None => continue,
        };
        let half = total.max(0) / 2;
        let rest = total.max(0) - half;
        more[d] += (-total).max(0);
        (g.before[d], g.after[d]) = match mode {
            "SAME_UPPER" => (half, rest),
            _ => (rest, half),
        };
    }
    let groups = node.attr_i_or("group", 1)?;
    let attrs = g
        .attrs()
        .with("groups", groups)
        .with("output_padding", more);
    let y = cx.row("conv_transpose", &[x, w], attrs)?;
    add_bias(cx, y, b).map(one)
}
