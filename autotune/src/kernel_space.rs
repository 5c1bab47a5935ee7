//! The space of a kernel: what its recipes ask for.
use crate::cost::analytic::Coefficients;
use crate::cost::{Description, Setting, features};
use crate::space::{Member, Space};
use std::cell::OnceCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use tensmith_passes::schedule::Target;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Task;

/// The schedules of a task.
pub struct KernelSpace {
    task: Task,
    target: Target,
    setting: Setting,
    coefficients: Coefficients,
    /// The default schedule; made when it is first asked for. `None`: there is none.
    default: OnceCell<Option<Description>>,
}

impl KernelSpace {
    /// Of a task on a target; `coefficients` are those of the analytic model.
    pub fn new(
        task: Task,
        target: Target,
        setting: Setting,
        coefficients: Coefficients,
    ) -> KernelSpace {
        KernelSpace {
            task,
            target,
            setting,
            coefficients,
            default: OnceCell::new(),
        }
    }

    /// Takes other coefficients of the analytic model.
    pub fn set_coefficients(&mut self, coefficients: Coefficients) {
        self.coefficients = coefficients;
    }

    /// What the models see of the default schedule; `None` if there is none.
    pub fn default(&self) -> Option<&Description> {
        let describe = || {
            let scheduled = self.task.member(&self.target, Values::default()).ok()?;
            Some(Description::new(&scheduled.kernel, &self.setting))
        };
        self.default.get_or_init(describe).as_ref()
    }
}

impl Space for KernelSpace {
    fn member(&self, values: &Values) -> Option<Member> {
        let scheduled = self.task.member(&self.target, values.clone()).ok()?;
        let description = Description::new(&scheduled.kernel, &self.setting);
        let mut identity = DefaultHasher::new();
        scheduled.kernel.to_string().hash(&mut identity);
        Some(Member {
            parameters: scheduled.parameters,
            identity: identity.finish(),
            predicted_ns: description.predict_ns(&self.coefficients),
            features: features::row(&description, self.default()?),
        })
    }
}
