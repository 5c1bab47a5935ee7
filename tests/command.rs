//! The command: exit codes, messages, files and JSON.
mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use support::{asset, images};
use tensmith::Tensor;
use tensmith::files::{read_npz, write_npz};

fn tensmith(folder: &Path, arguments: &[&str]) -> Output {
    let model = asset("digits.onnx");
    let model = model.to_str().expect("a path of ASCII");
    let arguments = arguments
        .iter()
        .map(|a| if *a == "MODEL" { model } else { a });
    Command::new(env!("CARGO_BIN_EXE_tensmith"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = tensmith(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn fail(folder: &Path, arguments: &[&str], code: i32, part: &str) {
    let output = tensmith(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(errors.contains(part), "{arguments:?}: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

fn folder_with_inputs(batch: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let image = Tensor::from_slice(&[batch, 1, 8, 8], &images(batch)).unwrap();
    write_npz(&folder.path().join("in.npz"), [("image", &image)]).unwrap();
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("only JSON on stdout")
}

#[test]
fn precisions_are_named_and_a_bound_is_stated_for_fast() {
    let folder = folder_with_inputs(3);
    let fast = ["--precision", "fast", "--tolerance", "1e-6"];
    for words in [
        &["--precision", "exact"][..],
        &["--precision", "standard"],
        &fast,
    ] {
        let arguments = [&["verify", "MODEL", "--inputs", "in.npz", "--json"], words].concat();
        let report = json(&succeed(folder.path(), &arguments));
        let limit = if words.len() == 4 { 1e-6 } else { 1e-4 };
        assert_eq!(report["limit"], limit, "{words:?}");
    }
    let tight = ["verify", "MODEL", "--inputs", "in.npz", "--limit", "1e-12"];
    fail(folder.path(), &tight, 1, "");
    for (words, part) in [
        (&["--precision", "fast"][..], "--tolerance"),
        (&["--tolerance", "1e-3"], "--precision fast"),
        (&["--precision", "fast", "--tolerance", "0"], "above 0"),
        (&["--precision", "rough"], "rough"),
    ] {
        fail(
            folder.path(),
            &[&["verify", "MODEL"], words].concat(),
            2,
            part,
        );
    }
}

#[test]
fn native_files_take_their_dimensions_from_inputs() {
    let folder = folder_with_inputs(5);
    let arguments = ["compile", "MODEL", "--inputs", "in.npz", "-o", "five.o"];
    succeed(folder.path(), &arguments);
    let header = std::fs::read_to_string(folder.path().join("five.h")).unwrap();
    assert!(header.contains("\"image\": f32[5, 1, 8, 8]"), "{header}");
    let missing = ["compile", "MODEL", "--inputs", "no.npz", "-o", "five.o"];
    fail(folder.path(), &missing, 6, "no.npz");
}

#[test]
fn run_writes_outputs_by_name_with_the_same_bits_for_all_threads() {
    let folder = folder_with_inputs(5);
    let mut results = Vec::new();
    for threads in ["1", "2"] {
        let arguments = [
            "run",
            "MODEL",
            "--inputs",
            "in.npz",
            "-o",
            "out.npz",
            "--threads",
            threads,
        ];
        succeed(folder.path(), &arguments);
        results.push(std::fs::read(folder.path().join("out.npz")).unwrap());
        let outputs = read_npz(&folder.path().join("out.npz")).unwrap();
        assert_eq!(outputs.keys().collect::<Vec<_>>(), ["logits"]);
        assert_eq!(outputs["logits"].shape(), [5, 10]);
    }
    let logits: Vec<_> = results
        .iter()
        .map(|bytes| {
            tensmith::files::read_npz_bytes(bytes)
                .unwrap()
                .remove("logits")
        })
        .collect();
    assert_eq!(logits[0], logits[1]);
    // What NumPy itself writes before the data.
    let header =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (5, 10), }";
    let found = results[0].windows(header.len()).any(|w| w == header);
    assert!(found, "uncompressed, as numpy.savez writes it");
}

#[test]
fn bench_prints_its_figures() {
    let folder = folder_with_inputs(1);
    let arguments = [
        "bench",
        "MODEL",
        "--inputs",
        "in.npz",
        "--threads",
        "2",
        "--duration",
        "100ms",
        "--json",
    ];
    let report = json(&succeed(folder.path(), &arguments));
    for key in [
        "model",
        "threads",
        "compile_ms",
        "iterations",
        "gflops",
        "peak_fraction",
    ] {
        assert!(!report[key].is_null(), "{key}");
    }
    for key in ["arena_bytes", "constant_bytes", "rss_bytes"] {
        assert!(report[key].as_u64().unwrap() > 0, "{key}");
    }
    let latency = |key: &str| report["latency_ms"][key].as_f64().unwrap();
    assert!(latency("min") > 0.0 && latency("min") <= latency("median"));
    assert!(latency("median") <= latency("p90") && latency("p90") <= latency("p99"));
    assert!(latency("mean") > 0.0);
    assert_eq!(report["threads"], 2);
}

#[test]
fn verify_passes_and_fails() {
    let folder = folder_with_inputs(3);
    let path = folder.path();
    let report = json(&succeed(
        path,
        &["verify", "MODEL", "--inputs", "in.npz", "--json"],
    ));
    assert_eq!(report["passed"], true);
    assert!(report["compared"].as_u64().unwrap() > 5);
    succeed(
        path,
        &["run", "MODEL", "--inputs", "in.npz", "-o", "out.npz"],
    );
    let against = [
        "verify",
        "MODEL",
        "--inputs",
        "in.npz",
        "--against",
        "out.npz",
    ];
    succeed(path, &against);
    let mut outputs = read_npz(&path.join("out.npz")).unwrap();
    let logits = outputs.get_mut("logits").unwrap();
    logits.as_mut_slice::<f32>().unwrap()[12] += 1.0;
    write_npz(&path.join("out.npz"), [("logits", &*logits)]).unwrap();
    fail(path, &against, 1, "`logits` (node `dense`): error");
    fail(path, &against, 1, "[1, 2]");
    succeed(path, &[&against[..], &["--atol", "1.5"]].concat());
}

#[test]
fn demo_reads_most_digits() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(&succeed(folder.path(), &["demo", "--json"]));
    assert_eq!(report["images"], 360);
    assert!(report["accuracy_percent"].as_f64().unwrap() >= 97.0);
    assert!(report["speedup_over_interpreter"].as_f64().unwrap() > 1.0);
    assert!(succeed(folder.path(), &["demo"]).contains("read "));
}

#[test]
fn inspect_counts() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(&succeed(folder.path(), &["inspect", "MODEL", "--json"]));
    assert_eq!(report["ops"]["Conv"], 2);
    assert_eq!(report["inputs"][0]["name"], "image");
    assert_eq!(report["parameters"], 9930);
    // Two convolutions over 8x8 and 4x4 positions, and one matrix product.
    let flops = 2.0 * (64.0 * 16.0 * 9.0 + 16.0 * 32.0 * 16.0 * 9.0 + dense());
    assert_eq!(report["flops"].as_f64().unwrap(), flops);
}

/// Terms of the dense layer: all parameters that are neither in convolutions nor a bias.
fn dense() -> f64 {
    (9930 - (16 * 9 + 16) - (32 * 16 * 9 + 32) - 10) as f64
}

#[test]
fn every_stage_can_be_printed() {
    let folder = tempfile::tempdir().unwrap();
    for stage in [
        "graph", "tasks", "loops", "schedule", "kernels", "plan", "clif", "asm",
    ] {
        let text = succeed(folder.path(), &["compile", "MODEL", "--emit", stage]);
        assert!(text.lines().count() > 5, "{stage}: {text}");
    }
}

#[test]
fn native_files_have_headers() {
    let folder = tempfile::tempdir().unwrap();
    for (file, start) in [
        ("d.o", &b"\x7fELF"[..]),
        ("d.a", b"!<arch>\n"),
        ("libd.so", b"\x7fELF"),
    ] {
        succeed(
            folder.path(),
            &["compile", "MODEL", "-o", file, "--symbolic", "batch"],
        );
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        assert!(bytes.starts_with(start), "{file}");
        let header = std::fs::read_to_string(folder.path().join("d.h")).unwrap();
        assert!(
            header.contains("d_run") && header.contains("batch"),
            "{header}"
        );
    }
    let rest = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(rest, 4, "no temporary file stays");
    for file in ["no/d.o", "no/d.a", "no/libd.so"] {
        let arguments = ["compile", "MODEL", "-o", file];
        fail(folder.path(), &arguments, 6, "there is no folder no; make");
    }
}

#[test]
fn bad_input_has_codes_and_names_the_place() {
    let folder = folder_with_inputs(1);
    let path = folder.path();
    std::fs::write(path.join("text.onnx"), "# this is text\n").unwrap();
    std::fs::write(path.join("text.npz"), "# this is text\n").unwrap();
    let model = std::fs::read(asset("digits.onnx")).unwrap();
    std::fs::write(path.join("short.onnx"), &model[..model.len() / 2]).unwrap();
    let wrong = Tensor::from_slice(&[1, 1, 4, 4], &[0_f32; 16]).unwrap();
    write_npz(&path.join("wrong.npz"), [("image", &wrong)]).unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run", "none.onnx"], 6, "none.onnx"),
        (&["run", "text.onnx"], 3, "text file"),
        (&["run", "short.onnx"], 3, ""),
        (&["run", "MODEL"], 3, "`image`"),
        (&["run", "MODEL", "--inputs", "none.npz"], 6, "none.npz"),
        (&["run", "MODEL", "--inputs", "text.npz"], 3, "numpy.savez"),
        (&["run", "MODEL", "--inputs", "in.txt"], 3, ".npz"),
        (&["run", "MODEL", "--inputs", "wrong.npz"], 3, "image"),
        (
            &["run", "MODEL", "--input", "other=zeros"],
            3,
            "one of: image",
        ),
        (&["run", "MODEL", "--input", "image=ones"], 2, "random:0..1"),
        (
            &["run", "MODEL", "--input", "image=zeros", "--dim", "n=2"],
            2,
            "batch",
        ),
        (
            &["run", "MODEL", "--input", "image=zeros", "--dim", "batch"],
            2,
            "NAME=N",
        ),
        (
            &["run", "MODEL", "--input", "image=zeros", "--threads", "0"],
            2,
            "threads",
        ),
        (
            &["run", "MODEL", "--input", "image=zeros", "--target", "z80"],
            2,
            "x86-64-v3",
        ),
        (
            &[
                "run",
                "MODEL",
                "--input",
                "image=zeros",
                "-o",
                "none/out.npz",
            ],
            6,
            "none/out.npz",
        ),
        (
            &[
                "run",
                "MODEL",
                "--input",
                "image=zeros",
                "--dim",
                "batch=900000000",
            ],
            5,
            "",
        ),
        (&["verify", "MODEL", "--dim", "batch=9000000"], 5, "`image`"),
        (
            &["verify", "MODEL", "--dim", "batch=9000000000000000000"],
            2,
            "1099511627776 at most",
        ),
        (&["compile", "MODEL", "-o", "model.exe"], 2, ".so"),
        (&["bench", "MODEL", "--duration", "fast"], 2, "2s"),
        (&["frobnicate"], 2, "frobnicate"),
    ];
    for (arguments, code, part) in cases {
        fail(path, arguments, *code, part);
    }
}

#[test]
fn no_verb_writes_over_its_model() {
    let folder = folder_with_inputs(1);
    let at = |name: &str| folder.path().join(name);
    let bytes = std::fs::read(asset("digits.onnx")).unwrap();
    std::fs::write(at("model.onnx"), &bytes).unwrap();
    std::os::unix::fs::symlink("model.onnx", at("soft")).unwrap();
    std::fs::hard_link(at("model.onnx"), at("hard")).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    let verbs = [
        ["compile", "--output"],
        ["run", "--output"],
        ["run", "--trace"],
        ["explain", "--html"],
        ["tune", "--html"],
        ["bench", "--save"],
    ];
    for [verb, option] in verbs {
        for output in ["model.onnx", "soft", "hard", "folder/../model.onnx"] {
            let arguments = [verb, "model.onnx", option, output, "--threads", "1"];
            let part = format!("{option} needs another file");
            fail(folder.path(), &arguments, 2, &part);
            assert!(at("soft").is_symlink());
        }
    }
    // By another name of it, too.
    let arguments = ["run", "hard", "-o", "soft"];
    fail(folder.path(), &arguments, 2, "--output needs another file");
    // Nor does an option write over what another one wrote.
    for trace in ["out.npz", "folder/../out.npz"] {
        let arguments = ["run", "hard", "-o", "out.npz", "--trace", trace];
        let part = format!("{trace} is what --output writes: --trace needs another file");
        fail(folder.path(), &arguments, 2, &part);
        assert!(!at("out.npz").exists());
    }
    assert!(std::fs::read(at("model.onnx")).unwrap() == bytes);
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let model = asset("digits.onnx");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tensmith"))
        .args(["compile", "--emit", "loops"])
        .arg(model)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(!errors.contains("internal error"), "{errors}");
}
