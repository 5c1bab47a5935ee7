//! Real models run in wide vectors only: no nest stays at 128 bits or runs element by element, and
//! no vector loop runs lane by lane, on machines with 256- and with 512-bit vectors.
mod support;

use support::cases::models_folder;
use support::names::MODELS;
use tensmith::explain::schedule::fallback_text;
use tensmith::files::read_npz;
use tensmith::{LoadOptions, Model, Options, compile};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;

/// Kernels with a nest that has no vectors by its nature, and why: model, part of the name.
const SCALAR: [(&str, &str); 3] = [
    // An attention mask is of 64-bit integers, which have no lanes, when it becomes numbers.
    ("minilm_l6", "cast_add_mul"),
    ("minilm_l6", "cast_expand_mul_reduce_sum_reduce_sum_max"),
    // Two columns are no vector.
    ("ppocr_cls", "contract_add"),
];

#[test]
fn with_256_bits() {
    check("x86-64-v3");
}

#[test]
fn with_512_bits() {
    check("x86-64-v4");
}

#[test]
fn with_dot_products() {
    check("x86-64-v4-vnni");
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
            let why = fallback_text(kernel, stats);
            let by_nature = |(m, part): &(&str, &str)| *m == model && kernel.name.contains(part);
            let vectors = stats.narrow_tiles + stats.scalarised_loops == 0;
            if !(why.is_empty() || vectors && SCALAR.iter().any(by_nature)) {
                narrow.push(format!("{model} {}: {why}", kernel.name));
            }
        }
    }
    assert!(narrow.is_empty(), "{name}:\n{}", narrow.join("\n"));
    assert!(wide > 500, "{name}: only {wide} wide tiles");
}
