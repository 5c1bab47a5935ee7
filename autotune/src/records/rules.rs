//! What a record must be, wherever it comes from: so that what one database holds, every other one
//! takes, and what a file holds can be shown on a terminal.
use super::{Key, Outcome, Trial};
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::pool::MAX_THREADS;

/// Units: bytes of the text of a task, at most; texts of large kernels take some thousands.
pub(super) const MAX_TASK_BYTES: usize = 4 << 20;

/// Units: bytes of the text of values, at most.
pub(super) const MAX_VALUES_BYTES: usize = 64 << 10;

/// Units: bytes of the names of targets, machines and compilers, at most.
const MAX_NAME_BYTES: usize = 200;

/// Units: seconds since 1970: the year 3000. Files from elsewhere have no later records.
const LATEST_S: u64 = 32_503_680_000;

/// Units: seconds since 1970. What a model said later than this does not count; there is room for
/// what comes after the latest record of a file.
pub(super) const LAST_S: i64 = 2 * LATEST_S as i64;

impl Key {
    /// Errors: what breaks a rule.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.task.trim().is_empty() {
            return Err("the task is empty".into());
        }
        bounded("task", &self.task, MAX_TASK_BYTES)?;
        let shown = |c: char| !c.is_control() || c == '\n' || c == '\t';
        if !self.task.chars().all(shown) {
            return Err("the task has control characters".into());
        }
        name("target", &self.target)?;
        name("machine", &self.machine)?;
        name("compiler", &self.compiler)?;
        match self.threads {
            1..=MAX_THREADS => Ok(()),
            n => Err(format!("{n} threads; expected 1 to {MAX_THREADS}")),
        }
    }
}

impl Trial {
    /// Of a record from elsewhere: a date that no clock shows would overrule all others for ever.
    ///
    /// Errors: such a date.
    pub(super) fn check_date(&self) -> Result<(), String> {
        match self.when_s <= LATEST_S {
            true => Ok(()),
            false => Err(format!("`when_s` is {}, after the year 3000", self.when_s)),
        }
    }

    /// Errors: what breaks a rule.
    pub(super) fn check(&self) -> Result<(), String> {
        let text = self.values.to_string();
        if parse_values(&text)? != self.values {
            return Err(format!("values `{text}` cannot be read back"));
        }
        if i64::try_from(self.when_s).is_err() {
            return Err(format!("{} seconds since 1970", self.when_s));
        }
        match self.outcome {
            Outcome::Measured {
                median_ns,
                default_ns,
                samples,
            } => {
                time("median_ns", median_ns)?;
                time("default_ns", default_ns)?;
                if samples == 0 {
                    return Err("a time without samples".into());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Errors: no values; too long a text; characters that are not for showing.
pub(super) fn parse_values(text: &str) -> Result<Values, String> {
    bounded("values", text, MAX_VALUES_BYTES)?;
    if text.chars().any(char::is_control) {
        return Err("values have control characters".into());
    }
    text.parse()
}

fn time(what: &str, ns: f64) -> Result<(), String> {
    match ns.is_finite() && ns > 0.0 {
        true => Ok(()),
        false => Err(format!("{what} is {ns}; expected a finite number above 0")),
    }
}

fn name(what: &str, text: &str) -> Result<(), String> {
    bounded(what, text, MAX_NAME_BYTES)?;
    let plain = |c: char| c.is_ascii_graphic();
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(()),
        false => Err(format!("{what} {text:?} is no word of ASCII")),
    }
}

fn bounded(what: &str, text: &str, limit: usize) -> Result<(), String> {
    match text.len() <= limit {
        true => Ok(()),
        false => Err(format!(
            "{what} has {} bytes, more than {limit}",
            text.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, measured};
    use super::*;

    #[test]
    fn rules_are_held() {
        assert_eq!(key("t").check(), Ok(()));
        assert_eq!(measured("a=1", 1.0, 2.0).check(), Ok(()));
        let wrong = |change: &dyn Fn(&mut Key)| {
            let mut key = key("t");
            change(&mut key);
            assert!(key.check().is_err(), "{key:?}");
        };
        wrong(&|k| k.task.clear());
        wrong(&|k| k.task.push('\x1b'));
        wrong(&|k| k.task = "x".repeat(MAX_TASK_BYTES + 1));
        wrong(&|k| k.machine = "a b".into());
        wrong(&|k| k.compiler.clear());
        wrong(&|k| k.target = "x".repeat(MAX_NAME_BYTES + 1));
        wrong(&|k| k.threads = 0);
        wrong(&|k| k.threads = MAX_THREADS + 1);
        for ns in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(measured("a=1", ns, 1.0).check().is_err());
            assert!(measured("a=1", 1.0, ns).check().is_err());
        }
        let mut unreadable = measured("a=1", 1.0, 1.0);
        unreadable.values.set("b", "two words");
        assert!(unreadable.check().is_err());
        unreadable.values.set("b", "\x07");
        assert!(unreadable.check().is_err());
    }
}
