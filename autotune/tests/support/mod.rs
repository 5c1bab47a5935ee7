//! Records and databases to test with.
#![allow(dead_code, reason = "no test program uses all of it")]

#[path = "../../../passes/tests/common/seeds.rs"]
pub mod seeds;

use std::path::Path;
use tensmith_autotune::records::{Database, Imported, Key, Outcome, Trial};

pub fn key(task: &str, machine: &str) -> Key {
    Key {
        task: task.into(),
        target: "host".into(),
        threads: 2,
        machine: machine.into(),
        compiler: "0.1.0".into(),
    }
}

/// Trials of different times and outcomes, by number.
pub fn trial(number: u64) -> Trial {
    let outcome = match number % 5 {
        4 => Outcome::UNTIMED[(number / 5 % 6) as usize],
        _ => Outcome::Measured {
            median_ns: 1e3 / (number + 3) as f64,
            default_ns: 1e3 / 7.0,
            samples: 15,
        },
    };
    Trial {
        values: format!("0/order=i2,i1 0/tile={number}x4").parse().unwrap(),
        outcome,
        when_s: 1_700_000_000 + number,
    }
}

pub fn database(folder: &Path, name: &str) -> Database {
    Database::open(&folder.join(name)).unwrap()
}

/// Trials `numbers` of two tasks on a machine.
pub fn fill(database: &Database, machine: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let text = format!("kernel k{}() {{\n  \"quoted\"\\ é\n}}\n", number % 2);
        database
            .insert(&key(&text, machine), &trial(number))
            .unwrap();
    }
}

pub fn export(database: &Database) -> String {
    let mut out = Vec::new();
    database.export(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

pub fn import(database: &Database, text: &[u8]) -> Imported {
    database.import(&mut { text }).unwrap()
}
