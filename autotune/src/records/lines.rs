//! Records as JSON lines: one record a line, so that files can be cut, joined and filtered by
//! tools for text. A line that is torn or wrong is counted, and costs no other one.
use super::database::{Added, Database};
use super::error::{RecordError, Result};
use super::rules::{MAX_TASK_BYTES, parse_values};
use super::{Key, Outcome, Record, Trial};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

/// The version of a line.
const FORMAT: u32 = 1;

/// Units: bytes of a line, at most. Newlines of a text take two.
const MAX_LINE_BYTES: usize = 2 * MAX_TASK_BYTES + (1 << 20);

/// Records of one transaction: enough that waiting for the disk does not count, and few enough
/// that other processes get their turn.
const BATCH: usize = 1000;

/// Units: bytes of the texts of one transaction, beyond which it is not extended.
const BATCH_BYTES: usize = 64 << 20;

/// Refused lines that are described; more are only counted.
const MAX_REFUSED: usize = 100;

/// What became of the lines of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Records that are new, and those that were there.
    pub records: Added,
    /// Lines that hold no record.
    pub refused: u64,
    /// The first of them.
    pub examples: Vec<Refused>,
}

/// A line that holds no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A record as it stands in a line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    format: u32,
    task: String,
    target: String,
    threads: usize,
    machine: String,
    compiler: String,
    values: String,
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    median_ns: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_ns: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    samples: Option<u32>,
    when_s: u64,
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// What became of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Records that were written.
    pub records: u64,
    /// Rows that cannot be read.
    pub damaged: u64,
}

impl Database {
    /// Writes all records as JSON lines, ordered by all that is in them: equal sets of records make
    /// equal files. Rows that are damaged are left out.
    ///
    /// Errors: the database cannot be read; `out` refuses.
    pub fn export(&self, out: &mut dyn Write) -> Result<Exported> {
        let (mut records, mut damaged) = (0, 0);
        let write = |record| {
            records += 1;
            write_line(out, record).map_err(|e| RecordError::io("export", &self.path, e))
        };
        let mut pass_by = |_| {
            damaged += 1;
            Ok(())
        };
        self.for_each_whole(write, &mut pass_by)?;
        Ok(Exported { records, damaged })
    }

    /// Adds the records of JSON lines; those that are there stay as they are. Lines that hold no
    /// record are counted and left out.
    ///
    /// Errors: `input` cannot be read; the database cannot be written. What was read before is kept.
    pub fn import(&self, input: &mut dyn BufRead) -> Result<Imported> {
        let mut done = Imported::default();
        let mut lines = Lines::new(input);
        let mut batch = Batch::of(self);
        loop {
            let next = lines.next_record();
            match next.map_err(|e| RecordError::io("import into", &self.path, e))? {
                Some(Ok(record)) => batch.push(record)?,
                Some(Err(reason)) => done.refuse(lines.number, reason),
                None => break,
            }
        }
        done.records = batch.finish()?;
        Ok(done)
    }

    /// Adds the records of another database; those that are there stay as they are. Records with
    /// absurd dates are left out.
    ///
    /// Errors: the other one cannot be read or is damaged; this one cannot be written. What was
    /// read before is kept.
    pub fn merge(&self, other: &Database) -> Result<Added> {
        let mut batch = Batch::of(self);
        other.for_each(|record| match record.trial.check_date() {
            Ok(()) => batch.push(record),
            Err(_) => Ok(()),
        })?;
        batch.finish()
    }
}

/// The records of a file of JSON lines. Lines that hold no record are counted and left out.
///
/// Errors: the file cannot be read.
pub fn read(path: &Path) -> Result<(Vec<Record>, Imported)> {
    let failed = |e| RecordError::io("read", path, e);
    let mut input = BufReader::new(File::open(path).map_err(failed)?);
    let mut done = Imported::default();
    let mut lines = Lines::new(&mut input);
    let mut records = Vec::new();
    while let Some(next) = lines.next_record().map_err(failed)? {
        match next {
            Ok(record) => records.push(record),
            Err(reason) => done.refuse(lines.number, reason),
        }
    }
    done.records.added = records.len() as u64;
    Ok((records, done))
}

/// Records that wait to be inserted together, so that no lock is held while more are read.
struct Batch<'d> {
    database: &'d Database,
    waiting: Vec<Record>,
    /// Units: bytes of the texts that wait.
    bytes: usize,
    added: Added,
}

impl<'d> Batch<'d> {
    fn of(database: &'d Database) -> Self {
        Batch {
            database,
            waiting: vec![],
            bytes: 0,
            added: Added::default(),
        }
    }

    fn push(&mut self, record: Record) -> Result<()> {
        self.bytes += record.key.task.len();
        self.waiting.push(record);
        if self.waiting.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let mut change = self.database.change()?;
        for record in self.waiting.drain(..) {
            change.put(&record.key, &record.trial)?;
        }
        let added = change.commit()?;
        self.added.added += added.added;
        self.added.known += added.known;
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Added> {
        self.write()?;
        Ok(self.added)
    }
}

impl Imported {
    /// The lines of a file that hold no record, each in words with its number; then how many more
    /// there are.
    pub fn complaints(&self, file: &Path) -> Vec<String> {
        let file = file.display();
        let of = |r: &Refused| format!("{file}:{}: no record: {}", r.line, r.reason);
        let mut all: Vec<String> = self.examples.iter().map(of).collect();
        let more = self.refused - self.examples.len() as u64;
        if more > 0 {
            all.push(format!("{file}: {more} more lines are no records"));
        }
        all
    }

    /// Why a file of which this was read is of no use: it has lines, and none holds a record.
    pub fn is_no_export(&self) -> Option<&'static str> {
        let is_any = self.records != Added::default();
        (self.refused > 0 && !is_any)
            .then_some("no line is a record; expected what `tensmith db export` writes")
    }

    fn refuse(&mut self, line: u64, reason: String) {
        self.refused += 1;
        if self.examples.len() < MAX_REFUSED {
            self.examples.push(Refused { line, reason });
        }
    }
}

fn write_line(out: &mut dyn Write, record: Record) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, &Line::of(record))?;
    out.write_all(b"\n")
}

impl Line {
    fn of(record: Record) -> Self {
        let Record { key, trial } = record;
        let (median_ns, default_ns, samples) = match trial.outcome {
            Outcome::Measured {
                median_ns,
                default_ns,
                samples,
            } => (Some(median_ns), Some(default_ns), Some(samples)),
            _ => (None, None, None),
        };
        Line {
            format: FORMAT,
            task: key.task,
            target: key.target,
            threads: key.threads,
            machine: key.machine,
            compiler: key.compiler,
            values: trial.values.to_string(),
            outcome: trial.outcome.name().into(),
            median_ns,
            default_ns,
            samples,
            when_s: trial.when_s,
        }
    }

    fn outcome(&self) -> std::result::Result<Outcome, String> {
        match (self.median_ns, self.default_ns, self.samples) {
            (Some(median_ns), Some(default_ns), Some(samples)) if self.outcome == "measured" => {
                Ok(Outcome::Measured {
                    median_ns,
                    default_ns,
                    samples,
                })
            }
            (None, None, None) => Outcome::untimed(&self.outcome)
                .ok_or_else(|| format!("outcome {:?} without times", self.outcome)),
            _ => Err(format!("outcome {:?} with such times", self.outcome)),
        }
    }

    fn record(self) -> std::result::Result<Record, String> {
        let trial = Trial {
            values: parse_values(&self.values)?,
            outcome: self.outcome()?,
            when_s: self.when_s,
        };
        let key = Key {
            task: self.task,
            target: self.target,
            threads: self.threads,
            machine: self.machine,
            compiler: self.compiler,
        };
        key.check()?;
        trial.check()?;
        trial.check_date()?;
        Ok(Record { key, trial })
    }
}

/// The record of a line.
fn parse(line: &[u8]) -> std::result::Result<Record, String> {
    let head: Head = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    if head.format != FORMAT {
        let found = head.format;
        return Err(format!("format {found}; this version knows {FORMAT}"));
    }
    let line: Line = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    line.record()
}

/// Lines of bounded length.
struct Lines<'i> {
    input: &'i mut dyn BufRead,
    buffer: Vec<u8>,
    number: u64,
}

impl<'i> Lines<'i> {
    fn new(input: &'i mut dyn BufRead) -> Self {
        Lines {
            input,
            buffer: vec![],
            number: 0,
        }
    }

    /// The record of the next line that is not blank; `None` at the end.
    fn next_record(&mut self) -> std::io::Result<Option<std::result::Result<Record, String>>> {
        loop {
            let Some(whole) = self.read()? else {
                return Ok(None);
            };
            if !whole {
                let reason = format!("the line has more than {MAX_LINE_BYTES} bytes");
                return Ok(Some(Err(reason)));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some(parse(&self.buffer)));
            }
        }
    }

    /// Reads a line, and says whether all of it is in the buffer; `None` at the end.
    fn read(&mut self) -> std::io::Result<Option<bool>> {
        self.buffer.clear();
        let mut length = 0_usize;
        loop {
            let part = match self.input.fill_buf() {
                Ok(part) => part,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let end = part.iter().position(|b| *b == b'\n');
            let taken = end.map_or(part.len(), |at| at + 1);
            if length + taken <= MAX_LINE_BYTES {
                self.buffer.extend_from_slice(&part[..taken]);
            }
            length = length.saturating_add(taken);
            let over = taken == 0;
            self.input.consume(taken);
            if over && length == 0 {
                return Ok(None);
            }
            if over || end.is_some() {
                self.number += 1;
                return Ok(Some(length <= MAX_LINE_BYTES));
            }
        }
    }
}
