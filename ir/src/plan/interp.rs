//! The plan interpreter.
use super::Plan;
use crate::tensor::Tensor;

/// Why a plan could not be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);

/// Runs a plan with the loop interpreter.
///
/// Errors: inputs that do not fit, a failed run-time check, or a broken plan.
pub fn run_plan(_plan: &Plan, _inputs: &[Tensor]) -> Result<Vec<Tensor>, PlanError> {
    Err(PlanError("not written".into()))
}
