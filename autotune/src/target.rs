//! What schedules know of a target of the code generator.
use std::sync::Arc;
use tensmith_codegen::target::Target;
use tensmith_passes::cost::Analytic;
use tensmith_passes::schedule::Target as ScheduleTarget;

/// The target of schedules for code of a target on so many threads; `reassociate` says whether sums
/// may change the order of their terms.
pub fn schedule_target(target: &Target, threads: usize, reassociate: bool) -> ScheduleTarget {
    ScheduleTarget {
        vector_bytes: target.vector_bytes(),
        fma: target.has_fma(),
        dots: target.has_dots(),
        reassociate,
        threads,
        cost: Arc::new(Analytic {
            machine: target.machine,
        }),
    }
}
