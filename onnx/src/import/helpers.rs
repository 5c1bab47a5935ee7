//! Rows with the attributes filled in, for importers of operators.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, ValueId};

use super::cx::Cx;
use crate::error::Result;

fn numbers(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|a| *a as i64).collect()
}

impl Cx<'_> {
    /// A row with one operand and no attributes.
    pub(crate) fn unary(&mut self, op: &str, x: ValueId) -> Result<ValueId> {
        self.row(op, &[x], Attrs::new())
    }

    /// A row with two operands, broadcast, and no attributes.
    pub(crate) fn binary(&mut self, op: &str, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.row(op, &[a, b], Attrs::new())
    }

    /// A row of `x` and a scalar constant of its type.
    pub(crate) fn with_scalar(&mut self, op: &str, x: ValueId, value: f64) -> Result<ValueId> {
        let b = self.scalar(self.dtype(x), value);
        self.binary(op, x, b)
    }

    /// `a` where `c`, else `b`.
    pub(crate) fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.row("select", &[c, a, b], Attrs::new())
    }

    /// `x` as another element type.
    pub(crate) fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        if self.dtype(x) == to {
            return Ok(x);
        }
        self.row("cast", &[x], Attrs::new().with("to", to))
    }

    /// `x` under another shape.
    pub(crate) fn reshape(&mut self, x: ValueId, shape: Vec<Expr>) -> Result<ValueId> {
        if self.ty(x).shape == shape {
            return Ok(x);
        }
        self.row("reshape", &[x], Attrs::new().with("shape", shape))
    }

    /// `x` with its axes in another order.
    pub(crate) fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(x);
        }
        self.row("transpose", &[x], Attrs::new().with("perm", numbers(perm)))
    }

    /// `x` broadcast to a shape.
    pub(crate) fn expand(&mut self, x: ValueId, shape: Vec<Expr>) -> Result<ValueId> {
        if self.ty(x).shape == shape {
            return Ok(x);
        }
        self.row("expand", &[x], Attrs::new().with("shape", shape))
    }

    fn has_axis(&self, shape: &[Expr], axis: usize) -> Result<()> {
        if axis < shape.len() {
            return Ok(());
        }
        Err(self.invalid(format!(
            "an operand has rank {}, want at least {}",
            shape.len(),
            axis + 1
        )))
    }

    /// Elements `start..start+extent` of one axis.
    pub(crate) fn slice_axis(
        &mut self,
        x: ValueId,
        axis: usize,
        start: impl Into<Expr>,
        extent: impl Into<Expr>,
    ) -> Result<ValueId> {
        let mut sizes = self.shape(x);
        self.has_axis(&sizes, axis)?;
        let mut starts = vec![Expr::from(0); sizes.len()];
        starts[axis] = start.into();
        sizes[axis] = extent.into();
        self.slice(x, starts, sizes, vec![1; self.rank(x)])
    }

    /// `y[i] = x[starts + i*steps]`.
    pub(crate) fn slice(
        &mut self,
        x: ValueId,
        starts: Vec<Expr>,
        sizes: Vec<Expr>,
        steps: Vec<i64>,
    ) -> Result<ValueId> {
        if self.ty(x).shape == sizes && steps.iter().all(|s| *s == 1) {
            return Ok(x);
        }
        let attrs = Attrs::new().with("starts", starts).with("sizes", sizes);
        self.row("slice", &[x], attrs.with("steps", steps))
    }

    /// `x` with elements of value `value` before and after each axis.
    pub(crate) fn pad(
        &mut self,
        x: ValueId,
        value: ValueId,
        before: Vec<Expr>,
        after: Vec<Expr>,
        mode: &str,
    ) -> Result<ValueId> {
        if before.iter().chain(&after).all(|e| e.is(0)) {
            return Ok(x);
        }
        let attrs = Attrs::new().with("before", before).with("after", after);
        self.row("pad", &[x, value], attrs.with("mode", mode))
    }

    /// Tensors joined along an axis.
    pub(crate) fn concat(&mut self, xs: &[ValueId], axis: usize) -> Result<ValueId> {
        match xs {
            [x] => Ok(*x),
            _ => self.row("concat", xs, Attrs::new().with("axis", axis as i64)),
        }
    }

    /// A reduction, such as `reduce_sum`, over sorted axes.
    pub(crate) fn reduce(
        &mut self,
        op: &str,
        x: ValueId,
        axes: &[usize],
        keepdims: bool,
    ) -> Result<ValueId> {
        let attrs = Attrs::new().with("axes", numbers(axes));
        self.row(op, &[x], attrs.with("keepdims", keepdims))
    }

    /// `x` without an axis of extent 1.
    pub(crate) fn drop_axis(&mut self, x: ValueId, axis: usize) -> Result<ValueId> {
        let mut shape = self.shape(x);
        self.has_axis(&shape, axis)?;
        shape.remove(axis);
        self.reshape(x, shape)
    }

    /// `x` with an axis of extent 1 more.
    pub(crate) fn insert_axis(&mut self, x: ValueId, axis: usize) -> Result<ValueId> {
        let mut shape = self.shape(x);
        if let Some(last) = axis.checked_sub(1) {
            self.has_axis(&shape, last)?;
        }
        shape.insert(axis, 1.into());
        self.reshape(x, shape)
    }

    /// `x` of shape `[extent]` as `[1, .., extent, .., 1]`, to broadcast along `axis` of `rank`.
    pub(crate) fn along_axis(&mut self, x: ValueId, axis: usize, rank: usize) -> Result<ValueId> {
        let mut shape = vec![Expr::from(1); rank];
        shape[axis] = self.ty(x).count();
        self.reshape(x, shape)
    }

    /// A vector of an element for each of `x` along an axis, such as a bias, as a tensor of its rank.
    ///
    /// Errors: it has another number of elements.
    pub(crate) fn vector_along(
        &mut self,
        (what, v): (&str, ValueId),
        x: ValueId,
        axis: usize,
    ) -> Result<ValueId> {
        self.check_extent(what, &self.ty(v).count(), &self.shape(x)[axis])?;
        self.along_axis(v, axis, self.rank(x))
    }

    /// Errors: two numbers of elements are known, and differ.
    pub(crate) fn check_extent(&self, what: &str, found: &Expr, want: &Expr) -> Result<()> {
        match (found.as_const(), want.as_const()) {
            (Some(found), Some(want)) if found != want => {
                Err(self.invalid(format!("{what} has {found} elements, want {want}")))
            }
            _ => Ok(()),
        }
    }

    /// A contraction of two operands, written as an einsum.
    pub(crate) fn contract(&mut self, a: ValueId, b: ValueId, spec: &str) -> Result<ValueId> {
        let y = self.row("contract", &[a, b], Attrs::new().with("spec", spec))?;
        // Sums of bytes have 32 bits, of which ONNX keeps the low ones.
        self.cast(y, self.dtype(a))
    }

    /// The index along an axis, as a tensor.
    pub(crate) fn iota(&mut self, shape: Vec<Expr>, axis: usize, dtype: DType) -> Result<ValueId> {
        let attrs = Attrs::new().with("shape", shape).with("axis", axis as i64);
        self.row("iota", &[], attrs.with("dtype", dtype))
    }

    /// Indices out of a tensor, along an axis.
    pub(crate) fn gather(&mut self, x: ValueId, indices: ValueId, axis: usize) -> Result<ValueId> {
        let attrs = Attrs::new().with("axis", axis as i64);
        self.row("gather", &[x, indices], attrs)
    }

    /// A symbolic integer as a scalar of `i64`.
    pub(crate) fn size_value(&mut self, e: &Expr) -> Result<ValueId> {
        if let Some(n) = e.as_const() {
            return Ok(self.constant(tensmith_ir::tensor::Tensor::from_i64(vec![], &[n])));
        }
        if !self.ranges().proves_non_negative(e) {
            return Err(self.unsupported(format!("the size {e} may be negative")));
        }
        let line = self.iota(vec![e.clone() + 1], 0, DType::I64)?;
        let at = self.slice_axis(line, 0, e.clone(), 1)?;
        let scalar = self.reshape(at, vec![])?;
        self.learn(scalar, vec![e.clone()]);
        Ok(scalar)
    }

    /// Symbolic integers as a list of `i64`.
    pub(crate) fn dims_value(&mut self, dims: &[Expr]) -> Result<ValueId> {
        let numbers: Option<Vec<i64>> = dims.iter().map(Expr::as_const).collect();
        if let Some(numbers) = numbers {
            return Ok(self.list(&numbers));
        }
        let mut parts = Vec::new();
        for e in dims {
            let scalar = self.size_value(e)?;
            parts.push(self.reshape(scalar, vec![1.into()])?);
        }
        let list = self.concat(&parts, 0)?;
        self.learn(list, dims.to_vec());
        Ok(list)
    }

    /// Records the elements of an integer value.
    pub(crate) fn learn(&mut self, id: ValueId, values: Vec<Expr>) {
        self.frame_mut().known.insert(id, values.into());
    }
}
