//! Shapes side by side: which dimensions of two shapes hold the same elements.
use std::ops::Range;
use tensmith_ir::expr::{Expr, product};

/// Pairs of dimensions, of one shape and of another, that hold the same elements.
pub type Groups = Vec<(Range<usize>, Range<usize>)>;

/// Pairs of dimensions that hold the same elements, in order.
pub fn dim_groups(from: &[Expr], to: &[Expr]) -> Option<Groups> {
    let mut groups = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (a, b) = (i, j);
        i = (i + 1).min(from.len());
        j = (j + 1).min(to.len());
        while product(&from[a..i]) != product(&to[b..j]) {
            let grow_from = match (
                product(&from[a..i]).as_const(),
                product(&to[b..j]).as_const(),
            ) {
                (Some(x), Some(y)) => x < y,
                _ => i - a <= j - b && i < from.len(),
            };
            match grow_from {
                true if i < from.len() => i += 1,
                false if j < to.len() => j += 1,
                _ => return None,
            }
        }
        groups.push((a..i, b..j));
    }
    Some(groups)
}

/// The shape under which an operand broadcasts to `from` as it does to `to` now.
pub fn seen_under(
    shape: &[Expr],
    from: &[Expr],
    to: &[Expr],
    groups: &Groups,
) -> Option<Vec<Expr>> {
    let missing = to.len().checked_sub(shape.len())?;
    let own = |d: usize| match d.checked_sub(missing) {
        Some(k) => shape[k].clone(),
        None => 1.into(),
    };
    let mut seen: Vec<Expr> = Vec::new();
    for (f, t) in groups {
        if t.clone().all(|d| own(d) == to[d]) {
            seen.extend_from_slice(&from[f.clone()]);
        } else if t.clone().all(|d| own(d).is(1)) {
            seen.extend(f.clone().map(|_| Expr::from(1)));
        } else {
            return None;
        }
    }
    if seen == from {
        return Some(seen);
    }
    Some(without_first_ones(&seen).to_vec())
}

/// A shape without its first axes of extent 1: what repeats along axes need not have them.
pub fn without_first_ones(shape: &[Expr]) -> &[Expr] {
    let ones = shape.iter().take_while(|d| d.is(1)).count();
    &shape[ones..]
}

/// The axes of a shape that are reduced where `axes` of another one with the same elements are;
/// `None` if a group of dimensions is reduced in part.
pub fn axes_under(axes: &[i64], from: &[Expr], to: &[Expr]) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    for (f, t) in dim_groups(from, to)? {
        let many = |d: &usize| !to[*d].is(1);
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            t.filter(many).partition(|d| axes.contains(&(*d as i64)));
        match (inside.is_empty(), outside.is_empty()) {
            (false, false) => return None,
            (false, true) => found.extend(f.map(|d| d as i64)),
            _ => {}
        }
    }
    Some(found)
}

/// Whether shapes that broadcast to each other broadcast to another one.
pub fn broadcasts(shapes: &[&[Expr]], to: &[Expr]) -> bool {
    let extent =
        |shape: &[Expr], d: usize| shape.len().checked_sub(d + 1).map(|k| shape[k].clone());
    (0..to.len()).all(|d| {
        let whole = &to[to.len() - 1 - d];
        let mut extents = shapes.iter().filter_map(|s| extent(s, d));
        extents.any(|e| e == *whole)
    })
}
