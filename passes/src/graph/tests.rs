//! Each pass turns the graph before into the graph after, as its file says.
use super::*;
use crate::pipeline::{Decisions, PassOptions};
use tensmith_ir::dtype::DType;
use tensmith_ir::eval::eval_graph;
use tensmith_ir::graph::{Attrs, TensorType};
use tensmith_ir::graph::{Graph, GraphError, parse_graph, verify_graph};
use tensmith_ir::ops::op;
use tensmith_ir::tensor::Tensor;

/// The graph of the file's comment that follows a heading.
fn stated(source: &str, heading: &str) -> Graph {
    let comment: Vec<&str> = source
        .lines()
        .take_while(|l| l.starts_with("//!"))
        .map(|l| l.trim_start_matches("//!"))
        .collect();
    let from = comment.iter().position(|l| l.trim() == heading);
    let from = from.unwrap_or_else(|| panic!("no `{heading}`"));
    let text = comment[from + 2..].iter().take_while(|l| l.trim() != "```");
    let text: Vec<&str> = text.copied().collect();
    parse_graph(&text.join("\n")).unwrap_or_else(|e| panic!("{heading} {e}"))
}

/// The text with values numbered in the order in which they are needed.
fn canonical(graph: &Graph) -> String {
    verify_graph(graph).expect("the graph is valid");
    eliminate_dead_code(graph).expect("valid").to_string()
}

fn check(source: &str, pass: &dyn Fn(&Graph) -> Result<Graph, GraphError>) {
    let found = pass(&stated(source, "Before:")).expect("the pass accepts the graph");
    assert_eq!(canonical(&found), canonical(&stated(source, "After:")));
}

#[test]
fn before_and_after() {
    check(include_str!("absorb_transposes.rs"), &absorb_transposes);
    check(include_str!("average_by_sums.rs"), &average_by_sums);
    check(include_str!("cancel_transposes.rs"), &|g| {
        cancel_transposes(g, false)
    });
    check(include_str!("contract_to_conv.rs"), &contract_to_conv);
    check(include_str!("contract_to_sum.rs"), &contract_to_sum);
    check(
        include_str!("conv_transpose_to_conv.rs"),
        &conv_transpose_to_conv,
    );
    check(include_str!("conv_to_winograd.rs"), &|g| {
        conv_to_winograd(g, &PassOptions::default(), &mut Decisions::default())
    });
    check(include_str!("dequantise_late.rs"), &dequantise_late);
    check(
        include_str!("eliminate_common_subexpressions.rs"),
        &eliminate_common_subexpressions,
    );
    check(include_str!("eliminate_dead_code.rs"), &eliminate_dead_code);
    check(include_str!("flatten_late.rs"), &flatten_late);
    check(include_str!("fold_constants.rs"), &|g| {
        fold_constants(g, 4096)
    });
    check(include_str!("fold_factors.rs"), &fold_factors);
    check(include_str!("fold_identities.rs"), &fold_identities);
    check(include_str!("fold_operands.rs"), &|g| {
        eliminate_dead_code(&fold_operands(g)?)
    });
    check(include_str!("drop_unit_rows.rs"), &drop_unit_rows);
    check(include_str!("interleave_zeros.rs"), &interleave_zeros);
    check(include_str!("repeat_channels.rs"), &repeat_channels);
    check(include_str!("materialise_padding.rs"), &materialise_padding);
    check(include_str!("keep_half_weights.rs"), &keep_half_weights);
    check(include_str!("merge_contractions.rs"), &|g| {
        merge_contractions(g, &PassOptions::default())
    });
    check(include_str!("merge_convolutions.rs"), &|g| {
        merge_convolutions(g, &PassOptions::default().target)
    });
    check(include_str!("multiply_bytes.rs"), &multiply_bytes);
    check(include_str!("order_nodes.rs"), &order_nodes);
    check(include_str!("order_operands.rs"), &order_operands);
    check(include_str!("part_before_slices.rs"), &part_before_slices);
    check(include_str!("part_rows.rs"), &part_rows);
    check(include_str!("resize_to_repeat.rs"), &resize_to_repeat);
    check(include_str!("round_quotients.rs"), &round_quotients);
    check(include_str!("share_operands.rs"), &share_operands);
    check(include_str!("simplify_conditions.rs"), &simplify_conditions);
    check(include_str!("simplify_movement.rs"), &simplify_movement);
    check(include_str!("join_columns.rs"), &join_columns);
    check(include_str!("join_transposes.rs"), &join_transposes);
    check(include_str!("scale_bounds.rs"), &scale_bounds);
    check(include_str!("tanh_of_softplus.rs"), &|g| {
        eliminate_dead_code(&tanh_of_softplus(g)?)
    });
    check(include_str!("fold_signs.rs"), &fold_signs);
    check(include_str!("scale_products.rs"), &scale_products);
    check(include_str!("simplify_powers.rs"), &simplify_powers);
    check(include_str!("sink_reshapes.rs"), &sink_reshapes);
    check(include_str!("sink_transposes.rs"), &sink_transposes);
    check(
        include_str!("split_conv_transpose.rs"),
        &split_conv_transpose,
    );
    check(include_str!("split_pooling.rs"), &|g| {
        split_pooling(g, true)
    });
    check(
        include_str!("sum_integers_in_floats.rs"),
        &sum_integers_in_floats,
    );
    check(include_str!("sum_weights.rs"), &sum_weights);
    check(include_str!("transpose_columns.rs"), &transpose_columns);
    check(include_str!("trim_windows.rs"), &trim_windows);
    check(include_str!("widen_halves.rs"), &widen_halves);
    check(include_str!("widen_masks.rs"), &widen_masks);
    check(include_str!("windows_of_blocks.rs"), &windows_of_blocks);
}

/// Scales whose product overflows scale sums of zeros to zeros.
#[test]
fn scales_far_from_one_are_not_joined() {
    let mut g = Graph::default();
    let x = g.add_input("x", TensorType::new(DType::U8, vec![2.into(), 4.into()]));
    let w = g.add_constant("w", Tensor::splat(DType::I8, vec![4, 3], 1.0));
    let mut scaled = |x, scale: f32| {
        let to = |dtype| Attrs::new().with("to", dtype);
        let x = g.add_one(op("cast"), "i", &[x], to(DType::I32)).unwrap();
        let x = g.add_one(op("cast"), "f", &[x], to(DType::F32)).unwrap();
        let scale = g.add_constant("s", Tensor::from_f32(vec![], &[scale]));
        g.add_one(op("mul"), "m", &[x, scale], Attrs::new())
            .unwrap()
    };
    let factors = [scaled(x, 1e20), scaled(w, 1e20)];
    let spec = Attrs::new().with("spec", "mk,kn->mn");
    let y = g.add_one(op("contract"), "c", &factors, spec).unwrap();
    g.add_output("y", y);
    let rewritten = scale_products(&g).unwrap();
    let sums = rewritten.nodes.iter().find(|n| n.op.name == "contract");
    assert_eq!(rewritten.ty(sums.unwrap().inputs[0]).dtype, DType::I32);
    let zeros = Tensor::splat(DType::U8, vec![2, 4], 0.0);
    let found = eval_graph(&rewritten, &[zeros]).unwrap();
    assert_eq!(found[0].to_f64(), [0.0; 6]);
}

#[test]
fn powers_keep_their_special_values() {
    let specials = [
        f32::NEG_INFINITY,
        -2.0,
        -0.0,
        0.0,
        f32::MIN_POSITIVE / 8.0,
        0.3,
        1.0,
        7.5,
        f32::INFINITY,
        f32::NAN,
    ];
    let x = Tensor::from_f32(vec![specials.len()], &specials);
    for exponent in [-1.0, 0.5, 0.75, 2.0, 3.0] {
        let mut graph = Graph::default();
        let ty = TensorType::new(DType::F32, vec![specials.len().into()]);
        let base = graph.add_input("x", ty);
        let power = graph.add_constant("e", Tensor::splat(DType::F32, vec![], exponent));
        let y = graph.add_one(op("pow"), "p", &[base, power], Attrs::new());
        graph.add_output("y", y.expect("it fits"));
        let simple = simplify_powers(&graph).expect("the pass accepts the graph");
        assert!(simple.nodes.iter().all(|n| n.op.name != "pow"));
        let run = |g: &Graph| eval_graph(g, std::slice::from_ref(&x)).expect("it evaluates");
        let (want, found) = (run(&graph)[0].to_f64(), run(&simple)[0].to_f64());
        for ((x, a), b) in specials.iter().zip(&want).zip(&found) {
            let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            // Three roundings of half a unit, each of at most 2^-24.
            let near = (a - b).abs() <= 1.5 * f64::from(f32::EPSILON) * a.abs();
            assert!(same || near, "{x}^{exponent}: {b}, want {a}");
        }
    }
}

/// Bytes, most of them extreme.
fn bytes(dtype: DType, shape: Vec<usize>, seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let some = [255u8, 128, 127, 0, 129, 255, 128, 77];
    let data: Vec<u8> = (0..count)
        .map(|k| some[(k.wrapping_mul(7919) + seed) % 13 % 8])
        .collect();
    Tensor::new(dtype, shape, data.into()).expect("it has its bytes")
}

/// The graph of a product of bytes, less zero points, with constant columns or not.
fn product(types: [DType; 2], depth: usize, constant: bool) -> (Graph, Vec<Tensor>) {
    let mut graph = Graph::default();
    let mut inputs = Vec::new();
    let mut centred = |graph: &mut Graph, k: usize, shape: Vec<usize>, constant: bool| {
        let t = bytes(types[k], shape.clone(), k);
        let v = if constant {
            graph.add_constant("c", t)
        } else {
            inputs.push(t);
            let dims = shape.into_iter().map(Into::into).collect();
            graph.add_input("x", TensorType::new(types[k], dims))
        };
        let to = || Attrs::new().with("to", DType::I32);
        let x = graph.add_one(op("cast"), "a", &[v], to()).expect("it fits");
        let zero = graph.add_constant("z", Tensor::splat(types[k], vec![], 3.0));
        let zero = graph
            .add_one(op("cast"), "b", &[zero], to())
            .expect("it fits");
        graph
            .add_one(op("sub"), "s", &[x, zero], Attrs::new())
            .expect("it fits")
    };
    let a = centred(&mut graph, 0, vec![3, depth], false);
    let b = centred(&mut graph, 1, vec![depth, 5], constant);
    let spec = Attrs::new().with("spec", "mk,kn->mn");
    let y = graph
        .add_one(op("contract"), "y", &[a, b], spec)
        .expect("it fits");
    graph.add_output("y", y);
    (graph, inputs)
}

#[test]
fn sums_of_bytes_are_exact_in_floats() {
    use DType::{I8, U8};
    for types in [[U8, U8], [U8, I8], [I8, U8], [I8, I8]] {
        for depth in [1, 257, 258, 259, 264, 600, 3000] {
            for constant in [false, true] {
                let (graph, inputs) = product(types, depth, constant);
                let floats = sum_integers_in_floats(&graph).expect("the pass accepts the graph");
                verify_graph(&floats).expect("the graph is valid");
                let products = (floats.nodes.iter()).filter(|n| n.op.name == "contract");
                for node in products {
                    assert_eq!(floats.ty(node.outputs[0]).dtype, DType::F32);
                }
                let run = |g: &Graph| eval_graph(g, &inputs).expect("it evaluates");
                assert_eq!(run(&graph), run(&floats), "{types:?} {depth} {constant}");
            }
        }
    }
}

/// The sums of products of a graph are of bytes.
fn multiplies_bytes(graph: &Graph) -> bool {
    let mut sums = (graph.nodes.iter()).filter(|n| matches!(n.op.name, "contract" | "conv"));
    sums.all(|n| {
        let types: Vec<DType> = n.inputs.iter().map(|v| graph.ty(*v).dtype).collect();
        types == [DType::U8, DType::I8]
    })
}

#[test]
fn sums_of_bytes_are_products_of_bytes() {
    use DType::{I8, U8};
    for types in [[U8, U8], [U8, I8], [I8, U8], [I8, I8]] {
        for depth in [4, 5, 300] {
            let (graph, inputs) = product(types, depth, true);
            let found = multiply_bytes(&graph).expect("the pass accepts the graph");
            let found = eliminate_dead_code(&found).expect("the graph is valid");
            verify_graph(&found).expect("the graph is valid");
            assert!(multiplies_bytes(&found), "{found}");
            let run = |g: &Graph| eval_graph(g, &inputs).expect("it evaluates");
            assert_eq!(run(&graph), run(&found), "{types:?} {depth}");
        }
    }
}

/// What lies outside of an image is zero, which is the zero point of its bytes.
#[test]
fn convolutions_of_bytes_pad_with_zero_points() {
    for (dtype, channels, pads, groups) in [
        (DType::U8, 8, 1, 1),
        (DType::I8, 8, 1, 1),
        (DType::U8, 8, 0, 1),
        (DType::I8, 8, 2, 2),
        // Images of few channels, whose groups are rows of the window.
        (DType::U8, 3, 1, 1),
        (DType::I8, 1, 2, 1),
        (DType::U8, 2, 0, 1),
    ] {
        let text = format!(
            "graph \"g\" () {{\n  %0 = input \"x\" : {dtype}[2, {channels}, 5, 6]\n  \
             %1 = const \"z\" : i32[] = [3]\n  %2 = cast(%0) {{to=i32}} \"a\" : i32[2, {channels}, 5, 6]\n  \
             %3 = sub(%2, %1) {{}} \"s\" : i32[2, {channels}, 5, 6]\n  \
             output \"y\" = %3\n}}"
        );
        let mut graph = parse_graph(&text).expect("the text is valid");
        let x = graph.outputs.pop().expect("there is one");
        graph.output_names.clear();
        let w = bytes(DType::I8, vec![6, channels / groups, 3, 3], 5);
        let w = graph.add_constant("w", w);
        let to = Attrs::new().with("to", DType::I32);
        let w = graph.add_one(op("cast"), "w", &[w], to).expect("it fits");
        let attrs = Attrs::new()
            .with("strides", vec![1, 2])
            .with("dilations", vec![1, 1])
            .with("pads_before", vec![pads, 0])
            .with("pads_after", vec![0, pads])
            .with("groups", groups as i64);
        let y = graph.add_one(op("conv"), "y", &[x, w], attrs);
        graph.add_output("y", y.expect("it fits"));
        let found = multiply_bytes(&graph).expect("the pass accepts the graph");
        let found = eliminate_dead_code(&found).expect("the graph is valid");
        verify_graph(&found).expect("the graph is valid");
        assert!(multiplies_bytes(&found), "{found}");
        let inputs = [bytes(dtype, vec![2, channels, 5, 6], 1)];
        let run = |g: &Graph| eval_graph(g, &inputs).expect("it evaluates");
        assert_eq!(
            run(&graph),
            run(&found),
            "{dtype} {channels} {pads} {groups}"
        );
    }
}

/// Sums that floats do not hold stay sums of integers: of too many parts, of other types, of large
/// numbers.
#[test]
fn other_sums_of_integers_stay() {
    let (graph, _) = product([DType::U8, DType::U8], 5000, false);
    let found = sum_integers_in_floats(&graph).expect("the pass accepts the graph");
    assert!(found.values.iter().all(|v| v.ty.dtype != DType::F32));
    for text in [
        "graph \"g\" () {\n  %0 = input \"x\" : i32[2, 3]\n  %1 = input \"w\" : i32[3, 2]\n  \
         %2 = contract(%0, %1) {spec=\"mk,kn->mn\"} \"c\" : i32[2, 2]\n  output \"y\" = %2\n}",
        "graph \"g\" () {\n  %0 = input \"x\" : i16[2, 3]\n  %1 = cast(%0) {to=i32} \"a\" : \
         i32[2, 3]\n  %2 = contract(%1, %1) {spec=\"mk,nk->mn\"} \"c\" : i32[2, 2]\n  \
         output \"y\" = %2\n}",
    ] {
        let graph = parse_graph(text).expect("the text is valid");
        let found = sum_integers_in_floats(&graph).expect("the pass accepts the graph");
        assert_eq!(found.to_string(), graph.to_string());
    }
}

#[test]
fn counts_of_enormous_pools_are_no_constants() {
    let text = "graph \"g\" () {\n  %0 = input \"x\" : f32[1, 1, 100000000]\n  \
        %1 = pool_avg(%0) {ceil_pads=[0], count_include_pad=false, dilations=[1], kernel=[2], \
        pads_after=[1], pads_before=[0], strides=[1]} \"a\" : f32[1, 1, 100000000]\n  \
        output \"y\" = %1\n}";
    let graph = parse_graph(text).expect("the text is valid");
    let found = average_by_sums(&graph).expect("the pass accepts the graph");
    assert_eq!(found.to_string(), graph.to_string());
}

/// A convolution of random values, and the same after `pass`, by the reference evaluator.
fn convolved(
    shape: [usize; 4],
    results: usize,
    (pads, steps): ([i64; 4], [i64; 2]),
) -> (Tensor, Tensor) {
    let draw = |seed: u64, shape: Vec<usize>| {
        let mut state = seed;
        let count: usize = shape.iter().product();
        let next = |_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 40) as f32) / (1 << 23) as f32 - 1.0
        };
        let values: Vec<f32> = (0..count).map(next).collect();
        Tensor::from_f32(shape, &values)
    };
    let mut graph = Graph::default();
    let x = draw(1, shape.to_vec());
    let dims = shape.iter().map(|d| (*d).into()).collect();
    let input = graph.add_input("x", TensorType::new(DType::F32, dims));
    let w = graph.add_constant("w", draw(2, vec![results, shape[1], 3, 3]));
    let attrs = Attrs::new()
        .with("strides", vec![1, 1])
        .with("dilations", steps.to_vec())
        .with("groups", 1)
        .with("pads_before", vec![pads[0], pads[1]])
        .with("pads_after", vec![pads[2], pads[3]]);
    let y = graph
        .add(op("conv"), "c", &[input, w], attrs)
        .expect("it fits")[0];
    graph.add_output("y", y);
    let mut decisions = Decisions::default();
    let rewritten = conv_to_winograd(&graph, &PassOptions::default(), &mut decisions)
        .expect("the pass accepts the graph");
    let used = rewritten
        .nodes
        .iter()
        .any(|n| n.op.name == "winograd_output");
    assert!(used, "{shape:?} stays a convolution");
    let run = |g: &Graph| {
        eval_graph(g, std::slice::from_ref(&x))
            .expect("it runs")
            .remove(0)
    };
    (run(&graph), run(&rewritten))
}

#[test]
fn winograd_convolutions_are_convolutions() {
    for (shape, results, pads, steps) in [
        ([1, 64, 14, 14], 64, [1, 1, 1, 1], [1, 1]),
        ([2, 32, 9, 13], 48, [0, 0, 0, 0], [1, 1]),
        ([1, 40, 11, 8], 33, [2, 0, 1, 3], [1, 1]),
        ([1, 64, 28, 28], 64, [2, 2, 2, 2], [2, 2]),
        ([2, 64, 31, 26], 48, [3, 0, 1, 2], [3, 2]),
    ] {
        let (direct, tiles) = convolved(shape, results, (pads, steps));
        assert_eq!(direct.shape, tiles.shape);
        let pairs = direct.to_f64().into_iter().zip(tiles.to_f64());
        // The reference rounds every transform to f32; sums are up to 10 large.
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 2e-4, "{shape:?}: {worst}");
    }
}

/// Products of run-time values and numbers far from 1, in two shapes of trees.
fn product_of(order: &str, number: f64) -> Graph {
    let mut g = Graph::default();
    let [a, b, c] = ["a", "b", "c"].map(|n| g.add_input(n, TensorType::new(DType::F32, vec![])));
    let n = g.add_constant("n", Tensor::splat(DType::F32, vec![], number));
    let mut mul = |x, y| {
        let product = g.add_one(op("mul"), "m", &[x, y], Attrs::new());
        product.expect("scalars multiply")
    };
    let y = match order {
        "(ab)c" => {
            let ab = mul(a, b);
            mul(ab, c)
        }
        "a(bc)" => {
            let bc = mul(b, c);
            mul(a, bc)
        }
        "(an)b" => {
            let an = mul(a, n);
            mul(an, b)
        }
        "((an)b)n" => {
            let an = mul(a, n);
            let anb = mul(an, b);
            mul(anb, n)
        }
        _ => {
            let ac = mul(c, a);
            let acn = mul(ac, n);
            mul(n, acn)
        }
    };
    g.add_output("y", y);
    g
}

#[test]
fn products_overflow_only_where_the_model_does() {
    let options = PassOptions::default();
    let sizes = [1e-30, 1e-15, 1.0, 1e15, 1e30];
    for order in ["(ab)c", "a(bc)", "(an)b", "((an)b)n", "n((ca)n)"] {
        for number in [1e-30, 1e-3, 8.0, 1e30] {
            let graph = product_of(order, number);
            let optimised = crate::optimise(graph.clone(), &options).expect("a valid graph");
            for k in 0..sizes.len().pow(3) {
                let pick = |by: usize| sizes[k / by % sizes.len()];
                let x = [1, 5, 25].map(|by| Tensor::splat(DType::F32, vec![], pick(by)));
                let [want, got] = [&graph, &optimised].map(|g| {
                    let y = eval_graph(g, &x).expect("the graph evaluates");
                    y[0].to_f64()[0]
                });
                let near = (want - got).abs() <= 1e-5 * want.abs() + 1e-38 || want == got;
                assert!(near, "{order} with {number} of {x:?}: {got}, want {want}");
            }
        }
    }
}

#[test]
fn bounds_by_one_number_keep_their_shape() {
    let text = "graph \"g\" () {
  %0 = input \"x\" : f32[1, 1]
  %1 = const \"c\" : f32[2, 1] = [0.5, 0.5]
  %2 = max(%0, %1) {} \"m\" : f32[2, 1]
  %3 = reshape(%2) {shape=[2]} \"r\" : f32[2]
  output \"y\" = %2
  output \"z\" = %3
}
";
    let graph = parse_graph(text).expect("the text is a graph");
    let ordered = order_operands(&graph).expect("the pass accepts the graph");
    verify_graph(&ordered).expect("the graph is valid");
    let ty = |g: &Graph| g.ty(g.outputs[0]).clone();
    assert_eq!(ty(&ordered), ty(&graph));
}

fn check_texts(pass: &dyn Fn(&Graph) -> Result<Graph, GraphError>, before: &str, after: &str) {
    let graph = |lines: &str| {
        let text = format!("graph \"g\" () {{\n{lines}\n}}");
        parse_graph(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    };
    let found = pass(&graph(before)).expect("the pass accepts the graph");
    assert_eq!(canonical(&found), canonical(&graph(after)));
}

#[test]
fn slices_of_slices_are_one() {
    check_texts(
        &fold_identities,
        r#"  %0 = input "x" : f32[8, 9]
  %1 = slice(%0) {starts=[1, 0], sizes=[3, 9], steps=[2, 1]} "a" : f32[3, 9]
  %2 = slice(%1) {starts=[2, 1], sizes=[2, 4], steps=[-1, 2]} "b" : f32[2, 4]
  output "y" = %2"#,
        r#"  %0 = input "x" : f32[8, 9]
  %1 = slice(%0) {starts=[5, 1], sizes=[2, 4], steps=[-2, 2]} "b" : f32[2, 4]
  output "y" = %1"#,
    );
}

#[test]
fn bounds_of_floats_at_infinities_are_none() {
    check_texts(
        &fold_identities,
        r#"  %0 = input "x" : f32[8]
  %1 = const "least" : f32[] = [-inf]
  %2 = const "most" : f32[] = [inf]
  %3 = max(%1, %0) {} "a" : f32[8]
  %4 = min(%3, %2) {} "b" : f32[8]
  %5 = min(%4, %1) {} "c" : f32[8]
  output "y" = %4
  output "z" = %5"#,
        r#"  %0 = input "x" : f32[8]
  %1 = const "least" : f32[] = [-inf]
  %2 = min(%0, %1) {} "c" : f32[8]
  output "y" = %0
  output "z" = %2"#,
    );
}

/// Other slices may take the rest of the run: they are read together.
#[test]
fn steps_along_a_run_stay_steps_along_that_run() {
    let text = r#"  %0 = input "x" : f32[8, 9]
  %1 = slice(%0) {starts=[0, 2], sizes=[8, 6], steps=[1, 1]} "a" : f32[8, 6]
  %2 = slice(%1) {starts=[0, 0], sizes=[8, 3], steps=[1, 2]} "b" : f32[8, 3]
  output "y" = %2"#;
    check_texts(&fold_identities, text, text);
}

/// Nothing proves that slices along symbolic axes lie within them if they are one.
#[test]
fn slices_along_symbolic_axes_stay_two_where_one_is_not_proved() {
    let text = r#"graph "g" ($N in 1..=64) {
  %0 = input "x" : f32[$N]
  %1 = slice(%0) {starts=[min(3, $N - 1)], sizes=[min(3, $N - 1) + 1], steps=[-1]} "a" : f32[min(3, $N - 1) + 1]
  %2 = slice(%1) {starts=[min(3, $N - 1)], sizes=[div(min(3, $N - 1), 2) + 1], steps=[-2]} "b" : f32[div(min(3, $N - 1), 2) + 1]
  output "y" = %2
}"#;
    let graph = parse_graph(text).expect("the text is a graph");
    let found = fold_identities(&graph).expect("the pass accepts the graph");
    assert_eq!(canonical(&found), canonical(&graph));
}

#[test]
fn operands_that_repeat_need_no_view_for_first_axes() {
    check_texts(
        &sink_reshapes,
        r#"  %0 = input "x" : f32[1, 2, 5, 8]
  %1 = reduce_max(%0) {axes=[3], keepdims=true} "m" : f32[1, 2, 5, 1]
  %2 = reshape(%1) {shape=[2, 5, 1]} "r" : f32[2, 5, 1]
  %3 = sub(%0, %2) {} "y" : f32[1, 2, 5, 8]
  output "y" = %3"#,
        r#"  %0 = input "x" : f32[1, 2, 5, 8]
  %1 = reduce_max(%0) {axes=[3], keepdims=true} "m" : f32[1, 2, 5, 1]
  %2 = sub(%0, %1) {} "y" : f32[1, 2, 5, 8]
  output "y" = %2"#,
    );
}

/// What computes a value may have fewer axes than that: the first ones of extent 1 are its own.
#[test]
fn scalar_work_without_views_keeps_the_first_axes_of_its_result() {
    check_texts(
        &sink_reshapes,
        r#"  %0 = input "x" : f32[1, 3]
  %1 = input "d" : f32[4, 1]
  %2 = reshape(%0) {shape=[1, 1, 3]} "r" : f32[1, 1, 3]
  %3 = div(%2, %1) {} "y" : f32[1, 4, 3]
  output "y" = %3"#,
        r#"  %0 = input "x" : f32[1, 3]
  %1 = input "d" : f32[4, 1]
  %2 = div(%0, %1) {} "y" : f32[4, 3]
  %3 = reshape(%2) {shape=[1, 4, 3]} "y" : f32[1, 4, 3]
  output "y" = %3"#,
    );
}

#[test]
fn results_of_another_type_are_errors() {
    let text = r#"graph "g" () {
  %0 = input "x" : f32[1, 3]
  %1 = reshape(%0) {shape=[1, 1, 3]} "r" : f32[1, 1, 3]
  %2 = neg(%1) {} "y" : f32[1, 1, 3]
  output "y" = %2
}"#;
    let graph = parse_graph(text).expect("the text is a graph");
    let found = Rewriter::run(&graph, &mut |cx, node| {
        Ok((node.op.name == "reshape").then(|| vec![cx.get(node.inputs[0])]))
    });
    let error = found.expect_err("the first axis is lost");
    let reason = "its result is f32[1, 1, 3], that of what replaces it f32[1, 3]";
    assert_eq!((&*error.node, error.op), ("r", "reshape"));
    assert_eq!(error.reason, reason);
}

#[test]
fn reductions_drop_what_a_view_of_them_drops() {
    let before = r#"  %0 = input "x" : f32[1, 4, 7, 1]
  %1 = reduce_max(%0) {axes=[2], keepdims=false} "m" : f32[1, 4, 1]
  %2 = reshape(%1) {shape=[1, 4]} "r" : f32[1, 4]
  output "y" = %2"#;
    check_texts(
        &sink_reshapes,
        before,
        r#"  %0 = input "x" : f32[1, 4, 7, 1]
  %1 = reduce_max(%0) {axes=[2, 3], keepdims=false} "m" : f32[1, 4]
  output "y" = %1"#,
    );
    let twice = format!("{before}\n  output \"z\" = %1");
    check_texts(&sink_reshapes, &twice, &twice);
}

/// The view may be of a reduction that was moved before another one.
#[test]
fn reductions_that_moved_before_a_view_drop_what_the_next_view_drops() {
    check_texts(
        &sink_reshapes,
        r#"  %0 = input "x" : f32[1, 4, 7, 1]
  %1 = reshape(%0) {shape=[1, 4, 7]} "v" : f32[1, 4, 7]
  %2 = reduce_max(%1) {axes=[2], keepdims=true} "m" : f32[1, 4, 1]
  %3 = reshape(%2) {shape=[4]} "r" : f32[4]
  output "y" = %3"#,
        r#"  %0 = input "x" : f32[1, 4, 7, 1]
  %1 = reduce_max(%0) {axes=[0, 2, 3], keepdims=false} "m" : f32[4]
  output "y" = %1"#,
    );
}

/// Sums of rows are summed only where their terms may be added up in another order, and in a type
/// that does not round them once more.
#[test]
fn sums_of_windows_are_split_where_they_may_be() {
    let sums = |dtype: &str, reassociate: bool| {
        let text = format!(
            "graph \"g\" () {{\n  %0 = input \"x\" : {dtype}[1, 3, 9, 8]\n  %1 = pool_sum(%0) {{dilations=[1, 1], kernel=[5, 5], pads_after=[2, 2], pads_before=[2, 2], strides=[1, 1]}} \"p\" : {dtype}[1, 3, 9, 8]\n  output \"y\" = %1\n}}\n"
        );
        let graph = parse_graph(&text).expect("the text is valid");
        let split = split_pooling(&graph, reassociate).expect("valid");
        verify_graph(&split).expect("the graph is valid");
        split.nodes.len()
    };
    assert_eq!(sums("f32", true), 2);
    assert_eq!(sums("f32", false), 1);
    assert_eq!(sums("f16", true), 1);
}

/// Every axis of a window of three is a part, those of few taps are one.
#[test]
fn windows_are_split_along_all_axes() {
    let parts = |kernel: [i64; 3]| {
        let pads = kernel.map(|k| k / 2);
        let text = format!(
            "graph \"g\" () {{\n  %0 = input \"x\" : f32[1, 2, 15, 16, 17]\n  %1 = pool_max(%0) {{dilations=[1, 1, 1], kernel={kernel:?}, pads_after={pads:?}, pads_before={pads:?}, strides=[1, 1, 1]}} \"p\" : f32[1, 2, 15, 16, 17]\n  output \"y\" = %1\n}}\n"
        );
        let graph = parse_graph(&text).expect("the text is valid");
        let split = split_pooling(&graph, true).expect("valid");
        verify_graph(&split).expect("the graph is valid");
        let kernels = split.nodes.iter().map(|n| n.attrs.ints("kernel").to_vec());
        kernels.collect::<Vec<_>>()
    };
    assert_eq!(parts([13, 13, 13]), [[1, 1, 13], [1, 13, 1], [13, 1, 1]]);
    assert_eq!(parts([1, 3, 9]), [[1, 1, 9], [1, 3, 1]]);
    assert_eq!(parts([1, 3, 3]), [[1, 3, 3]]);
}

/// Windows that begin several elements apart in rows meet rows last: their taps there are chosen out
/// of as many vectors.
#[test]
fn windows_that_skip_elements_are_split_along_columns_first() {
    let parts = |kernel: [i64; 2], stride: i64| {
        let extent = |k: i64| (60 - k) / stride + 1;
        let (h, w) = (extent(kernel[0]), extent(kernel[1]));
        let text = format!(
            "graph \"g\" () {{\n  %0 = input \"x\" : f32[1, 2, 60, 60]\n  %1 = pool_max(%0) {{dilations=[1, 1], kernel={kernel:?}, pads_after=[0, 0], pads_before=[0, 0], strides=[{stride}, {stride}]}} \"p\" : f32[1, 2, {h}, {w}]\n  output \"y\" = %1\n}}\n"
        );
        let graph = parse_graph(&text).expect("the text is valid");
        let split = split_pooling(&graph, true).expect("valid");
        verify_graph(&split).expect("the graph is valid");
        let kernels = split.nodes.iter().map(|n| n.attrs.ints("kernel").to_vec());
        kernels.collect::<Vec<_>>()
    };
    assert_eq!(parts([5, 5], 2), [[5, 1], [1, 5]]);
    assert_eq!(parts([5, 5], 5), [[5, 1], [1, 5]]);
    assert_eq!(parts([5, 5], 1), [[1, 5], [5, 1]]);
    assert_eq!(parts([3, 3], 2), [[3, 3]]);
    assert_eq!(parts([4, 4], 4), [[4, 4]]);
}

/// Numbers of several products are joined as the model states them, and rounded once: what each
/// product alone is rounded to would be an error that all elements of all layers have.
#[test]
fn joined_numbers_are_rounded_once() {
    let text = r#"graph "g" () {
  %0 = input "x" : f32[4]
  %1 = const "six" : f32[] = [6.0]
  %2 = const "a" : f32[] = [0.4763231]
  %3 = div(%0, %1) {} "d" : f32[4]
  %4 = mul(%3, %2) {} "y" : f32[4]
  output "y" = %4
}
"#;
    let ordered = order_operands(&parse_graph(text).unwrap()).unwrap();
    let ordered = eliminate_dead_code(&ordered).unwrap();
    let node = ordered.nodes.last().unwrap();
    assert_eq!((node.op.name, ordered.nodes.len()), ("mul", 1), "{ordered}");
    let constants = node.inputs.iter().filter_map(|v| ordered.constant(*v));
    let numbers: Vec<f64> = constants.flat_map(Tensor::to_f64).collect();
    let once = f64::from((f64::from(0.476_323_1_f32) / 6.0) as f32);
    assert_eq!(numbers, [once]);
}
