//! Kernels that no op defines: copies, and the bookkeeping of loops.
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::TensorType;
use tensmith_ir::loops::{
    BinaryOp, Buffer, BufferId, Const, For, Kernel, Layout, Mark, Role, Scalar, Scope, Stmt,
};
use tensmith_ir::plan::SizeParam;

fn empty(name: &str, sizes: &[SizeParam]) -> Kernel {
    Kernel {
        name: name.into(),
        sizes: sizes.iter().map(|s| s.symbol.clone()).collect(),
        size_bounds: sizes.iter().map(|s| (s.min, s.max)).collect(),
        buffers: vec![],
        body: vec![],
        vars: 0,
    }
}

fn buffer(kernel: &mut Kernel, ty: &TensorType, layout: Layout, scope: Scope) -> BufferId {
    let prefix = if scope == Scope::Input { "a" } else { "o" };
    let name = format!("{prefix}{}", kernel.buffers.len());
    kernel.add_buffer(Buffer {
        name,
        dtype: ty.dtype,
        shape: ty.shape.clone(),
        layout,
        scope,
        prefetch: 0,
        nonzero: vec![],
    })
}

/// Space loops over `shape` around the statement that `body` makes of the index.
fn nest(kernel: &mut Kernel, shape: &[Expr], body: impl FnOnce(Vec<Expr>) -> Stmt) -> Stmt {
    let vars: Vec<_> = shape.iter().map(|_| kernel.fresh_var()).collect();
    let mut stmt = body(vars.iter().map(|v| Expr::from(*v)).collect());
    for (var, extent) in vars.into_iter().zip(shape).rev() {
        stmt = Stmt::For(Box::new(For {
            var,
            extent: extent.clone(),
            role: Role::Space,
            mark: Mark::Plain,
            reduction: None,
            body: vec![stmt],
        }));
    }
    stmt
}

/// Copies a tensor from one layout to another; padding is left as it is.
pub fn copy(ty: &TensorType, (from, to): (Layout, Layout), sizes: &[SizeParam]) -> Kernel {
    let name = match (from.is_row_major(), to.is_row_major()) {
        (true, true) => "copy",
        (true, false) => "pack",
        (false, _) => "unpack",
    };
    let mut kernel = empty(name, sizes);
    let from = buffer(&mut kernel, ty, from, Scope::Input);
    let to = buffer(&mut kernel, ty, to, Scope::Output);
    let stmt = nest(&mut kernel, &ty.shape, |index| Stmt::Store {
        buffer: to,
        index: index.clone(),
        value: Scalar::load(from, index),
    });
    kernel.body.push(stmt);
    kernel
}

/// Writes the frame around an inner tensor that lies inside of the result: see [`frame_stmts`].
pub fn frame(
    ty: &TensorType,
    layout: Layout,
    inner: (&[Expr], &[i64]),
    fill: f64,
    sizes: &[SizeParam],
) -> Kernel {
    let mut kernel = empty("frame", sizes);
    let to = buffer(&mut kernel, ty, layout, Scope::Output);
    kernel.body = frame_stmts(&mut kernel, to, inner, fill);
    kernel
}

/// Loops that write the frame around an inner tensor of shape `inner` that lies `before` elements
/// inside of the buffer `to` on each axis.
pub fn frame_stmts(
    kernel: &mut Kernel,
    to: BufferId,
    (inner, before): (&[Expr], &[i64]),
    fill: f64,
) -> Vec<Stmt> {
    let buffer = kernel.buffer(to).clone();
    let mut stmts = Vec::new();
    for (axis, n) in before.iter().enumerate() {
        let after = Expr::from(*n) + inner[axis].clone();
        let behind = buffer.shape[axis].clone() - after.clone();
        for (start, extent) in [(Expr::from(0), Expr::from(*n)), (after, behind)] {
            if extent.is(0) {
                continue;
            }
            // Axes before this one have their frames already.
            let mut part = buffer.shape.clone();
            part[..axis].clone_from_slice(&inner[..axis]);
            part[axis] = extent;
            stmts.push(nest(kernel, &part, |mut index| {
                for (e, n) in index.iter_mut().zip(before).take(axis) {
                    *e = e.clone() + *n;
                }
                index[axis] = index[axis].clone() + start;
                Stmt::Store {
                    buffer: to,
                    index,
                    value: Scalar::Const(Const::new(buffer.dtype, fill)),
                }
            }));
        }
    }
    stmts
}

fn counter_type() -> TensorType {
    TensorType::new(DType::I64, vec![])
}

/// Writes an element of a scan's result: parameters element, counter, result. Site 0: the counter
/// is beyond the result.
pub fn store_scan(element: &TensorType, result: &TensorType, sizes: &[SizeParam]) -> Kernel {
    let mut kernel = empty("store_scan", sizes);
    let rank = element.rank();
    let from = buffer(&mut kernel, element, Layout::row_major(rank), Scope::Input);
    let counter = buffer(
        &mut kernel,
        &counter_type(),
        Layout::row_major(0),
        Scope::Input,
    );
    let to = buffer(
        &mut kernel,
        result,
        Layout::row_major(rank + 1),
        Scope::Output,
    );
    let at = kernel.fresh_var();
    let stmt = nest(&mut kernel, &element.shape, |index| Stmt::Store {
        buffer: to,
        index: [vec![Expr::from(at)], index.clone()].concat(),
        value: Scalar::load(from, index),
    });
    kernel.body.push(Stmt::Check {
        var: at,
        value: Scalar::load(counter, vec![]),
        extent: result.shape[0].clone(),
        site: 0,
        body: vec![stmt],
    });
    kernel
}

/// Checks that a loop ran `trip` times: parameter counter, no result. Site 0: it ran less often.
pub fn check_trip(trip: &Expr, sizes: &[SizeParam]) -> Kernel {
    let mut kernel = empty("check_trip", sizes);
    let counter = buffer(
        &mut kernel,
        &counter_type(),
        Layout::row_major(0),
        Scope::Input,
    );
    let var = kernel.fresh_var();
    let missing = Scalar::binary(
        BinaryOp::Sub,
        Scalar::Index(trip.clone()),
        Scalar::load(counter, vec![]),
    );
    kernel.body.push(Stmt::Check {
        var,
        value: missing,
        extent: 1.into(),
        site: 0,
        body: vec![],
    });
    kernel
}
