//! Whether a database is sound.
use super::database::{hash, number, text};
use super::error::Result;
use super::open::format_of;
use super::{Database, RecordError};
use serde::Serialize;

/// What a check of a database found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Units: bytes of the file, without what is beside it.
    pub bytes: u64,
    /// The version of its schema.
    pub format: i64,
    /// How changes reach the disk: `wal` as this program makes it.
    pub journal_mode: String,
    /// Tasks.
    pub tasks: u64,
    /// Records that can be read.
    pub records: u64,
    /// What is wrong; empty if the database is sound.
    pub problems: Vec<String>,
}

/// Problems that are listed, at most.
const MAX_PROBLEMS: usize = 100;

impl Database {
    /// Checks the pages of the file, and every row. Its schema was checked when it was opened.
    ///
    /// Errors: the file cannot be read at all.
    pub fn check(&self) -> Result<Health> {
        let data = self.path.metadata();
        let data = data.map_err(|e| RecordError::io("read", &self.path, e))?;
        let mut health = Health {
            bytes: data.len(),
            format: format_of(&self.sql, &self.path)?,
            journal_mode: self.texts("PRAGMA journal_mode")?.concat(),
            ..Health::default()
        };
        let pages = self.texts("PRAGMA integrity_check(20)")?;
        health.note(pages.into_iter().filter(|line| line != "ok"));
        let loose = self.texts("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 20")?;
        let loose = loose
            .iter()
            .map(|t| format!("a row of {t} belongs to nothing"));
        health.note(loose);
        if health.problems.is_empty() {
            self.check_rows(&mut health)?;
        }
        Ok(health)
    }

    /// Reads every row, key by key, so that what is wrong with one does not hide another.
    fn check_rows(&self, health: &mut Health) -> Result<()> {
        for task in self.ids("SELECT id FROM tasks ORDER BY id", [])? {
            health.tasks += 1;
            let keys = match self.keys_of(task) {
                Ok(keys) => keys,
                Err(e) => {
                    health.note([format!("task {task}: {e}")]);
                    continue;
                }
            };
            health.note(self.hash_problem(task)?);
            for (id, _) in keys {
                match self.trials_of(id) {
                    Ok(trials) => health.records += trials.len() as u64,
                    Err(e) => health.note([format!("key {id}: {e}")]),
                }
            }
        }
        Ok(())
    }

    /// A task with a wrong hash would not be found.
    fn hash_problem(&self, task: i64) -> Result<Option<String>> {
        let mut wrong = None;
        let query = "SELECT hash, text FROM tasks WHERE id = ?1";
        self.each(query, [task], |row| {
            let found: i64 = number(row, 0).map_err(|e| self.damaged(&e))?;
            let task_text = text(row, 1).map_err(|e| self.damaged(&e))?;
            if found != hash(&task_text) {
                wrong = Some(format!("task {task}: its hash is wrong"));
            }
            Ok(())
        })?;
        Ok(wrong)
    }

    fn texts(&self, query: &str) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        self.each(query, [], |row| {
            texts.push(row.get(0).map_err(|e| self.error(&e))?);
            Ok(())
        })?;
        Ok(texts)
    }
}

impl Health {
    fn note(&mut self, problems: impl IntoIterator<Item = String>) {
        let room = MAX_PROBLEMS - self.problems.len();
        self.problems.extend(problems.into_iter().take(room));
    }
}
