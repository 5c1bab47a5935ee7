//! Real models run in wide vectors only: no nest stays at 128 bits, and no vector loop runs lane by
//! lane, on machines with 256- and with 512-bit vectors.
mod support;

use support::cases::{MODELS, models_folder};
use tensmith::files::read_npz;
use tensmith::{LoadOptions, Model, Options, compile};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;

#[test]
fn with_256_bits() {
    check("x86-64-v3");
}

#[test]
fn with_512_bits() {
    check("x86-64-v4");
}

/// Compiles all models for a target, whose code is not run.
fn check(name: &str) {
    let target = Target::named(name).unwrap();
    let (mut narrow, mut wide) = (Vec::new(), 0);
    for model in MODELS {
        let path = models_folder().join(format!("{model}.onnx"));
        let loaded = Model::load(path, &LoadOptions::default())
            .unwrap_or_else(|e| panic!("{model}: {e}; make it with `cargo xtask models`"));
        let inputs = models_folder().join(format!("cases/{model}/seed1/inputs.npz"));
        let inputs = read_npz(&inputs).unwrap();
        let mut options = Options {
            target: name.to_owned(),
            ..Options::default()
        };
        let imported = loaded.import_for(&inputs, &mut options).unwrap();
        let plan = compile::plan(&imported.graph, &options).unwrap();
        let code = JitCode::compile(&plan, &target).unwrap();
        for (kernel, stats) in plan.kernels.iter().zip(&code.stats) {
            wide += stats.wide_tiles;
            if stats.narrow_tiles > 0 || stats.scalarised_loops > 0 {
                let why = stats.narrow_reason.map(|r| r.to_string());
                narrow.push(format!(
                    "{model} {}: {}",
                    kernel.name,
                    why.unwrap_or_default()
                ));
            }
        }
    }
    assert!(narrow.is_empty(), "{name}:\n{}", narrow.join("\n"));
    assert!(wide > 500, "{name}: only {wide} wide tiles");
}
