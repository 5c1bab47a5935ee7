//! `tensmith db export`, `import` and `merge`: records from one place to another.
use crate::cli::out::{errln, outln};
use crate::cli::shared::{DatabaseArgs, check_output, files_of_database};
use clap::Args;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use tensmith::files::write_atomic;
use tensmith::{Error, Result};
use tensmith_autotune::records::{Added, Database, Exported, Imported, RecordError};

/// Write all records as JSON lines.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith db export -o records.jsonl
  tensmith db export | grep '\"threads\":1' > one.jsonl

Equal sets of records make equal files.")]
pub struct Export {
    #[command(flatten)]
    records: DatabaseArgs,
    /// The file to write; the standard output by default
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints how many records were written as JSON
    #[arg(long, requires = "output")]
    json: bool,
}

impl Export {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let database = self.records.open_to_read()?;
        let records = self.records.path()?;
        let Some(path) = &self.output else {
            let done = database.map_or(Ok(Exported::default()), |d| to_stdout(&d))?;
            return whole(&records, done);
        };
        check_output(path, "--output", files_of_database(&records))?;
        let mut refused = None;
        let mut done = Exported::default();
        write_atomic(path, |file| {
            match database.map_or(Ok(Exported::default()), |d| d.export(file)) {
                Ok(written) => done = written,
                Err(RecordError::Io { source, .. }) => return Err(source),
                Err(e) => {
                    refused = Some(e);
                    return Err(ErrorKind::Other.into());
                }
            }
            Ok(())
        })
        .map_err(|e| refused.map_or(e, Error::from))?;
        let Exported {
            records: n,
            damaged,
        } = done;
        match self.json {
            true => outln!(
                "{}",
                serde_json::json!({ "records": n, "damaged": damaged })
            ),
            false => errln!("wrote {n} records to {}", path.display()),
        }
        whole(&records, done)
    }
}

/// Errors: some rows were left out.
fn whole(records: &Path, done: Exported) -> Result<()> {
    match done.damaged {
        0 => Ok(()),
        n => Err(Error::CheckFailed(format!(
            "{n} rows of {} are damaged and left out; what was written is whole, and `tensmith db \
             import` takes it into a new file",
            records.display()
        ))),
    }
}

/// A reader that has seen enough, such as `head`, ends the work quietly.
fn to_stdout(database: &Database) -> Result<Exported> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = database.export(&mut out).map_err(Error::from);
    let flushed = |done| {
        let flushed = out.flush().map(|()| done);
        flushed.map_err(|e| Error::io("write", "the output", e))
    };
    match written.and_then(flushed) {
        Err(Error::Records(RecordError::Io { source, .. }) | Error::Io { source, .. })
            if source.kind() == ErrorKind::BrokenPipe =>
        {
            Ok(Exported::default())
        }
        done => done,
    }
}

/// Add records from JSON lines.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith db import records.jsonl
  cat *.jsonl | tensmith db import - --records pooled.sqlite3

Records that are there already stay as they are, so importing twice is harmless. Lines that hold no
record are counted and shown; the exit code is 3 only if a file has no record at all.")]
pub struct Import {
    /// Files that `export` wrote; `-` for the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    records: DatabaseArgs,
    /// Prints what was imported as JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let inputs = self.files.iter().map(|file| open(file));
        let inputs: Vec<Box<dyn BufRead>> = inputs.collect::<Result<_>>()?;
        let database = Database::open(&self.records.path()?)?;
        let mut reports = Vec::new();
        for (file, mut input) in self.files.iter().zip(inputs) {
            let done = database.import(&mut *input)?;
            report(file, &done);
            reports.push(as_json(file, &done));
            if let Some(why) = done.is_no_export() {
                return Err(Error::file(file, why));
            }
        }
        if self.json {
            outln!("{}", serde_json::json!(reports));
        }
        Ok(())
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let opened = File::open(file).map_err(|e| Error::io("read", file, e))?;
    Ok(Box::new(BufReader::new(opened)))
}

fn report(file: &Path, done: &Imported) {
    for complaint in done.complaints(file) {
        errln!("{complaint}");
    }
    let file = file.display();
    let Added { added, known } = done.records;
    errln!(
        "{file}: {added} records added, {known} were there, {} lines are none",
        done.refused
    );
}

fn as_json(file: &Path, done: &Imported) -> serde_json::Value {
    let refused = done.examples.iter();
    let refused = refused.map(|r| serde_json::json!({ "line": r.line, "reason": r.reason }));
    serde_json::json!({
        "file": file.display().to_string(),
        "added": done.records.added,
        "known": done.records.known,
        "refused": done.refused,
        "examples": refused.collect::<Vec<_>>(),
    })
}

/// Add the records of other databases.
#[derive(Args)]
#[command(after_help = "Examples:
  tensmith db merge laptop.sqlite3 server.sqlite3 --records pooled.sqlite3
  tensmith db merge other.sqlite3

Merging A into B and B into A gives the same records.")]
pub struct Merge {
    /// Databases to read
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    records: DatabaseArgs,
    /// Prints what was merged as JSON
    #[arg(long)]
    json: bool,
}

impl Merge {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let path = self.records.path()?;
        let mut others = Vec::new();
        for file in &self.files {
            let other = Database::open_to_read(file)?;
            let missing = || Error::file(file, "there is no database of records");
            others.push(other.ok_or_else(missing)?);
        }
        let database = Database::open(&path)?;
        let mut reports = Vec::new();
        for other in &others {
            let file = other.path().display().to_string();
            let Added { added, known } = database.merge(other)?;
            errln!("{file}: {added} records added, {known} were there");
            reports.push(serde_json::json!({ "file": file, "added": added, "known": known }));
        }
        if self.json {
            outln!("{}", serde_json::json!(reports));
        }
        Ok(())
    }
}
