//! What is promised of the plans of real models.
mod support;

use std::collections::BTreeSet;
use support::cases::models_folder;
use support::names::MODELS;
use tensmith::compile::optimised_and_told;
use tensmith::explain::work::names_op;
use tensmith::files::read_npz;
use tensmith::{Imported, LoadOptions, Model, Options, compile};
use tensmith_passes::partition::{cycles_of, partition, partition_apart, predicted_cycles};
use tensmith_passes::{PassOptions, optimise};

/// Ops that other kernels join: what computes one of them does not stand alone.
const ANCHORS: [&str; 8] = [
    "contract",
    "conv",
    "conv_transpose",
    "winograd_input",
    "winograd_output",
    "lstm",
    "gru",
    "rnn",
];

fn import(model: &str, options: &mut Options) -> Imported {
    let path = models_folder().join(format!("{model}.onnx"));
    let loaded = Model::load(path, &LoadOptions::default())
        .unwrap_or_else(|e| panic!("{model}: {e}; make it with `cargo xtask models`"));
    let inputs = models_folder().join(format!("cases/{model}/seed1/inputs.npz"));
    let imported = loaded.import_for(&read_npz(&inputs).unwrap(), options);
    imported.unwrap_or_else(|e| panic!("{model}: {e}"))
}

#[test]
fn kernels_that_stand_alone_say_why_and_no_others() {
    let mut wrong = Vec::new();
    for model in MODELS {
        let mut options = Options::default();
        let imported = import(model, &mut options);
        let plan = compile::plan(&imported.graph, &options).unwrap();
        let calls = plan.calls();
        for call in &calls {
            let kernel = &plan.kernel(call.kernel).name;
            let anchored = ANCHORS.iter().any(|op| names_op(kernel, op));
            if anchored != call.alone.is_empty() {
                wrong.push(format!(
                    "{model} {kernel} of {:?}: {:?}",
                    call.nodes, call.alone
                ));
            }
        }
        let alone = calls.iter().filter(|c| !c.alone.is_empty()).count();
        println!(
            "{model}: {alone} of {} kernel calls stand alone",
            calls.len()
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of no model the kernels are predicted to take longer than those of directed passes alone, scalar
/// work included.
#[test]
fn rules_make_no_model_dearer() {
    for model in MODELS {
        let mut options = Options::default();
        let imported = import(model, &mut options);
        let cycles = |no_egraph| {
            let options = Options {
                no_egraph,
                ..options.clone()
            };
            let (graph, _) = optimised_and_told(&imported.graph, &options).unwrap();
            cycles_of(&graph, &PassOptions::default())
        };
        let [by_rules, directed] = [false, true].map(cycles);
        println!("{model}: {by_rules:.6e} cycles, {directed:.6e} by directed passes alone");
        assert!(by_rules <= directed, "{model}: {by_rules}, {directed}");
    }
}

/// The choice among offers of fusion is predicted to take no longer than what rules alone make.
#[test]
fn choices_make_no_model_dearer_than_rules_alone() {
    let options = PassOptions::default();
    for model in MODELS {
        let imported = import(model, &mut Options::default());
        let graph = optimise(imported.graph.clone(), &options).unwrap();
        let chosen = partition(&graph, &options);
        let rules = partition_apart(&graph, &BTreeSet::new());
        let [now, before] = [&chosen, &rules].map(|p| predicted_cycles(&graph, p, &options.target));
        println!(
            "{model}: {now:.4e} cycles, {before:.4e} by rules; {:?}",
            chosen.search
        );
        assert!(now <= before, "{model}: {now}, {before} by rules");
    }
}
