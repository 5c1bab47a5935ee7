//! The memory plan of real models: offsets waste next to nothing.
mod support;

use support::cases::models_folder;
use support::names::MODELS;
use tensmith::files::read_npz;
use tensmith::{LoadOptions, Model, Options, compile};
use tensmith_ir::eval::Sizes;
use tensmith_passes::liveness_bound;

/// Arena bytes over the least that the order of the steps allows, at most.
const WASTE: f64 = 1.05;

/// Units: bytes. What alignment may add to the arena of a small model.
const SLACK: i64 = 4096;

#[test]
fn arenas_are_within_a_twentieth_of_what_is_live() {
    let mut wasteful = Vec::new();
    for model in MODELS {
        let path = models_folder().join(format!("{model}.onnx"));
        let loaded = Model::load(path, &LoadOptions::default())
            .unwrap_or_else(|e| panic!("{model}: {e}; make it with `cargo xtask models`"));
        let inputs = models_folder().join(format!("cases/{model}/seed1/inputs.npz"));
        let mut options = Options::default();
        let imported = loaded.import_for(&read_npz(&inputs).unwrap(), &mut options);
        let plan = compile::plan(&imported.unwrap().graph, &options).unwrap();
        let bound = liveness_bound(&plan, &Sizes::new()).expect("all sizes are bound");
        let arena = plan.arena_bytes.as_const().expect("all sizes are bound");
        println!("{model}: {arena} bytes for {bound}");
        if arena as f64 > WASTE * bound as f64 + SLACK as f64 {
            wasteful.push(format!("{model}: {arena} bytes for {bound}"));
        }
    }
    assert!(wasteful.is_empty(), "{}", wasteful.join("\n"));
}
