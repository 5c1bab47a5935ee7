//! Multiplies bytes where a model multiplies them less their zero points: `sum (x - z) * w` is
//! `sum x * w - z * sum w`, whose first sum is one of dot products, and whose last one is constant.
//! Where weights are moved, too, the sums of what they are multiplied with are added.
//!
//! The first factor gets bytes without a sign, and the constant one bytes with a sign, as dot
//! products want them: both may be moved for it, as zero points move them.
//!
//! Requires: a target with dot products of bytes.
//! Ensures: nothing.
//!
//! Before:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[20, 8]
//!   %1 = input "z" : u8[]
//!   %2 = const "w" : i32[8, 2] = [1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16]
//!   %3 = cast(%0) {to=i32} "a" : i32[20, 8]
//!   %4 = cast(%1) {to=i32} "b" : i32[]
//!   %5 = sub(%3, %4) {} "d" : i32[20, 8]
//!   %6 = contract(%5, %2) {spec="mk,kn->mn"} "c" : i32[20, 2]
//!   output "y" = %6
//! }
//! ```
//! After:
//! ```text
//! graph "g" () {
//!   %0 = input "x" : u8[20, 8]
//!   %1 = input "z" : u8[]
//!   %2 = cast(%0) {to=i32} "a" : i32[20, 8]
//!   %3 = cast(%1) {to=i32} "b" : i32[]
//!   %4 = sub(%2, %3) {} "d" : i32[20, 8]
//!   %5 = const "w" : i32[8, 2] = [1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16]
//!   %6 = cast(%5) {to=i8} "c" : i8[8, 2]
//!   %7 = contract(%0, %6) {spec="mk,kn->mn"} "c" : i32[20, 2]
//!   %8 = reduce_sum(%5) {axes=[0], keepdims=false} "c" : i32[2]
//!   %9 = mul(%8, %3) {} "c" : i32[2]
//!   %10 = sub(%7, %9) {} "c" : i32[20, 2]
//!   output "y" = %10
//! }
//! ```
//! Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
//! Integer-Arithmetic-Only Inference", 2018, section 2.3. Integers wrap, so it is exact.
use super::Rewriter;
use super::integer_bounds::{Known, bounds};
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, GraphError, Node, ValueId};
use tensmith_ir::ops::Spec;
use tensmith_ir::tensor::{Tensor, Wide};

/// Half of the values of a byte: what moves bytes with a sign to those without.
const HALF: i64 = 128;

/// Terms that lie side by side at least: fewer do not fill the groups that are multiplied at once.
const TERMS: i64 = 4;

/// The graph with products of bytes.
///
/// Errors: never for a valid graph.
pub fn multiply_bytes(graph: &Graph) -> Result<Graph, GraphError> {
    let mut known = Known::new(graph);
    Rewriter::run(
        graph,
        &mut |cx, node| match sum_of_products(cx.old, node, &mut known) {
            Some(product) => rewrite(cx, node, &product).map(|v| Some(vec![v])),
            None => Ok(None),
        },
    )
}

/// Bytes less a zero point.
struct Bytes {
    /// The bytes.
    value: ValueId,
    /// What is subtracted from all of them, in `i32`.
    zero: Option<ValueId>,
}

/// What an `i32` value is, if it is bytes less one zero point.
fn bytes_of(graph: &Graph, value: ValueId) -> Option<Bytes> {
    let node = graph.node(graph.producer(value)?);
    match node.op.name {
        "cast" if graph.ty(node.inputs[0]).dtype.is_byte() => Some(Bytes {
            value: node.inputs[0],
            zero: None,
        }),
        "sub" => {
            let bytes = bytes_of(graph, node.inputs[0]).filter(|b| b.zero.is_none())?;
            let zero = node.inputs[1];
            let one = graph.ty(zero).count().is(1);
            let same = graph.ty(value).shape == graph.ty(node.inputs[0]).shape;
            (one && same).then_some(Bytes {
                zero: Some(zero),
                ..bytes
            })
        }
        _ => None,
    }
}

/// How a sum of products of integers is one of bytes.
pub(super) struct Product {
    /// Which operand is constant.
    constant: usize,
    /// The other one.
    bytes: Bytes,
    /// What is subtracted from the constant so that it becomes bytes with a sign.
    moved: i64,
}

fn sum_of_products(graph: &Graph, node: &Node, known: &mut Known<'_>) -> Option<Product> {
    let sums = matches!(node.op.name, "contract" | "conv");
    let [a, b] = node.inputs[..] else { return None };
    let integers = sums && graph.ty(a).dtype == DType::I32;
    integers.then(|| product(graph, node, [a, b], known))?
}

/// How the sums of products of a node with these integers for operands are ones of bytes.
pub(super) fn product(
    graph: &Graph,
    node: &Node,
    [a, b]: [ValueId; 2],
    known: &mut Known<'_>,
) -> Option<Product> {
    let constant = match (known.is_constant(a), known.is_constant(b)) {
        (false, true) => 1,
        (true, false) if node.op.name == "contract" => 0,
        _ => return None,
    };
    let bytes = bytes_of(graph, [b, a][constant])?;
    side_by_side(graph, node, constant)?;
    let (least, most) = known.bounds(graph, [a, b][constant])?;
    let moved = match (-HALF..HALF).contains(&least) && (-HALF..HALF).contains(&most) {
        true => 0,
        false => least.checked_add(HALF)?,
    };
    let fits = most.checked_sub(moved)? < HALF;
    (fits && pads_fit(graph, node, &bytes)).then_some(Product {
        constant,
        bytes,
        moved,
    })
}

/// Whether enough terms of the factor that is not constant lie side by side.
fn side_by_side(graph: &Graph, node: &Node, constant: usize) -> Option<()> {
    let terms = match node.op.name {
        "conv" if added_columns(graph, node).is_some() => return Some(()),
        "conv" => graph.ty(node.inputs[1]).shape.get(1)?,
        _ => {
            let spec = Spec::of(&node.attrs);
            let letters = if constant == 1 { &spec.a } else { &spec.b };
            letters.last().filter(|c| !spec.out.contains(c))?;
            graph.ty(node.inputs[1 - constant]).shape.last()?
        }
    };
    (terms.as_const()? >= TERMS).then_some(())
}

/// The columns of zeros that make whole groups of the rows of a window, where an image has too few
/// channels to make groups of them: such an image is row-major.
fn added_columns(graph: &Graph, node: &Node) -> Option<i64> {
    let [_, channels, .., columns] = &graph.ty(node.inputs[1]).shape[..] else {
        return None;
    };
    let (channels, columns) = (channels.as_const()?, columns.as_const()?);
    let beside = node.attrs.ints("dilations").last() == Some(&1);
    let whole = node.attrs.int("groups") == 1;
    let fits = beside && whole && channels < TERMS && 2 * columns > TERMS;
    fits.then_some((TERMS - columns % TERMS) % TERMS)
}

/// Whether what a convolution pads with, the zero point, is a byte.
fn pads_fit(graph: &Graph, node: &Node, bytes: &Bytes) -> bool {
    if node.op.name != "conv" || !pads(node) {
        return true;
    }
    let (least, most) = graph.ty(bytes.value).dtype.int_range().unwrap_or((0, 0));
    let zero = bytes.zero.map_or(Some((0, 0)), |z| bounds(graph, z));
    zero.is_some_and(|(a, b)| least <= a.into() && i128::from(b) <= most)
}

fn pads(node: &Node) -> bool {
    let amounts = ["pads_before", "pads_after"].map(|name| node.attrs.ints(name));
    amounts.concat().iter().any(|p| *p > 0)
}

fn rewrite(cx: &mut Rewriter<'_>, node: &Node, p: &Product) -> Result<ValueId, GraphError> {
    let mut cx = Sums { cx, node };
    let (x, zero) = cx.without_sign(&p.bytes)?;
    let mut weights = cx.cx.get(node.inputs[p.constant]);
    if p.moved != 0 {
        let moved = cx.integer(p.moved);
        weights = cx.add("sub", &[weights, moved], Attrs::new())?;
    }
    let bytes = cx.cast(weights, DType::I8)?;
    let mut sums = cx.products(x, bytes, zero, p.constant)?;
    if let Some(zero) = zero {
        let of_weights = cx.sum_of(weights, p.constant)?;
        let moved = cx.add("mul", &[of_weights, zero], Attrs::new())?;
        sums = cx.add("sub", &[sums, moved], Attrs::new())?;
    }
    if p.moved == 0 {
        return Ok(sums);
    }
    let (x, _) = cx.centred(&p.bytes)?;
    let by = cx.integer(p.moved);
    // Not behind the sum: what is computed for each row takes the tile of the product apart.
    let moved = cx.add("mul", &[x, by], Attrs::new())?;
    let moved = match node.op.name {
        "conv" => cx.sums_of_windows(moved)?,
        _ => cx.sum_of(moved, 1 - p.constant)?,
    };
    cx.add("add", &[sums, moved], Attrs::new())
}

/// Makes the sums of a node.
struct Sums<'c, 'g> {
    cx: &'c mut Rewriter<'g>,
    node: &'c Node,
}

impl Sums<'_, '_> {
    fn add(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> Result<ValueId, GraphError> {
        self.cx.add(op, &self.node.name, inputs, attrs)
    }

    fn cast(&mut self, value: ValueId, to: DType) -> Result<ValueId, GraphError> {
        self.add("cast", &[value], Attrs::new().with("to", to))
    }

    fn integer(&mut self, value: i64) -> ValueId {
        let value = Tensor::from_wide(DType::I32, vec![], &Wide::Int(vec![value.into()]));
        self.cx.new.add_constant(&self.node.name, value)
    }

    /// The bytes less their zero point, in `i32`, and the zero point without axes.
    fn centred(&mut self, bytes: &Bytes) -> Result<(ValueId, Option<ValueId>), GraphError> {
        let value = self.cx.get(bytes.value);
        let mut x = self.cast(value, DType::I32)?;
        let mut zero = None;
        if let Some(z) = bytes.zero {
            let z = self.cx.get(z);
            let z = self.cx.reshape(z, &[], &self.node.name)?;
            x = self.add("sub", &[x, z], Attrs::new())?;
            zero = Some(z);
        }
        Ok((x, zero))
    }

    /// Bytes without a sign, and their zero point.
    fn without_sign(&mut self, bytes: &Bytes) -> Result<(ValueId, Option<ValueId>), GraphError> {
        let value = self.cx.get(bytes.value);
        let zero = match bytes.zero {
            None => None,
            Some(z) => {
                let z = self.cx.get(z);
                Some(self.cx.reshape(z, &[], &self.node.name)?)
            }
        };
        if self.cx.ty(value).dtype == DType::U8 {
            return Ok((value, zero));
        }
        let half = self.integer(HALF);
        let wide = self.cast(value, DType::I32)?;
        let moved = self.add("add", &[wide, half], Attrs::new())?;
        let value = self.cast(moved, DType::U8)?;
        let zero = match zero {
            None => half,
            Some(z) => self.add("add", &[z, half], Attrs::new())?,
        };
        Ok((value, Some(zero)))
    }

    /// The products of bytes. What is outside of an image is the zero point.
    fn products(
        &mut self,
        mut x: ValueId,
        mut weights: ValueId,
        zero: Option<ValueId>,
        constant: usize,
    ) -> Result<ValueId, GraphError> {
        let mut attrs = self.node.attrs.clone();
        let is_conv = self.node.op.name == "conv";
        let added = match is_conv {
            true => added_columns(self.cx.old, self.node).unwrap_or(0),
            false => 0,
        };
        if is_conv && (added > 0 || zero.is_some() && pads(self.node)) {
            let zero = zero.unwrap_or_else(|| self.integer(0));
            let fill = self.cast(zero, DType::U8)?;
            let amounts = |name: &str| self.node.attrs.ints(name).to_vec();
            let (before, mut after) = (amounts("pads_before"), amounts("pads_after"));
            if let Some(last) = after.last_mut() {
                *last += added;
            }
            let none = vec![0; before.len()];
            attrs.set("pads_before", none.clone());
            attrs.set("pads_after", none.clone());
            x = self.padded(x, fill, [&before, &after])?;
            if added > 0 {
                let mut columns = none.clone();
                columns[none.len() - 1] = added;
                let fill = self.integer(0);
                let fill = self.cast(fill, DType::I8)?;
                weights = self.padded(weights, fill, [&none, &columns])?;
            }
        }
        match constant {
            0 => self.add(self.node.op.name, &[weights, x], attrs),
            _ => self.add(self.node.op.name, &[x, weights], attrs),
        }
    }

    /// A value with so many elements before and after each axis but the first two.
    fn padded(
        &mut self,
        value: ValueId,
        fill: ValueId,
        amounts: [&[i64]; 2],
    ) -> Result<ValueId, GraphError> {
        let [before, after] = amounts.map(|spatial| -> Vec<Expr> {
            let spatial = spatial.iter().map(|p| Expr::from(*p));
            [0.into(), 0.into()].into_iter().chain(spatial).collect()
        });
        let pad = Attrs::new()
            .with("before", before)
            .with("after", after)
            .with("mode", "constant");
        self.add("pad", &[value, fill], pad)
    }

    /// The sums of the terms of one operand, to broadcast against the result.
    fn sum_of(&mut self, value: ValueId, operand: usize) -> Result<ValueId, GraphError> {
        let rank = self.cx.ty(value).shape.len();
        if self.node.op.name == "conv" {
            let sums = self.reduce(value, (1..rank).collect())?;
            let mut shape = vec![Expr::from(1); rank - 1];
            shape[0] = self.cx.ty(sums).shape[0].clone();
            return self.cx.reshape(sums, &shape, &self.node.name);
        }
        let spec = Spec::of(&self.node.attrs);
        let letters = if operand == 0 { &spec.a } else { &spec.b };
        let summed = (0..rank).filter(|d| !spec.out.contains(&letters[*d]));
        let sums = self.reduce(value, summed.collect())?;
        let kept: Vec<u8> = (letters.iter().copied())
            .filter(|c| spec.out.contains(c))
            .collect();
        let place = |c: &u8| kept.iter().position(|k| k == c);
        let order: Vec<i64> = (spec.out.iter())
            .filter_map(|c| place(c).map(|k| k as i64))
            .collect();
        let moved = match order.is_sorted() {
            true => sums,
            false => self.add("transpose", &[sums], Attrs::new().with("perm", order))?,
        };
        let first = spec.out.iter().position(|c| kept.contains(c));
        let of = &self.cx.ty(sums).shape;
        let extent = |c: &u8| place(c).map_or(Expr::from(1), |k| of[k].clone());
        let shape: Vec<Expr> = (spec.out[first.unwrap_or(spec.out.len())..].iter())
            .map(extent)
            .collect();
        self.cx.reshape(moved, &shape, &self.node.name)
    }

    /// The sums of all that the windows of a convolution see of an image, for each result: results of
    /// a group have the same.
    fn sums_of_windows(&mut self, image: ValueId) -> Result<ValueId, GraphError> {
        let node = self.node;
        let groups = node.attrs.int("groups");
        let shape = self.cx.ty(image).shape.clone();
        let spatial = || shape[2..].iter().cloned();
        let apart = [shape[0].clone(), groups.into(), shape[1].div(groups)];
        let apart: Vec<Expr> = apart.into_iter().chain(spatial()).collect();
        let image = self.cx.reshape(image, &apart, &node.name)?;
        let of_groups = self.reduce(image, vec![2])?;
        let weights = &self.cx.old.ty(node.inputs[1]).shape;
        let kernel = weights[2..].iter().map(|e| e.as_const());
        let kernel: Vec<i64> = kernel
            .map(|n| n.expect("invariant: weights are constant"))
            .collect();
        let attrs = ["strides", "dilations", "pads_before", "pads_after"];
        let attrs = attrs.iter().fold(Attrs::new(), |all, name| {
            all.with(name, node.attrs.ints(name).to_vec())
        });
        let sums = self.add("pool_sum", &[of_groups], attrs.with("kernel", kernel))?;
        if groups == 1 {
            return Ok(sums);
        }
        let to = self.cx.old.ty(node.outputs[0]).shape.clone();
        let positions = || to[2..].iter().cloned();
        let with = |results: Expr| -> Vec<Expr> {
            let head = [to[0].clone(), groups.into(), results];
            head.into_iter().chain(positions()).collect()
        };
        let sums = self.cx.reshape(sums, &with(1.into()), &node.name)?;
        let attrs = Attrs::new().with("shape", with(to[1].div(groups)));
        let sums = self.add("expand", &[sums], attrs)?;
        self.cx.reshape(sums, &to, &node.name)
    }

    fn reduce(&mut self, value: ValueId, axes: Vec<usize>) -> Result<ValueId, GraphError> {
        let axes: Vec<i64> = axes.into_iter().map(|a| a as i64).collect();
        let attrs = Attrs::new().with("axes", axes).with("keepdims", false);
        self.add("reduce_sum", &[value], attrs)
    }
}
