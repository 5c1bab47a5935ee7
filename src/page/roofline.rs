//! What a machine can do, as the frame of a picture of kernels.
use super::plot::{Axis, Plot};
use crate::explain::machine::Machine;
use tensmith_autotune::probe::MemoryLevel;

/// Work for each byte against speed, below the roofs: for kernels whose arithmetic is counted.
/// The picture holds these points (FLOP per byte, GFLOP/s).
pub fn roofline(machine: &Machine, points: &[(f64, f64)]) -> Plot {
    let peak = machine.flops_per_s / 1e9;
    let xs = points.iter().map(|p| p.0);
    let ys = points.iter().map(|p| p.1);
    let x = Axis::decades("FLOP per byte", 1.0, 100.0, xs);
    let y = Axis::decades("GFLOP/s", peak / 100.0, peak, ys);
    let ([left, right], bottom) = (x.range, y.range[0]);
    let mut plot = Plot::new(x, y);
    let mut first = right;
    let last = machine.memory.len().saturating_sub(1);
    for (n, level) in machine.memory.iter().enumerate() {
        let rate = level.bytes_per_s / 1e9;
        let ridge = (peak / rate).clamp(left, right);
        first = first.min(ridge);
        let from = left.max(bottom / rate);
        if from < ridge {
            let class = if n == last { "roof" } else { "level" };
            let ends = [from, ridge].map(|x| (x, x * rate));
            plot.line(class, level.name.as_str(), ends.into_iter());
        }
    }
    plot.line(
        "roof",
        "arithmetic",
        [(first, peak), (right, peak)].into_iter(),
    );
    let slope = |l: &MemoryLevel| format!("{} {:.0}", l.name.as_str(), l.bytes_per_s / 1e9);
    let slopes: Vec<String> = machine.memory.iter().map(slope).collect();
    plot.note(&format!("slopes from the left: {} GB/s", slopes.join(", ")));
    plot.label_at_end(peak, &format!("{peak:.0} GFLOP/s"));
    plot
}

/// Bytes of a call against bytes per second, with what the machine reads: for kernels without
/// arithmetic that is counted. The picture holds these points (bytes, GB/s).
pub fn bandwidth(machine: &Machine, points: &[(f64, f64)]) -> Plot {
    let fastest = machine.memory.iter().map(|l| l.bytes_per_s / 1e9);
    let xs = points.iter().map(|p| p.0);
    let ys = points.iter().map(|p| p.1);
    let x = Axis::decades("bytes of a call", 1e3, 1e7, xs);
    let y = Axis::decades("GB/s", 1.0, 10.0, ys.chain(fastest));
    let [left, right] = x.range;
    let mut plot = Plot::new(x, y);
    let mut from = left;
    for level in &machine.memory {
        let to = level.bytes.map_or(right, |b| (b as f64).clamp(left, right));
        if to > from {
            let rate = level.bytes_per_s / 1e9;
            plot.line(
                "roof",
                level.name.as_str(),
                [(from, rate), (to, rate)].into_iter(),
            );
            plot.label((from, rate), (to, rate), level.name.as_str());
            from = to;
        }
    }
    plot
}
