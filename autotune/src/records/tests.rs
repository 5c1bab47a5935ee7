//! Records in, records out.
use super::*;

pub(super) fn key(task: &str) -> Key {
    Key {
        task: task.into(),
        target: "host".into(),
        threads: 2,
        machine: "m1".into(),
        compiler: "0.1.0".into(),
    }
}

pub(super) fn measured(values: &str, median_ns: f64, default_ns: f64) -> Trial {
    Trial {
        values: values.parse().unwrap(),
        outcome: Outcome::Measured {
            median_ns,
            default_ns,
            samples: 15,
        },
        when_s: 1_700_000_000,
    }
}

fn database() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("records.sqlite3")).unwrap();
    (folder, database)
}

fn failed(values: &str, outcome: Outcome) -> Trial {
    Trial {
        outcome,
        ..measured(values, 1.0, 1.0)
    }
}

/// As [`measured`], with samples and seconds.
fn sampled(values: &str, median_ns: f64, samples: u32, when_s: u64) -> Trial {
    Trial {
        values: values.parse().unwrap(),
        outcome: Outcome::Measured {
            median_ns,
            default_ns: 10.0,
            samples,
        },
        when_s,
    }
}

#[test]
fn what_is_inserted_is_found_by_its_whole_key() {
    let (_folder, database) = database();
    let trial = measured("0/tile=6x4", 1.0 / 3.0, 2.0 / 7.0);
    database.insert(&key("a"), &trial).unwrap();
    assert_eq!(database.best(&key("a")).unwrap(), Some(trial.clone()));
    assert_eq!(database.trials(&key("a")).unwrap(), [trial]);
    let others: [&dyn Fn(&mut Key); 5] = [
        &|k| k.task.push('b'),
        &|k| k.target.push('b'),
        &|k| k.threads += 1,
        &|k| k.machine.push('b'),
        &|k| k.compiler.push('b'),
    ];
    for change in others {
        let mut other = key("a");
        change(&mut other);
        assert_eq!(database.best(&other).unwrap(), None);
        assert_eq!(database.trials(&other).unwrap(), []);
    }
}

#[test]
fn equal_records_are_kept_once() {
    let (_folder, database) = database();
    let trials = [
        measured("a=1", 1.0, 2.0),
        failed("a=2", Outcome::Crashed),
        failed("a=2", Outcome::Hung),
        measured("", 2.0, 2.0),
    ];
    for trial in trials.iter().chain(&trials) {
        database.insert(&key("a"), trial).unwrap();
    }
    assert_eq!(database.trials(&key("a")).unwrap().len(), 4);
    assert_eq!(database.count().unwrap(), 4);
}

#[test]
fn the_best_is_the_fastest_beside_the_default() {
    let (_folder, database) = database();
    let best = |trials: &[Trial]| {
        let key = key(&format!("task {}", database.count().unwrap()));
        for trial in trials {
            database.insert(&key, trial).unwrap();
        }
        let best = database.best(&key).unwrap();
        best.map(|t| t.values.to_string())
    };
    // 0.9 on a fast day, 0.8 on a slow one.
    let days = [measured("a=1", 9.0, 10.0), measured("a=2", 16.0, 20.0)];
    assert_eq!(best(&days).as_deref(), Some("a=2"));
    // Few samples may be lucky ones.
    let lucky = [
        sampled("a=1", 1.0, 3, 1),
        sampled("a=1", 9.0, 15, 2),
        sampled("a=2", 8.0, 3, 3),
    ];
    assert_eq!(best(&lucky).as_deref(), Some("a=2"));
    let later = [
        sampled("a=1", 1.0, 15, 1),
        sampled("a=1", 9.0, 15, 2),
        sampled("a=2", 8.0, 15, 1),
    ];
    assert_eq!(best(&later).as_deref(), Some("a=2"));
    let wrong = [
        measured("a=1", 1.0, 10.0),
        failed("a=1", Outcome::WrongResult),
        measured("a=2", 5.0, 10.0),
    ];
    assert_eq!(best(&wrong).as_deref(), Some("a=2"));
    assert_eq!(best(&[failed("a=1", Outcome::OutOfMemory)]), None);
    assert_eq!(best(&[measured("a=1", 11.0, 10.0)]).as_deref(), Some("a=1"));
}

#[test]
fn records_that_break_rules_are_refused() {
    let (_folder, database) = database();
    let nan = measured("a=1", f64::NAN, 1.0);
    let refused = database.insert(&key("a"), &nan);
    assert!(matches!(refused, Err(RecordError::Invalid(_))));
    let refused = database.insert(&key(""), &measured("a=1", 1.0, 1.0));
    assert!(matches!(refused, Err(RecordError::Invalid(_))));
    assert_eq!(database.count().unwrap(), 0);
}

#[test]
fn equal_hashes_are_told_apart_by_the_text() {
    let (_folder, database) = database();
    database
        .insert(&key("a"), &measured("a=1", 1.0, 1.0))
        .unwrap();
    let change = "UPDATE tasks SET text = 'b'";
    database.sql.execute(change, []).unwrap();
    assert_eq!(database.best(&key("a")).unwrap(), None);
    assert!(!database.check().unwrap().problems.is_empty());
}

#[test]
fn the_last_word_of_a_model_decides_what_compilations_use() {
    let (_folder, database) = database();
    let at = |values: &str, outcome, when_s| Trial {
        when_s,
        ..failed(values, outcome)
    };
    let accepted = || database.accepted(&key("a")).unwrap().map(|v| v.to_string());
    assert_eq!(accepted(), None);
    database
        .insert(&key("a"), &measured("0/t=1", 1.0, 2.0))
        .unwrap();
    assert_eq!(accepted(), None);
    let word = at("0/t=1", Outcome::Accepted, 10);
    database.insert(&key("a"), &word).unwrap();
    assert_eq!(accepted().as_deref(), Some("0/t=1"));
    // It is no failure of the values.
    assert!(database.best(&key("a")).unwrap().is_some());
    database
        .insert(&key("a"), &at("0/t=1", Outcome::Reverted, 11))
        .unwrap();
    assert_eq!(accepted(), None);
    database
        .insert(&key("a"), &at("0/t=2", Outcome::Accepted, 12))
        .unwrap();
    assert_eq!(accepted().as_deref(), Some("0/t=2"));
    let all = |limit| database.all_accepted(&key("b"), limit).unwrap();
    assert_eq!(all(8), [(key("a").task, "0/t=2".parse().unwrap())]);
    assert!(all(0).is_empty());
    // What was accepted long ago does not come back by a merge.
    database
        .insert(&key("a"), &at("0/t=3", Outcome::Accepted, 5))
        .unwrap();
    assert_eq!(accepted().as_deref(), Some("0/t=2"));
}

#[test]
fn what_is_said_now_comes_after_what_a_clock_that_runs_ahead_said() {
    let (_folder, database) = database();
    let said = |values: &str, outcome, when_s| Trial {
        when_s,
        ..failed(values, outcome)
    };
    let ahead = said("a=1", Outcome::Accepted, 9_999_999_999);
    database.insert(&key("t"), &ahead).unwrap();
    let used = || database.accepted(&key("t")).unwrap();
    for (values, outcome) in [
        ("a=1", Outcome::Reverted),
        ("a=2", Outcome::Accepted),
        ("a=1", Outcome::Accepted),
        ("a=1", Outcome::Reverted),
    ] {
        let now = said(values, outcome, 1_700_000_000);
        database.overrule(&key("t"), &now).unwrap();
        let wanted = (outcome == Outcome::Accepted).then(|| now.values.clone());
        assert_eq!(used(), wanted);
    }
    // Nothing comes after this, and it does not count.
    for absurd in [1 << 62, i64::MAX as u64] {
        let absurd = said("a=3", Outcome::Accepted, absurd);
        database.insert(&key("t"), &absurd).unwrap();
        assert_eq!(used(), None);
    }
    let mut lines = Vec::new();
    database.export(&mut lines).unwrap();
    let (_other, other) = self::database();
    let done = other.import(&mut &lines[..]).unwrap();
    assert_eq!((done.refused, done.records.added), (2, 5));
    assert!(done.examples[0].reason.contains("year 3000"), "{done:?}");
    let (_third, third) = self::database();
    assert_eq!(third.merge(&database).unwrap().added, 5);
}

#[test]
fn what_compilations_use_is_not_pruned_by_age_and_rank() {
    let (_folder, database) = database();
    let choice = key("a convolution");
    database
        .insert(&choice, &failed("algorithm=direct", Outcome::Accepted))
        .unwrap();
    let gone = key("a copy");
    let reverted = failed("layout=row-major", Outcome::Reverted);
    database.insert(&gone, &reverted).unwrap();
    let keep_best = Selection {
        keep_best: 5,
        compiler: Some("0.1.0".into()),
        ..Selection::default()
    };
    let old = Selection {
        before_s: Some(1_800_000_000),
        ..Selection::default()
    };
    let dropped = |selection| database.prune(selection, false).unwrap().dropped;
    assert_eq!((dropped(&keep_best), dropped(&old)), (1, 0));
    assert!(database.accepted(&choice).unwrap().is_some());
    let compiler = Selection {
        keep_best: 0,
        ..keep_best.clone()
    };
    assert_eq!(dropped(&compiler), 1);
}
