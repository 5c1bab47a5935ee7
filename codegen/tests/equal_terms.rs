//! Sums over the lanes of vectors whose terms are the same in all lanes: each lane counts.
mod support;

use support::{Edge, inputs, kernel, run_for, targets};
use tensmith_ir::loops::interp::run_kernel;

fn check(text: &str) {
    let kernel = kernel(text);
    let args = inputs(&kernel, &[]);
    let want = run_kernel(&kernel, &[], &args).unwrap();
    for target in targets() {
        let got = run_for(&target, &kernel, &[], &args, 1, Edge::End).unwrap();
        // Sums of lanes are trees: at most some roundings of the sum apart.
        for (x, y) in want[0].to_f64().iter().zip(got[0].to_f64()) {
            let near = (x - y).abs() <= 1e-6 * x.abs();
            assert!(near, "{:?}: {y}, want {x}\n{kernel}", target.wide);
        }
    }
}

#[test]
fn that_no_lane_changes() {
    for extent in [4, 7, 16, 33] {
        check(&format!(
            "kernel k() {{ in a: f32[3] out o: f32[3] reg r: f32[] for i0 < 3 space {{ \
             r = 0.0f32 for i1 < {extent} reduce vector {{ r = r + a[i0] }} o[i0] = r }} }}"
        ));
        check(&format!(
            "kernel k() {{ in a: f32[3] out o: f32[3] reg r: f32[] for i0 < 3 space {{ \
             r = 1.0f32 for i1 < {extent} reduce vector {{ r = fma(a[i0], 0.5f32, r) }} \
             o[i0] = r }} }}"
        ));
    }
}

#[test]
fn that_are_computed_in_a_register_of_their_own() {
    check(
        "kernel k() { in a: f32[3] in b: f32[5] out o: f32[3] reg r: f32[] reg t: f32[] \
         for i0 < 3 space { r = 0.0f32 for i1 < 16 reduce vector { t = 0.0f32 \
         for i2 < 5 reduce { t = t + b[i2] } r = r + t } o[i0] = r + a[i0] } }",
    );
}
