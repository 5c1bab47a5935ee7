//! What is scheduled: a naive kernel, and which of its inputs may be packed.
//!
//! The text form is the identity of a task: wherever the same text comes up, the same schedules are
//! possible, so what was found for one is found for all. It is the kernel's text, a line that
//! names weights that are known at run time only, if there are any, and a line that names the
//! constants.
use super::parameters::{Choices, Values};
use super::{Packable, Scheduled, Target, schedule_with};
use crate::cost::Pass;
use std::fmt;
use std::str::FromStr;
use tensmith_ir::loops::{
    Buffer, BufferId, Kernel, Layout, Scope, VerifyError, parse_kernel, verify_kernel,
};

/// The word before the names of constants.
const CONSTANTS: &str = "constants";

/// The word before the names of weights that are known at run time only.
const WEIGHTS: &str = "weights";

/// Vector operations for a vector of weights that are packed: most of them turn a block of rows.
const PACK: f64 = 6.0;

/// The parameter that says how many rows a strip has.
pub const STRIP_ROWS: &str = "strips/rows";

/// A naive kernel to be scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The kernel as the definitions give it.
    pub naive: Kernel,
    /// The inputs that are constants: their layout may change.
    pub packable: Vec<BufferId>,
    /// The inputs that are weights known at run time only: a kernel packs them in each run where
    /// their layout changes.
    pub weights: Vec<BufferId>,
    /// The kernel with other strips, if it hands on values in strips. They are no part of the
    /// identity.
    pub strips: Option<StripSizes>,
}

/// A kernel as it is with strips of other sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct StripSizes {
    /// Rows of the strips of the task's own kernel.
    pub rows: i64,
    /// Other rows, and the naive kernel with them: its parameters are those of the own one.
    pub others: Vec<(i64, Kernel)>,
}

impl StripSizes {
    /// Of the other kernels, those that can stand in for `own`.
    pub fn new(own: &Kernel, rows: i64, mut others: Vec<(i64, Kernel)>) -> Option<StripSizes> {
        let parameters = |k: &Kernel| -> Vec<_> {
            let one = |(id, b): (BufferId, &Buffer)| (id, b.clone());
            k.params().map(one).collect()
        };
        let wanted = parameters(own);
        others.retain(|(_, kernel)| parameters(kernel) == wanted);
        (!others.is_empty()).then_some(StripSizes { rows, others })
    }
}

impl Task {
    /// Of a kernel that has no strips, or whose strips stay as they are.
    pub fn new(naive: Kernel, packable: Vec<BufferId>) -> Task {
        Task {
            naive,
            packable,
            weights: vec![],
            strips: None,
        }
    }

    /// The task with inputs that are weights known at run time only.
    pub fn with_weights(self, weights: Vec<BufferId>) -> Task {
        Task { weights, ..self }
    }

    /// The kernel, and those that can stand in for it.
    pub(crate) fn kernels_mut(&mut self) -> impl Iterator<Item = &mut Kernel> {
        let others = self.strips.iter_mut().flat_map(|s| &mut s.others);
        others.map(|(_, kernel)| kernel).chain([&mut self.naive])
    }

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
        let packable = Inputs { task: self, target };
        let Some(strips) = &self.strips else {
            return schedule_with(self.naive.clone(), target, &packable, values);
        };
        let mut choices = Choices::new(values.clone());
        let rows: Vec<i64> = strips.others.iter().map(|(rows, _)| *rows).collect();
        let rows = choices.number_named(STRIP_ROWS, &rows, strips.rows);
        let other = strips.others.iter().find(|(n, _)| *n == rows);
        let naive = other.map_or(&self.naive, |(_, kernel)| kernel);
        let mut scheduled = schedule_with(naive.clone(), target, &packable, values);
        scheduled.parameters.splice(0..0, choices.asked());
        scheduled
    }
}

/// What may be packed of a task.
struct Inputs<'t> {
    task: &'t Task,
    target: &'t Target,
}

impl Packable for Inputs<'_> {
    fn admits(&self, input: BufferId) -> bool {
        self.task.packable.contains(&input) || self.task.weights.contains(&input)
    }

    fn is_as_given(&self, input: BufferId, layout: &Layout) -> bool {
        // Another kernel may have had it packed.
        let is_packed = layout.0.iter().any(|d| d.extent.is_some());
        !is_packed && self.task.naive.buffer(input).layout == *layout
    }

    fn cycles(&self, input: BufferId) -> f64 {
        if !self.task.weights.contains(&input) {
            return 0.0;
        }
        let buffer = self.task.naive.buffer(input);
        let elements = buffer.count().as_const().unwrap_or(0) as f64;
        let pass = Pass {
            elements,
            operations: PACK,
            lanes: self.target.lanes(),
            bytes: 2.0 * elements * buffer.dtype.bytes() as f64,
        };
        self.target.cost.pass_cycles(&pass) + self.target.cost.hand_off_cycles()
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.naive.to_string().trim_end())?;
        let mut line = |word: &str, buffers: &[BufferId]| {
            write!(f, "\n{word}")?;
            let mut names = buffers.iter().map(|b| &self.naive.buffer(*b).name);
            names.try_for_each(|name| write!(f, " {name}"))
        };
        if !self.weights.is_empty() {
            line(WEIGHTS, &self.weights)?;
        }
        line(CONSTANTS, &self.packable)
    }
}

impl FromStr for Task {
    type Err = String;

    /// Errors: no kernel, no line of constants, or a constant that is no input.
    fn from_str(text: &str) -> Result<Task, String> {
        let line = |text: &str, word: &str| {
            let (before, last) = text.trim_end().rsplit_once('\n')?;
            let mut words = last.split_whitespace().map(String::from);
            let begins = words.next().is_some_and(|w| w == word);
            begins.then(|| (before.to_owned(), words.collect::<Vec<String>>()))
        };
        let (text, constants) = line(text, CONSTANTS)
            .ok_or_else(|| format!("the last line of a task begins with `{CONSTANTS}`"))?;
        let (kernel, weights) = line(&text, WEIGHTS).unwrap_or((text, vec![]));
        let naive = parse_kernel(&kernel).map_err(|e| e.to_string())?;
        let find = |name: &String| {
            let mut inputs = naive.params().filter(|(_, b)| b.scope == Scope::Input);
            let found = inputs.find(|(_, b)| b.name == *name).map(|(id, _)| id);
            found.ok_or_else(|| format!("`{name}` is no input of the kernel"))
        };
        let all = |names: &[String]| names.iter().map(find).collect::<Result<Vec<_>, _>>();
        let (packable, weights) = (all(&constants)?, all(&weights)?);
        Ok(Task::new(naive, packable).with_weights(weights))
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
    fn strips_of_another_size_are_another_kernel() {
        let text = |step: i64, strips: i64| {
            format!(
                "kernel k() {{ in a: f32[8] out o: f32[8] scratch t: f32[{step}]
                for i0 < {strips} space {{
                    for i1 < {step} space {{ t[i1] = exp(a[{step}*i0 + i1]) }}
                    for i2 < {step} space {{ o[{step}*i0 + i2] = t[{step} - 1 - i2] }} }} }}"
            )
        };
        let kernel = |step, strips| parse_kernel(&text(step, strips)).unwrap();
        let stranger = "kernel k() { in b: f32[9] out o: f32[8]
            for i0 < 8 space { o[i0] = neg(b[i0]) } }";
        let others = vec![(2, kernel(2, 4)), (1, parse_kernel(stranger).unwrap())];
        let mut task = Task::new(kernel(4, 2), vec![]);
        task.strips = StripSizes::new(&task.naive, 4, others);
        let member = |values: &str| task.member(&Target::default(), values.parse().unwrap());
        let rows = |values: &str| member(values).unwrap().parameters[0].clone();
        let default = rows("");
        let own = (default.name.as_str(), &default.options[..], default.value());
        assert_eq!(own, (STRIP_ROWS, &["2".to_string(), "4".into()][..], "4"));
        assert_eq!(rows("strips/rows=2").value(), "2");
        // What is no size of this kernel is not taken.
        assert_eq!(rows("strips/rows=1").value(), "4");
        let code = |values: &str| member(values).unwrap().kernel.to_string();
        assert_ne!(code("strips/rows=2"), code("strips/rows=4"));
        assert_eq!(
            task.to_string(),
            Task::new(kernel(4, 2), vec![]).to_string()
        );
    }

    #[test]
    fn tasks_are_read_back() {
        let text = "kernel k() { in a: f32[8] in b: f32[8] out o: f32[8]
            for i0 < 8 space { o[i0] = a[i0] * b[i0] } }\nconstants b";
        let task: Task = text.parse().unwrap();
        assert_eq!(task.packable, [BufferId(1)]);
        assert_eq!(task.to_string().parse(), Ok(task));
        let weighted = text.replace("\nconstants b", "\nweights a\nconstants b");
        let task: Task = weighted.parse().unwrap();
        assert_eq!(
            (&task.packable[..], &task.weights[..]),
            (&[BufferId(1)][..], &[BufferId(0)][..])
        );
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
