//! Splits the channels of grouped contractions into groups and channels of a group.
//!
//! A sum of products that reads an operand at the quotient of a loop is several contractions, one
//! for each value of the quotient. With a loop for these, the other is the columns of each.
//! `for o < 64 { .. a[8*(o / 8) + c] * w[o, c] }` becomes
//! `for g < 8 { for o < 8 { .. a[8*g + c] * w[8*g + o, c] }}`.
use super::Target;
use super::contraction;
use super::nest::{Nest, visit_scalars};
use super::primitives::Rejected;
use super::primitives::edit::Place;
use super::scheduler::Scheduler;
use tensmith_ir::expr::{Atom, Var};
use tensmith_ir::loops::{Kernel, Scalar};

/// Groups of fewer columns are no contractions.
const FEW: i64 = 2;

/// Splits the loop of a nest that divides into groups, if there is one.
pub fn split_groups(s: &mut Scheduler, at: &Place, target: &Target) {
    if let Some((var, size)) = choose(s.kernel(), &Nest::at(s.kernel(), at), target) {
        let _ = s.recipe("groups", |s| schedule(s, var, size));
    }
}

fn schedule(s: &mut Scheduler, var: Var, size: i64) -> Result<(), Rejected> {
    s.split(var, size).map(drop)
}

/// A loop at whose quotient by a number, which divides its extent, elements are loaded.
fn choose(kernel: &Kernel, nest: &Nest<'_>, target: &Target) -> Option<(Var, i64)> {
    if !contraction::is_anchor(kernel, nest, target) {
        return None;
    }
    let mut found = None;
    visit_scalars(nest.body, &mut |s| {
        s.visit(&mut |s| {
            let Scalar::Load(_, index) = s else { return };
            let atoms = index.iter().flat_map(|e| e.terms()).flat_map(|(a, _)| a);
            found = found.or(atoms.filter_map(|a| divided(nest, a)).next());
        });
    });
    found
}

fn divided(nest: &Nest<'_>, atom: &Atom) -> Option<(Var, i64)> {
    let Atom::Div(parts) = atom else { return None };
    let (var, size) = (parts.0.as_var()?, parts.1.as_const()?);
    let (_, extent) = nest.loops.iter().find(|(v, _)| *v == var)?;
    let extent = extent.as_const()?;
    (size >= FEW && size < extent && extent % size == 0).then_some((var, size))
}
