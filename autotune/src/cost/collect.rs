//! Samples of a dataset from records: each measured member is scheduled again and described.
use super::{Description, Sample, Setting, features};
use crate::profile::machine_key;
use crate::records::{Database, Record, RecordError};
use crate::target::schedule_target;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use tensmith_codegen::target::Target;
use tensmith_ir::eval::Sizes;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::{STRIP_ROWS, Task};
use tensmith_runtime::stats::median;

/// The samples of the records of this machine, for sums in any order. Times are those of the
/// untuned kernel, times the ratio to it that was measured side by side, so that they are
/// comparable although the machine changed meanwhile. Members that do not exist any more are left
/// out.
///
/// Errors: the database cannot be read.
pub fn collect(database: &Database, family: &str) -> Result<Vec<Sample>, RecordError> {
    let here = machine_key();
    let mut tasks: BTreeMap<(String, String, usize), Vec<Record>> = BTreeMap::new();
    database.for_each(|record| {
        let key = &record.key;
        if key.machine == here && record.trial.ratio().is_some() {
            let of = (key.target.clone(), key.task.clone(), key.threads);
            tasks.entry(of).or_default().push(record);
        }
        Ok(())
    })?;
    type Group = ((String, String, usize), Vec<Record>);
    let of_task = |((target, task, threads), records): Group| {
        samples_of(&target, &task, threads, records, family).unwrap_or_default()
    };
    Ok(tasks.into_iter().flat_map(of_task).collect())
}

/// The samples of one task; `None` if it or its target is unknown.
fn samples_of(
    target: &str,
    text: &str,
    threads: usize,
    records: Vec<Record>,
    family: &str,
) -> Option<Vec<Sample>> {
    let task: Task = text.parse().ok()?;
    let target = Target::named(target).ok()?;
    let schedules = schedule_target(&target, threads, true);
    let setting = Setting {
        machine: target.machine,
        vector_bytes: target.vector_bytes(),
        threads,
        sizes: Sizes::new(),
    };
    let mut name = DefaultHasher::new();
    text.hash(&mut name);
    let name = format!("{} {threads} {:016x}", task.naive.name, name.finish());
    let defaults: Vec<f64> = records.iter().filter_map(default_ns).collect();
    let default_ns = median(&defaults);
    let default = task.member(&schedules, Values::default()).ok()?;
    let default = Description::new(&default.kernel, &setting);
    let sample = |record: &Record| {
        let values = &record.trial.values;
        let scheduled = task.member(&schedules, values.clone()).ok()?;
        let taken = Values::of(&scheduled.parameters);
        // The text of a task does not tell its kernel with other strips.
        if values.get(STRIP_ROWS) != taken.get(STRIP_ROWS) {
            return None;
        }
        let description = Description::new(&scheduled.kernel, &setting);
        Some(Sample {
            family: family.into(),
            task: name.clone(),
            features: features::row(&description, &default),
            terms: description.terms,
            ns: default_ns * record.trial.ratio()?,
        })
    };
    Some(records.iter().filter_map(sample).collect())
}

fn default_ns(record: &Record) -> Option<f64> {
    match record.trial.outcome {
        crate::records::Outcome::Measured { default_ns, .. } => Some(default_ns),
        _ => None,
    }
}
