//! `tensmith explain` and `tensmith run --trace`: what they print and write.
mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::{asset, digits, images, symbolic};
use tensmith::files::read_npz;
use tensmith::flops::direct_flops;
use tensmith::{Profile, TensorView};
use tensmith_ir::eval::Sizes;
use tensmith_passes::alternatives;
use tensmith_passes::pipeline;

fn tensmith(folder: &Path, verb: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tensmith"))
        .arg(verb)
        .arg(asset("digits.onnx"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn report(arguments: &[&str]) -> Value {
    let all = [&["--json", "--duration", "50ms"], arguments].concat();
    serde_json::from_str(&tensmith(Path::new("."), "explain", &all)).expect("only JSON on stdout")
}

fn sum(report: &Value, key: &str) -> f64 {
    let kernels = report["kernels"].as_array().unwrap();
    kernels.iter().map(|k| k[key].as_f64().unwrap()).sum()
}

#[test]
fn every_kernel_has_its_figures() {
    for threads in ["1", "2"] {
        let report = report(&["--threads", threads]);
        let kernels = report["kernels"].as_array().unwrap();
        assert!(kernels.len() > 2);
        for kernel in kernels {
            for key in ["name", "definition", "recipe", "loops", "schedule"] {
                assert!(!kernel[key].as_str().unwrap().is_empty(), "{key}: {kernel}");
            }
            assert!(!kernel["nodes"].as_array().unwrap().is_empty(), "{kernel}");
            assert_eq!(kernel["calls"], 1, "{kernel}");
            for key in ["ns", "bytes", "bound_ns", "share"] {
                assert!(kernel[key].as_f64().unwrap() > 0.0, "{key}: {kernel}");
            }
        }
        let levels = report["machine"]["memory"].as_array().unwrap();
        assert_eq!(levels.last().unwrap()["bytes"], Value::Null);
        assert_eq!(report["lost_marks"], 0);
    }
}

/// The sum over kernels is what `bench` and `inspect` count, for every size.
#[test]
fn flops_are_those_of_the_model() {
    let imported = digits().import(&symbolic(1)).unwrap();
    for batch in [1_i64, 3] {
        let symbols = imported.graph.symbols.keys();
        let sizes: Sizes = symbols.map(|s| (s.clone(), batch)).collect();
        let expected = direct_flops(&imported.graph, &sizes);
        let dim = format!("batch={batch}");
        let report = report(&["--threads", "1", "--symbolic", "batch", "--dim", &dim]);
        let found = sum(&report, "flops");
        assert!(expected > 0.0);
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found} for {expected}"
        );
        assert_eq!(report["flops"].as_f64().unwrap(), found);
    }
}

/// On one thread the kernels are all there is in a run but for marks, so their medians add up to
/// about the median of the runs. Medians of parts need not add up exactly; a kernel that is
/// counted twice or not at all would be off by more.
#[test]
fn shares_add_up_to_a_run() {
    let report = report(&["--threads", "1"]);
    let total = sum(&report, "share");
    assert!((0.7..1.1).contains(&total), "{total}");
}

/// Pooling stands alone in the digit reader: what is before it stays with its convolution.
#[test]
fn kernels_that_stand_alone_are_listed_with_the_reason() {
    let alone = report(&["--threads", "1"]);
    let kernels = alone["kernels"].as_array().unwrap();
    let stating = kernels.iter().filter(|k| k["alone"] != "");
    assert_eq!(alone["alone"], stating.clone().count());
    for kernel in stating {
        let name = kernel["definition"].as_str().unwrap();
        assert!(
            !name.contains("conv") && !name.contains("contract"),
            "{kernel}"
        );
    }
    let pool = kernels
        .iter()
        .find(|k| k["definition"] == "pool_max")
        .unwrap();
    let why = pool["alone"].as_str().unwrap();
    assert!(why.contains("; after `relu1` (max): "), "{why}");
    let text = tensmith(
        Path::new("."),
        "explain",
        &["--duration", "20ms", "--threads", "1"],
    );
    assert!(text.contains(&format!("alone: {why}\n")), "{text}");
    let total = format!(
        "alone     {} of {} kernel calls",
        alone["alone"],
        kernels.len()
    );
    assert!(text.contains(&total), "{text}");
}

#[test]
fn the_page_holds_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--duration", "20ms", "--html", "page.html"];
    assert_eq!(tensmith(folder.path(), "explain", &arguments), "");
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let steps = data["labels"].as_array().unwrap().len() as u64;
    assert!(!data["report"]["kernels"].as_array().unwrap().is_empty());
    for track in data["timeline"]["tracks"].as_array().unwrap() {
        for slice in track.as_array().unwrap() {
            assert!(slice[0].as_u64().unwrap() < steps, "{slice}");
        }
    }
}

#[test]
fn text_shows_the_slowest_first() {
    let arguments = ["--duration", "20ms", "--top", "2", "--threads", "1"];
    let text = tensmith(Path::new("."), "explain", &arguments);
    let rows = text
        .lines()
        .filter(|l| l.contains(" % ") && l.contains(" k"));
    assert_eq!(rows.count(), 2, "{text}");
    for word in ["latency", "speed", "bound", "waiting", "machine"] {
        assert!(text.lines().any(|l| l.starts_with(word)), "{word}: {text}");
    }
}

#[test]
fn traces_have_a_track_for_each_thread_and_change_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let plain = [
        "--input",
        "image=zeros",
        "--threads",
        "2",
        "-o",
        "plain.npz",
    ];
    tensmith(folder.path(), "run", &plain);
    let traced = [&plain[..4], &["-o", "traced.npz", "--trace", "t.json"]].concat();
    tensmith(folder.path(), "run", &traced);
    let outputs = |name: &str| read_npz(&folder.path().join(name)).unwrap();
    assert_eq!(outputs("plain.npz"), outputs("traced.npz"));
    let text = std::fs::read_to_string(folder.path().join("t.json")).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    for thread in [0, 1] {
        let slices = events
            .iter()
            .filter(|e| e["ph"] == "X" && e["tid"] == thread);
        let mut end = 0.0;
        let mut count = 0;
        for slice in slices {
            let begin = slice["ts"].as_f64().unwrap();
            assert!(begin >= end - 1e-6, "slices do not overlap: {slice}");
            end = begin + slice["dur"].as_f64().unwrap();
            count += 1;
        }
        assert!(count > 0, "thread {thread}");
    }
    assert!(events.iter().any(|e| e["cat"] == "kernel" && e["tid"] == 1));
}

#[test]
fn only_code_that_keeps_time_leaves_marks() {
    let pixels = images(1);
    let view = || TensorView::from_slice(&[1, 1, 8, 8], &pixels).unwrap();
    let mut results = Vec::new();
    for profile in [false, true] {
        let options = tensmith::Options {
            profile,
            ..symbolic(1)
        };
        let executable = digits().compile(&options).unwrap();
        let mut session = executable.session().unwrap();
        let mut marks = Profile::new(1, 256);
        let outputs = session.run_profiled(&[view()], &mut marks).unwrap();
        results.push(outputs[0].bytes().to_vec());
        assert_eq!(marks.marks(0).count() > 0, profile);
        let before = marks.marks(0).count();
        session.run(&[view()]).unwrap();
        assert_eq!(marks.marks(0).count(), before, "a plain run keeps none");
    }
    assert_eq!(results[0], results[1]);
}

/// A target without wide vectors is held to 128 bits, not to what the machine has beyond.
#[test]
fn the_peak_is_that_of_the_target() {
    let narrow = if cfg!(target_arch = "x86_64") {
        "x86-64-v2"
    } else {
        "aarch64"
    };
    let report = report(&["--threads", "1", "--target", narrow]);
    assert!(report["machine"]["flops_per_s"].as_f64().unwrap() > 1e8);
    for kernel in report["kernels"].as_array().unwrap() {
        let recipe = kernel["recipe"].as_str().unwrap();
        assert!(
            recipe == "scalar" || recipe.ends_with("128-bit"),
            "{recipe}"
        );
        assert!(
            !kernel["fallback"].as_str().unwrap().contains("128 bits"),
            "{kernel}"
        );
    }
}

#[test]
fn rules_are_listed_with_what_they_did() {
    let text = tensmith(Path::new("."), "explain", &["--rules", "--json"]);
    let report: Value = serde_json::from_str(&text).expect("only JSON on stdout");
    let rules = report["rules"].as_array().unwrap();
    assert_eq!(
        rules.len(),
        tensmith_passes::graph::egraph::rules::all().count()
            + pipeline::passes().len()
            + alternatives::ALL.len()
    );
    let of = |name: &str| rules.iter().find(|r| r["name"] == name).expect("a rule");
    let direct = of("direct-convolution");
    assert_eq!(direct["kind"], "algorithm");
    assert_eq!(direct["fired"], 2);
    assert!(direct["against"].as_str().unwrap().contains("winograd-2x2"));
    // Which algorithm is the fastest depends on the machine, but each convolution has one.
    let taken = |r: &Value| r["made"].as_u64().unwrap();
    let algorithms = ["direct-convolution", "winograd-2x2", "winograd-4x4"];
    assert_eq!(
        algorithms.map(|name| taken(of(name))).iter().sum::<u64>(),
        2
    );
    let (last, major) = (of("channels-last"), of("row-major"));
    assert_eq!(last["kind"], "layout");
    assert!(taken(last) > 0 && taken(major) < major["fired"].as_u64().unwrap());
    let padding = of("materialise-padding");
    assert_eq!(padding["kind"], "pass");
    assert!(taken(padding) > 0 && padding["fired"].as_u64().unwrap() > 0);
    assert_eq!(taken(of("multiply-bytes")), 0);
    assert_eq!(report["fusion"]["in_place"], 0);
    assert!(
        rules
            .iter()
            .all(|r| !r["equation"].as_str().unwrap().is_empty())
    );
    assert_eq!(report["stop"], serde_json::json!(["saturated"]));
    let text = tensmith(Path::new("."), "explain", &["--rules"]);
    assert!(text.contains("0 concatenations in place"), "{text}");
    assert!(text.contains("; else row-major"), "{text}");
    let directed = tensmith(Path::new("."), "explain", &["--rules", "--no-egraph"]);
    assert!(directed.contains("no e-graph"), "{directed}");
    assert!(!directed.contains("predicted cost"), "{directed}");
}

#[test]
fn kernels_name_the_passes_that_made_them() {
    let report = report(&[]);
    let kernels = report["kernels"].as_array().unwrap();
    let of = |op: &str| {
        let has = |k: &&Value| k["definition"].as_str().unwrap().contains(op);
        let rules = kernels
            .iter()
            .filter(has)
            .flat_map(|k| k["rules"].as_array().unwrap());
        rules
            .map(|r| r.as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert!(of("pad").contains(&"materialise-padding".to_string()));
    assert_eq!(of("pool_max"), Vec::<String>::new());
}

#[test]
fn nodes_of_one_kernel_and_of_several_are_told_apart() {
    let why = |a, b| tensmith(Path::new("."), "explain", &["--why-not", a, b]);
    assert!(why("conv2", "relu2").contains("both are in the kernel of"));
    let apart = why("conv1", "dense");
    assert!(
        apart.contains("between `relu1` (max) and `pool` (pool_max):"),
        "{apart}"
    );
    assert!(apart.contains("is a view, not a kernel"), "{apart}");
    assert_eq!(why("dense", "conv1"), apart);
}

#[test]
fn graphs_are_drawn_in_three_forms() {
    let drawn = |form| tensmith(Path::new("."), "explain", &["--graph", form]);
    let dot = drawn("dot");
    assert!(
        dot.starts_with("digraph") && dot.contains("pool_max\\npool"),
        "{dot}"
    );
    let svg = drawn("svg");
    assert!(svg.starts_with("<svg") && svg.matches("<rect").count() == dot.matches("f32[").count());
}

#[test]
fn exported_graphs_are_onnx_files() {
    let imported = digits().import(&symbolic(1)).unwrap();
    let bytes = tensmith_onnx::export::export(&imported.graph);
    let read: tensmith_onnx::proto::ModelProto = prost::Message::decode(&bytes[..]).unwrap();
    let graph = read.graph.unwrap();
    assert_eq!(graph.node.len(), imported.graph.nodes.len());
    assert!(
        graph
            .node
            .iter()
            .all(|n| n.domain == tensmith_onnx::export::DOMAIN)
    );
    let names: Vec<&String> = graph.node.iter().flat_map(|n| &n.output).collect();
    let unique: std::collections::BTreeSet<&&String> = names.iter().collect();
    assert_eq!(names.len(), unique.len());
}
