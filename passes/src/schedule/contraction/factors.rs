//! What a sum of products is made of: its factors and its terms.
use super::super::Target;
use super::super::nest::{Nest, visit_scalars};
use super::super::primitives::registers::visit_stmts;
use super::bytes;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::loops::{BufferId, Kernel, Mark, Role, Scalar, Scope, Stmt};

/// An element of a factor.
pub struct Factor<'a> {
    /// The buffer that it is loaded from.
    pub buffer: BufferId,
    /// Units: elements from the buffer's begin.
    pub offset: Expr,
    /// Its index.
    pub index: &'a [Expr],
}

/// The factors of the sum of products in a nest's body, if it has just one.
pub fn factors<'a>(
    kernel: &Kernel,
    body: &'a [Stmt],
    ranges: &Ranges,
    target: &Target,
) -> Option<[Factor<'a>; 2]> {
    let mut found = Vec::new();
    collect_sums(body, false, &mut found);
    let [(x, y)] = found[..] else { return None };
    let plain = |s: &'a Scalar| {
        let narrow = bytes::widened(kernel, s).or_else(|| widened_half(kernel, s));
        narrow.unwrap_or(s)
    };
    let factor = |s: &'a Scalar| match plain(s) {
        Scalar::Load(b, index) if kernel.buffer(*b).scope != Scope::Register => Some(Factor {
            buffer: *b,
            offset: kernel.buffer(*b).offset(index).simplify(ranges),
            index,
        }),
        _ => None,
    };
    let factors = [factor(x)?, factor(y)?];
    let is_float = |f: &Factor<'_>| {
        let dtype = kernel.buffer(f.buffer).dtype;
        dtype == DType::F32 || dtype.is_half()
    };
    let floats = factors.iter().all(is_float);
    (floats || bytes::multiply(kernel, target, &factors)).then_some(factors)
}

/// The element of a widened half.
fn widened_half<'a>(kernel: &Kernel, s: &'a Scalar) -> Option<&'a Scalar> {
    let Scalar::Cast(DType::F32, load) = s else {
        return None;
    };
    match &**load {
        Scalar::Load(b, _) if kernel.buffer(*b).dtype.is_half() => Some(load),
        _ => None,
    }
}

fn collect_sums<'a>(stmts: &'a [Stmt], reducing: bool, found: &mut Vec<(&'a Scalar, &'a Scalar)>) {
    for stmt in stmts {
        match stmt {
            Stmt::Store {
                value: Scalar::Fma(x, y, _),
                ..
            } if reducing => found.push((x, y)),
            Stmt::Store {
                buffer,
                value: Scalar::Binary(_, acc, product),
                ..
            } if reducing => {
                if matches!(&**acc, Scalar::Load(b, _) if b == buffer)
                    && let Scalar::Binary(tensmith_ir::loops::BinaryOp::Mul, x, y) = &**product
                {
                    found.push((x, y));
                }
            }
            Stmt::For(l) => collect_sums(&l.body, reducing || l.role == Role::Reduce, found),
            other => other
                .bodies()
                .into_iter()
                .for_each(|b| collect_sums(b, reducing, found)),
        }
    }
}

/// Whether a buffer is loaded in one place only.
pub fn is_loaded_once(nest: &Nest<'_>, buffer: BufferId) -> bool {
    let mut loads = 0;
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| loads += usize::from(matches!(s, Scalar::Load(b, _) if *b == buffer)));
    });
    loads == 1
}

/// The terms of a sum: those of the reduction loops of a body; `None` if they are not known.
pub fn depth(body: &[Stmt]) -> Option<i64> {
    let loops = body.iter().filter_map(|stmt| match stmt {
        Stmt::For(l) if l.role == Role::Reduce => Some((l, &l.body)),
        _ => None,
    });
    let mut terms = 1;
    for (l, inner) in loops {
        terms = l.extent.as_const()?.checked_mul(depth(inner)?)?;
    }
    Some(terms)
}

/// The least stride of a factor along a reduction loop of more than one term.
pub fn nearest_terms(body: &[Stmt], offset: &Expr) -> Option<i64> {
    let mut nearest: Option<i64> = None;
    visit_stmts(body, &mut |stmt| {
        if let Stmt::For(l) = stmt
            && l.role == Role::Reduce
            && !l.extent.is(1)
            && let Some(stride) = offset.linear_coefficient(l.var).and_then(|c| c.as_const())
            && stride != 0
        {
            nearest = Some(nearest.map_or(stride.abs(), |n| n.min(stride.abs())));
        }
    });
    nearest
}

/// Whether a reduction loop of a body has one term.
pub fn runs_once(body: &[Stmt], var: Var) -> bool {
    let mut once = false;
    visit_stmts(body, &mut |stmt| {
        once |= matches!(stmt, Stmt::For(l) if l.var == var && l.extent.is(1));
    });
    once
}

/// The reduction loops of a body in the order of their strides in a factor, the greatest outermost.
pub fn order_reductions(body: &[Stmt], offset: &Expr) -> Vec<Var> {
    let first = body.iter().find_map(|s| match s {
        Stmt::For(l) if l.role == Role::Reduce => Some(l),
        _ => None,
    });
    let Some(outermost) = first else {
        return vec![];
    };
    let mut heads = vec![outermost.var];
    let mut inner = &outermost.body;
    while let [Stmt::For(l)] = &inner[..]
        && l.role == Role::Reduce
        && l.mark == Mark::Plain
        && l.reduction.is_none()
        && !heads.iter().any(|v| l.extent.mentions(*v))
    {
        heads.push(l.var);
        inner = &l.body;
    }
    let stride = |v: &Var| {
        let coefficient = offset.linear_coefficient(*v);
        coefficient.and_then(|c| c.as_const()).unwrap_or(i64::MAX)
    };
    heads.sort_by_key(|v| std::cmp::Reverse(stride(v)));
    heads
}
