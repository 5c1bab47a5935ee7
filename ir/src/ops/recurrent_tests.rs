use super::super::testing::{check_samples, run_all};
use super::*;

fn t(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_wide(DType::F64, shape.to_vec(), &Wide::Float(values.to_vec()))
}

/// Activations `alpha*x + beta`, so that results are whole numbers.
fn affine(parameters: &[(f64, f64)], reverse: bool) -> Attrs {
    Attrs::new()
        .with("activations", vec!["affine"; parameters.len()].join(","))
        .with(
            "alpha",
            parameters.iter().map(|p| p.0).collect::<Vec<f64>>(),
        )
        .with("beta", parameters.iter().map(|p| p.1).collect::<Vec<f64>>())
        .with("clip", f64::INFINITY)
        .with("reverse", reverse)
}

const SAME: (f64, f64) = (1.0, 0.0);
const HALF: (f64, f64) = (0.0, 0.5);

fn results(name: &str, inputs: &[Tensor], attrs: Attrs) -> Vec<Vec<f64>> {
    let all = run_all(name, inputs, attrs);
    all.iter().map(Tensor::to_f64).collect()
}

#[test]
fn sequences_have_lengths_and_directions() {
    let rnn = |length: i64, reverse: bool| {
        let inputs = [
            t(&[3, 1, 1], &[1.0, 10.0, 100.0]),
            t(&[1, 1], &[2.0]),
            t(&[1, 1], &[1.0]),
            Tensor::from_i64(vec![1], &[length]),
        ];
        results("rnn", &inputs, affine(&[SAME], reverse))
    };
    assert_eq!(rnn(3, false), [vec![3.0, 16.0, 132.0], vec![132.0]]);
    assert_eq!(rnn(2, false), [vec![3.0, 16.0, 0.0], vec![16.0]]);
    assert_eq!(rnn(2, true), [vec![25.0, 12.0, 0.0], vec![25.0]]);
    assert_eq!(rnn(0, true), [vec![0.0, 0.0, 0.0], vec![1.0]]);
}

#[test]
fn gru_by_hand() {
    let gru = |linear: bool| {
        let inputs = [
            t(&[1, 1, 3], &[0.0, 0.0, 4.0]),
            t(&[2, 1], &[0.0, 0.0]),
            t(&[1, 1], &[2.0]),
            t(&[1], &[1.0]),
            t(&[1, 1], &[8.0]),
            Tensor::from_i64(vec![1], &[1]),
        ];
        let attrs = affine(&[HALF, SAME], false).with("linear_before_reset", linear);
        results("gru", &inputs, attrs)
    };
    assert_eq!(gru(false), [vec![10.5], vec![10.5]]);
    assert_eq!(gru(true), [vec![10.25], vec![10.25]]);
}

#[test]
fn lstm_by_hand() {
    let clipped = |peepholes: [f64; 3], f: (f64, f64), coupled: bool, clip: f64| {
        let inputs = [
            t(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]),
            t(&[4, 1], &[0.0, 0.0, 0.0, 2.0]),
            t(&[1, 1], &[3.0]),
            t(&[1, 1], &[8.0]),
            t(&[3], &peepholes),
            Tensor::from_i64(vec![1], &[1]),
        ];
        let attrs = affine(&[f, SAME, SAME], false)
            .with("input_forget", coupled)
            .with("clip", clip);
        results("lstm", &inputs, attrs)
    };
    let lstm = |peepholes, f, coupled| clipped(peepholes, f, coupled, f64::INFINITY);
    // Gates of 1/2, a candidate of 4 + 2*3.
    assert_eq!(lstm([0.0; 3], HALF, false), [[4.5], [4.5], [9.0]]);
    // i = 1 + 10*8, f = 3 + 1000*8, c = 8003*8 + 81*10, o = 2 + 100*c.
    let c = 8003.0 * 8.0 + 810.0;
    let h = (2.0 + 100.0 * c) * c;
    assert_eq!(lstm([10.0, 100.0, 1000.0], SAME, false), [[h], [h], [c]]);
    // i = 1, f = 0, o = 2.
    assert_eq!(lstm([0.0; 3], SAME, true), [[20.0], [20.0], [10.0]]);
    // A candidate of 5; the cell state of 6.5 is not clipped.
    assert_eq!(clipped([0.0; 3], HALF, false, 5.0), [[3.25], [3.25], [6.5]]);
}

#[test]
fn activations_by_hand() {
    let value = |name: &str, x: f64, clip: f64| {
        let attrs = Attrs::new()
            .with("activations", name)
            .with("alpha", vec![0.5])
            .with("beta", vec![2.0])
            .with("clip", clip);
        activations(&attrs, 1).expect("it is known")[0].eval(x)
    };
    let cases = [
        ("relu", -1.0, 0.0),
        ("affine", 3.0, 3.5),
        ("leakyrelu", -3.0, -1.5),
        ("thresholdedrelu", 0.25, 0.0),
        ("thresholdedrelu", 0.5, 0.5),
        ("hardsigmoid", -1.0, 1.0),
        ("hardsigmoid", -3.0, 0.5),
        ("softsign", -3.0, -0.75),
        ("sigmoid", 0.0, 0.5),
        ("softplus", 0.0, 2f64.ln()),
        ("elu", -1.0, 0.5 * ((-1f64).exp() - 1.0)),
        ("scaledtanh", 1.0, 0.5 * 2f64.tanh()),
        ("tanh", 1.0, 1f64.tanh()),
    ];
    for (name, x, want) in cases {
        let found = value(name, x, f64::INFINITY);
        assert!(
            (found - want).abs() < 1e-15,
            "{name}({x}) = {found}, want {want}"
        );
    }
    assert_eq!(value("affine", 3.0, 2.0), 3.0);
}

#[test]
fn unknown_activations_are_refused() {
    let attrs = |names: &str, clip: f64| {
        Attrs::new()
            .with("activations", names)
            .with("alpha", vec![0.0])
            .with("beta", vec![0.0])
            .with("clip", clip)
    };
    assert!(activations(&attrs("tanh", 1.0), 1).is_ok());
    assert!(activations(&attrs("tanh,tanh", 1.0), 1).is_err());
    assert!(activations(&attrs("swish", 1.0), 1).is_err());
    assert!(activations(&attrs("tanh", f64::NAN), 1).is_err());
}

#[test]
fn samples_hold() {
    check_samples(OPS);
}
