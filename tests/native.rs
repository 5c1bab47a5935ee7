//! A shared library called from another language.
mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{asset, images};
use tensmith::{KeepSymbolic, LoadOptions, Model, Options, TensorView, compile, native};

/// The options of both: the same code comes from them.
fn options() -> Options {
    Options {
        symbolic: KeepSymbolic::All,
        threads: Some(1),
        ..Options::default()
    }
}

/// What the script in `tests/native_callers/call.py` prints for a batch of images.
fn call(library: &Path, batch: usize, images: &[f32]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/native_callers/call.py");
    let mut child = Command::new("python3")
        .arg(script)
        .arg(library)
        .args(["digits", &batch.to_string(), "64", "10"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut text = String::new();
    for pixel in images {
        writeln!(text, "{}", f64::from(*pixel)).unwrap();
    }
    let mut stdin = child.stdin.take().unwrap();
    // The script refuses some batches without reading.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn python_calls_a_shared_library() {
    let model = Model::load(asset("digits.onnx"), &LoadOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libdigits.so");
    let imported = model.import(&options()).unwrap();
    let plan = compile::plan(&imported.graph, &options()).unwrap();
    native::write(&plan, &options(), &library).unwrap();
    let executable = imported.compile(&options()).unwrap();
    for batch in [1, 3, 17] {
        let images = images(batch);
        let shape = [batch, 1, 8, 8];
        let view = TensorView::from_slice(&shape, &images).unwrap();
        let want = executable.run(&[("image", view)]).unwrap();
        let want = want[0].as_slice::<f32>().unwrap();
        let output = call(&library, batch, &images);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let found: Vec<f32> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| line.parse::<f64>().unwrap() as f32)
            .collect();
        assert_eq!(found, want, "batch {batch}");
    }
    let output = call(&library, 0, &[]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let output = call(&library, (1 << 20) + 1, &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("batch 1048577 is out of range"), "{errors}");
}
