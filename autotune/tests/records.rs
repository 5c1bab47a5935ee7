//! Records as files: what is written is read back, and what is torn, wrong or hostile costs
//! nothing else.
mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use support::{database, export, fill, import, key, trial};
use tensmith_autotune::records::{Added, Database, Outcome, RecordError, Selection, Trial};

#[test]
fn files_are_read_back_and_importing_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (database(folder.path(), "a"), database(folder.path(), "b"));
    fill(&a, "m1", 0..50);
    let text = export(&a);
    assert_eq!(text.lines().count(), 50);
    let done = import(&b, text.as_bytes());
    assert_eq!(
        (done.records, done.refused),
        (
            Added {
                added: 50,
                known: 0
            },
            0
        )
    );
    assert_eq!(export(&b), text);
    let done = import(&b, text.as_bytes());
    assert_eq!(
        done.records,
        Added {
            added: 0,
            known: 50
        }
    );
    assert_eq!(export(&b), text);
    let task = "kernel k0() {\n  \"quoted\"\\ é\n}\n";
    let (k, trials) = (key(task, "m1"), 25);
    assert_eq!(b.trials(&k).unwrap().len(), trials);
    assert_eq!(a.best(&k).unwrap(), b.best(&k).unwrap());
    assert_eq!(a.trials(&k).unwrap(), b.trials(&k).unwrap());
}

#[test]
fn databases_merge_to_the_same_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| database(folder.path(), name));
    fill(&a, "m1", 0..20);
    fill(&b, "m2", 0..20);
    fill(&b, "m1", 10..30);
    assert_eq!(
        c.merge(&a).unwrap(),
        Added {
            added: 20,
            known: 0
        }
    );
    assert_eq!(
        c.merge(&b).unwrap(),
        Added {
            added: 30,
            known: 10
        }
    );
    d.merge(&b).unwrap();
    d.merge(&a).unwrap();
    assert_eq!(export(&c), export(&d));
    let lines = export(&b) + &export(&a);
    assert_eq!(import(&a, lines.as_bytes()).refused, 0);
    assert_eq!(export(&a), export(&c));
}

/// A writer may have been stopped at any byte, and another one may have gone on behind it.
#[test]
fn torn_lines_cost_only_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let a = database(folder.path(), "a");
    fill(&a, "m1", 0..4);
    let text = export(&a);
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    for cut in 0..=text.len() {
        let b = Database::open(Path::new(":memory:")).unwrap();
        let torn = &text.as_bytes()[..cut];
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
        let rest = !torn.is_empty() && torn.last() != Some(&b'\n') && !ends.contains(&cut);
        let done = import(&b, torn);
        assert_eq!(
            (done.records.added, done.refused),
            (whole, u64::from(rest)),
            "{cut}"
        );
        if rest {
            assert_eq!(done.examples[0].line, whole + 1);
        }
        let mut joined = torn.to_vec();
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(text.as_bytes());
        assert_eq!(import(&b, &joined).refused, u64::from(rest), "{cut}");
        assert_eq!(export(&b), text, "{cut}");
    }
}

#[test]
fn hostile_lines_are_refused_with_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let a = database(folder.path(), "a");
    fill(&a, "m1", 0..1);
    let good = export(&a);
    let good = good.trim_end();
    let change = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        changed.into_bytes()
    };
    let time = good.split("\"median_ns\":").nth(1).unwrap();
    let time = time.split(',').next().unwrap();
    let time = format!("\"median_ns\":{time}");
    let bad: Vec<Vec<u8>> = vec![
        change("\"format\":1", "\"format\":2"),
        change("\"format\":1", "\"format\":-1"),
        change(&time, "\"median_ns\":0"),
        change(&time, "\"median_ns\":-5.0"),
        change(&time, "\"median_ns\":1e999"),
        change(&time, "\"median_ns\":NaN"),
        change(&time, "\"median_ns\":null"),
        change("\"threads\":2", "\"threads\":0"),
        change("\"threads\":2", "\"threads\":99999999"),
        change("\"threads\":2", "\"threads\":2,\"threads\":2"),
        change("\"threads\":2", "\"threads\":2,\"more\":2"),
        change("\"machine\":\"m1\"", "\"machine\":\"\\u001b[2J\""),
        change(
            "\"machine\":\"m1\"",
            &format!("\"machine\":\"{}\"", "x".repeat(999)),
        ),
        change("kernel k0", "kernel \\u0007 k0"),
        change("0/tile=0x4", "0/tile=0x4 0/tile=1x4"),
        change("0/tile=0x4", "no pair"),
        change("\"measured\"", "\"crashed\""),
        change("\"measured\"", "\"unheard-of\""),
        change("\"samples\":15", "\"samples\":0"),
        change("\"when_s\":", "\"when_s\":-"),
        b"{}".to_vec(),
        b"[".repeat(100_000),
        b"\xff\xfe\x00".to_vec(),
        b"[1, 2]".to_vec(),
        b"x".repeat(20 << 20),
    ];
    let mut text = Vec::new();
    for (k, line) in bad.iter().enumerate() {
        text.extend_from_slice(line);
        text.push(b'\n');
        text.extend_from_slice(good.replace("host", &format!("host-{k}")).as_bytes());
        text.extend_from_slice(b"\r\n\n");
    }
    let b = database(folder.path(), "b");
    let done = import(&b, &text);
    let count = bad.len() as u64;
    let odd: Vec<u64> = (0..count).map(|k| 3 * k + 1).collect();
    let refused: Vec<u64> = done.examples.iter().map(|r| r.line).collect();
    assert_eq!(refused, odd, "{:?}", done.examples);
    assert_eq!((done.records.added, done.refused), (count, count));
    assert!(b.check().unwrap().problems.is_empty());
}

#[test]
fn refused_lines_are_counted_and_some_described() {
    let folder = tempfile::tempdir().unwrap();
    let a = database(folder.path(), "a");
    let done = import(&a, &b"x\n".repeat(5000));
    assert_eq!((done.refused, done.examples.len()), (5000, 100));
}

/// The file may be anything: no opening, reading or checking panics.
#[test]
fn damaged_files_are_errors_or_findings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fill(&Database::open(&path).unwrap(), "m1", 0..40);
    let whole = std::fs::read(&path).unwrap();
    let (mut refused, mut found) = (0, 0);
    for at in (0..whole.len()).step_by(151) {
        std::fs::write(&path, &whole).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_at(&[0xa5; 16], at as u64).unwrap();
        match Database::open_to_read(&path) {
            Err(RecordError::Internal { reason, .. }) => panic!("{at}: {reason}"),
            Err(_) => refused += 1,
            Ok(None) => {}
            Ok(Some(database)) => match database.check() {
                Err(RecordError::Internal { reason, .. }) => panic!("{at}: {reason}"),
                Err(_) => refused += 1,
                Ok(health) => found += usize::from(!health.problems.is_empty()),
            },
        }
    }
    assert!(refused > 0 && found > 0, "{refused} {found}");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let half = Database::open_to_read(&path).and_then(|d| d.unwrap().check());
    assert!(half.map_or(true, |health| !health.problems.is_empty()));
}

#[test]
fn foreign_tables_and_rows_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fill(&Database::open(&path).unwrap(), "m1", 0..10);
    let problems = |change: &str| {
        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        let sql = rusqlite::Connection::open(&copy).unwrap();
        sql.execute_batch(change).unwrap();
        drop(sql);
        match Database::open_to_read(&copy) {
            Ok(database) => database.unwrap().check().unwrap().problems,
            Err(e) => vec![e.to_string()],
        }
    };
    assert!(problems("").is_empty());
    for change in [
        "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
        "DROP INDEX trials_by_ratio",
        "CREATE VIEW v AS SELECT 1",
        "UPDATE tasks SET text = printf('%.*c', 20000000, 'x')",
        "UPDATE trials SET outcome = 'fine' WHERE choice LIKE '%tile=3x%'",
        "UPDATE trials SET median_ns = -1 WHERE choice LIKE '%tile=3x%'",
        "UPDATE trials SET choice = 'x' WHERE choice LIKE '%tile=3x%'",
        "UPDATE keys SET threads = 0",
        "UPDATE keys SET machine = 'two words'",
        "UPDATE tasks SET hash = 1",
        "UPDATE tasks SET text = ''",
        "PRAGMA foreign_keys = OFF; DELETE FROM keys",
    ] {
        assert!(!problems(change).is_empty(), "{change}");
    }
}

#[test]
fn an_export_leaves_out_rows_that_are_damaged_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fill(&Database::open(&path).unwrap(), "m1", 0..10);
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute_batch("UPDATE trials SET median_ns = -1 WHERE choice LIKE '%tile=3x%'")
        .unwrap();
    let database = Database::open(&path).unwrap();
    let mut lines = Vec::new();
    let done = database.export(&mut lines).unwrap();
    assert_eq!((done.records, done.damaged), (9, 1));
    let other = support::database(folder.path(), "b");
    assert_eq!(import(&other, &lines).records.added, 9);
}

#[test]
fn rows_without_their_task_and_formats_that_no_version_has_are_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for change in [
        "PRAGMA foreign_keys = OFF; DELETE FROM tasks",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -1",
    ] {
        let _ = std::fs::remove_file(&path);
        fill(&Database::open(&path).unwrap(), "m1", 0..10);
        let sql = rusqlite::Connection::open(&path).unwrap();
        sql.execute_batch(change).unwrap();
        drop(sql);
        let tried = Database::open(&path).and_then(|d| {
            d.insert(&key("kernel k1() {\n}\n", "m1"), &trial(1))?;
            let health = d.check()?;
            assert!(!health.problems.is_empty(), "{change}");
            Ok(())
        });
        let is_told = match tried {
            Ok(()) => true,
            Err(e) => matches!(e, RecordError::Damaged { .. }),
        };
        assert!(is_told, "{change}");
    }
}

#[test]
fn values_of_which_a_candidate_failed_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let database = support::database(folder.path(), "a");
    let key = key("kernel k() {\n}\n", "m1");
    let accepted = Trial {
        outcome: Outcome::Accepted,
        ..trial(1)
    };
    database.insert(&key, &accepted).unwrap();
    assert_eq!(database.accepted(&key).unwrap(), Some(trial(1).values));
    let failed = Trial {
        outcome: Outcome::WrongResult,
        ..trial(1)
    };
    database.insert(&key, &failed).unwrap();
    assert_eq!(database.accepted(&key).unwrap(), None);
}

#[test]
fn a_lock_is_waited_for_as_long_as_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let database = Database::open_within(&path, Duration::from_millis(50)).unwrap();
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = database.insert(&key("kernel k() {\n}\n", "m1"), &trial(1));
    assert!(
        matches!(refused, Err(RecordError::Busy { .. })),
        "{refused:?}"
    );
    sql.execute_batch("COMMIT").unwrap();
    database
        .insert(&key("kernel k() {\n}\n", "m1"), &trial(1))
        .unwrap();
}

#[test]
fn pruning_drops_what_is_selected_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let a = database(folder.path(), "a");
    fill(&a, "m1", 0..20);
    fill(&a, "m2", 0..20);
    let all = export(&a);
    let prune = |selection: &Selection| {
        let tried = a.prune(selection, true).unwrap();
        assert_eq!(export(&a), all);
        let done = a.prune(selection, false).unwrap();
        assert_eq!(tried, done);
        let left = export(&a);
        assert_eq!(left.lines().count() as u64, done.kept);
        import(&a, all.as_bytes());
        (done.dropped, left)
    };
    let none = Selection::default();
    let (dropped, left) = prune(&Selection {
        machine: Some("m2".into()),
        ..none.clone()
    });
    assert!(dropped == 20 && !left.contains("\"m2\""));
    let (dropped, left) = prune(&Selection {
        not_compiler: Some("0.1.0".into()),
        ..none.clone()
    });
    assert!(dropped == 0 && left == all);
    let (dropped, _) = prune(&Selection {
        compiler: Some("0.1.0".into()),
        before_s: Some(1_700_000_005),
        machine: Some("m1".into()),
        ..none.clone()
    });
    assert_eq!(dropped, 5);
    let best = |task: u64| {
        a.best(&key(
            &format!("kernel k{task}() {{\n  \"quoted\"\\ é\n}}\n"),
            "m1",
        ))
    };
    let before = [best(0).unwrap(), best(1).unwrap()];
    // Two tasks on two machines.
    let (dropped, left) = prune(&Selection {
        keep_best: 1,
        ..none.clone()
    });
    assert_eq!((dropped, left.lines().count()), (36, 4));
    import(&a, left.as_bytes());
    a.prune(
        &Selection {
            keep_best: 1,
            ..none.clone()
        },
        false,
    )
    .unwrap();
    assert_eq!([best(0).unwrap(), best(1).unwrap()], before);
    assert_eq!(a.prune(&none, false).unwrap().kept, 0);
    let health = a.check().unwrap();
    assert!(health.problems.is_empty() && health.tasks == 0);
}

/// Else pruning would bring back what computes something wrong.
#[test]
fn failures_stay_as_long_as_times_of_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let a = database(folder.path(), "a");
    let k = key("t", "m1");
    let wrong = Trial {
        outcome: Outcome::WrongResult,
        when_s: 1,
        ..trial(0)
    };
    for t in [&wrong, &trial(0), &trial(1)] {
        a.insert(&k, t).unwrap();
    }
    let old = Selection {
        before_s: Some(2),
        ..Selection::default()
    };
    assert_eq!(a.prune(&old, false).unwrap().dropped, 0);
    assert_eq!(a.best(&k).unwrap(), Some(trial(1)));
    let few = Selection {
        keep_best: 1,
        ..Selection::default()
    };
    assert_eq!(a.prune(&few, false).unwrap().dropped, 2);
    assert_eq!(a.trials(&k).unwrap(), [trial(1)]);
}

/// Compilations go on with what a model accepted until nothing else is known of its key.
#[test]
fn words_of_models_stay_as_long_as_times_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let a = database(folder.path(), "a");
    let k = key("t", "m1");
    let word = Trial {
        outcome: Outcome::Accepted,
        when_s: 1,
        ..trial(0)
    };
    for t in [&word, &trial(0), &trial(1)] {
        a.insert(&k, t).unwrap();
    }
    let prune = |keep_best| {
        let selection = Selection {
            keep_best,
            ..Selection::default()
        };
        a.prune(&selection, false).unwrap().dropped
    };
    // The other values are the faster ones alone.
    assert_eq!(prune(1), 1);
    assert_eq!(a.best(&k).unwrap(), Some(trial(1)));
    assert_eq!(a.accepted(&k).unwrap(), Some(trial(0).values));
    assert_eq!(prune(0), 2);
    assert_eq!(a.accepted(&k).unwrap(), None);
}

#[test]
fn tasks_are_found_by_the_head_of_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let a = database(folder.path(), "a");
    fill(&a, "m1", 0..10);
    fill(&a, "m2", 0..5);
    let rows = a.overview().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(
        rows.iter()
            .map(|r| (r.trials, r.failed))
            .collect::<Vec<_>>(),
        [(5, 1), (3, 1), (5, 1), (2, 0)]
    );
    for row in &rows {
        let found = a.find(&row.id[..8]).unwrap();
        assert_eq!((found.len(), &found[0].task), (1, &row.key.task));
        assert_eq!(found[0].keys.len(), 2);
        assert_eq!(a.best(&row.key).unwrap(), row.best);
    }
    for none in ["", "%", "ffff_", "0000000000000000"] {
        assert!(a.find(none).unwrap().is_empty(), "{none}");
    }
}
