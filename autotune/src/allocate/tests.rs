//! Allocation on a virtual clock: tasks improve by known laws, rounds take known times.
use super::*;
use crate::random::Random;

/// A task whose time approaches a limit by a constant part of the way each round.
#[derive(Clone, Copy)]
struct Simulated {
    weight: f64,
    bound_ns: f64,
    begin_ns: f64,
    limit_ns: f64,
    rate: f64,
    round_ns: f64,
}

struct Outcome {
    elapsed_ns: f64,
    rounds: Vec<u32>,
    times_ns: Vec<f64>,
    reason: StopReason,
}

impl Outcome {
    fn model_ns(&self, tasks: &[Simulated]) -> f64 {
        let each = tasks
            .iter()
            .zip(&self.times_ns)
            .map(|(t, ns)| t.weight * ns);
        each.sum()
    }
}

fn tasks_of(simulated: &[Simulated]) -> Vec<Task> {
    let task = |s: &Simulated| Task {
        weight: s.weight,
        bound_ns: s.bound_ns,
        now_ns: s.begin_ns,
        round_ns: 1e8,
    };
    simulated.iter().map(task).collect()
}

/// Searches by `choose`, which is the allocator or a baseline.
fn run(
    simulated: &[Simulated],
    budget: Budget,
    choose: impl Fn(&Allocator, &[u32], u64) -> Step,
) -> Outcome {
    let mut random = Random::new(3);
    let mut allocator = Allocator::new(&tasks_of(simulated), budget);
    let mut out = Outcome {
        elapsed_ns: 0.0,
        rounds: vec![0; simulated.len()],
        times_ns: simulated.iter().map(|s| s.begin_ns).collect(),
        reason: StopReason::Exhausted,
    };
    loop {
        match choose(&allocator, &out.rounds, out.elapsed_ns as u64) {
            Step::Stop(reason) => {
                out.reason = reason;
                return out;
            }
            Step::Search {
                task,
                part,
                until_ns,
                ..
            } => {
                let s = simulated[task];
                let whole_ns = s.round_ns * (0.8 + 0.4 * random.unit());
                let left = until_ns.map_or(f64::INFINITY, |until| until as f64 - out.elapsed_ns);
                let spent_ns = (part * whole_ns).min(left);
                // One of two rounds finds nothing.
                let found = if random.chance(0.5) {
                    2.0 * s.rate
                } else {
                    0.0
                };
                let now = &mut out.times_ns[task];
                *now -= part * found.min(0.9) * (*now - s.limit_ns);
                out.elapsed_ns += spent_ns;
                out.rounds[task] += 1;
                let round = Round {
                    spent_ns: spent_ns / part,
                    trials: 8,
                    now_ns: *now,
                    is_exhausted: false,
                };
                allocator.tell(task, &round);
            }
        }
    }
}

fn allocated(simulated: &[Simulated], budget: Budget) -> Outcome {
    run(simulated, budget, |a, _, now| a.next(now))
}

fn seconds(s: f64) -> Budget {
    Budget {
        deadline_ns: Some((s * 1e9) as u64),
        ..Budget::default()
    }
}

/// Tasks of many sizes; all can become 1.1 to 2 times as fast.
fn model(n: usize) -> Vec<Simulated> {
    let mut random = Random::new(5);
    let mut task = |_| {
        let begin_ns = 1e4 * 100_f64.powf(random.unit());
        Simulated {
            weight: (1 + random.below(6)) as f64,
            bound_ns: 0.3 * begin_ns,
            begin_ns,
            limit_ns: begin_ns / (1.1 + 0.9 * random.unit()),
            rate: 0.1 + 0.3 * random.unit(),
            round_ns: 1e8 * (1.0 + 4.0 * random.unit()),
        }
    };
    (0..n).map(&mut task).collect()
}

#[test]
fn the_deadline_is_kept_to_a_round() {
    for s in [0.0, 0.05, 1.0, 7.0, 30.0] {
        let out = allocated(&model(20), seconds(s));
        assert!(out.elapsed_ns <= s * 1e9 + 2.5e8, "{s}: {}", out.elapsed_ns);
        assert_eq!(out.reason, StopReason::Deadline);
    }
}

/// A kernel that takes tenths of a second has rounds of a minute.
#[test]
fn a_part_of_a_round_is_better_than_none() {
    let task = Task {
        weight: 1.0,
        bound_ns: 1e7,
        now_ns: 1e8,
        round_ns: 60e9,
    };
    let part = |s: f64| match Allocator::new(&[task], seconds(s)).next(0) {
        Step::Search { part, .. } => Some(part),
        Step::Stop(_) => None,
    };
    assert_eq!(
        [100.0, 60.0, 30.0, 10.0].map(part),
        [Some(1.0), Some(1.0), Some(0.5), None]
    );
}

#[test]
fn time_goes_where_it_pays() {
    let tasks = model(20);
    for s in [5.0, 10.0, 20.0] {
        let ours = allocated(&tasks, seconds(s)).model_ns(&tasks);
        let in_turns = run(&tasks, seconds(s), |a, rounds, now| match a.next(now) {
            Step::Stop(reason) => Step::Stop(reason),
            step @ Step::Search { .. } => {
                let next = (0..rounds.len()).min_by_key(|t| rounds[*t]).unwrap_or(0);
                match step {
                    Step::Search {
                        until_ns,
                        trials,
                        part,
                        ..
                    } => Step::Search {
                        task: next,
                        until_ns,
                        trials,
                        part,
                    },
                    stop @ Step::Stop(_) => stop,
                }
            }
        });
        let begin: f64 = tasks.iter().map(|t| t.weight * t.begin_ns).sum();
        let (gain, other) = (begin - ours, begin - in_turns.model_ns(&tasks));
        assert!(gain > 1.1 * other, "{s} s: {gain} {other}");
    }
}

#[test]
fn what_matters_is_never_left_out() {
    let tasks = model(20);
    let out = allocated(&tasks, Budget::default());
    assert!(matches!(out.reason, StopReason::LittleLeft { .. }));
    let total: f64 = tasks.iter().map(|t| t.weight * t.begin_ns).sum();
    for (task, rounds) in tasks.iter().zip(&out.rounds) {
        let share = task.weight * task.begin_ns / total;
        assert!(share < 0.01 || *rounds > 0, "{share} {rounds}");
    }
}

#[test]
fn deep_searches_use_all_of_their_time() {
    let tasks = model(20);
    let budget = Budget {
        effort: crate::Effort::Deep,
        ..seconds(3600.0)
    };
    let out = allocated(&tasks, budget);
    assert!(
        matches!(out.reason, StopReason::Deadline),
        "{:?}",
        out.reason
    );
}

#[test]
fn the_search_stops_when_little_is_left() {
    let tasks = model(20);
    let out = allocated(&tasks, seconds(3600.0));
    let StopReason::LittleLeft { share } = out.reason else {
        panic!("{:?}", out.reason);
    };
    assert!(share < 0.01);
    let limit: f64 = tasks.iter().map(|t| t.weight * t.limit_ns).sum();
    assert!(out.model_ns(&tasks) < 1.05 * limit);
    assert!(out.elapsed_ns < 300e9, "{}", out.elapsed_ns);
    assert!(out.reason.to_string().starts_with("no more than "));
}

#[test]
fn trials_and_proposals_end_a_search() {
    let tasks = model(3);
    let budget = Budget {
        trials: Some(40),
        ..Budget::default()
    };
    let out = allocated(&tasks, budget);
    assert_eq!(
        (out.reason, out.rounds.iter().sum()),
        (StopReason::Trials, 5)
    );
    let mut allocator = Allocator::new(&tasks_of(&tasks), Budget::default());
    for (task, simulated) in tasks.iter().enumerate() {
        let round = Round {
            spent_ns: 1e8,
            trials: 8,
            now_ns: simulated.begin_ns,
            is_exhausted: true,
        };
        allocator.tell(task, &round);
    }
    assert_eq!(allocator.next(0), Step::Stop(StopReason::Exhausted));
    assert_eq!(
        Allocator::new(&[], Budget::default()).next(0),
        Step::Stop(StopReason::Exhausted)
    );
}

#[test]
fn the_end_is_foreseen() {
    let tasks = model(20);
    let allocator = Allocator::new(&tasks_of(&tasks), seconds(10.0));
    let end = allocator.predicted_end_ns(0) as f64;
    assert!((9e9..=10.1e9).contains(&end), "{end}");
    let free = Allocator::new(&tasks_of(&tasks), Budget::default()).predicted_end_ns(0) as f64;
    assert!(free > 1e9 && free < 300e9, "{free}");
}
