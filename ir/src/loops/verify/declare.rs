//! Declarations: sizes, buffers and layouts.
use super::super::{Buffer, Kernel, LayoutDim, Scope};
use crate::expr::{Atom, Expr};
use std::collections::HashSet;

/// Checks the declarations of a kernel.
///
/// Errors: the first broken one.
pub(super) fn check(kernel: &Kernel) -> Result<(), String> {
    let sizes: HashSet<_> = kernel.sizes.iter().collect();
    if sizes.len() != kernel.sizes.len() || kernel.sizes.len() != kernel.size_bounds.len() {
        return Err("sizes must be unique and each have bounds".into());
    }
    if let Some((lo, _)) = kernel
        .size_bounds
        .iter()
        .find(|(lo, hi)| *lo < 0 || lo > hi)
    {
        return Err(format!("a size with the least value {lo}"));
    }
    let mut names = HashSet::new();
    for b in &kernel.buffers {
        if !names.insert(&b.name[..]) {
            return Err(format!("two buffers called `{}`", b.name));
        }
        check_buffer(kernel, b).map_err(|e| format!("buffer `{}`: {e}", b.name))?;
    }
    Ok(())
}

fn check_buffer(kernel: &Kernel, b: &Buffer) -> Result<(), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !b.name.starts_with(|c: char| c.is_ascii_alphabetic()) || !b.name.chars().all(word) {
        return Err("the name is not a word".into());
    }
    for extent in &b.shape {
        let mut known = true;
        extent.visit(&mut |a| known &= matches!(a, Atom::Size(s) if kernel.sizes.contains(s)));
        if !known {
            return Err(format!(
                "the extent {extent} is not over sizes of the kernel"
            ));
        }
        match (b.scope, extent.as_const()) {
            (_, Some(n)) if n < 0 => return Err(format!("an extent of {n}")),
            (Scope::Register, None) => return Err("registers need known extents".into()),
            _ => {}
        }
    }
    if let Some(d) = b.layout.0.iter().find(|d| d.dim >= b.shape.len()) {
        return Err(format!("the layout has a dimension {}", d.dim));
    }
    if !(0..=Buffer::MOST_PREFETCH).contains(&b.prefetch) {
        return Err(format!("a prefetch {} elements ahead", b.prefetch));
    }
    let ranges = b.nonzero.len();
    if ranges > 0 && (ranges != b.shape.len() || b.scope != Scope::Input) {
        return Err(format!("{ranges} ranges of elements that are not 0"));
    }
    (0..b.shape.len()).try_for_each(|dim| check_layout_of(b, dim))
}

/// Checks that the physical parts of a dimension tell all its indices apart.
fn check_layout_of(b: &Buffer, dim: usize) -> Result<(), String> {
    let mut parts: Vec<&LayoutDim> = b.layout.0.iter().filter(|d| d.dim == dim).collect();
    parts.sort_by_key(|d| (d.step, d.extent.is_none()));
    let fail = |what: &str| Err(format!("layout of dimension {dim}: {what}"));
    let mut covered = Some(1i64);
    for part in parts {
        match (covered, part.extent) {
            (Some(step), _) if step != part.step => return fail("blocks with gaps or overlaps"),
            (Some(_), Some(extent)) if extent < 1 => return fail("an empty block"),
            (Some(step), Some(extent)) => covered = Some(step.saturating_mul(extent)),
            (Some(_), None) => covered = None,
            (None, _) => return fail("two outermost parts"),
        }
    }
    match (covered, b.shape[dim].as_const()) {
        (None, _) => Ok(()),
        (Some(covered), Some(extent)) if extent <= covered => Ok(()),
        _ => fail("no outermost part"),
    }
}

/// The extent of a dimension in memory: padding of blocks may be accessed.
pub(super) fn reachable_extent(b: &Buffer, dim: usize) -> Expr {
    let mut parts = b.layout.0.iter();
    let outermost = parts.find(|d| d.dim == dim && d.extent.is_none());
    match outermost {
        Some(d) if d.step > 1 => b.shape[dim].ceil_div(d.step) * d.step,
        _ => b.shape[dim].clone(),
    }
}
