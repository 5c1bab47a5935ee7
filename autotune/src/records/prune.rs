//! Dropping records that nobody needs any more.
use super::database::number;
use super::error::Result;
use super::{Database, RecordError};
use rusqlite::types::Value;
use rusqlite::{Transaction, TransactionBehavior};

/// Which records to drop: those that fit all that is said, except the best of each key.
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
    /// How many of the fastest of each key are spared, in relation to the default.
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

/// The records of a selection. Ranks are those of all records of a key, failures last.
const SELECTED: &str = "
SELECT ranked.* FROM (
  SELECT t.*, row_number() OVER (
    PARTITION BY t.key
    ORDER BY t.outcome <> 'measured', t.median_ns / t.default_ns, t.median_ns, t.choice, t.samples,
      t.when_s, t.outcome
  ) AS place
  FROM trials t
) ranked JOIN keys k ON k.id = ranked.key
WHERE (?1 IS NULL OR k.compiler = ?1)
  AND (?2 IS NULL OR k.compiler <> ?2)
  AND (?3 IS NULL OR k.machine = ?3)
  AND (?4 IS NULL OR ranked.when_s < ?4)
  AND ranked.outcome NOT IN ('accepted', 'reverted')
  AND (ranked.outcome <> 'measured' OR ranked.place > ?5)";

impl Database {
    /// Drops records, and tasks that then have none. With `dry_run`, says only what would be
    /// dropped.
    ///
    /// Errors: the file cannot be written, is damaged, or others keep it locked.
    pub fn prune(&self, selection: &Selection, dry_run: bool) -> Result<Pruned> {
        let change = Transaction::new_unchecked(&self.sql, TransactionBehavior::Immediate);
        let change = change.map_err(|e| self.error(&e))?;
        let all = self.count()?;
        let parameters = selection.parameters();
        let mut dropped = 0;
        if dry_run {
            let query = format!("SELECT count(*) FROM ({SELECTED})");
            self.each(&query, rusqlite::params_from_iter(parameters), |row| {
                dropped = number(row, 0).map_err(|e| self.damaged(&e))?;
                Ok(())
            })?;
        } else {
            dropped = self.drop_selected(parameters)?;
            change.commit().map_err(|e| self.error(&e))?;
            self.shrink()?;
        }
        Ok(Pruned {
            dropped,
            kept: all - dropped,
        })
    }

    fn drop_selected(&self, parameters: [Value; 5]) -> Result<u64> {
        let columns = "key, choice, outcome, samples, when_s, median_ns, default_ns";
        let delete =
            format!("DELETE FROM trials WHERE ({columns}) IN (SELECT {columns} FROM ({SELECTED}))");
        let mut delete = self.prepared(&delete)?;
        let dropped = delete
            .execute(rusqlite::params_from_iter(parameters))
            .map_err(|e| self.error(&e))?;
        for orphans in [
            "DELETE FROM keys WHERE id NOT IN (SELECT key FROM trials)",
            "DELETE FROM tasks WHERE id NOT IN (SELECT task FROM keys)",
        ] {
            self.prepared(orphans)?
                .execute([])
                .map_err(|e| self.error(&e))?;
        }
        Ok(dropped as u64)
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
    fn parameters(&self) -> [Value; 5] {
        let text = |t: &Option<String>| t.clone().map_or(Value::Null, Value::Text);
        let before = self.before_s.map(|s| i64::try_from(s).unwrap_or(i64::MAX));
        [
            text(&self.compiler),
            text(&self.not_compiler),
            text(&self.machine),
            before.map_or(Value::Null, Value::Integer),
            Value::Integer(self.keep_best.into()),
        ]
    }
}
