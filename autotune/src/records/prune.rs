//! Dropping records that nobody needs any more.
use super::Database;
use super::database::number;
use super::error::{RecordError, Result};
use super::rules::LAST_S;
use rusqlite::params_from_iter;
use rusqlite::types::Value;

/// Which records to drop: those that fit all that is said, except the best of each key.
///
/// A failure stays as long as a time of the same values does, so that values that once failed never
/// become the best. What a model accepted or reverted stays as long as a time of its key does; what
/// compilations use stays whatever its age, unless records of a compiler or machine are to go
/// without the best being spared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this version of the compiler.
    pub compiler: Option<String>,
    /// Of all other versions than this one.
    pub not_compiler: Option<String>,
    /// Of this machine.
    pub machine: Option<String>,
    /// Units: seconds since 1970; from before.
    pub before_s: Option<u64>,
    /// How many values of each key are spared, the best first.
    pub keep_best: u32,
}

/// What was dropped, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records that are dropped.
    pub dropped: u64,
    /// Records that stay.
    pub kept: u64,
}

/// The records that fit what is said.
const FITTING: &str = "
FROM trials WHERE key IN (
  SELECT id FROM keys
  WHERE (?1 IS NULL OR compiler = ?1)
    AND (?2 IS NULL OR compiler <> ?2)
    AND (?3 IS NULL OR machine = ?3))
  AND (?4 IS NULL OR when_s < ?4)";

/// Values of a key by their rank, as [`Database::best`] sees them.
const RANKED: &str = "
SELECT key, choice, row_number() OVER (
  PARTITION BY key ORDER BY median_ns / default_ns, median_ns, choice) AS place
FROM (
  SELECT *, row_number() OVER (
    PARTITION BY key, choice
    ORDER BY samples DESC, when_s DESC, median_ns DESC, default_ns DESC) AS turn
  FROM trials t
  WHERE outcome = 'measured' AND NOT EXISTS (
    SELECT 1 FROM trials f
    WHERE f.key = t.key AND f.choice = t.choice
      AND f.outcome NOT IN ('measured', 'accepted', 'reverted')))
WHERE turn = 1";

/// The values that compilations use, as [`Database::accepted`] sees them.
const USED: &str = "
SELECT key, choice FROM (
  SELECT key, choice, outcome, row_number() OVER (
    PARTITION BY key ORDER BY when_s DESC, outcome DESC, choice) AS turn
  FROM trials WHERE outcome IN ('accepted', 'reverted') AND when_s <= ?6)
WHERE turn = 1 AND outcome = 'accepted'";

impl Database {
    /// Drops records, and tasks that then have none. With `dry_run`, says only what would be
    /// dropped.
    ///
    /// Errors: the file cannot be written, is damaged, or others keep it locked.
    pub fn prune(&self, selection: &Selection, dry_run: bool) -> Result<Pruned> {
        let change = self.begin()?;
        let all = self.count()?;
        self.drop_fitting(&selection.parameters())?;
        let kept = self.count()?;
        if dry_run {
            change.rollback().map_err(|e| self.error(&e))?;
        } else {
            change.commit().map_err(|e| self.error(&e))?;
            self.shrink()?;
        }
        Ok(Pruned {
            dropped: all - kept,
            kept,
        })
    }

    fn drop_fitting(&self, said: &[Value; 6]) -> Result<()> {
        let times = format!(
            "DELETE {FITTING} AND outcome = 'measured'
             AND (key, choice) NOT IN (SELECT key, choice FROM ({RANKED}) WHERE place <= ?5)"
        );
        self.execute(&times, &said[..5])?;
        let failures = format!(
            "DELETE {FITTING} AND outcome NOT IN ('measured', 'accepted', 'reverted')
             AND (key, choice) NOT IN (
               SELECT key, choice FROM trials WHERE outcome = 'measured')"
        );
        self.execute(&failures, &said[..4])?;
        let words = format!(
            "DELETE {FITTING} AND outcome IN ('accepted', 'reverted')
             AND key NOT IN (SELECT key FROM trials WHERE outcome = 'measured')
             AND (?5 = 0 AND (?4 IS NULL OR coalesce(?1, ?2, ?3) IS NOT NULL)
               OR (key, choice) NOT IN ({USED}))"
        );
        self.execute(&words, said)?;
        self.execute(
            "DELETE FROM keys WHERE id NOT IN (SELECT key FROM trials)",
            &[],
        )?;
        self.execute(
            "DELETE FROM tasks WHERE id NOT IN (SELECT task FROM keys)",
            &[],
        )
    }

    fn execute(&self, text: &str, parameters: &[Value]) -> Result<()> {
        let done = self.prepared(text)?.execute(params_from_iter(parameters));
        done.map(|_| ()).map_err(|e| self.error(&e))
    }

    /// How many records there are.
    ///
    /// Errors: the file cannot be read or is damaged.
    pub fn count(&self) -> Result<u64> {
        let mut count = 0;
        self.each("SELECT count(*) FROM trials", [], |row| {
            count = number(row, 0).map_err(|e| self.damaged(&e))?;
            Ok(())
        })?;
        Ok(count)
    }

    /// Gives free pages back. Where others use the file, they stay for what comes.
    fn shrink(&self) -> Result<()> {
        match self.sql.execute_batch("VACUUM").map_err(|e| self.error(&e)) {
            Err(RecordError::Busy { .. }) => Ok(()),
            done => done,
        }
    }
}

impl Selection {
    fn parameters(&self) -> [Value; 6] {
        let text = |t: &Option<String>| t.clone().map_or(Value::Null, Value::Text);
        let before = self.before_s.map(|s| i64::try_from(s).unwrap_or(i64::MAX));
        [
            text(&self.compiler),
            text(&self.not_compiler),
            text(&self.machine),
            before.map_or(Value::Null, Value::Integer),
            Value::Integer(self.keep_best.into()),
            Value::Integer(LAST_S),
        ]
    }
}
