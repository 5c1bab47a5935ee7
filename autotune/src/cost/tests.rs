//! Features, terms and training on kernels whose structure is known.
mod kernels;

use super::analytic::{self, Coefficients, TERMS};
use super::train::{evaluate, options, train};
use super::*;
use crate::random::Random;
use kernels::{Product, describe, setting};
use tensmith_ir::loops::parse_kernel;

fn feature(description: &Description, name: &str) -> f32 {
    let names = features::names();
    let at = names.iter().position(|n| n == name);
    description.features[at.unwrap_or_else(|| panic!("no feature `{name}`"))]
}

fn term(description: &Description, name: &str) -> f64 {
    let at = analytic::names().position(|n| n == name);
    description.terms[at.unwrap_or_else(|| panic!("no term `{name}`"))]
}

fn log(x: f64) -> f32 {
    (1.0 + x).log2() as f32
}

const PRODUCT: Product = Product {
    rows: 64,
    columns: 128,
    depth: 96,
    jam: 8,
    vectors: 2,
    unroll: 1,
    is_packed: true,
    ahead: 0,
    is_parallel: false,
};

#[test]
fn a_register_tile_is_seen() {
    let d = describe(&PRODUCT);
    let flops = 2.0 * 64.0 * 128.0 * 96.0;
    assert!((feature(&d, "flops") - log(flops + 64.0 * 128.0)).abs() < 1e-3);
    assert_eq!(feature(&d, "hot_jam"), log(8.0));
    assert_eq!(feature(&d, "hot_vectors"), log(2.0));
    assert_eq!(feature(&d, "hot_vector_bytes"), log(64.0));
    assert_eq!(feature(&d, "hot_sums"), log(16.0));
    // Sums, a row of columns, and an element for all lanes.
    assert_eq!(feature(&d, "hot_registers"), 19.0 / 32.0);
    assert_eq!(feature(&d, "hot_depth"), log(96.0));
    assert_eq!(feature(&d, "hot_vector_loads"), log(2.0));
    assert_eq!(feature(&d, "hot_single_loads"), log(8.0));
    assert_eq!(feature(&d, "trips_0"), log(96.0));
    assert_eq!(feature(&d, "trips_1"), log(4.0));
    assert_eq!(feature(&d, "trips_2"), log(8.0));
    assert_eq!(feature(&d, "idle_lane_share"), 0.0);
    assert_eq!(feature(&d, "far_share"), 0.0);
    assert!(feature(&d, "hot_packed_share") > 0.19);
    assert_eq!(feature(&d, "packed_bytes"), log(4.0 * 96.0 * 128.0));
    // 16 multiply-adds a step at one a cycle, 2 loads of vectors at one, 8 of elements at two.
    let steps = 64.0 * 128.0 * 96.0 / (8.0 * 32.0);
    assert!((term(&d, "core") / (16.0 * steps) - 1.0).abs() < 0.05);
    assert!((term(&d, "beside") / (6.0 * steps) - 1.0).abs() < 0.05);
    assert_eq!(term(&d, "latency"), 0.0);
    assert_eq!(term(&d, "spills"), 0.0);
    assert_eq!(term(&d, "threads"), 0.0);
}

#[test]
fn what_a_tile_lacks_is_seen() {
    let few = describe(&Product {
        jam: 1,
        vectors: 1,
        ..PRODUCT
    });
    // One sum that waits 4 cycles for itself, beside a load of a vector and one of an element.
    assert!((feature(&few, "hot_latency_bound") - 4.0 / 1.5).abs() < 1e-3);
    assert!((term(&few, "latency") / (2.5 * 64.0 * 8.0 * 96.0) - 1.0).abs() < 1e-6);
    let many = describe(&Product {
        jam: 16,
        vectors: 4,
        ..PRODUCT
    });
    assert!(feature(&many, "hot_registers") > 2.0);
    assert!(term(&many, "spills") > 0.0);
    let plain = describe(&Product {
        is_packed: false,
        ..PRODUCT
    });
    assert_eq!(feature(&plain, "hot_packed_share"), 0.0);
    let ahead = describe(&Product {
        ahead: 1024,
        ..PRODUCT
    });
    assert_eq!(feature(&ahead, "hot_prefetch"), log(1024.0));
    let unrolled = describe(&Product {
        unroll: 4,
        ..PRODUCT
    });
    assert_eq!(feature(&unrolled, "hot_unrolled"), log(4.0));
    assert!(term(&unrolled, "loops") < 0.5 * term(&describe(&PRODUCT), "loops"));
}

#[test]
fn threads_share_parallel_work() {
    let parallel = Product {
        is_parallel: true,
        ..PRODUCT
    };
    let kernel = parse_kernel(&parallel.text()).unwrap();
    let with = |threads| {
        let setting = Setting {
            threads,
            ..setting()
        };
        Description::new(&kernel, &setting)
    };
    // 8 tiles of rows: 3 threads have 3 of them at most.
    assert!((term(&with(3), "core") / term(&with(1), "core") - 3.0 / 8.0).abs() < 1e-6);
    assert!((feature(&with(3), "balance") - 8.0 / 9.0).abs() < 1e-6);
    assert_eq!(feature(&with(16), "balance"), 0.5);
    assert!(term(&with(2), "threads") > 0.0);
}

#[test]
fn any_kernel_has_finite_features() {
    for (name, text) in kernels::ODD {
        let kernel = parse_kernel(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        for threads in [1, 4] {
            let setting = Setting {
                threads,
                ..setting()
            };
            let d = Description::new(&kernel, &setting);
            assert_eq!(d.features.len(), features::COUNT);
            assert_eq!(d.terms.len(), TERMS);
            let finite = d.features.iter().all(|x| x.is_finite());
            assert!(finite, "{name}: {:?}", d.features);
            assert!(
                d.terms.iter().all(|x| x.is_finite() && *x >= 0.0),
                "{name}: {:?}",
                d.terms
            );
            assert!(d.predict_ns(&Coefficients::default()) > 0.0, "{name}");
        }
    }
}

#[test]
fn sizes_are_bound_to_values() {
    let (_, text) = kernels::ODD[0];
    let kernel = parse_kernel(text).unwrap();
    let with = |n| {
        let mut setting = setting();
        setting.sizes.insert(tensmith_ir::expr::Symbol::new("n"), n);
        Description::new(&kernel, &setting)
    };
    assert_eq!(feature(&with(512), "flops"), log(512.0 * 100.0));
    assert!(term(&with(512), "core") > 4.0 * term(&with(64), "core"));
}

#[test]
fn a_branch_counts_as_often_as_it_is_taken() {
    let (_, text) = kernels::ODD
        .iter()
        .find(|(name, _)| *name == "frame")
        .unwrap();
    let d = Description::new(&parse_kernel(text).unwrap(), &setting());
    // 10 rows of 64 sums, and one row of 64 zeros.
    assert_eq!(feature(&d, "flops"), log(640.0));
    assert!(
        (term(&d, "core") - (10.0 + 1.0) * 4.0).abs() < 1.0,
        "{}",
        term(&d, "core")
    );
}

#[test]
fn lanes_without_work_and_strides_are_seen() {
    let odd = |name| {
        let (_, text) = kernels::ODD.iter().find(|(n, _)| *n == name).unwrap();
        Description::new(&parse_kernel(text).unwrap(), &setting())
    };
    // 40 lanes are three vectors of 16.
    assert!((feature(&odd("tail"), "idle_lane_share") - 8.0 / 48.0).abs() < 1e-6);
    // Of three accesses one is apart, the others are a vector and an element for all lanes.
    let columns = odd("columns");
    assert!((feature(&columns, "far_share") - 64.0 / (64.0 + 1.0 + 4.0)).abs() < 1e-6);
    assert!(feature(&columns, "divide_share") > 0.0);
    // Blocks that are turned are not apart.
    let turned = odd("turned");
    assert_eq!(feature(&turned, "far_share"), 0.0);
    assert!(term(&turned, "turned") > 0.0);
}

#[test]
fn coefficients_are_found_again() {
    let mut random = Random::new(1);
    let truth: Vec<f64> = (0..TERMS).map(|k| 0.05 * (1 + k % 5) as f64).collect();
    let truth = Coefficients::new(truth).unwrap();
    let samples = kernels::samples(&mut random, 300, |d, _| truth.predict_ns(&d.terms));
    let fitted = Coefficients::default().fit(&samples);
    for s in &samples {
        let ratio = fitted.predict_ns(&s.terms) / s.ns;
        assert!((0.93..1.07).contains(&ratio), "{ratio}");
    }
    // Nothing measured: nothing changes.
    let same = Coefficients::default().fit(&[]);
    let pairs = same
        .values()
        .iter()
        .zip(Coefficients::default().values().to_vec());
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-9));
}

/// A machine whose registers, first cache and decoder end in cliffs that no term has.
fn cliffs(d: &Description, random: &mut Random) -> f64 {
    let mut ns = Coefficients::default().predict_ns(&d.terms);
    if feature(d, "hot_registers") > 1.0 {
        ns *= 2.0;
    }
    if feature(d, "reach_1") > -0.5 {
        ns *= 1.5;
    }
    if feature(d, "hot_code") > 6.5 {
        ns *= 1.3;
    }
    if feature(d, "hot_packed_share") == 0.0 && feature(d, "hot_aliased_share") > 0.0 {
        ns *= 1.7;
    }
    ns * (1.0 + 0.05 * (random.unit() - 0.5))
}

#[test]
fn the_ranker_beats_chance_and_the_analytic_model_on_unseen_families() {
    let samples = kernels::samples(&mut Random::new(1), 900, cliffs);
    let evaluation = evaluate(&samples, &options());
    assert_eq!(evaluation.families.len(), 4);
    for f in &evaluation.families {
        let name = &f.name;
        assert!(
            f.ranker.spearman > f.analytic.spearman,
            "{name}\n{evaluation}"
        );
        assert!(
            f.ranker.kendall > f.analytic.kendall,
            "{name}\n{evaluation}"
        );
    }
    let [chance, analytic, ranker] = evaluation.means();
    assert!(
        ranker.spearman > 0.95 && ranker.recall > 0.7,
        "{evaluation}"
    );
    assert!(ranker.recall > analytic.recall && analytic.recall > chance.recall);
    assert!(
        ranker.reached > analytic.reached && analytic.reached > chance.reached,
        "{evaluation}"
    );
}

#[test]
fn trained_weights_and_samples_are_read_back() {
    let samples = kernels::samples(&mut Random::new(1), 200, cliffs);
    let mut lines = Vec::new();
    samples.iter().for_each(|s| s.write(&mut lines).unwrap());
    // A line that was not written to its end, and one of other features.
    lines.extend(b"{\"family\":\"a\",\"task\":\"b\",\"features\":[1.0],\"terms\":[],\"ns\":1.0}\n");
    lines.extend(b"\n{\"family\":\"a\",\"ta");
    let dataset = Dataset::read(&lines[..]).unwrap();
    assert_eq!((&dataset.samples, dataset.skipped), (&samples, 2));
    let trained = train(&samples, &options());
    assert!(!trained.trees.is_empty());
    assert_eq!(trained.to_string().parse(), Ok(trained));
}
