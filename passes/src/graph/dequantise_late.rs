//! Dequantises as late as it can: what only moves, bounds or compares dequantised elements is done with
//! their bytes, and what is quantised again by the same scale is what it was.
//!
//! So products find the bytes that they multiply behind transposes, reshapes, padding and pooling,
//! and these move a quarter of the memory.
//!
//! Requires: nothing.
//! Ensures: no movement, largest element of windows, or bound that a byte stands for, of bytes less
//! a constant times a constant; no quantisation of such a value by its own scale.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[2, 6]
//!   %1 = const "z" : i32[] = [3]
//!   %2 = const "s" : f32[] = [0.1]
//!   %3 = const "zero" : f32[] = [0.0]
//!   %4 = cast(%0) {to=i32} "d" : i32[2, 6]
//!   %5 = sub(%4, %1) {} "d" : i32[2, 6]
//!   %6 = cast(%5) {to=f32} "d" : f32[2, 6]
//!   %7 = mul(%6, %2) {} "d" : f32[2, 6]
//!   %8 = transpose(%7) {perm=[1, 0]} "t" : f32[6, 2]
//!   %9 = max(%8, %3) {} "m" : f32[6, 2]
//!   output "y" = %9
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[2, 6]
//!   %1 = transpose(%0) {perm=[1, 0]} "t" : u8[6, 2]
//!   %2 = const "m" : u8[] = [3]
//!   %3 = max(%1, %2) {} "m" : u8[6, 2]
//!   %4 = cast(%3) {to=i32} "m" : i32[6, 2]
//!   %5 = const "m" : i32[] = [3]
//!   %6 = sub(%4, %5) {} "m" : i32[6, 2]
//!   %7 = cast(%6) {to=f32} "m" : f32[6, 2]
//!   %8 = const "m" : f32[] = [0.1]
//!   %9 = mul(%7, %8) {} "m" : f32[6, 2]
//!   output "y" = %9
//! }
//! ```
//! Source: a dequantisation by one scale above 0 rises with its operand, and treats all elements
//! alike.
use super::Rewriter;
use super::fold_identities::uniform;
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::tensor::{Tensor, Wide};

/// Scales whose products with bytes, and the quotients of these, are neither tiny nor infinite.
const SCALES: std::ops::Range<f32> = 1e-30..1e30;

type Found = Result<Option<ValueId>, GraphError>;

/// The graph with late dequantisations.
///
/// Errors: never for a valid graph.
pub fn dequantise_late(graph: &Graph) -> Result<Graph, GraphError> {
    Rewriter::run(graph, &mut |cx, node| {
        let found = match node.op.name {
            "transpose" if is_weight(cx, node) => transposed(cx, node)?,
            "reshape" | "transpose" | "slice" | "expand" | "tile" | "repeat" | "gather" => {
                moved(cx, node)?
            }
            "pad" => padded(cx, node)?,
            "concat" => concatenated(cx, node)?,
            "pool_max" if whole_windows(cx.old, node) => moved(cx, node)?,
            "max" | "min" => bounded(cx, node)?,
            "cast" => quantised(cx, node),
            _ => None,
        };
        Ok(found.map(|v| vec![v]))
    })
}

/// Bytes less a number, times a number.
#[derive(Clone, PartialEq)]
struct Dequantised {
    bytes: ValueId,
    zero: Option<i64>,
    /// The type of the result.
    to: DType,
    scale: Option<f32>,
}

impl Dequantised {
    /// What a new value is, if it is one.
    fn of(cx: &Rewriter<'_>, value: ValueId) -> Option<Self> {
        let product = cx.producer(value, "mul")?;
        let [x, scale] = product.inputs[..] else {
            return None;
        };
        let (x, scale) = match cx.constant(x) {
            Some(_) => (scale, x),
            None => (x, scale),
        };
        let scale = uniform(cx.constant(scale)?)? as f32;
        // Integers times an integer are no floats.
        let same = cx.ty(x).shape == cx.ty(value).shape && cx.ty(value).dtype == DType::F32;
        let fits = same && SCALES.contains(&scale);
        let integers = Self::integers(cx, x).filter(|_| fits)?;
        Some(Dequantised {
            scale: Some(scale),
            ..integers
        })
    }

    /// What a new value is, if it is one without a scale, in floats or in integers.
    fn integers(cx: &Rewriter<'_>, x: ValueId) -> Option<Self> {
        let same = |a: ValueId, b: ValueId| cx.ty(a).shape == cx.ty(b).shape;
        let to = cx.ty(x).dtype;
        let integers = match to {
            DType::F32 => cx.producer(x, "cast")?.inputs[0],
            _ => x,
        };
        if cx.ty(integers).dtype != DType::I32 {
            return None;
        }
        let (wide, zero) = match cx.producer(integers, "sub") {
            Some(sub) => {
                let zero = uniform(cx.constant(sub.inputs[1])?)?;
                (sub.inputs[0], Some(zero as i64))
            }
            None => (integers, None),
        };
        let bytes = cx.producer(wide, "cast")?.inputs[0];
        let fits = cx.ty(bytes).dtype.is_byte() && same(bytes, x);
        // Of zero points that are no bytes, differences may round.
        let zero_fits = zero.is_none_or(|z| z.abs() < 1 << 16);
        let fine = fits && zero_fits && cx.constant(bytes).is_none();
        fine.then_some(Dequantised {
            bytes,
            zero,
            to,
            scale: None,
        })
    }

    /// The element that a byte stands for.
    fn element(&self, byte: i64) -> f32 {
        (byte - self.zero.unwrap_or(0)) as f32 * self.scale.unwrap_or(1.0)
    }

    /// The byte that stands for an element.
    fn byte(&self, dtype: DType, element: f64) -> Option<i64> {
        bytes(dtype).find(|b| f64::from(self.element(*b)) == element)
    }

    /// Other bytes, dequantised alike.
    fn again(&self, cx: &mut Rewriter<'_>, bytes: ValueId, name: &str) -> Found {
        let mut x = cx.add("cast", name, &[bytes], Attrs::new().with("to", DType::I32))?;
        if let Some(zero) = self.zero {
            let zero = number(cx, DType::I32, zero, name);
            x = cx.add("sub", name, &[x, zero], Attrs::new())?;
        }
        if self.to == DType::F32 {
            x = cx.add("cast", name, &[x], Attrs::new().with("to", DType::F32))?;
        }
        let Some(scale) = self.scale else {
            return Ok(Some(x));
        };
        let scale = Tensor::splat(DType::F32, vec![], scale.into());
        let scale = cx.new.add_constant(name, scale);
        cx.add("mul", name, &[x, scale], Attrs::new()).map(Some)
    }
}

/// The bytes of a type.
fn bytes(dtype: DType) -> std::ops::RangeInclusive<i64> {
    let (least, most) = dtype.int_range().unwrap_or((0, -1));
    least as i64..=most as i64
}

fn number(cx: &mut Rewriter<'_>, dtype: DType, value: i64, name: &str) -> ValueId {
    let value = Tensor::from_wide(dtype, vec![], &Wide::Int(vec![value.into()]));
    cx.new.add_constant(name, value)
}

/// What a node makes of the bytes of its first operand, dequantised.
fn moved(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let mut operands = cx.operands(node);
    let integers = |v: ValueId| Dequantised::integers(cx, v).filter(|d| d.to == DType::I32);
    let found = Dequantised::of(cx, operands[0]);
    let Some(of) = found.or_else(|| integers(operands[0])) else {
        return Ok(None);
    };
    operands[0] = of.bytes;
    let bytes = cx.add(node.op.name, &node.name, &operands, node.attrs.clone())?;
    of.again(cx, bytes, &node.name)
}

/// Whether a node transposes integers times a constant, such as quantized weights.
fn is_weight(cx: &mut Rewriter<'_>, node: &Node) -> bool {
    let x = cx.get(node.inputs[0]);
    let Some(product) = cx.producer(x, "mul") else {
        return false;
    };
    let integers = cx.producer(product.inputs[0], "cast");
    let of_integers = integers.is_some_and(|n| cx.ty(n.inputs[0]).dtype == DType::I32);
    let whole = cx.ty(product.inputs[0]).shape == cx.ty(x).shape;
    of_integers
        && whole
        && cx
            .constant(product.inputs[1])
            .is_some_and(|t| t.count() > 1)
}

/// Transposed integers times the transposed constant.
fn transposed(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let x = cx.get(node.inputs[0]);
    let [wide, scale] = [0, 1].map(|k| cx.producer(x, "mul").map(|n| n.inputs[k]));
    let (Some(wide), Some(scale)) = (wide, scale) else {
        return Ok(None);
    };
    let Some(integers) = cx.producer(wide, "cast").map(|n| n.inputs[0]) else {
        return Ok(None);
    };
    let of_scale = cx.ty(scale).shape.clone();
    let ones = vec![1.into(); cx.ty(x).rank() - of_scale.len()];
    let scale = cx.reshape(scale, &[ones, of_scale].concat(), &node.name)?;
    let [integers, scale] = [integers, scale];
    let integers = cx.add("transpose", &node.name, &[integers], node.attrs.clone())?;
    let scale = cx.add("transpose", &node.name, &[scale], node.attrs.clone())?;
    let to = Attrs::new().with("to", DType::F32);
    let wide = cx.add("cast", &node.name, &[integers], to)?;
    cx.add("mul", &node.name, &[wide, scale], Attrs::new())
        .map(Some)
}

/// A value padded with what a byte stands for.
fn padded(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let mut operands = cx.operands(node);
    let found = Dequantised::of(cx, operands[0]);
    let Some(of) = found.or_else(|| Dequantised::integers(cx, operands[0])) else {
        return Ok(None);
    };
    let dtype = cx.ty(of.bytes).dtype;
    let fill = cx.constant(operands[1]).and_then(uniform);
    let Some(fill) = fill.and_then(|f| of.byte(dtype, f)) else {
        return Ok(None);
    };
    operands[0] = of.bytes;
    operands[1] = number(cx, dtype, fill, &node.name);
    let bytes = cx.add("pad", &node.name, &operands, node.attrs.clone())?;
    of.again(cx, bytes, &node.name)
}

/// A concatenation of values with one scale.
fn concatenated(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let operands = cx.operands(node);
    let all: Option<Vec<Dequantised>> =
        (operands.iter()).map(|v| Dequantised::of(cx, *v)).collect();
    let Some(all) = all else { return Ok(None) };
    let first = all[0].clone();
    let alike = |d: &Dequantised| {
        let same_type = cx.ty(d.bytes).dtype == cx.ty(first.bytes).dtype;
        same_type && d.zero == first.zero && d.scale == first.scale
    };
    if !all.iter().all(alike) {
        return Ok(None);
    }
    let bytes: Vec<ValueId> = all.iter().map(|d| d.bytes).collect();
    let bytes = cx.add("concat", &node.name, &bytes, node.attrs.clone())?;
    first.again(cx, bytes, &node.name)
}

/// Whether each window has an element of the image: of those without, bytes have no least element.
fn whole_windows(graph: &Graph, node: &Node) -> bool {
    let [from, to] = [node.inputs[0], node.outputs[0]].map(|v| &graph.ty(v).shape);
    let [kernel, strides, dilations, before] =
        ["kernel", "strides", "dilations", "pads_before"].map(|name| node.attrs.ints(name));
    (0..kernel.len()).all(|d| {
        let extents = [&from[d + 2], &to[d + 2]].map(|e| e.as_const());
        let [Some(from), Some(to)] = extents else {
            return false;
        };
        // With steps between the elements of a window, an image might lie between two of them.
        dilations[d] == 1 && before[d] < kernel[d] && (to - 1) * strides[d] - before[d] < from
    })
}

/// A bound that a byte stands for, or that all elements keep to.
fn bounded(cx: &mut Rewriter<'_>, node: &Node) -> Found {
    let [a, b] = cx.operands(node)[..] else {
        return Ok(None);
    };
    let (value, bound) = match cx.constant(a) {
        Some(_) => (b, a),
        None => (a, b),
    };
    let bound = cx.constant(bound).and_then(uniform);
    let (Some(of), Some(bound)) = (Dequantised::of(cx, value), bound) else {
        return Ok(None);
    };
    if cx.ty(value) != cx.old.ty(node.outputs[0]) {
        return Ok(None);
    }
    let dtype = cx.ty(of.bytes).dtype;
    let keeps = |b: i64| match node.op.name {
        "max" => f64::from(of.element(b)) >= bound,
        _ => f64::from(of.element(b)) <= bound,
    };
    if bytes(dtype).all(keeps) {
        return Ok(Some(value));
    }
    // Zeros of either sign are equal, and not the same.
    let same_zero = bound != 0.0 || bound.is_sign_positive();
    let Some(byte) = of.byte(dtype, bound).filter(|_| same_zero) else {
        return Ok(None);
    };
    let byte = number(cx, dtype, byte, &node.name);
    let bytes = cx.add(node.op.name, &node.name, &[of.bytes, byte], Attrs::new())?;
    of.again(cx, bytes, &node.name)
}

/// The bytes that a node quantises again by the scale that they were dequantised by.
///
/// The product and the quotient of an integer of 16 bits by one scale differ from it by less than a
/// half, so the rounding gives it back.
fn quantised(cx: &mut Rewriter<'_>, node: &Node) -> Option<ValueId> {
    let operand = cx.get(node.inputs[0]);
    let cx = &*cx;
    let to = node.attrs.dtype("to");
    let (least, most) = to.int_range().filter(|_| to.is_byte())?;
    let number = |v: ValueId| cx.constant(v).and_then(uniform);
    let joined = |v: ValueId, op: &str| {
        let node = cx.producer(v, op)?;
        Some((node.inputs[0], number(node.inputs[1])?))
    };
    // Bounds at the ends of the type are the cast's own.
    let ends = [("min", most), ("max", least), ("min", most)];
    let within = |x, (op, end): (&str, i128)| match joined(x, op) {
        Some((inside, number)) if number == end as f64 => inside,
        _ => x,
    };
    let x = ends.into_iter().fold(operand, within);
    let (x, zero) = joined(x, "add").unwrap_or((x, 0.0));
    let (x, scale) = joined(cx.producer(x, "round")?.inputs[0], "div")?;
    let of = Dequantised::of(cx, x)?;
    let same = of.scale == Some(scale as f32) && of.zero.unwrap_or(0) as f64 == zero;
    (same && cx.ty(of.bytes) == cx.old.ty(node.outputs[0])).then_some(of.bytes)
}
