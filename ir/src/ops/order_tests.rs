use super::super::testing::{check_samples, ints, run, run_all};
use super::*;
use crate::define::define_task;
use crate::loops::interp::run_kernel;
use crate::ops::testing::graph_of;
use std::collections::HashSet;

fn topk(x: Tensor, k: i64, largest: bool) -> (Vec<f64>, Vec<i64>) {
    let attrs = Attrs::new()
        .with("axis", 0i64)
        .with("k", vec![Expr::from(k)])
        .with("largest", largest)
        .with("sorted", true);
    let results = run_all("topk", std::slice::from_ref(&x), attrs.clone());
    let graph = graph_of("topk", std::slice::from_ref(&x), attrs);
    let root = graph.node_ids().next().expect("there is a node");
    let task = define_task(&graph, root, &HashSet::from([root]));
    let looped = run_kernel(&task.kernel, &[], &[x]).expect("the kernel runs");
    let exact = |t: &Tensor| t.to_f64().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (a, b) in results.iter().zip(&looped) {
        assert_eq!(exact(a), exact(b));
    }
    (results[0].to_f64(), results[1].to_i64())
}

#[test]
fn ties_go_to_the_lower_index() {
    let x = || ints(&[3, 5, 3, 4, 5, 3]);
    assert_eq!(
        topk(x(), 4, true),
        (vec![5.0, 5.0, 4.0, 3.0], vec![1, 4, 3, 0])
    );
    assert_eq!(topk(x(), 2, false), (vec![3.0, 3.0], vec![0, 2]));
    assert_eq!(topk(x(), 0, true), (vec![], vec![]));
}

#[test]
fn nan_is_greatest() {
    let x = || Tensor::from_f32(vec![4], &[1.0, f32::NAN, f32::INFINITY, f32::NAN]);
    assert_eq!(topk(x(), 4, true).1, [1, 3, 2, 0]);
    assert_eq!(topk(x(), 4, false).1, [0, 2, 1, 3]);
}

/// Rows in which ties, NaN and infinities come before and after the places are taken, for all
/// numbers of places; [`topk`] compares the loops with the reference.
#[test]
fn places_are_taken_in_all_orders() {
    let floats = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1.5,
        -1.5,
        f32::MAX,
        1e-45,
    ];
    let whole = [i64::MIN, i64::MAX, 0, -1, 1, 7];
    for seed in 0..40usize {
        let draw = |k: usize, n: usize| (k * k * 31 + k * (seed + 3) + seed * 17) % 101 % n;
        // Some rows have few different elements.
        let kinds = 1 + seed % floats.len();
        let count = 24 - seed % 3;
        let f: Vec<f32> = (0..count).map(|k| floats[draw(k, kinds)]).collect();
        let i: Vec<i64> = (0..count).map(|k| whole[draw(k, whole.len())]).collect();
        for k in 0..=count as i64 {
            for largest in [false, true] {
                topk(Tensor::from_f32(vec![count], &f), k, largest);
                topk(ints(&i), k, largest);
            }
        }
    }
}

/// Rows that are long enough to be sieved or halved, one alone and several side by side, of which
/// the last few are a block of their own.
#[test]
fn sieved_rows_keep_their_order() {
    let floats = [
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        -0.0,
        f32::NEG_INFINITY,
        0.0,
        1.5,
    ];
    for seed in 0..12usize {
        let shape = if seed % 2 == 0 {
            vec![130 + seed]
        } else {
            vec![130 + seed, 19]
        };
        let count = shape.iter().product();
        // Many equal elements, few, or the same everywhere.
        let kinds = [3, 6, 1000, 1][seed % 4];
        let draw = |k: usize| (k * k * 31 + k * (seed + 3) + seed * 17) % 10_007 % kinds;
        let f = (0..count).map(|k| match draw(k) {
            few if few < floats.len() => floats[few],
            other => other as f32 - 500.0,
        });
        let f: Vec<f32> = f.collect();
        let i: Vec<i128> = (0..count).map(|k| draw(k) as i128 - 2).collect();
        for k in [1, 5, 16, 17, 60, 130] {
            for largest in [false, true] {
                let whole = Tensor::from_wide(DType::I32, shape.clone(), &Wide::Int(i.clone()));
                topk(Tensor::from_f32(shape.clone(), &f), k, largest);
                topk(whole, k, largest);
            }
        }
    }
}

#[test]
fn running_totals_by_hand() {
    let total = |name: &str, exclusive: bool, reverse: bool| {
        let attrs = Attrs::new()
            .with("axis", 0i64)
            .with("exclusive", exclusive)
            .with("reverse", reverse);
        run(name, &[ints(&[2, 3, 4])], attrs).to_i64()
    };
    assert_eq!(total("cumsum", false, false), [2, 5, 9]);
    assert_eq!(total("cumsum", true, false), [0, 2, 5]);
    assert_eq!(total("cumsum", false, true), [9, 7, 4]);
    assert_eq!(total("cumsum", true, true), [7, 4, 0]);
    assert_eq!(total("cumprod", true, true), [12, 4, 1]);
    assert_eq!(total("cumprod", false, false), [2, 6, 24]);
}

#[test]
fn samples_evaluate_and_define() {
    check_samples(OPS);
}
