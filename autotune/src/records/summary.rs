//! What a database holds, for people: tasks by short names, with their best trials.
use super::database::{hash, number};
use super::error::Result;
use super::{Database, Key, Trial};
use tensmith_passes::schedule::parameters::Values;

/// The trials of a key in one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    /// The short name of the task: the head of the hash of its text, the same on every machine.
    pub id: String,
    /// What is measured.
    pub key: Key,
    /// How many candidates were tried alone.
    pub trials: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The best of them: [`Database::best`].
    pub best: Option<Trial>,
    /// The values that compilations use: [`Database::accepted`].
    pub accepted: Option<Values>,
    /// Units: seconds since 1970, of the last trial.
    pub last_s: u64,
}

/// Everything of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRecords {
    /// Its short name, as in [`Overview`].
    pub id: String,
    /// Its full text.
    pub task: String,
    /// Its keys with their trials, the oldest first, and the best of them.
    pub keys: Vec<(Key, Vec<Trial>, Option<Trial>)>,
}

/// Characters of a title, at most.
const TITLE: usize = 60;

/// What a task is, in a line: the first line of its text that is not blank, cut.
pub fn title(task: &str) -> String {
    let line = task.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or("").trim_end_matches('{').trim_end();
    match line.char_indices().nth(TITLE) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.into(),
    }
}

fn id(task: &str) -> String {
    format!("{:016x}", hash(task))
}

impl Database {
    /// All keys, ordered by their tasks.
    ///
    /// Errors: the file cannot be read or is damaged.
    pub fn overview(&self) -> Result<Vec<Overview>> {
        let mut all = Vec::new();
        for task in self.ids("SELECT id FROM tasks ORDER BY text", [])? {
            for (row, key) in self.keys_of(task)? {
                all.push(self.overview_of(row, key)?);
            }
        }
        Ok(all)
    }

    fn overview_of(&self, row: i64, key: Key) -> Result<Overview> {
        let query = "SELECT coalesce(sum(outcome NOT IN ('accepted', 'reverted')), 0),
                     coalesce(sum(outcome NOT IN ('measured', 'accepted', 'reverted')), 0),
                     coalesce(max(when_s), 0) FROM trials WHERE key = ?1";
        let mut counts = [0_u64; 3];
        self.each(query, [row], |row| {
            for (k, count) in counts.iter_mut().enumerate() {
                *count = number(row, k).map_err(|e| self.damaged(&e))?;
            }
            Ok(())
        })?;
        let [trials, failed, last_s] = counts;
        let best = self.best_of(row)?;
        let accepted = self.accepted_of(row)?;
        Ok(Overview {
            id: id(&key.task),
            key,
            trials,
            failed,
            best,
            accepted,
            last_s,
        })
    }

    /// The tasks whose short names begin with `prefix`.
    ///
    /// Errors: the file cannot be read or is damaged.
    pub fn find(&self, prefix: &str) -> Result<Vec<TaskRecords>> {
        let mut found = Vec::new();
        let query = "SELECT id FROM tasks WHERE printf('%016x', hash) LIKE ?1 || '%' ORDER BY text";
        let plain = prefix.chars().all(|c| c.is_ascii_hexdigit());
        if !plain || prefix.is_empty() {
            return Ok(found);
        }
        for task in self.ids(query, [prefix])? {
            let mut keys = Vec::new();
            for (row, key) in self.keys_of(task)? {
                keys.push((key, self.trials_of(row)?, self.best_of(row)?));
            }
            let Some((key, ..)) = keys.first() else {
                continue;
            };
            let task = key.task.clone();
            found.push(TaskRecords {
                id: id(&task),
                task,
                keys,
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_short_lines() {
        assert_eq!(title("\n  kernel a() {\n b"), "kernel a()");
        assert_eq!(title(""), "");
        assert_eq!(title(&"é".repeat(90)).chars().count(), TITLE + 3);
    }
}
