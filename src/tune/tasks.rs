//! The tasks of a model: its kernels, each once, with what they weigh.
use crate::explain::Report;
use serde::Serialize;
use std::cmp::Reverse;
use tensmith_autotune::cost::{Description, Pretrained, Setting};
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

/// Which tasks are searched: those that can be; of the `k`-th of `n` shares those whose turn it is.
///
/// Turns go by what the analytic model predicts for a generic core, and by the text among tasks
/// that take about as long: nothing that is measured, so that all machines deal alike.
pub fn searched(tasks: &[ModelTask], share: Option<(usize, usize)>) -> Vec<bool> {
    let mut open: Vec<usize> = (0..tasks.len())
        .filter(|k| tasks[*k].obstacle().is_none())
        .collect();
    if let Some((k, n)) = share {
        open.sort_by_cached_key(|at| turn(&tasks[*at]));
        open = open.into_iter().skip(k).step_by(n).collect();
    }
    (0..tasks.len()).map(|k| open.contains(&k)).collect()
}

/// What tasks are dealt by: the binary logarithm of the predicted time, the longest first, and the
/// text.
fn turn(task: &ModelTask) -> (Reverse<i64>, String) {
    let description = Description::new(&task.task.naive, &Setting::default());
    let ns = description.predict_ns(&Pretrained::shipped().coefficients);
    (Reverse(ns.log2().round() as i64), task.task.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Copies of so many elements.
    fn copy(elements: usize) -> ModelTask {
        let text = format!(
            "kernel copy() {{\n  out o0: f32[{elements}]\n  in a1: f32[{elements}]\n  \
             for i0 < {elements} space {{\n    o0[i0] = a1[i0]\n  }}\n}}\nconstants"
        );
        let parameter = Parameter {
            name: "registers".into(),
            options: vec!["1".into(), "2".into()],
            default: 0,
            chosen: 0,
        };
        ModelTask {
            name: "copy".into(),
            nodes: vec![],
            calls: 1,
            ns: 1.0,
            bound_ns: 1.0,
            flops: 0.0,
            bytes: 0.0,
            share: 0.1,
            task: text.parse().unwrap(),
            parameters: vec![parameter],
        }
    }

    /// Two machines measure other times, so their tasks come in another order.
    #[test]
    fn machines_deal_tasks_alike_whatever_they_measured() {
        let here: Vec<ModelTask> = [4, 5, 6, 1000, 1001, 90000, 90001].map(copy).into();
        let mut there = here.clone();
        there.rotate_left(3);
        there.swap(0, 5);
        let dealt = |tasks: &[ModelTask], k| -> BTreeSet<String> {
            let searched = searched(tasks, Some((k, 3)));
            let mine = tasks.iter().zip(searched).filter(|(_, s)| *s);
            mine.map(|(t, _)| t.task.to_string()).collect()
        };
        let shares = [0, 1, 2].map(|k| dealt(&here, k));
        assert_eq!(shares, [0, 1, 2].map(|k| dealt(&there, k)));
        assert!(shares.iter().all(|s| (2..=3).contains(&s.len())));
        let all: BTreeSet<String> = shares.into_iter().flatten().collect();
        assert_eq!(all.len(), here.len());
        // Each has one of the largest two or the middle ones, not all of them.
        let large = |k| dealt(&here, k).iter().filter(|t| t.contains("90")).count();
        assert!([0, 1, 2].map(large).iter().all(|n| *n <= 1));
    }
}
