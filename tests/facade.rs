//! Models compiled and run through the library.
mod support;

use support::*;
use tensmith::verify::{Against, Limits, verify};
use tensmith::{Error, LoadOptions, Model, Options, Tensor, TensorView};
use tensmith_ir::eval::eval_graph;
use tensmith_ir::tensor as ir;

fn from_bytes(bytes: Vec<u8>) -> Model {
    Model::from_bytes(bytes, &LoadOptions::default()).unwrap()
}

#[test]
fn one_compilation_is_right_for_every_batch() {
    let imported = digits().import(&symbolic(2)).unwrap();
    let executable = imported.compile(&symbolic(2)).unwrap();
    for batch in [1, 3, 17, 2] {
        let pixels = images(batch);
        let shape = [batch, 1, 8, 8];
        let view = TensorView::from_slice(&shape, &pixels).unwrap();
        let outputs = executable.run(&[("image", view)]).unwrap();
        assert_eq!(outputs[0].shape(), [batch, 10]);
        let input = ir::Tensor::from_f32(shape.to_vec(), &pixels);
        let expected = eval_graph(&imported.graph, &[input]).unwrap();
        let found = tensmith::verify::compare(&outputs[0], &expected[0], &Limits::default());
        assert!(found.passed, "batch {batch}: {found:?}");
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let pixels = images(17);
    let run = |threads| -> Vec<Tensor> {
        let executable = digits().compile(&symbolic(threads)).unwrap();
        assert_eq!(executable.threads(), threads);
        let view = TensorView::from_slice(&[17, 1, 8, 8], &pixels).unwrap();
        executable.run(&[("image", view)]).unwrap()
    };
    let one = run(1);
    for threads in [2, 3] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

/// One compilation serves sizes from 0 on.
#[test]
fn an_empty_batch_has_an_empty_result() {
    for threads in [1, 2] {
        let executable = digits().compile(&symbolic(threads)).unwrap();
        let mut session = executable.session().unwrap();
        for batch in [2, 0, 3, 0] {
            let pixels = images(batch);
            let shape = [batch, 1, 8, 8];
            let view = TensorView::from_slice(&shape, &pixels).unwrap();
            let outputs = session.run(&[view]).unwrap();
            assert_eq!(outputs[0].shape(), [batch, 10]);
        }
    }
}

#[test]
fn runs_from_several_threads_are_safe() {
    let executable = digits().compile(&symbolic(2)).unwrap();
    let run = |batch: usize| {
        let pixels = images(batch);
        let shape = [batch, 1, 8, 8];
        let view = TensorView::from_slice(&shape, &pixels).unwrap();
        executable.run_ordered(&[view]).unwrap().remove(0)
    };
    let expected: Vec<Tensor> = (1..5).map(run).collect();
    std::thread::scope(|scope| {
        for (batch, expected) in (1..5).zip(&expected) {
            scope.spawn(move || (0..50).for_each(|_| assert_eq!(run(batch), *expected)));
        }
    });
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let executable = digits().compile(&symbolic(1)).unwrap();
    let values = [0_f32; 128];
    let ints = [0_i64; 64];
    let view = |shape| TensorView::from_slice(shape, &values[..64]).unwrap();
    let check = |inputs: &[(&str, TensorView<'_>)], parts: &[&str]| {
        let error = executable.run(inputs).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{text}");
    };
    check(&[], &["image", "no tensor", "f32[batch, 1, 8, 8]"]);
    check(&[("imag", view(&[1, 1, 8, 8]))], &["imag", "one of: image"]);
    check(
        &[("image", view(&[1, 1, 4, 16]))],
        &["f32[1, 1, 4, 16]", "f32[batch, 1, 8, 8]"],
    );
    check(&[("image", view(&[1, 8, 8]))], &["f32[1, 8, 8]"]);
    let ints = TensorView::from_slice(&[1, 1, 8, 8], &ints).unwrap();
    check(&[("image", ints)], &["i64[1, 1, 8, 8]"]);
    let twice = ("image", view(&[1, 1, 8, 8]));
    check(&[twice, twice], &["two tensors"]);
}

#[test]
fn unknown_dimensions_are_usage_errors() {
    let mut options = Options::default();
    options.dims.insert("bacth".into(), 2);
    let error = digits().import(&options).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(
        error.to_string().contains("the model has: batch"),
        "{error}"
    );
}

#[test]
fn failed_checks_name_node_and_value() {
    let inputs = vec![port("x", F32, &[5]), port("i", I64, &[3])];
    let model = from_bytes(one_node("Gather", inputs, vec![], port("y", F32, &[3])));
    let executable = model.compile(&Options::default()).unwrap();
    let x = [0_f32, 1.0, 2.0, 3.0, 4.0];
    let run = |indices: [i64; 3]| {
        let x = TensorView::from_slice(&[5], &x).unwrap();
        let i = TensorView::from_slice(&[3], &indices).unwrap();
        executable.run(&[("x", x), ("i", i)])
    };
    assert_eq!(
        run([4, 0, -1]).unwrap()[0].as_slice::<f32>().unwrap(),
        &[4.0, 0.0, 4.0]
    );
    let error = run([0, 7, 0]).unwrap_err();
    assert!(
        matches!(&error, Error::Data { node, .. } if node.contains("the_gather")),
        "{error}"
    );
    assert!(error.to_string().contains("7 is outside 0..5"), "{error}");
    // An error leaves nothing behind.
    assert!(run([1, 2, 3]).is_ok());
}

#[test]
fn fixed_inputs_take_only_their_value() {
    let inputs = vec![port("x", F32, &[6]), port("shape", I64, &[2])];
    let model = from_bytes(one_node("Reshape", inputs, vec![], port("y", F32, &[2, 3])));
    let mut options = Options::default();
    options
        .specialise
        .insert("shape".into(), ir::Tensor::from_i64(vec![2], &[2, 3]));
    let executable = model.compile(&options).unwrap();
    let x = [0_f32; 6];
    let run = |shape: [i64; 2]| {
        let x = TensorView::from_slice(&[6], &x).unwrap();
        let shape = TensorView::from_slice(&[2], &shape).unwrap();
        executable.run(&[("x", x), ("shape", shape)])
    };
    assert_eq!(run([2, 3]).unwrap()[0].shape(), [2, 3]);
    let text = run([3, 2]).unwrap_err().to_string();
    assert!(text.contains("compile again"), "{text}");
}

#[test]
fn small_models_cannot_ask_for_much_memory() {
    let side = 30_000;
    let shape = vec![constant("shape", &[side, side])];
    let output = port("y", F32, &[side, side]);
    let model = from_bytes(one_node(
        "Expand",
        vec![port("x", F32, &[1])],
        shape,
        output,
    ));
    let run = || {
        let executable = model.compile(&Options::default())?;
        executable.run(&[("x", TensorView::from_slice(&[1], &[1_f32])?)])
    };
    let error = run().unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
}

#[test]
fn verification_finds_a_wrong_element() {
    let imported = digits().import(&symbolic(1)).unwrap();
    let input = ir::Tensor::from_f32(vec![2, 1, 8, 8], &images(2));
    let inputs = [input];
    let check = |against: &Against<'_>| {
        let limits = Limits::default();
        verify(
            &imported,
            &symbolic(1),
            &inputs,
            against,
            &limits,
            &mut |_| {},
        )
        .unwrap()
    };
    let report = check(&Against::Reference);
    assert!(report.passed() && report.values.len() > 5, "{report:?}");
    let good = eval_graph(&imported.graph, &inputs).unwrap().remove(0);
    let mut wrong = tensmith::convert::to_runtime(&good).unwrap();
    wrong.as_mut_slice::<f32>().unwrap()[13] += 0.1;
    let stored = tensmith::files::Named::from([("logits".to_string(), wrong)]);
    let report = check(&Against::Stored(&stored));
    let worst = report
        .first_failure()
        .expect("the change is above the limit");
    assert_eq!(
        (&worst.value[..], &worst.index[..]),
        ("logits", &[1, 3][..])
    );
    assert!(!worst.node.is_empty());
}

#[test]
fn constants_beyond_the_granted_memory_are_refused() {
    let options = Options {
        memory_bytes: Some(1000),
        ..symbolic(1)
    };
    let error = digits().compile(&options).err().expect("too little memory");
    assert!(matches!(error, Error::Limit(_)), "{error}");
    assert!(error.to_string().contains("--memory-bytes"), "{error}");
}
