//! Cutting a plan into sections: calls between two barriers, which need no order among threads.
//!
//! A section with parallel work becomes a function `(ctx, part, parts)` that an executor calls
//! once for each part. All else stays in the entry, which one thread runs: control flow, and calls
//! that are thread 0's alone.
use super::frame::{Frame, KernelRefs, calls_of};
use super::{Form, parallel_extent};
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::FunctionBuilderContext;
use tensmith_ir::expr::Expr;
use tensmith_ir::plan::{Plan, Step};
use tensmith_runtime::profile;

/// A barrier-free run of calls, of which at least one is parallel.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// The number of its first step: see [`super::numbered_steps`].
    pub number: u32,
    /// The calls.
    pub steps: &'a [Step],
    /// The mark at its end: the step that comes next, or that holds it.
    after: u32,
}

/// The steps of one list in groups: calls that follow one another, and each other step alone.
pub(super) fn groups(steps: &[Step]) -> impl Iterator<Item = &[Step]> {
    let is_call = |step: &Step| matches!(step, Step::Call(_));
    steps.chunk_by(move |a, b| is_call(a) && is_call(b))
}

/// The sections of a plan, in order.
pub fn sections(plan: &Plan) -> Vec<Section<'_>> {
    let mut found = Vec::new();
    collect(plan, &plan.steps, (0, profile::END), &mut found);
    found
}

/// Adds the sections of steps numbered from `number` on, held by step `holder`; the number after
/// them.
fn collect<'a>(
    plan: &Plan,
    steps: &'a [Step],
    (mut number, holder): (u32, u32),
    found: &mut Vec<Section<'a>>,
) -> u32 {
    let mut left = steps.len();
    for group in groups(steps) {
        left -= group.len();
        let own = number;
        number += group.len() as u32;
        if calls_of(group).any(|call| parallel_extent(plan.kernel(call.kernel)).is_some()) {
            found.push(Section {
                number: own,
                steps: group,
                after: if left == 0 { holder } else { number },
            });
        }
        match &group[0] {
            Step::Call(_) | Step::Barrier => {}
            Step::If {
                then, otherwise, ..
            } => {
                number = collect(plan, then, (number, own), found);
                number = collect(plan, otherwise, (number, own), found);
            }
            Step::Loop { body, .. } => number = collect(plan, body, (number, own), found),
        }
    }
    number
}

/// As many parts as any of the calls has iterations to deal.
pub(super) fn useful_parts(plan: &Plan, steps: &[Step]) -> Expr {
    calls_of(steps)
        .filter_map(|call| parallel_extent(plan.kernel(call.kernel)))
        .fold(Expr::from(1), |most, extent| most.max(extent.clone()))
}

/// Fills `function` with a section's code.
pub(crate) fn emit_section(
    (plan, section): (&Plan, &Section<'_>),
    (isa, form): (&dyn TargetIsa, Form),
    kernels: &KernelRefs,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
) {
    let mut frame = Frame::new((plan, form), kernels, function, context);
    for (number, call) in (section.number..).zip(calls_of(section.steps)) {
        frame.mark(number);
        frame.call(call);
    }
    frame.mark(section.after);
    frame.finish(isa);
}
