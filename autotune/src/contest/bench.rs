//! Members of a contest, timed beside the default.
use super::{Entrant, Timing};
use crate::measure::protocol::{CompareRequest, TaskRequest};
use crate::measure::{Program, Worker};
use std::time::Duration;
use tensmith_passes::schedule::parameters::Values;
use tensmith_runtime::stats::median;

/// Pairs of samples of a member.
const PAIRS: usize = 15;
/// A member that takes so many times as long as the default gets three pairs only.
const GIVE_UP: f64 = 1.15;
/// How long setting a task, or timing a member, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A ratio is kept with so many digits behind the point: less than what samples vary by.
const DIGITS: f64 = 1e5;

/// What times members.
pub struct Bench {
    worker: Worker,
    threads: usize,
    task: Option<usize>,
}

impl Bench {
    /// With a program that measures, on this machine.
    pub fn new(program: Program, threads: usize) -> Bench {
        Bench {
            worker: Worker::new(program),
            threads,
            task: None,
        }
    }

    /// The time of a member over that of the default, of the `number`-th task.
    ///
    /// Errors: the task itself cannot be measured.
    pub fn time(
        &mut self,
        (number, entrant): (usize, &Entrant),
        values: &Values,
    ) -> Result<Timing, String> {
        if self.task != Some(number) {
            self.task = None;
            let request = TaskRequest {
                task: entrant.task.clone(),
                target: "host".into(),
                threads: self.threads,
                reassociate: true,
                // The log knows a task by its text, which tells one size of strips.
                strips: None,
            };
            let set = self.worker.task(request, PATIENCE);
            set.map_err(|e| format!("{}: {}: {}", entrant.name, e.kind, e.why))?;
            self.task = Some(number);
        }
        let request = CompareRequest {
            values: values.to_string(),
            against: String::new(),
            pairs: PAIRS,
            give_up: GIVE_UP,
            fault: None,
        };
        let Ok(samples) = self.worker.compare(request, PATIENCE) else {
            return Ok(Timing {
                ratio: None,
                pairs: 0,
            });
        };
        let pairs = samples.candidate.iter().zip(&samples.against);
        let ratios: Vec<f64> = pairs.map(|(c, a)| c / a).collect();
        let ratio = (median(&ratios) * DIGITS).round() / DIGITS;
        Ok(Timing {
            ratio: (ratio.is_finite() && ratio > 0.0).then_some(ratio),
            pairs: ratios.len() as u32,
        })
    }
}
