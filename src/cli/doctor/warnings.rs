//! What keeps models from being fast here, and what to do about it.
use super::facts::Facts;
use crate::cli::shared::human_bytes;
use serde::Serialize;

/// Something that costs speed or may fail.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    /// What it is.
    pub(super) what: String,
    /// What to do.
    pub(super) next: String,
}

/// The spread of the clock above which figures are not steady: idle machines stay below.
const MAX_SPREAD: f64 = 0.05;

/// What all cores do together, as a part of so many times one: less means that they share units.
const MIN_SCALING: f64 = 0.75;

/// Units: bytes of memory below which large models may not fit.
const MIN_MEMORY: u64 = 1 << 30;

/// What is to be said about some facts, the most costly first.
pub(super) fn warnings(facts: &Facts) -> Vec<Warning> {
    let found = [
        records(facts),
        quota(facts),
        vectors(facts),
        scaling(facts),
        clock(facts),
        governor(facts),
        large_pages(facts),
        memory(facts),
        journal(facts),
    ];
    found.into_iter().flatten().collect()
}

fn warning(what: impl Into<String>, next: impl Into<String>) -> Option<Warning> {
    Some(Warning {
        what: what.into(),
        next: next.into(),
    })
}

fn records(facts: &Facts) -> Option<Warning> {
    let problem = facts.records.problem()?;
    warning(
        problem,
        "models compile without records until then; `tensmith db check` says more",
    )
}

fn quota(facts: &Facts) -> Option<Warning> {
    let quota = facts.cores.quota?;
    if quota.fract() > 0.01 {
        return warning(
            format!(
                "the quota of {quota:.2} cores is no whole number: {} threads are stopped now and then",
                facts.cores.usable
            ),
            format!(
                "say --threads {}, or grant whole cores",
                (quota.floor() as usize).max(1)
            ),
        );
    }
    let allowed = facts.cores.affinity?;
    if quota >= allowed as f64 {
        return None;
    }
    warning(
        format!("the quota grants {quota:.0} of {allowed} cores"),
        "runs take as many threads as that; raise the quota of the control group to use more",
    )
}

fn vectors(facts: &Facts) -> Option<Warning> {
    if facts.vector_bits > 128 || !cfg!(target_arch = "x86_64") {
        return None;
    }
    warning(
        "this processor has no AVX2: vectors have 128 bits",
        "on a newer processor, or a virtual one that passes AVX2 on, models run several times as fast",
    )
}

fn scaling(facts: &Facts) -> Option<Warning> {
    let cores = facts.profile.identity.cores;
    let widest = facts.profile.arithmetic.last()?;
    let times = widest.all_flops_per_s / widest.flops_per_s;
    if times >= MIN_SCALING * cores as f64 {
        return None;
    }
    warning(
        format!("{cores} cores together do {times:.1} times the arithmetic of one"),
        "threads of one core share its units, and other programs take their part: compare fewer \
         --threads, and measure again on an idle machine (tensmith doctor --probe)",
    )
}

fn clock(facts: &Facts) -> Option<Warning> {
    let spread = facts.profile.clock_spread;
    if spread <= MAX_SPREAD {
        return None;
    }
    warning(
        format!(
            "the clock varied by {:.0} % while it was measured",
            100.0 * spread
        ),
        "measure again while nothing else runs (tensmith doctor --probe); until then, times of \
         models vary alike",
    )
}

fn governor(facts: &Facts) -> Option<Warning> {
    let governor = facts.governor.as_deref()?;
    if governor == "performance" {
        return None;
    }
    warning(
        format!("the system sets the clock by the governor `{governor}`"),
        "for steady times: cpupower frequency-set --governor performance",
    )
}

fn large_pages(facts: &Facts) -> Option<Warning> {
    if facts.large_pages.as_deref()? != "never" {
        return None;
    }
    warning(
        "the system gives no large pages: large tensors take longer to read",
        "as root, write `madvise` or `always` to transparent_hugepage/enabled of the system's mm",
    )
}

fn memory(facts: &Facts) -> Option<Warning> {
    let memory = facts.memory;
    let limits = [memory.available_bytes, memory.limit_bytes];
    let least = limits.into_iter().flatten().min()?;
    if least >= MIN_MEMORY {
        return None;
    }
    warning(
        format!("only {} of memory can be had", human_bytes(least)),
        "large models may fail: free some, or raise the limit of the control group",
    )
}

fn journal(facts: &Facts) -> Option<Warning> {
    let mode = &facts.records.health.as_ref()?.journal_mode;
    if mode == "wal" {
        return None;
    }
    warning(
        format!("the records are kept with the journal mode `{mode}` instead of `wal`"),
        "processes wait longer for each other; keep the file on a local disk (--records FILE)",
    )
}
