//! Chrome trace events: what Perfetto and `chrome://tracing` open.
//!
//! Source: "Trace Event Format", the document of the Chromium project.
use super::timeline::{Kind, StepLabel, Timeline};
use serde_json::{Value, json};

/// A run as trace events: one track a thread, a slice a step. Units: microseconds.
pub fn chrome_trace(model: &str, labels: &[StepLabel], timeline: &Timeline) -> Value {
    let mut events = vec![json!({
        "ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": { "name": model },
    })];
    for (thread, track) in timeline.tracks.iter().enumerate() {
        let name = format!("thread {thread}");
        events.push(json!({
            "ph": "M", "pid": 1, "tid": thread, "name": "thread_name", "args": { "name": name },
        }));
        for slice in track {
            let Some(label) = labels.get(slice.step as usize) else {
                continue;
            };
            if label.serial && thread > 0 {
                continue;
            }
            events.push(json!({
                "ph": "X",
                "pid": 1,
                "tid": thread,
                "name": label.name,
                "cat": category(label.kind),
                "ts": slice.begin_ns as f64 / 1e3,
                "dur": slice.ns as f64 / 1e3,
                "args": { "step": slice.step, "nodes": label.nodes.join(", ") },
            }));
        }
    }
    json!({
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": { "lost_marks": timeline.lost },
    })
}

fn category(kind: Kind) -> &'static str {
    match kind {
        Kind::Kernel => "kernel",
        Kind::Barrier => "wait",
        Kind::Branch | Kind::Loop => "control",
    }
}

#[cfg(test)]
mod tests {
    use super::super::timeline::Slice;
    use super::*;

    #[test]
    fn slices_become_complete_events_where_a_thread_worked() {
        let label = |name: &str, serial| StepLabel {
            kind: Kind::Kernel,
            name: name.into(),
            nodes: vec!["a".into(), "b".into()],
            serial,
        };
        let labels = [label("k0_add", false), label("k1_copy", true)];
        let track: Vec<Slice> = (0..2)
            .map(|step| Slice {
                step,
                begin_ns: 1500 * u64::from(step),
                ns: 1500,
            })
            .collect();
        let timeline = Timeline {
            tracks: vec![track.clone(), track],
            ns: 3000,
            lost: 0,
        };
        let trace = chrome_trace("m", &labels, &timeline);
        let events = trace["traceEvents"].as_array().unwrap();
        let of = |phase: &str| events.iter().filter(|e| e["ph"] == phase).count();
        assert_eq!((of("M"), of("X")), (3, 3));
        let last = events.last().unwrap();
        assert_eq!((&last["tid"], &last["name"]), (&json!(1), &json!("k0_add")));
        assert_eq!(
            (&last["dur"], &last["args"]["nodes"]),
            (&json!(1.5), &json!("a, b"))
        );
    }
}
