//! Elements that exist only under a condition are read only where it holds: reads that do not
//! depend on an inner loop must not move out of it past the condition. Buffers begin and end at
//! unmapped pages.
mod support;

use support::{Edge, inputs, kernel, run_for, same, targets};
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::interp::run_kernel;
use tensmith_ir::tensor::{Tensor, Wide};

fn check(text: &str) {
    let kernel = kernel(text);
    let args = inputs(&kernel, &[]);
    let want = run_kernel(&kernel, &[], &args).unwrap();
    for target in targets() {
        for edge in [Edge::End, Edge::Begin] {
            let got = run_for(&target, &kernel, &[], &args, 1, edge).unwrap();
            same(&want, &got).unwrap_or_else(|e| panic!("{:?}: {e}\n{kernel}", target.wide));
        }
    }
}

#[test]
fn below_a_branch() {
    // From far before the begin to far behind the end, and the other way round.
    for index in ["i1 - 1000", "1007 - i1"] {
        check(&format!(
            "kernel k() {{ in a: f32[8] out o: f32[2008, 5] for i1 < 2008 space {{ \
                 for i2 < 5 space {{ o[i1, i2] = 0.5f32 \
                 if [{index}, 7 - ({index})] {{ o[i1, i2] = a[{index}] }} }} }} }}"
        ));
    }
}

#[test]
fn in_a_guard() {
    for index in ["i1 - 1000", "1007 - i1"] {
        check(&format!(
            "kernel k() {{ in a: f32[8] out o: f32[2008, 5] for i1 < 2008 space {{ \
                 for i2 < 5 space {{ \
                 o[i1, i2] = guard([{index}, 7 - ({index})], a[{index}], 0.5f32) }} }} }}"
        ));
    }
}

#[test]
fn below_a_check() {
    let kernel = kernel(
        "kernel k() { in t: i64[1] in a: f32[8] out o: f32[5] for i2 < 5 space { \
         o[i2] = 0.5f32 check i1 = t[0] in 8 site 0 { o[i2] = a[i1] } } }",
    );
    for index in [-2000, 2000, 1 << 40] {
        let index = Tensor::from_wide(DType::I64, vec![1], &Wide::Int(vec![index]));
        let values = Tensor::from_f32(vec![8], &[1.0; 8]);
        for target in targets() {
            let args = [index.clone(), values.clone()];
            assert!(run_for(&target, &kernel, &[], &args, 1, Edge::End).is_err());
        }
    }
}
