//! What is scheduled: a naive kernel, and which of its inputs are constants.
//!
//! The text form is the identity of a task: wherever the same text comes up, the same schedules are
//! possible, so what was found for one is found for all. It is the kernel's text, and a line that
//! names the constants.
use super::parameters::Values;
use super::{Scheduled, Target, schedule_with};
use std::fmt;
use std::str::FromStr;
use tensmith_ir::loops::{BufferId, Kernel, Scope, VerifyError, parse_kernel, verify_kernel};

/// The word before the names of constants.
const CONSTANTS: &str = "constants";

/// A naive kernel to be scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The kernel as the definitions give it.
    pub naive: Kernel,
    /// The inputs that are constants: their layout may change.
    pub packable: Vec<BufferId>,
}

impl Task {
    /// Schedules the kernel as the cost model prefers.
    pub fn default_schedule(&self, target: &Target) -> Scheduled {
        self.schedule(target, Values::default())
    }

    /// Schedules the kernel; parameters of which nothing is said have their defaults. Values may
    /// come from anywhere, so the result is verified.
    ///
    /// Errors: an access that the verifier cannot prove to be in bounds.
    pub fn member(&self, target: &Target, values: Values) -> Result<Scheduled, VerifyError> {
        let scheduled = self.schedule(target, values);
        verify_kernel(&scheduled.kernel).map(|()| scheduled)
    }

    fn schedule(&self, target: &Target, values: Values) -> Scheduled {
        let packable = |b: BufferId| self.packable.contains(&b);
        schedule_with(self.naive.clone(), target, &packable, values)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{CONSTANTS}", self.naive.to_string().trim_end())?;
        let names = self.packable.iter().map(|b| &self.naive.buffer(*b).name);
        names.into_iter().try_for_each(|name| write!(f, " {name}"))
    }
}

impl FromStr for Task {
    type Err = String;

    /// Errors: no kernel, no line of constants, or a constant that is no input.
    fn from_str(text: &str) -> Result<Task, String> {
        let text = text.trim_end();
        let (kernel, last) = (text.rsplit_once('\n')).ok_or("a task has a line of constants")?;
        let mut words = last.split_whitespace();
        if words.next() != Some(CONSTANTS) {
            return Err(format!("the last line of a task begins with `{CONSTANTS}`"));
        }
        let naive = parse_kernel(kernel).map_err(|e| e.to_string())?;
        let find = |name: &str| {
            let mut inputs = naive.params().filter(|(_, b)| b.scope == Scope::Input);
            let found = inputs.find(|(_, b)| b.name == name).map(|(id, _)| id);
            found.ok_or_else(|| format!("`{name}` is no input of the kernel"))
        };
        let packable = words.map(find).collect::<Result<_, _>>()?;
        Ok(Task { naive, packable })
    }
}

/// What tuning has found.
pub trait Tuned: fmt::Debug + Send + Sync {
    /// The values to schedule a task with, if the task of this text was tuned.
    fn values(&self, task: &str) -> Option<Values>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read_back() {
        let text = "kernel k() { in a: f32[8] in b: f32[8] out o: f32[8]
            for i0 < 8 space { o[i0] = a[i0] * b[i0] } }\nconstants b";
        let task: Task = text.parse().unwrap();
        assert_eq!(task.packable, [BufferId(1)]);
        assert_eq!(task.to_string().parse(), Ok(task));
        for bad in ["", "kernel", "kernel k() { }\nconstants o", "constants"] {
            assert!(bad.parse::<Task>().is_err(), "{bad}");
        }
        assert!(
            text.replace("constants b", "constants o")
                .parse::<Task>()
                .is_err()
        );
    }
}
