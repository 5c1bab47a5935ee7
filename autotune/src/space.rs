//! What a search moves in: the members of a task's space and what is known of each before it is
//! measured.
use tensmith_passes::schedule::parameters::{Parameter, Values};

/// One way to compute a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// What recipes asked for on the way, with the values that were taken.
    pub parameters: Vec<Parameter>,
    /// Equal for members whose code is the same.
    pub identity: u64,
    /// What the learned model sees of it (`cost/features.rs`).
    pub features: Vec<f32>,
    /// Units: nanoseconds, by the analytic model.
    pub predicted_ns: f64,
}

impl Member {
    /// Its values, complete.
    pub fn values(&self) -> Values {
        Values::of(&self.parameters)
    }
}

/// The ways to compute a task.
pub trait Space {
    /// The member with these values; parameters that are not named have their defaults, names and
    /// values that recipes do not ask for are left out. `None` if there is no such member, because
    /// a verifier refuses it.
    fn member(&self, values: &Values) -> Option<Member>;
}
