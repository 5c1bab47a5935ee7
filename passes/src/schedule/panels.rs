//! Splits the loops of copies into panels, such as those of packed weights, and the elements of one.
//!
//! `for i < 40 { for k < 9 { o[i, k] = a[i, k] } }`, where `o` has panels of 16 of its first
//! dimension, becomes `for p < 2 { for i < 16 { for k < 9 { o[16*p + i, k] = .. } } }`, whose
//! elements lie side by side along a loop, and the same for the 8 that are left. Other loops become
//! one, as the elements that are read have it: runs of few taps would fill no vector.
use super::nest::Nest;
use super::primitives::edit::Place;
use super::primitives::{At, Primitive, Rejected};
use super::scheduler::Scheduler;
use tensmith_ir::expr::Var;
use tensmith_ir::loops::{Kernel, Scalar, Scope, Stmt};

/// Splits the loop of the nest at a place along which a result has panels; gives the number of nests
/// that it became.
pub fn split_panels(s: &mut Scheduler, at: &Place) -> usize {
    let Some(found) = choose(s.kernel(), &Nest::at(s.kernel(), at)) else {
        return 1;
    };
    s.recipe("panels", |s| schedule(s, found)).unwrap_or(1)
}

/// A loop of a copy that is the index of a dimension with several panels.
struct Panels {
    var: Var,
    /// The loops around it, and those inside.
    around: Vec<Var>,
    inside: Vec<Var>,
    extent: i64,
    size: i64,
}

fn choose(kernel: &Kernel, nest: &Nest<'_>) -> Option<Panels> {
    let [
        Stmt::Store {
            buffer,
            index,
            value: Scalar::Load(..),
        },
    ] = nest.body
    else {
        return None;
    };
    let result = kernel.buffer(*buffer);
    let outer = result.layout.0.iter();
    let mut outer = outer.filter(|d| d.extent.is_none() && d.step > 1);
    let (panel, None) = (outer.next()?, outer.next()) else {
        return None;
    };
    let var = index[panel.dim].as_var()?;
    let at = nest.loops.iter().position(|(v, _)| *v == var)?;
    let extent = nest.loops[at].1.as_const()?;
    let vars = nest.vars();
    (result.scope == Scope::Output && extent > panel.step).then(|| Panels {
        var,
        around: vars[..at].to_vec(),
        inside: vars[at + 1..].to_vec(),
        extent,
        size: panel.step,
    })
}

fn schedule(s: &mut Scheduler, panels: Panels) -> Result<usize, Rejected> {
    let Panels {
        var,
        around,
        inside,
        extent,
        size,
    } = panels;
    let inside = match inside.len() {
        ..2 => inside,
        // What cannot be one loop is as good as it is.
        _ => s.fuse(inside.clone()).map_or(inside, |all| vec![all]),
    };
    let others = [around, inside].concat();
    s.reorder([vec![var], others.clone()].concat())?;
    if extent % size == 0 {
        let (panel, column) = s.split(var, size)?;
        s.reorder([vec![panel], others, vec![column]].concat())?;
        return Ok(1);
    }
    let parts = s.apply(Primitive::Cut(var, At::Multiple(size)))?;
    let band = |n: usize| others.iter().map(|v| parts.of(*v)[n]).collect::<Vec<Var>>();
    let [whole, rest] = parts.made[..] else {
        return Err(Rejected::NoEffect);
    };
    match extent / size {
        1 => s.reorder([band(0), vec![whole]].concat())?,
        _ => {
            let (panel, column) = s.split(whole, size)?;
            s.reorder([vec![panel], band(0), vec![column]].concat())?;
        }
    }
    s.reorder([band(1), vec![rest]].concat())?;
    Ok(2)
}
