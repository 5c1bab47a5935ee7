//! Real models run in wide vectors only: no nest stays at 128 bits or runs element by element, and
//! no vector loop runs lane by lane, on machines with 256- and with 512-bit vectors. Nor do
//! convolutions with row-major operands and results around them, or whose weights are known at run
//! time only.
mod support;

use support::cases::models_folder;
use support::halves::halves_of;
use support::names::MODELS;
use tensmith::explain::schedule::fallback_text;
use tensmith::files::read_npz;
use tensmith::{LoadOptions, Model, Options, compile};
use tensmith_codegen::jit::JitCode;
use tensmith_codegen::target::Target;
use tensmith_ir::dtype::DType;
use tensmith_ir::expr::Expr;
use tensmith_ir::graph::{Attrs, Graph, TensorType, ValueId};
use tensmith_ir::ops::{Sampler, op};

/// Kernels with a nest that has no vectors by its nature, and why: model, part of the name.
const SCALAR: [(&str, &str); 4] = [
    // An attention mask is of 64-bit integers, which have no lanes, when it becomes numbers.
    ("minilm_l6", "cast_add_mul"),
    ("minilm_l6", "cast_expand_mul_reduce_sum_reduce_sum_max"),
    ("minilm_l6", "cast_expand_cast_mul_reduce_sum_reduce_sum"),
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

/// The same models in half precision, whose kernels are those of floats.
#[test]
fn halves_with_256_bits() {
    check_models("x86-64-v3", &|graph| {
        halves_of(graph, DType::F16).map(|h| h.stated)
    });
}

/// As above.
#[test]
fn halves_with_512_bits() {
    check_models("x86-64-v4", &|graph| {
        halves_of(graph, DType::F16).map(|h| h.stated)
    });
    check_models("x86-64-v4", &|graph| {
        halves_of(graph, DType::BF16).map(|h| h.stated)
    });
}

fn check(name: &str) {
    check_models(name, &|graph| Some(graph.clone()));
}

/// Compiles what is made of all models for a target; the code is not run.
fn check_models(name: &str, of: &dyn Fn(&Graph) -> Option<Graph>) {
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
        let Some(graph) = of(&imported.graph) else {
            continue;
        };
        let plan = compile::plan(&graph, &options).unwrap();
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

/// Where the operand beside a convolution comes from; all are row-major.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Image,
    Input,
    Constant,
    Transposed,
}

/// A convolution of an image whose result and another operand, both row-major, make the output;
/// `window` is the extent of its square window.
fn between_layouts(
    shape: [usize; 4],
    (depthwise, window): (bool, usize),
    (name, beside): (&str, Beside),
) -> Graph {
    let [n, channels, height, width] = shape;
    let mut g = Graph::default();
    let ty = |shape: &[usize]| {
        let shape = shape.iter().map(|d| Expr::from(*d)).collect();
        TensorType::new(DType::F32, shape)
    };
    let tensor = |shape: &[usize]| Sampler::new(3).tensor(DType::F32, shape, -0.1, 0.1);
    let x = g.add_input("x", ty(&shape));
    let (groups, filters) = if depthwise {
        (channels, 1)
    } else {
        (1, channels)
    };
    let w = g.add_constant("w", tensor(&[channels, filters, window, window]));
    let border = (window / 2) as i64;
    let attrs = Attrs::new()
        .with("pads_before", vec![border, border])
        .with("pads_after", vec![border, border])
        .with("strides", vec![1, 1])
        .with("dilations", vec![1, 1])
        .with("groups", groups as i64);
    let y = g.add_one(op("conv"), "conv", &[x, w], attrs).unwrap();
    let other: ValueId = match beside {
        Beside::Image => x,
        Beside::Input => g.add_input("other", ty(&shape)),
        Beside::Constant => g.add_constant("other", tensor(&shape)),
        Beside::Transposed => {
            let other = g.add_input("other", ty(&[n, channels, width, height]));
            let perm = Attrs::new().with("perm", vec![0, 1, 3, 2]);
            (g.add_one(op("transpose"), "turn", &[other], perm)).unwrap()
        }
    };
    let z = g.add_one(op(name), "z", &[y, other], Attrs::new()).unwrap();
    g.add_output("z", z);
    g
}

#[test]
fn between_layouts_are_vectors() {
    let windows = [
        (false, 1),
        (false, 3),
        (false, 5),
        (true, 3),
        (true, 7),
        (true, 13),
    ];
    let operands = [
        ("add", Beside::Image),
        ("sub", Beside::Input),
        ("mul", Beside::Constant),
        ("add", Beside::Transposed),
    ];
    let mut narrow = Vec::new();
    for target in ["x86-64-v3", "x86-64-v4"] {
        for shape in [[1, 64, 28, 28], [1, 17, 61, 61], [2, 96, 7, 7]] {
            for window in windows {
                for operand in operands {
                    let graph = between_layouts(shape, window, operand);
                    let why = fallbacks(&graph, target).into_iter();
                    narrow.extend(
                        why.map(|w| format!("{target} {shape:?} {window:?} {operand:?} {w}")),
                    );
                }
            }
        }
    }
    assert!(narrow.is_empty(), "{}", narrow.join("\n"));
}

/// The kernels of a graph that are not in wide vectors, and why.
fn fallbacks(graph: &Graph, target: &str) -> Vec<String> {
    let options = Options {
        target: target.to_owned(),
        ..Options::default()
    };
    let plan = compile::plan(graph, &options).unwrap();
    let code = JitCode::compile(&plan, &Target::named(target).unwrap()).unwrap();
    let kernels = plan.kernels.iter().zip(&code.stats);
    let texts = kernels.map(|(kernel, stats)| (&kernel.name, fallback_text(kernel, stats)));
    let narrow = texts.filter(|(_, why)| !why.is_empty());
    narrow.map(|(name, why)| format!("{name}: {why}")).collect()
}

/// A convolution of an image whose weights are an input, or are computed of one.
fn with_run_time_weights(
    [image, weights]: [&[usize]; 2],
    (groups, stride, border): (i64, i64, i64),
    is_computed: bool,
) -> Graph {
    let mut g = Graph::default();
    let ty = |shape: &[usize]| {
        let shape = shape.iter().map(|d| Expr::from(*d)).collect();
        TensorType::new(DType::F32, shape)
    };
    let x = g.add_input("x", ty(image));
    let mut w = g.add_input("w", ty(weights));
    if is_computed {
        w = g.add_one(op("tanh"), "w0", &[w], Attrs::new()).unwrap();
    }
    let all = |n: i64| vec![n; image.len() - 2];
    let attrs = Attrs::new()
        .with("pads_before", all(border))
        .with("pads_after", all(border))
        .with("strides", all(stride))
        .with("dilations", all(1))
        .with("groups", groups);
    let y = g.add_one(op("conv"), "y", &[x, w], attrs).unwrap();
    g.add_output("y", y);
    g
}

#[test]
fn weights_known_at_run_time_are_vectors() {
    let cases: [([&[usize]; 2], i64); 9] = [
        ([&[1, 64, 16, 16], &[64, 64, 3, 3]], 1),
        ([&[2, 32, 16, 16], &[40, 32, 5, 5]], 1),
        ([&[1, 128, 16, 16], &[128, 64, 3, 3]], 2),
        // A sample of its own for each group.
        ([&[1, 96, 14, 14], &[64, 24, 3, 3]], 4),
        ([&[1, 64, 16, 16], &[64, 1, 3, 3]], 64),
        ([&[1, 48, 15, 15], &[32, 48, 1, 1]], 1),
        ([&[1, 64, 100], &[64, 64, 3]], 1),
        ([&[1, 16, 8, 10, 12], &[32, 16, 3, 3, 3]], 1),
        ([&[1, 64, 40, 40], &[1, 64, 23, 23]], 1),
    ];
    let mut narrow = Vec::new();
    for target in ["x86-64-v3", "x86-64-v4"] {
        for (shapes, groups) in cases {
            for (stride, border) in [(1, 0), (1, 1), (2, 1)] {
                for is_computed in [false, true] {
                    let how = (groups, stride, border);
                    let graph = with_run_time_weights(shapes, how, is_computed);
                    let why = fallbacks(&graph, target).into_iter();
                    narrow.extend(why.map(|w| format!("{target} {shapes:?} {how:?} {w}")));
                }
            }
        }
    }
    assert!(narrow.is_empty(), "{}", narrow.join("\n"));
}

/// A graph of one operation on one row-major input.
fn of_image(name: &str, image: &[usize], attrs: Attrs) -> Graph {
    let mut g = Graph::default();
    let shape = image.iter().map(|d| Expr::from(*d)).collect();
    let x = g.add_input("x", TensorType::new(DType::F32, shape));
    let y = g.add_one(op(name), "y", &[x], attrs).unwrap();
    g.add_output("y", y);
    g
}

#[test]
fn windows_that_skip_elements_of_rows_are_vectors() {
    let cases: [(&[usize], i64, i64, i64); 9] = [
        (&[2, 32, 48, 50], 3, 3, 0),
        (&[2, 32, 48, 48], 4, 4, 0),
        (&[2, 16, 100, 100], 5, 5, 0),
        (&[2, 16, 100, 100], 5, 2, 2),
        (&[2, 16, 100, 100], 3, 4, 0),
        (&[2, 16, 96, 98], 7, 7, 0),
        (&[2, 16, 128, 128], 8, 8, 0),
        (&[2, 64, 1000], 5, 5, 0),
        (&[1, 4, 20, 30, 61], 3, 3, 0),
    ];
    let mut narrow = Vec::new();
    for target in ["x86-64-v3", "x86-64-v4"] {
        for case @ (image, window, stride, border) in cases {
            for name in ["pool_max", "pool_sum"] {
                let all = |n: i64| vec![n; image.len() - 2];
                let attrs = Attrs::new()
                    .with("kernel", all(window))
                    .with("strides", all(stride))
                    .with("dilations", all(1))
                    .with("pads_before", all(border))
                    .with("pads_after", all(border));
                let why = fallbacks(&of_image(name, image, attrs), target).into_iter();
                narrow.extend(why.map(|w| format!("{target} {name} {case:?} {w}")));
            }
        }
        let exprs = |all: [i64; 3]| all.map(Expr::from).to_vec();
        for stride in 2..=8 {
            let attrs = Attrs::new()
                .with("starts", exprs([0, 0, 1]))
                .with("sizes", exprs([4, 50, 33]))
                .with("steps", vec![1, 1, stride]);
            let why = fallbacks(&of_image("slice", &[4, 50, 300], attrs), target).into_iter();
            narrow.extend(why.map(|w| format!("{target} slice {stride} {w}")));
        }
    }
    assert!(narrow.is_empty(), "{}", narrow.join("\n"));
}
