//! The database: looking records up, and inserting them.
use super::error::{RecordError, Result};
use super::open::PATIENCE;
use super::rules::{LAST_S, parse_values};
use super::{Key, Outcome, Record, Trial, open};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tensmith_passes::schedule::parameters::Values;

/// A file of records. Several processes may have it open.
#[derive(Debug)]
pub struct Database {
    pub(super) sql: Connection,
    pub(super) path: PathBuf,
    /// How long to wait for others that write.
    patience: Duration,
}

/// What became of records that were inserted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// New ones.
    pub added: u64,
    /// Those that were there.
    pub known: u64,
}

/// The columns of a trial.
const TRIAL: &str = "t.choice, t.outcome, t.median_ns, t.default_ns, t.samples, t.when_s";

/// The fastest trial of a key in relation to the default. Of several measurements of one choice,
/// the one of most samples counts, of such the last; a choice that ever failed does not count.
const BEST: &str = "
SELECT t.choice, t.outcome, t.median_ns, t.default_ns, t.samples, t.when_s
FROM trials t
WHERE t.key = ?1 AND t.outcome = 'measured'
  AND NOT EXISTS (
    SELECT 1 FROM trials f
    WHERE f.key = t.key AND f.choice = t.choice
      AND f.outcome NOT IN ('measured', 'accepted', 'reverted'))
  AND NOT EXISTS (
    SELECT 1 FROM trials m
    WHERE m.key = t.key AND m.choice = t.choice AND m.outcome = 'measured'
      AND (m.samples, m.when_s, m.median_ns, m.default_ns)
        > (t.samples, t.when_s, t.median_ns, t.default_ns))
ORDER BY t.median_ns / t.default_ns, t.median_ns, t.choice
LIMIT 1";

impl Database {
    /// Opens a database to read and write, and makes it and its folder where there is none.
    ///
    /// Errors: the file cannot be opened, is damaged, of a later version, or no database of
    /// records.
    pub fn open(path: &Path) -> Result<Self> {
        Database::open_within(path, PATIENCE)
    }

    /// As [`Database::open`], but waits for others that write for so long only, ten seconds at most,
    /// now and later.
    ///
    /// Errors: as [`Database::open`].
    pub fn open_within(path: &Path, patience: Duration) -> Result<Self> {
        let patience = patience.min(PATIENCE);
        let sql = open::writable(path, patience)?;
        Ok(Database {
            sql,
            path: path.into(),
            patience,
        })
    }

    /// Opens a database to read; `None` if there is none.
    ///
    /// Errors: as [`Database::open`].
    pub fn open_to_read(path: &Path) -> Result<Option<Self>> {
        let sql = open::readable(path)?;
        Ok(sql.map(|sql| Database {
            sql,
            path: path.into(),
            patience: PATIENCE,
        }))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The fastest trial of a key in relation to the default measured beside it. Of several
    /// measurements of the same values, the one of most samples counts, of such the last; values
    /// that ever failed do not count. It may be slower than the default.
    ///
    /// Errors: the file cannot be read or is damaged.
    pub fn best(&self, key: &Key) -> Result<Option<Trial>> {
        let Some(id) = self.key_id(key)? else {
            return Ok(None);
        };
        self.best_of(id)
    }

    /// As [`Database::best`], by the row of a key.
    pub(super) fn best_of(&self, key: i64) -> Result<Option<Trial>> {
        let mut query = self.prepared(BEST)?;
        let found = query.query_row([key], |row| Ok(trial_of(row)));
        match found.optional().map_err(|e| self.error(&e))? {
            Some(trial) => trial.map(Some).map_err(|e| self.damaged(&e)),
            None => Ok(None),
        }
    }

    /// All trials of a key, the oldest first.
    ///
    /// Errors: as [`Database::best`].
    pub fn trials(&self, key: &Key) -> Result<Vec<Trial>> {
        match self.key_id(key)? {
            Some(id) => self.trials_of(id),
            None => Ok(vec![]),
        }
    }

    /// As [`Database::trials`], by the row of a key.
    pub(super) fn trials_of(&self, key: i64) -> Result<Vec<Trial>> {
        self.whole_trials(key, &mut Err)
    }

    fn whole_trials(
        &self,
        key: i64,
        damaged: &mut dyn FnMut(RecordError) -> Result<()>,
    ) -> Result<Vec<Trial>> {
        let text = format!(
            "SELECT {TRIAL} FROM trials t WHERE t.key = ?1
             ORDER BY t.when_s, t.choice, t.outcome, t.samples, t.median_ns, t.default_ns"
        );
        let mut trials = Vec::new();
        self.each(&text, [key], |row| match trial_of(row) {
            Ok(trial) => {
                trials.push(trial);
                Ok(())
            }
            Err(e) => damaged(self.damaged(&e)),
        })?;
        Ok(trials)
    }

    /// Keeps a trial. When this returns, it is on disk; one that is there already stays as it is.
    ///
    /// Errors: the record breaks a rule; the file cannot be written, is damaged, or others keep it
    /// locked.
    pub fn insert(&self, key: &Key, trial: &Trial) -> Result<()> {
        key.check().map_err(RecordError::Invalid)?;
        trial.check().map_err(RecordError::Invalid)?;
        let mut change = self.change()?;
        change.put(key, trial)?;
        change.commit()?;
        Ok(())
    }

    /// Keeps what a model said of a key's values, with a date after all that was said before: the
    /// clock of the machine that said it may run ahead. As [`Database::insert`].
    ///
    /// Errors: as [`Database::insert`].
    pub fn overrule(&self, key: &Key, trial: &Trial) -> Result<()> {
        key.check().map_err(RecordError::Invalid)?;
        trial.check().map_err(RecordError::Invalid)?;
        let mut change = self.change()?;
        let mut trial = trial.clone();
        if let Some(id) = self.key_id(key)? {
            let last = "SELECT coalesce(max(when_s), -1) FROM trials
                        WHERE key = ?1 AND outcome IN ('accepted', 'reverted') AND when_s < ?2";
            let mut query = self.prepared(last)?;
            let last: i64 = query
                .query_row([id, LAST_S], |row| row.get(0))
                .map_err(|e| self.error(&e))?;
            let after = u64::try_from(last + 1).unwrap_or(0);
            trial.when_s = trial.when_s.max(after);
        }
        change.put(key, &trial)?;
        change.commit()?;
        Ok(())
    }

    /// Begins a change that appears as a whole or not at all.
    pub(super) fn change(&self) -> Result<Change<'_>> {
        Ok(Change {
            transaction: self.begin()?,
            database: self,
            added: Added::default(),
        })
    }

    /// Waits until no other process writes, and keeps them from it.
    pub(super) fn begin(&self) -> Result<Transaction<'_>> {
        open::again((&self.path, self.patience), || {
            Transaction::new_unchecked(&self.sql, TransactionBehavior::Immediate)
                .map_err(|e| self.error(&e))
        })
    }

    /// Calls `visit` with every record, ordered by all that is in it, as of one moment.
    ///
    /// Errors: as [`Database::best`], and those of `visit`.
    pub fn for_each(&self, visit: impl FnMut(Record) -> Result<()>) -> Result<()> {
        self.for_each_whole(visit, &mut Err)
    }

    /// As [`Database::for_each`]; `damaged` says whether to go on after a row that is.
    pub(super) fn for_each_whole(
        &self,
        mut visit: impl FnMut(Record) -> Result<()>,
        damaged: &mut dyn FnMut(RecordError) -> Result<()>,
    ) -> Result<()> {
        let moment = Transaction::new_unchecked(&self.sql, TransactionBehavior::Deferred);
        let _moment = moment.map_err(|e| self.error(&e))?;
        for task in self.ids("SELECT id FROM tasks ORDER BY text", [])? {
            for (id, key) in self.whole_keys(task, damaged)? {
                for trial in self.whole_trials(id, damaged)? {
                    visit(Record {
                        key: key.clone(),
                        trial,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The first column of a query.
    pub(super) fn ids(&self, text: &str, parameters: impl rusqlite::Params) -> Result<Vec<i64>> {
        let mut ids = Vec::new();
        self.each(text, parameters, |row| {
            ids.push(number(row, 0).map_err(|e| self.damaged(&e))?);
            Ok(())
        })?;
        Ok(ids)
    }

    /// The keys of a task, in order, with their rows.
    pub(super) fn keys_of(&self, task: i64) -> Result<Vec<(i64, Key)>> {
        self.whole_keys(task, &mut Err)
    }

    fn whole_keys(
        &self,
        task: i64,
        damaged: &mut dyn FnMut(RecordError) -> Result<()>,
    ) -> Result<Vec<(i64, Key)>> {
        let query = "SELECT k.id, k.target, k.threads, k.machine, k.compiler, tasks.text
                     FROM keys k JOIN tasks ON tasks.id = k.task WHERE k.task = ?1
                     ORDER BY k.target, k.threads, k.machine, k.compiler";
        let mut keys = Vec::new();
        self.each(query, [task], |row| match key_of(row) {
            Ok(key) => {
                keys.push(key);
                Ok(())
            }
            Err(e) => damaged(self.damaged(&e)),
        })?;
        Ok(keys)
    }

    /// Calls `visit` with each row of a query.
    pub(super) fn each(
        &self,
        text: &str,
        parameters: impl rusqlite::Params,
        mut visit: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut query = self.prepared(text)?;
        let mut rows = query.query(parameters).map_err(|e| self.error(&e))?;
        while let Some(row) = rows.next().map_err(|e| self.error(&e))? {
            visit(row)?;
        }
        Ok(())
    }

    fn key_id(&self, key: &Key) -> Result<Option<i64>> {
        let Some(task) = self.task_id(&key.task)? else {
            return Ok(None);
        };
        let text = "SELECT id FROM keys WHERE task = ?1 AND target = ?2 AND threads = ?3
                    AND machine = ?4 AND compiler = ?5";
        let mut query = self.prepared(text)?;
        let threads = key.threads as i64;
        let named = params![task, key.target, threads, key.machine, key.compiler];
        let found = query.query_row(named, |row| row.get(0)).optional();
        found.map_err(|e| self.error(&e))
    }

    /// The values with which compilations compute the key's task: those that a model became faster
    /// with, if no later try in a model took them back and no candidate of them ever failed.
    ///
    /// Errors: the database cannot be read, or is damaged.
    pub fn accepted(&self, key: &Key) -> Result<Option<Values>> {
        match self.key_id(key)? {
            Some(id) => self.accepted_of(id),
            None => Ok(None),
        }
    }

    /// As [`Database::accepted`], by the row of a key.
    pub(super) fn accepted_of(&self, id: i64) -> Result<Option<Values>> {
        let last = "SELECT choice FROM (SELECT choice, outcome FROM trials
                      WHERE key = ?1 AND outcome IN ('accepted', 'reverted') AND when_s <= ?2
                      ORDER BY when_s DESC, outcome DESC, choice LIMIT 1) AS last
                    WHERE outcome = 'accepted' AND NOT EXISTS (
                      SELECT 1 FROM trials f WHERE f.key = ?1 AND f.choice = last.choice
                        AND f.outcome NOT IN ('measured', 'accepted', 'reverted'))";
        let mut query = self.prepared(last)?;
        let found: Option<String> = (query.query_row([id, LAST_S], |row| row.get(0)))
            .optional()
            .map_err(|e| self.error(&e))?;
        let values = found.map(|text| parse_values(&text).map_err(|e| self.damaged(&e)));
        values.transpose()
    }

    /// Tasks of the key's target, threads and compiler with their accepted values, those of its
    /// machine first, of such the latest: at most `limit` of them.
    ///
    /// Errors: as [`Database::accepted`].
    pub fn all_accepted(&self, key: &Key, limit: usize) -> Result<Vec<(String, Values)>> {
        let query = "SELECT k.id FROM trials t JOIN keys k ON k.id = t.key
                     WHERE t.outcome = 'accepted' AND k.target = ?1 AND k.threads = ?2
                       AND k.compiler = ?3
                     GROUP BY k.id ORDER BY k.machine = ?4 DESC, max(t.when_s) DESC, k.id";
        let threads = key.threads as i64;
        let named = params![key.target, threads, key.compiler, key.machine];
        let mut found = Vec::new();
        for id in self.ids(query, named)? {
            if found.len() == limit {
                break;
            }
            let Some(values) = self.accepted_of(id)? else {
                continue;
            };
            let query = "SELECT tasks.text FROM keys k JOIN tasks ON tasks.id = k.task
                        WHERE k.id = ?1";
            self.each(query, [id], |row| {
                let task = self::text(row, 0).map_err(|e| self.damaged(&e))?;
                found.push((task, values.clone()));
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// The row of a task. Equal hashes only say where to look.
    fn task_id(&self, text: &str) -> Result<Option<i64>> {
        let mut query = self.prepared("SELECT id FROM tasks WHERE hash = ?1 AND text = ?2")?;
        let found = query.query_row(params![hash(text), text], |row| row.get(0));
        found.optional().map_err(|e| self.error(&e))
    }

    pub(super) fn prepared(&self, text: &str) -> Result<rusqlite::CachedStatement<'_>> {
        self.sql.prepare_cached(text).map_err(|e| self.error(&e))
    }

    pub(super) fn error(&self, error: &rusqlite::Error) -> RecordError {
        RecordError::of(&self.path, error)
    }

    pub(super) fn damaged(&self, reason: &str) -> RecordError {
        RecordError::damaged(&self.path, reason)
    }
}

/// A change of a database, which nobody sees before it is committed.
pub(super) struct Change<'d> {
    database: &'d Database,
    transaction: Transaction<'d>,
    added: Added,
}

impl Change<'_> {
    /// Inserts a record that keeps the rules.
    pub(super) fn put(&mut self, key: &Key, trial: &Trial) -> Result<()> {
        let key = self.key(key)?;
        let database = self.database;
        let mut insert = database.prepared(
            "INSERT OR IGNORE INTO trials (key, choice, outcome, median_ns, default_ns, samples, when_s)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let (median_ns, default_ns, samples) = match trial.outcome {
            Outcome::Measured {
                median_ns,
                default_ns,
                samples,
            } => (median_ns, default_ns, samples),
            _ => (0.0, 0.0, 0),
        };
        let (values, outcome) = (trial.values.to_string(), trial.outcome.name());
        let when_s = trial.when_s as i64;
        let row = params![key, values, outcome, median_ns, default_ns, samples, when_s];
        match insert.execute(row).map_err(|e| database.error(&e))? {
            0 => self.added.known += 1,
            _ => self.added.added += 1,
        }
        Ok(())
    }

    fn key(&self, key: &Key) -> Result<i64> {
        let database = self.database;
        if let Some(id) = database.key_id(key)? {
            return Ok(id);
        }
        let task = match database.task_id(&key.task)? {
            Some(id) => id,
            None => {
                let mut insert =
                    database.prepared("INSERT INTO tasks (hash, text) VALUES (?1, ?2)")?;
                let row = params![hash(&key.task), key.task];
                insert.insert(row).map_err(|e| database.error(&e))?
            }
        };
        let mut insert = database.prepared(
            "INSERT INTO keys (task, target, threads, machine, compiler)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let threads = key.threads as i64;
        let row = params![task, key.target, threads, key.machine, key.compiler];
        insert.insert(row).map_err(|e| database.error(&e))
    }

    /// Returns when all of it is on disk.
    pub(super) fn commit(self) -> Result<Added> {
        let Change {
            database,
            transaction,
            added,
        } = self;
        transaction.commit().map_err(|e| database.error(&e))?;
        Ok(added)
    }
}

/// The head of the SHA-256 of a text: nobody can make many texts that share it.
pub(super) fn hash(text: &str) -> i64 {
    let digest = Sha256::digest(text.as_bytes());
    let head = digest.first_chunk::<8>();
    i64::from_be_bytes(*head.expect("invariant: a digest has 32 bytes"))
}

fn key_of(row: &Row<'_>) -> std::result::Result<(i64, Key), String> {
    let key = Key {
        target: text(row, 1)?,
        threads: number(row, 2)?,
        machine: text(row, 3)?,
        compiler: text(row, 4)?,
        task: text(row, 5)?,
    };
    key.check()?;
    Ok((number(row, 0)?, key))
}

/// A trial from [`TRIAL`].
fn trial_of(row: &Row<'_>) -> std::result::Result<Trial, String> {
    let outcome = text(row, 1)?;
    let outcome = match &outcome[..] {
        "measured" => Outcome::Measured {
            median_ns: real(row, 2)?,
            default_ns: real(row, 3)?,
            samples: number(row, 4)?,
        },
        name => Outcome::untimed(name).ok_or_else(|| format!("outcome {name:?}"))?,
    };
    let trial = Trial {
        values: parse_values(&text(row, 0)?)?,
        outcome,
        when_s: number(row, 5)?,
    };
    trial.check()?;
    Ok(trial)
}

pub(super) fn text(row: &Row<'_>, at: usize) -> std::result::Result<String, String> {
    match row.get_ref(at) {
        Ok(ValueRef::Text(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|e| format!("column {at}: {e}"))?;
            Ok(text.into())
        }
        other => Err(format!("column {at} is {other:?}, no text")),
    }
}

pub(super) fn number<T: TryFrom<i64>>(row: &Row<'_>, at: usize) -> std::result::Result<T, String> {
    match row.get_ref(at) {
        Ok(ValueRef::Integer(n)) => {
            T::try_from(n).map_err(|_| format!("column {at}: {n} is out of range"))
        }
        other => Err(format!("column {at} is {other:?}, no integer")),
    }
}

fn real(row: &Row<'_>, at: usize) -> std::result::Result<f64, String> {
    match row.get_ref(at) {
        Ok(ValueRef::Real(x)) => Ok(x),
        other => Err(format!("column {at} is {other:?}, no real number")),
    }
}
