//! What keeps models from being fast here, and what to do about it.
use super::facts::Facts;
use serde::Serialize;
use tensmith::units::{human_bytes, human_ns};

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

/// Units: nanoseconds of a barrier above which threads wait for a core, not for each other: between
/// sockets it takes a tenth of this.
const MAX_BARRIER_NS: f64 = 10_000.0;

/// Units: bytes of memory below which large models may not fit.
const MIN_MEMORY: u64 = 1 << 30;

/// What is to be said about some facts, the most costly first.
pub(super) fn warnings(facts: &Facts) -> Vec<Warning> {
    let found = [
        records(facts),
        nowhere(facts),
        unkept(facts),
        disturbed(facts),
        quota(facts),
        vectors(facts),
        scaling(facts),
        hand_off(facts),
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

fn nowhere(facts: &Facts) -> Option<Warning> {
    let why = facts.records.is_nowhere()?;
    warning(
        why,
        "until then models compile without records, and `tensmith tune` has no place for them",
    )
}

fn unkept(facts: &Facts) -> Option<Warning> {
    if facts.profile_path.is_some() {
        return None;
    }
    warning(
        "the profile cannot be kept: neither XDG_CACHE_HOME nor HOME names a folder",
        "the machine is measured again each time; set one of them",
    )
}

fn disturbed(facts: &Facts) -> Option<Warning> {
    let profile = &facts.profile;
    if !profile.is_disturbed() {
        return None;
    }
    warning(
        format!(
            "other programs disturbed the measurement of this profile: multiply-adds took {:.0} % \
             longer on average than at best",
            100.0 * profile.fma_spread
        ),
        "the machine may be faster than these figures: measure again while nothing else runs \
         (tensmith doctor --probe)",
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

fn hand_off(facts: &Facts) -> Option<Warning> {
    let barrier_ns = facts.profile.hand_off?.barrier_ns;
    if barrier_ns <= MAX_BARRIER_NS {
        return None;
    }
    warning(
        format!(
            "a barrier takes {}: threads do not run side by side",
            human_ns(barrier_ns)
        ),
        "other programs take cores, or the system keeps threads on one: compare fewer --threads, and \
         measure again on an idle machine (tensmith doctor --probe)",
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

#[cfg(test)]
mod tests {
    use super::super::facts::{Cores, Memory, Store};
    use super::*;
    use tensmith_autotune::probe::{HandOff, LevelName};
    use tensmith_autotune::profile::{Access, Arithmetic, Identity, Level, Profile};

    fn profile() -> Profile {
        let access = Access {
            bytes_per_s: 1e11,
            latency_ns: 2.0,
        };
        Profile {
            clock_hz: 3e9,
            clock_spread: 0.01,
            fma_spread: 0.02,
            fma_latency_ns: 1.3,
            arithmetic: vec![Arithmetic {
                bits: 256,
                flops_per_s: 1e11,
                all_flops_per_s: 3.9e11,
                dots: None,
                loads_per_s: 6e9,
            }],
            memory: vec![Level {
                name: LevelName::L1,
                bytes: Some(32 << 10),
                one: access,
                all: access,
            }],
            hand_off: Some(HandOff {
                run_ns: 300.0,
                barrier_ns: 200.0,
                line_ns: 20.0,
            }),
            identity: Identity {
                cores: 4,
                ..Identity::here()
            },
            when_s: 0,
            took_ms: 3000.0,
        }
    }

    fn quiet() -> Facts {
        Facts {
            compiler: "0.1.0",
            features: vec!["avx2", "fma"],
            vector_bits: 256,
            cores: Cores {
                usable: 4,
                affinity: Some(4),
                quota: None,
            },
            memory: Memory {
                total_bytes: Some(16 << 30),
                available_bytes: Some(8 << 30),
                limit_bytes: None,
            },
            large_pages: Some("madvise".into()),
            governor: None,
            profile: profile(),
            profile_path: Some("profile.json".into()),
            records: Store {
                path: None,
                health: None,
                error: None,
            },
        }
    }

    #[test]
    fn a_quiet_machine_has_no_warning() {
        assert_eq!(warnings(&quiet()), []);
    }

    #[test]
    fn each_trouble_is_named() {
        type Change = fn(&mut Facts);
        let cases: [(&str, Change); 15] = [
            ("2 of 4 cores", |f| f.cores.quota = Some(2.0)),
            ("1.50 cores is no whole", |f| f.cores.quota = Some(1.5)),
            ("together do 2.0 times", |f| {
                f.profile.arithmetic[0].all_flops_per_s = 2e11;
            }),
            ("a barrier takes 30.0 us", |f| {
                f.profile.hand_off.as_mut().unwrap().barrier_ns = 3e4;
            }),
            ("varied by 20 %", |f| f.profile.clock_spread = 0.2),
            ("`powersave`", |f| f.governor = Some("powersave".into())),
            ("no large pages", |f| f.large_pages = Some("never".into())),
            ("only 512.0 MiB", |f| f.memory.limit_bytes = Some(512 << 20)),
            ("only 1.0 MiB", |f| f.memory.available_bytes = Some(1 << 20)),
            ("no folder", |f| f.records.error = Some("no folder".into())),
            ("is no database", |f| {
                f.records.path = Some("r".into());
                f.records.error = Some("r is no database".into());
            }),
            ("took 80 % longer", |f| f.profile.fma_spread = 0.8),
            ("cannot be kept", |f| f.profile_path = None),
            ("`delete`", |f| {
                f.records.health = Some(Default::default());
                f.records.health.as_mut().unwrap().journal_mode = "delete".into();
            }),
            ("are damaged: page 1", |f| {
                f.records.path = Some("r".into());
                let health = f.records.health.insert(Default::default());
                health.journal_mode = "wal".into();
                health.problems.push("page 1".into());
            }),
        ];
        for (part, change) in cases {
            let mut facts = quiet();
            change(&mut facts);
            let found = warnings(&facts);
            assert!(
                found.len() == 1 && found[0].what.contains(part),
                "{part}: {found:?}"
            );
        }
    }
}
