//! The tasks of a model: its kernels, each once, with what they weigh.
use crate::explain::Report;
use serde::Serialize;
use tensmith_passes::schedule::parameters::Parameter;
use tensmith_passes::schedule::task::Task;

/// A kernel of a model as something to be tuned.
#[derive(Clone, Debug, Serialize)]
pub struct ModelTask {
    /// What it computes.
    pub name: String,
    /// The nodes of the model that it computes, in all its calls.
    pub nodes: Vec<String>,
    /// Calls of a run.
    pub calls: u64,
    /// Units: nanoseconds of a call in the model.
    pub ns: f64,
    /// Units: nanoseconds that the machine needs for a call at least.
    pub bound_ns: f64,
    /// Units: floating-point operations of a call, by the direct algorithms.
    pub flops: f64,
    /// Units: bytes that a call moves over its boundary.
    pub bytes: f64,
    /// Its calls, as a part of the run.
    pub share: f64,
    /// What it is.
    #[serde(skip)]
    pub task: Task,
    /// The free parameters of its schedule.
    #[serde(skip)]
    pub parameters: Vec<Parameter>,
}

impl ModelTask {
    /// Why it cannot be tuned, if it cannot.
    pub fn obstacle(&self) -> Option<&'static str> {
        if !self.task.naive.sizes.is_empty() {
            return Some("its sizes are known at run time only");
        }
        if self.parameters.is_empty() {
            return Some("its schedule has no free parameters");
        }
        None
    }

    /// The size of its space as far as the default shows it: the product of the numbers of options.
    pub fn members(&self) -> f64 {
        let options = self.parameters.iter().map(|p| p.options.len() as f64);
        options.product()
    }
}

/// The tasks of a model that was measured, the largest part of the run first.
pub fn tasks_of(report: &Report) -> Vec<ModelTask> {
    let mut tasks: Vec<ModelTask> = Vec::new();
    for (number, schedule) in report.schedules.iter().enumerate() {
        let rows = report.kernels.iter().filter(|k| k.kernel == number);
        let rows: Vec<_> = rows.filter(|k| k.calls > 0).collect();
        let calls: u64 = rows.iter().map(|k| k.calls).sum();
        if calls == 0 {
            continue;
        }
        let sum = |f: &dyn Fn(usize) -> f64| (0..rows.len()).map(f).sum::<f64>();
        let mut nodes: Vec<String> = rows.iter().flat_map(|k| k.nodes.clone()).collect();
        nodes.dedup();
        tasks.push(ModelTask {
            name: schedule.task.naive.name.clone(),
            nodes,
            calls,
            ns: sum(&|k| rows[k].ns) / calls as f64,
            bound_ns: sum(&|k| rows[k].bound_ns) / calls as f64,
            flops: sum(&|k| rows[k].flops) / calls as f64,
            bytes: sum(&|k| rows[k].bytes) / calls as f64,
            share: sum(&|k| rows[k].share),
            task: schedule.task.clone(),
            parameters: schedule.parameters.clone(),
        });
    }
    tasks.sort_by(|a, b| b.share.total_cmp(&a.share));
    tasks
}
