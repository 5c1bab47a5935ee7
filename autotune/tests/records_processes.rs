//! Several processes on one database, and processes that are killed: what was acknowledged is there.
//!
//! The children are this program again, with the test `child` alone and a database in the
//! environment.
mod support;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use support::seeds::seeds;
use support::{key, trial};
use tensmith_autotune::records::Database;

/// The database of a child, its name, and how many records it inserts.
const TASK: &str = "TENSMITH_TEST_INSERTS";

/// What a child prints when a record is acknowledged, before its number.
const DONE: &str = "acknowledged ";

/// Inserts records and says so; does nothing in a usual run of the tests.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let mut words = task.splitn(3, ' ');
    let mut next = || words.next().expect("three words");
    let (name, count) = (next().to_string(), next().parse::<u64>().unwrap());
    let database = Database::open(Path::new(next())).unwrap();
    let mut out = std::io::stdout();
    for number in 0..count {
        let task = format!("task {}", number % 7);
        database.insert(&key(&task, &name), &trial(number)).unwrap();
        writeln!(out, "\n{DONE}{number}").unwrap();
        out.flush().unwrap();
    }
}

fn start(database: &Path, name: &str, count: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(TASK, format!("{name} {count} {}", database.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child says.
struct Told {
    out: BufReader<ChildStdout>,
    numbers: Vec<u64>,
}

impl Told {
    fn of(child: &mut Child) -> Self {
        Told {
            out: BufReader::new(child.stdout.take().unwrap()),
            numbers: vec![],
        }
    }

    /// Listens until so many records are acknowledged, or the child has ended. Its last line may be
    /// torn.
    fn listen(&mut self, count: usize) {
        let mut text = String::new();
        while self.numbers.len() < count && self.out.read_line(&mut text).unwrap() > 0 {
            let number = text.strip_suffix('\n').and_then(|l| l.strip_prefix(DONE));
            let number = number.map(|n| n.parse::<u64>().unwrap());
            self.numbers.extend(number);
            text.clear();
        }
    }

    fn all(mut self) -> Vec<u64> {
        self.listen(usize::MAX);
        self.numbers
    }
}

fn acknowledged(child: &mut Child) -> Vec<u64> {
    Told::of(child).all()
}

/// The numbers of the records of a child that are in a database.
fn kept(database: &Database, name: &str) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    database
        .for_each(|record| {
            if record.key.machine == name {
                let number = record.trial.when_s - trial(0).when_s;
                assert_eq!(record.trial, trial(number));
                assert!(numbers.insert(number));
            }
            Ok(())
        })
        .unwrap();
    numbers
}

#[test]
fn two_processes_write_one_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.sqlite3");
    let count = 150;
    let mut children = [start(&path, "m1", count), start(&path, "m2", count)];
    for child in &mut children {
        assert_eq!(acknowledged(child).len() as u64, count);
        assert!(child.wait().unwrap().success());
    }
    let database = Database::open_to_read(&path).unwrap().unwrap();
    for name in ["m1", "m2"] {
        assert_eq!(kept(&database, name), (0..count).collect());
    }
    let health = database.check().unwrap();
    assert_eq!((health.tasks, health.records), (7, 2 * count));
    assert!(health.problems.is_empty(), "{:?}", health.problems);
}

/// A writer is killed at a moment that the seed says: while it makes the database, or after some
/// records. In every second case another one goes on meanwhile. Then the file is opened, holds all
/// that was acknowledged, and takes more.
#[test]
fn killed_processes_lose_nothing_acknowledged() {
    let seeds = seeds(0..10);
    let (mut total, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.sqlite3");
        let other = (seed % 2 == 1).then(|| start(&path, "m2", 20));
        let mut child = start(&path, "m1", u64::MAX);
        let mut told = Told::of(&mut child);
        let (records, within_us) = match random.random_range(0..4) {
            0 => (0, 40_000),
            _ => (random.random_range(1..40), 3000),
        };
        told.listen(records);
        sleep(Duration::from_micros(random.random_range(0..within_us)));
        child.kill().unwrap();
        let told = told.all();
        total += told.len();
        child.wait().unwrap();
        if let Some(mut other) = other {
            assert_eq!(acknowledged(&mut other).len(), 20, "seed {seed}");
            assert!(other.wait().unwrap().success(), "seed {seed}");
        }
        let database = Database::open(&path).unwrap();
        let kept = kept(&database, "m1");
        assert!(told.iter().all(|n| kept.contains(n)), "seed {seed}");
        // One more may be on disk than was told.
        assert!(kept.len() <= told.len() + 1, "seed {seed}");
        let problems = database.check().unwrap().problems;
        assert!(problems.is_empty(), "seed {seed}: {problems:?}");
        let key = key("after", "m1");
        database.insert(&key, &trial(0)).unwrap();
        assert_eq!(database.best(&key).unwrap(), Some(trial(0)));
    }
    eprintln!("{count} writers were killed after {total} records");
    assert!(
        count < 10 || total as u64 > 2 * count,
        "writers are killed before they write"
    );
}
