//! Arguments that verbs have in common.
use crate::cli::out::errln;
use clap::Args;
use comfy_table::{CellAlignment, Table};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tensmith::tune::records::Source;
use tensmith::{Error, Imported, KeepSymbolic, LoadOptions, Model, Options, Precision, Result};
use tensmith_autotune::records::{Database, default_path};
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Tuned;

/// A model and how to compile it.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// The model, an ONNX file
    pub model: PathBuf,
    /// Binds a named dimension; others become 1 (or what the inputs have), with a note
    #[arg(long = "dim", value_name = "NAME=N")]
    pub dims: Vec<String>,
    /// Keeps a named dimension symbolic, so that the compiled model serves every value; `all`
    /// keeps all
    #[arg(long = "symbolic", value_name = "NAME")]
    pub symbolic: Vec<String>,
    /// Threads of a run; all usable cores by default
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// The machine to compile for: host, x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, aarch64
    #[arg(long, value_name = "NAME", default_value = "host")]
    pub target: String,
    /// Memory that a run may take besides constants and inputs
    #[arg(long, value_name = "N")]
    pub memory_bytes: Option<u64>,
    /// Constants that faster algorithms may make: Winograd's weights take 1.8 or 4 times the room
    /// of those of the model; as many as it takes by default
    #[arg(long, value_name = "N")]
    pub max_constant_bytes: Option<u64>,
    /// Rewrites the graph by directed passes only, without the rules of the e-graph
    #[arg(long)]
    pub no_egraph: bool,
    /// What may happen to rounding: exact: operations in the model's order; standard: sums in any
    /// order, and faster algorithms with errors within 1e-4 of the largest result; fast: within
    /// --tolerance
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub precision: Rounding,
    /// Errors that --precision fast admits, over the largest result, such as 1e-3
    #[arg(long, value_name = "X", required_if_eq("precision", "fast"), value_parser = tolerance)]
    pub tolerance: Option<f64>,
    #[command(flatten)]
    pub records: RecordArgs,
}

/// Where compilations find what `tune` has found.
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// The database of records; by default the one that TENSMITH_RECORDS names, else
    /// tensmith/records.sqlite3 in the user's data folder
    #[arg(long, value_name = "FILE", conflicts_with = "no_records")]
    pub records: Option<PathBuf>,
    /// Compiles as the cost model prefers, whatever tuning has found
    #[arg(long)]
    pub no_records: bool,
    /// Takes what tuning has found from this file of `tensmith db export` and from nowhere else, so
    /// that each build is the same
    #[arg(long, value_name = "FILE", conflicts_with_all = ["records", "no_records"])]
    pub tuning_record: Option<PathBuf>,
}

impl RecordArgs {
    /// Adds to options what tuning has found. A database that cannot be read is only a warning:
    /// the model is compiled without it.
    ///
    /// Errors: a file that was named cannot be used.
    fn apply(&self, options: &mut Options) -> Result<()> {
        let (source, is_named) = match (&self.tuning_record, &self.records) {
            _ if self.no_records => return Ok(()),
            (Some(file), _) => (Source::Lines(file.clone()), true),
            (None, Some(file)) if !file.exists() => {
                return Err(Error::file(file, "there is no such database of records"));
            }
            (None, Some(file)) => (Source::Database(file.clone()), true),
            (None, None) => match default_path() {
                Ok(path) => (Source::Database(path), false),
                Err(_) => return Ok(()),
            },
        };
        let mut warn = |text: &str| errln!("warning: {text}");
        match source.open(options, &mut warn) {
            Ok(tuned) => {
                options.tuned = tuned.map(|tuned| match &self.tuning_record {
                    Some(file) => Arc::new(Noted::new(tuned, file)) as Arc<dyn Tuned>,
                    None => tuned,
                })
            }
            // What is locked or damaged only makes the model slower.
            Err(e) if is_named && !is_passing(&e) => return Err(e),
            Err(e) => errln!(
                "warning: compiling without records: {e}; `tensmith db check` says more, \
                 --no-records ends this warning"
            ),
        }
        Ok(())
    }
}

/// A file of records that was named: when the last one who looked it up is gone, it is told if no
/// record was of the model.
#[derive(Debug)]
struct Noted {
    tuned: Arc<dyn Tuned>,
    file: PathBuf,
    is_asked: AtomicBool,
    is_used: AtomicBool,
}

impl Noted {
    fn new(tuned: Arc<dyn Tuned>, file: &Path) -> Self {
        Noted {
            tuned,
            file: file.into(),
            is_asked: false.into(),
            is_used: false.into(),
        }
    }
}

impl Tuned for Noted {
    fn values(&self, task: &str) -> Option<Values> {
        let values = self.tuned.values(task);
        self.is_asked.store(true, Ordering::Relaxed);
        self.is_used.fetch_or(values.is_some(), Ordering::Relaxed);
        values
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if *self.is_asked.get_mut() && !*self.is_used.get_mut() {
            errln!(
                "note: no record of {} is of a kernel or choice of this model: it was compiled \
                 untuned",
                self.file.display()
            );
        }
    }
}

/// Whether an error is of the state of a database, not of which file was named.
fn is_passing(error: &Error) -> bool {
    use tensmith_autotune::records::RecordError;
    matches!(
        error,
        Error::Records(RecordError::Busy { .. } | RecordError::Damaged { .. })
    )
}

/// The names of precisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rounding {
    Exact,
    Standard,
    Fast,
}

/// Errors: not a number above 0 and below 1.
fn tolerance(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x < 1.0 => Ok(x),
        _ => Err("want a number above 0 and below 1, such as 1e-3".into()),
    }
}

impl ModelArgs {
    /// Reads the model.
    pub fn load(&self) -> Result<Model> {
        Model::load(&self.model, &LoadOptions::default())
    }

    /// Errors: one of these options, with what it says, would write over the model, or over what one
    /// before it writes.
    pub fn check_outputs(&self, outputs: &[(&str, &Option<PathBuf>)]) -> Result<()> {
        let mut needed = vec![("the model".to_owned(), self.model.clone())];
        let said = outputs
            .iter()
            .filter_map(|(option, path)| Some((option, path.as_ref()?)));
        for (option, path) in said {
            check_output(path, option, needed.iter().cloned())?;
            // Devices and pipes take several.
            if !path.exists() || path.is_file() {
                needed.push((format!("what {option} writes"), path.clone()));
            }
        }
        Ok(())
    }

    fn precision(&self) -> Result<Precision> {
        match (self.precision, self.tolerance) {
            (Rounding::Fast, Some(bound)) => Ok(Precision::Fast(bound)),
            (Rounding::Exact, None) => Ok(Precision::Exact),
            (Rounding::Standard, None) => Ok(Precision::Standard),
            (Rounding::Fast, None) | (_, Some(_)) => Err(Error::Usage(
                "--tolerance X goes with --precision fast, and only with it".into(),
            )),
        }
    }

    /// The options of compilation.
    pub fn options(&self) -> Result<Options> {
        let mut options = self.untuned_options()?;
        self.records.apply(&mut options)?;
        Ok(options)
    }

    /// The options of compilation, whatever tuning has found.
    pub fn untuned_options(&self) -> Result<Options> {
        let mut options = Options {
            threads: self.threads,
            target: self.target.clone(),
            memory_bytes: self.memory_bytes,
            max_constant_bytes: self.max_constant_bytes,
            no_egraph: self.no_egraph,
            precision: self.precision()?,
            ..Options::default()
        };
        for text in &self.dims {
            let parsed = text
                .split_once('=')
                .and_then(|(name, n)| Some((name, n.parse::<i64>().ok()?)));
            let Some((name, value)) = parsed.filter(|(name, n)| !name.is_empty() && *n >= 0) else {
                let reason = format!("--dim {text}: expected NAME=N, such as batch=8");
                return Err(Error::Usage(reason));
            };
            options.dims.insert(name.into(), value);
        }
        options.symbolic = match &self.symbolic[..] {
            [] => KeepSymbolic::None,
            names if names.iter().any(|n| n == "all") => KeepSymbolic::All,
            names => KeepSymbolic::Names(names.iter().cloned().collect::<BTreeSet<_>>()),
        };
        Ok(options)
    }
}

/// Prints what a user should know about how a model was read.
pub fn print_notes(imported: &Imported) {
    for note in &imported.notes {
        errln!("note: {note}");
    }
    for (name, value) in &imported.fixed {
        if let Ok(value) = tensmith::convert::to_runtime(value) {
            errln!(
                "note: compiled for the value of input `{name}`: {}; another value needs another compilation",
                tensmith::show(&value)
            );
        }
    }
}

/// A table for people, without lines, some columns of which are numbers.
pub fn table(head: &[&str], numbers: Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head);
    for column in table
        .column_iter_mut()
        .take(numbers.end)
        .skip(numbers.start)
    {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The records that a verb works on.
#[derive(Args, Clone)]
pub struct DatabaseArgs {
    /// The database of records; by default the one that TENSMITH_RECORDS names, else
    /// tensmith/records.sqlite3 in the user's data folder
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
}

impl DatabaseArgs {
    /// The file.
    ///
    /// Errors: none is said, and the user has no folder for it.
    pub fn path(&self) -> Result<PathBuf> {
        match &self.records {
            Some(path) => Ok(path.clone()),
            None => Ok(default_path()?),
        }
    }

    /// Opens the records to read; `None` if there are none yet.
    ///
    /// Errors: a file that is named is not there; it cannot be read.
    pub fn open_to_read(&self) -> Result<Option<Database>> {
        let path = self.path()?;
        let database = Database::open_to_read(&path)?;
        if database.is_none() {
            if self.records.is_some() && !path.exists() {
                return Err(Error::io("read", path, ErrorKind::NotFound.into()));
            }
            errln!("note: there are no records yet in {}", path.display());
        }
        Ok(database)
    }
}

/// Whether two paths name one file, which need not be there: by links of either kind, too.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|m| (m.dev(), m.ino()));
    if identity(a).is_some_and(|a| identity(b) == Some(a)) {
        return true;
    }
    let place = |path: &Path| -> Option<PathBuf> {
        if let Ok(found) = path.canonicalize() {
            return Some(found);
        }
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    place(a).is_some_and(|a| place(b) == Some(a))
}

/// Errors: what an option says is to be written is a file that is needed, which `needed` names.
pub fn check_output<S: Display>(
    path: &Path,
    option: &str,
    needed: impl IntoIterator<Item = (S, PathBuf)>,
) -> Result<()> {
    match needed
        .into_iter()
        .find(|(_, file)| is_same_file(path, file))
    {
        None => Ok(()),
        Some((what, _)) => Err(Error::Usage(format!(
            "{} is {what}: {option} needs another file",
            path.display()
        ))),
    }
}

/// The files of a database of records, with what they are.
pub fn files_of_database(path: &Path) -> [(&'static str, PathBuf); 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut file = path.as_os_str().to_owned();
        file.push(end);
        ("the database of records", file.into())
    })
}
