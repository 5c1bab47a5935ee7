//! `tensmith db prune`
use crate::cli::out::outln;
use crate::cli::shared::RecordsArgs;
use clap::{ArgGroup, Args};
use tensmith::Result;
use tensmith_autotune::COMPILER;
use tensmith_autotune::records::{Database, Pruned, Selection};
use tensmith_runtime::clock::unix_seconds;

/// Drop records that nobody needs.
#[derive(Args)]
#[command(group = ArgGroup::new("selection").required(true).multiple(true), after_help = "Examples:
  tensmith db prune --other-compilers --dry-run
  tensmith db prune --older-than 90d --machine amd-25-17-v256-32k-1024k-32768k-5c1e
  tensmith db prune --keep-best 5

A record is dropped if it fits all that is said; --keep-best spares the best of each key. Failures
stay as long as times of the same values do. What other files still hold comes back with the next
import or merge.")]
pub struct Prune {
    /// Records of this version of tensmith
    #[arg(long, value_name = "VERSION", group = "selection")]
    compiler: Option<String>,
    /// Records of all versions of tensmith but this one
    #[arg(long, group = "selection", conflicts_with = "compiler")]
    other_compilers: bool,
    /// Records of this machine, as `tensmith db list` names it
    #[arg(long, value_name = "NAME", group = "selection")]
    machine: Option<String>,
    /// Records that are older, such as 12h or 90d
    #[arg(long, value_name = "TIME", group = "selection", value_parser = parse_age)]
    older_than: Option<u64>,
    /// Spares so many values of each task on each machine, the best first
    #[arg(long, value_name = "N", group = "selection")]
    keep_best: Option<u32>,
    #[command(flatten)]
    records: RecordsArgs,
    /// Says what would be dropped, and drops nothing
    #[arg(long)]
    dry_run: bool,
    /// Prints what was dropped as JSON
    #[arg(long)]
    json: bool,
}

/// Seconds of `30m`, `12h` or `90d`.
fn parse_age(text: &str) -> std::result::Result<u64, String> {
    let seconds = || {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(unit)
    };
    seconds().ok_or_else(|| "expected an age such as 30m, 12h or 90d".into())
}

impl Prune {
    /// Runs the verb.
    pub fn run(self) -> Result<()> {
        let selection = Selection {
            compiler: self.compiler,
            not_compiler: self.other_compilers.then(|| COMPILER.into()),
            machine: self.machine,
            before_s: self
                .older_than
                .map(|age| unix_seconds().saturating_sub(age)),
            keep_best: self.keep_best.unwrap_or(0),
        };
        let found = self.records.open_to_read()?;
        let path = found.map(|database| database.path().to_path_buf());
        let done = match path {
            Some(path) => Database::open(&path)?.prune(&selection, self.dry_run)?,
            None => Pruned::default(),
        };
        let (dropped, kept) = (done.dropped, done.kept);
        if self.json {
            outln!(
                "{}",
                serde_json::json!({ "dropped": dropped, "kept": kept, "dry_run": self.dry_run })
            );
        } else {
            let would = if self.dry_run { " would be" } else { "" };
            outln!("{dropped} records{would} dropped, {kept} kept");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        assert_eq!(parse_age("90d"), Ok(90 * 86400));
        assert_eq!(parse_age("30m"), Ok(1800));
        for wrong in [
            "",
            "d",
            "90",
            "-1d",
            "1w",
            "1é",
            "99999999999999999999d",
            "9999999999999999999d",
        ] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
