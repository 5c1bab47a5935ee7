//! Searches of synthetic spaces.
pub(crate) mod synthetic;

use super::*;
use crate::cost::trees::Trees;
use crate::random::Random;
use std::collections::HashMap;
use synthetic::{FEATURES, Task, tasks};
use tensmith_runtime::stats::geometric_mean;

const BATCH: usize = 8;
const SEEDS: u64 = 4;

fn searching(effort: Effort, seed: u64) -> Search {
    Search::new(effort, seed, Ranker::new(Trees::none(FEATURES)), vec![])
}

/// Searches for so many trials; gives what was found best, in truth.
fn run(search: &mut Search, task: &Task, trials: usize, seed: u64) -> f64 {
    let mut noise = Random::new(seed ^ 0x5eed);
    while search.trials().len() < trials {
        let n = BATCH.min(trials - search.trials().len());
        let batch = search.next(task, n);
        if batch.is_empty() {
            break;
        }
        for values in batch {
            let outcome = task.measure(&values, &mut noise);
            search.tell(&values, outcome);
        }
    }
    let best = search.best().expect("something works");
    task.ns(&best.member.values())
}

/// The geometric mean, over tasks and seeds, of what is found over what random search finds.
fn gain(effort: Effort, trials: usize) -> f64 {
    let mut ratios = Vec::new();
    for (k, task) in tasks().iter().enumerate() {
        for seed in 0..SEEDS {
            let seed = 100 * k as u64 + seed;
            let random = run(&mut Search::random(seed), task, trials, seed);
            let ours = run(&mut searching(effort, seed), task, trials, seed);
            ratios.push(random / ours);
        }
    }
    geometric_mean(&ratios)
}

#[test]
fn the_search_beats_random_at_64_trials() {
    for effort in [Effort::Standard, Effort::Deep] {
        let gain = gain(effort, 64);
        assert!(gain >= 1.15, "{effort:?}: {gain}");
    }
}

#[test]
fn the_same_seed_proposes_the_same() {
    let task = tasks()[3];
    for effort in [Effort::Quick, Effort::Standard, Effort::Deep] {
        let log = |seed| {
            let mut search = searching(effort, seed);
            run(&mut search, &task, 48, 7);
            search.log().clone()
        };
        assert_eq!(log(1), log(1));
        assert!(effort == Effort::Quick || log(1) != log(2));
    }
}

#[test]
fn logs_are_read_back_and_replayed() {
    let task = tasks()[3];
    let mut search = searching(Effort::Deep, 5);
    let known: Values = "0/rows=4 0/vectors=3".parse().unwrap();
    search.recall(&task, &known, Outcome::Ns(4321.1));
    search.learn(7, &[0.1; FEATURES], 123.4, 0.1 + 0.2);
    run(&mut search, &task, 48, 7);
    search.tell(&Values::default(), Outcome::Ns(f64::NAN));
    let mut bytes = Vec::new();
    search.log().write(&mut bytes).unwrap();
    let log = Log::read(&bytes[..]).unwrap();
    assert_eq!(log, *search.log());
    let again = || searching(log.effort, log.seed);
    log.replay(&mut again(), &task).unwrap();
    // Another seed, another space or another time is noticed.
    let other = searching(log.effort, log.seed + 1);
    for (mut search, task) in [(other, task), (again(), tasks()[9])] {
        assert!(log.replay(&mut search, &task).is_err());
    }
    for bad in [
        "",
        "{}",
        "{\"next\":{\"n\":1,\"values\":[]}}",
        "{\"begin\":{\"effort\":\"x\",\"seed\":1}}",
    ] {
        assert!(Log::read(bad.as_bytes()).is_err(), "{bad}");
    }
    let cut = &bytes[..bytes.len() - 9];
    assert!(matches!(Log::read(cut), Err(log::LogError::Line { .. })));
}

#[test]
fn the_default_is_first_and_no_code_is_proposed_twice() {
    for task in tasks() {
        for mut search in [searching(Effort::Deep, 1), Search::random(1)] {
            run(&mut search, &task, 96, 1);
            let trials = search.trials();
            assert_eq!(trials.len(), 96);
            let default = task.member(&Values::default()).unwrap();
            assert_eq!(trials[0].member.identity, default.identity);
            let mut seen = std::collections::HashSet::new();
            assert!(trials.iter().all(|t| seen.insert(t.member.identity)));
        }
    }
}

#[test]
fn every_strategy_has_its_turn() {
    let mut search = searching(Effort::Deep, 1);
    run(&mut search, &tasks()[2], 96, 1);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    search
        .trials()
        .iter()
        .for_each(|t| *counts.entry(t.by).or_default() += 1);
    for by in ["seeds", "sampled", "descent", "evolution"] {
        assert!(counts.get(by).is_some_and(|n| *n >= 4), "{by}: {counts:?}");
    }
    let mut quick = searching(Effort::Quick, 1);
    run(&mut quick, &tasks()[2], 96, 1);
    assert!(quick.trials().len() < 10);
}

#[test]
fn values_of_neighbours_are_tried_the_nearest_first() {
    let task = tasks()[5];
    let features = task.member(&Values::default()).unwrap().features;
    let neighbour = |far: f32, values: &str| Neighbour {
        features: features.iter().map(|x| x + far).collect(),
        values: values.parse().unwrap(),
    };
    let neighbours = vec![
        neighbour(2.0, "0/rows=2"),
        // What this task has no option for is left out.
        neighbour(0.1, "0/rows=12 0/vectors=2 1/none=3"),
        neighbour(1.0, "0/rows=12 0/vectors=2 1/none=3"),
    ];
    let ranker = Ranker::new(Trees::none(FEATURES));
    let mut search = Search::new(Effort::Quick, 1, ranker, neighbours);
    let batch = search.next(&task, 32);
    let tile = |v: &Values| {
        (
            v.get("0/rows").map(str::to_string),
            v.get("1/none").is_some(),
        )
    };
    let tiles: Vec<_> = batch[batch.len() - 2..].iter().map(tile).collect();
    assert_eq!(
        tiles,
        [(Some("12".into()), false), (Some("2".into()), false)]
    );
}

#[test]
fn a_search_ends_when_there_is_no_more() {
    for mut search in [searching(Effort::Deep, 1), Search::random(1)] {
        let mut found = Vec::new();
        for _ in 0..20 {
            let batch = search.next(&synthetic::Tiny, 8);
            for values in batch {
                search.tell(&values, Outcome::Failed);
                found.push(values.to_string());
            }
        }
        found.sort();
        assert_eq!(
            found,
            ["a=0 b=0", "a=0 b=1", "a=1 c=0", "a=1 c=1", "a=1 c=2"]
        );
        assert!(search.best().is_none());
    }
}

#[test]
fn random_search_draws_evenly_from_a_lopsided_tree() {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let draws = 4000;
    for seed in 0..draws {
        // After the default, each search draws one member.
        let batch = Search::random(seed).next(&synthetic::Tiny, 2);
        *counts.entry(batch[1].to_string()).or_default() += 1;
    }
    // Four are left, whatever the number of their siblings.
    assert_eq!(counts.len(), 4);
    let expected = draws as f64 / 4.0;
    for (values, count) in counts {
        assert!(
            (count as f64 / expected - 1.0).abs() < 0.12,
            "{values}: {count}"
        );
    }
}
