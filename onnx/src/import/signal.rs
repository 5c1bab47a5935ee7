//! Windows and Fourier transforms: contractions with tables of angles.
use std::f64::consts::TAU;

use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::ValueId;

use super::cx::Cx;
use super::elementwise::element_type;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("HannWindow", |cx, node| window(cx, node, &[0.5, -0.5])),
    onnx("HammingWindow", |cx, node| {
        window(cx, node, &[25.0 / 46.0, -21.0 / 46.0])
    }),
    onnx("BlackmanWindow", |cx, node| {
        window(cx, node, &[0.42, -0.5, 0.08])
    }),
    onnx("DFT", dft),
    onnx("STFT", stft),
];

/// Elements of a table of angles, and places of a transform.
const TABLE_MAX: i64 = 1 << 24;

/// A sum of cosines: of multiples of one turn over the window.
fn window(cx: &mut Cx<'_>, node: &NodeProto, parts: &[f64]) -> Vals {
    let dtype = element_type(cx, node.attr_i_or("output_datatype", 1)?)?;
    let size = cx.ints(node, 0)?.first().copied().unwrap_or(-1);
    if !(0..=TABLE_MAX).contains(&size) {
        return Err(cx.unsupported(format!("a window of {size} elements")));
    }
    let periodic = node.attr_bool_or("periodic", true)?;
    let turn = (size - i64::from(!periodic)).max(1) as f64;
    let index = cx.iota(vec![size.into()], 0, DType::F64)?;
    let mut y = cx.scalar(DType::F64, parts[0]);
    for (m, part) in parts.iter().enumerate().skip(1) {
        let angle = cx.with_scalar("mul", index, TAU * m as f64 / turn)?;
        let cos = cx.unary("cos", angle)?;
        let term = cx.with_scalar("mul", cos, *part)?;
        y = cx.binary("add", y, term)?;
    }
    cx.cast(y, dtype).map(one)
}

/// A discrete transform of `n` places along an axis.
struct Transform {
    n: i64,
    inverse: bool,
    onesided: bool,
}

impl Transform {
    /// A row per place of the operand, a column per place of the result: cosines or sines of the
    /// angles, weighed.
    fn table(&self, cx: &mut Cx<'_>, like: ValueId, rows: i64, f: &str) -> Result<ValueId> {
        let columns = self.places();
        if rows
            .checked_mul(columns)
            .is_none_or(|count| count > TABLE_MAX)
        {
            return Err(cx.unsupported(format!("a transform of {rows} to {columns} places")));
        }
        let row = cx.iota(vec![rows.into(), 1.into()], 0, DType::I64)?;
        let column = cx.iota(vec![1.into(), columns.into()], 1, DType::I64)?;
        // Reduced to one turn first: the angle is as exact as it can be.
        let steps = cx.binary("mul", row, column)?;
        let steps = cx.with_scalar("mod", steps, self.n as f64)?;
        let steps = cx.cast(steps, DType::F64)?;
        let angle = cx.with_scalar("mul", steps, TAU / self.n as f64)?;
        let mut table = cx.unary(f, angle)?;
        if self.inverse {
            table = cx.with_scalar("div", table, self.n as f64)?;
            if self.onesided {
                let double = self.mirrored(cx, row)?;
                table = cx.binary("mul", table, double)?;
            }
        }
        cx.cast(table, cx.dtype(like))
    }

    /// How often a place of one side occurs on both: 2 but for the first and a middle one.
    fn mirrored(&self, cx: &mut Cx<'_>, row: ValueId) -> Result<ValueId> {
        let twice = cx.with_scalar("mul", row, 2.0)?;
        let inner = cx.with_scalar("mod", twice, self.n as f64)?;
        let single = cx.with_scalar("eq", inner, 0.0)?;
        let (one, two) = (cx.scalar(DType::F64, 1.0), cx.scalar(DType::F64, 2.0));
        cx.select(single, one, two)
    }

    /// The number of places of the result.
    fn places(&self) -> i64 {
        match self.onesided && !self.inverse {
            true => self.n / 2 + 1,
            false => self.n,
        }
    }

    /// Transforms the last axis of real and imaginary parts; the result has an axis more, of the
    /// parts.
    fn apply(&self, cx: &mut Cx<'_>, real: ValueId, imaginary: Option<ValueId>) -> Result<ValueId> {
        let shape = cx.shape(real);
        let Some(rows) = shape.last().and_then(Expr::as_const) else {
            return Err(cx.unsupported("a transform of an extent that is not constant"));
        };
        let cos = self.table(cx, real, rows, "cos")?;
        let mut sin = self.table(cx, real, rows, "sin")?;
        if self.inverse {
            sin = cx.unary("neg", sin)?;
        }
        let letters: String = ('a'..='w').take(shape.len() - 1).collect();
        let spec = format!("{letters}Y,YZ->{letters}Z");
        let mut y_real = cx.contract(real, cos, &spec)?;
        if let Some(imaginary) = imaginary {
            let more = cx.contract(imaginary, sin, &spec)?;
            y_real = cx.binary("add", y_real, more)?;
        }
        let axis = shape.len();
        if self.onesided && self.inverse {
            return cx.insert_axis(y_real, axis);
        }
        let turned = cx.contract(real, sin, &spec)?;
        let y_imaginary = match imaginary {
            Some(imaginary) => {
                let straight = cx.contract(imaginary, cos, &spec)?;
                cx.binary("sub", straight, turned)?
            }
            None => cx.unary("neg", turned)?,
        };
        let y_real = cx.insert_axis(y_real, axis)?;
        let y_imaginary = cx.insert_axis(y_imaginary, axis)?;
        cx.concat(&[y_real, y_imaginary], axis)
    }
}

/// Real and, if there are any, imaginary parts, which lie along the last axis.
fn split_parts(cx: &mut Cx<'_>, x: ValueId) -> Result<(ValueId, Option<ValueId>)> {
    let shape = cx.shape(x);
    let last = shape.len().saturating_sub(1);
    let parts = shape.last().and_then(Expr::as_const);
    if !matches!(parts, Some(1 | 2)) || last == 0 || last > 20 || !cx.dtype(x).is_float() {
        return Err(cx.invalid("operand 0 must be of floats, with a last axis of extent 1 or 2"));
    }
    let part = |cx: &mut Cx<'_>, k: i64| {
        let part = cx.slice_axis(x, last, k, 1)?;
        cx.drop_axis(part, last)
    };
    let real = part(cx, 0)?;
    let imaginary = match parts {
        Some(2) => Some(part(cx, 1)?),
        _ => None,
    };
    Ok((real, imaginary))
}

fn dft(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let x = cx.input(node, 0)?;
    let (rank, dtype) = (cx.rank(x), cx.dtype(x));
    let axis = match (cx.opset() < 20, node.operand(2)) {
        (true, _) => node.attr_i_or("axis", 1)?,
        (false, Some(_)) => cx.ints(node, 2)?.first().copied().unwrap_or(-2),
        (false, None) => -2,
    };
    let axis = cx.axis(axis, rank)?;
    if axis + 1 == rank {
        return Err(cx.invalid("the last axis holds the parts of numbers"));
    }
    let (inverse, onesided) = (
        node.attr_bool_or("inverse", false)?,
        node.attr_bool_or("onesided", false)?,
    );
    let Some(extent) = cx.shape(x)[axis].as_const() else {
        return Err(cx.unsupported("a transform of an extent that is not constant"));
    };
    let n = match node.operand(1) {
        Some(_) => cx.ints(node, 1)?.first().copied().unwrap_or(0),
        None if onesided && inverse => 2 * (extent - 1),
        None => extent,
    };
    if !(1..=TABLE_MAX).contains(&n) {
        return Err(cx.invalid(format!("dft_length is {n}")));
    }
    let transform = Transform {
        n,
        inverse,
        onesided,
    };
    let wide = cx.widened(x)?;
    // Places that the operand lacks are 0, so they need no rows of the table.
    let used = if onesided && inverse { n / 2 + 1 } else { n };
    let wide = cx.slice_axis(wide, axis, 0, extent.min(used))?;
    let (real, imaginary) = split_parts(cx, wide)?;
    let mut perm: Vec<usize> = (0..rank - 1).filter(|d| *d != axis).collect();
    perm.push(axis);
    let real = cx.transpose(real, &perm)?;
    let imaginary = match imaginary {
        Some(imaginary) => Some(cx.transpose(imaginary, &perm)?),
        None => None,
    };
    let y = transform.apply(cx, real, imaginary)?;
    let mut back: Vec<usize> = (0..rank - 2).collect();
    back.insert(axis, rank - 2);
    back.push(rank - 1);
    let y = cx.transpose(y, &back)?;
    cx.cast(y, dtype).map(one)
}

fn stft(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let mut x = cx.input(node, 0)?;
    // PyTorch's exporter leaves out the axis of real and imaginary parts of a real signal.
    if cx.rank(x) == 2 {
        x = cx.insert_axis(x, 2)?;
    }
    if cx.rank(x) != 3 {
        return Err(cx.invalid(format!("a signal of rank {}", cx.rank(x))));
    }
    let dtype = cx.dtype(x);
    let step = cx.ints(node, 1)?.first().copied().unwrap_or(0);
    let window = cx.optional(node, 2)?;
    let length = match (node.operand(3), window) {
        (Some(_), _) => cx.ints(node, 3)?.first().copied(),
        (None, Some(window)) => cx.ty(window).count().as_const(),
        (None, None) => None,
    };
    let length = length.unwrap_or(0);
    let samples = cx.shape(x).get(1).and_then(Expr::as_const);
    let Some(samples) = samples else {
        return Err(cx.unsupported("a signal whose length is not constant"));
    };
    if step < 1 || length < 1 || length > samples {
        return Err(cx.invalid(format!("frames of {length} by {step} of {samples} samples")));
    }
    let frames = (samples - length) / step + 1;
    if frames
        .checked_mul(length)
        .is_none_or(|count| count > TABLE_MAX)
    {
        return Err(cx.unsupported(format!("{frames} frames of {length} samples")));
    }
    let first = cx.iota(vec![frames.into(), 1.into()], 0, DType::I64)?;
    let first = cx.with_scalar("mul", first, step as f64)?;
    let place = cx.iota(vec![1.into(), length.into()], 1, DType::I64)?;
    let places = cx.binary("add", first, place)?;
    let wide = cx.widened(x)?;
    let (real, imaginary) = split_parts(cx, wide)?;
    let framed = |cx: &mut Cx<'_>, part: ValueId| {
        let part = cx.gather(part, places, 1)?;
        match window {
            Some(window) => {
                let window = cx.cast(window, cx.dtype(part))?;
                cx.binary("mul", part, window)
            }
            None => Ok(part),
        }
    };
    let real = framed(cx, real)?;
    let imaginary = match imaginary {
        Some(imaginary) => Some(framed(cx, imaginary)?),
        None => None,
    };
    let transform = Transform {
        n: length,
        inverse: false,
        onesided: node.attr_bool_or("onesided", true)?,
    };
    let y = transform.apply(cx, real, imaginary)?;
    cx.cast(y, dtype).map(one)
}
