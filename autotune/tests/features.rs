//! Every kernel that the op table makes has features, whatever it is scheduled for.
use std::collections::HashSet;
use tensmith_autotune::cost::{Description, Setting, features};
use tensmith_ir::define::define_task;
use tensmith_ir::graph::{NodeId, TensorType};
use tensmith_ir::loops::Kernel;
use tensmith_ir::ops::{self, Lower, Op, Sample, Sampler, single_node_graph};
use tensmith_passes::schedule::{Target, default_schedule};

/// The naive kernel of a sample; `None` if its operands do not fit the op.
fn kernel(op: Op, sample: &Sample) -> Option<Kernel> {
    let ty = |t: &tensmith_ir::tensor::Tensor| {
        TensorType::new(t.dtype, t.shape.iter().map(|d| (*d).into()).collect())
    };
    let types: Vec<TensorType> = sample.inputs.iter().map(ty).collect();
    let graph = single_node_graph(op, &types, sample.attrs.clone()).ok()?;
    let definition = define_task(&graph, NodeId(0), &HashSet::from([NodeId(0)]));
    Some(definition.kernel)
}

fn check(kernel: &Kernel, vector_bytes: usize) {
    let setting = Setting {
        vector_bytes,
        threads: 2,
        ..Setting::default()
    };
    let d = Description::new(kernel, &setting);
    assert_eq!(d.features.len(), features::COUNT);
    let names = features::names();
    for (name, x) in names.iter().zip(&d.features) {
        assert!(x.is_finite(), "{name} is {x}\n{kernel}");
        let is_share = name.ends_with("_share") || name == "balance";
        assert!(
            !is_share || (-1e-6..=1.0 + 1e-6).contains(x),
            "{name} is {x}\n{kernel}"
        );
    }
    assert!(
        d.terms.iter().all(|t| t.is_finite() && *t >= 0.0),
        "{:?}\n{kernel}",
        d.terms
    );
}

#[test]
fn every_op_has_features_for_every_width() {
    let mut checked = 0;
    let rows = ops::all().filter(|op| matches!(op.lower, Lower::Pointwise(_) | Lower::Kernel(_)));
    for op in rows {
        for seed in 0..6 {
            for sample in (op.samples)(&mut Sampler::new(seed)) {
                let Some(naive) = kernel(op, &sample) else {
                    continue;
                };
                for vector_bytes in [16, 32, 64] {
                    let target = Target {
                        vector_bytes,
                        fma: true,
                        threads: 2,
                        ..Target::default()
                    };
                    let scheduled = default_schedule(naive.clone(), &target, &|_| true);
                    check(&scheduled.kernel, vector_bytes);
                    checked += 1;
                }
                check(&naive, 32);
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}
