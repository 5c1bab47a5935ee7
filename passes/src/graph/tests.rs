//! Each pass turns the graph before into the graph after, as its file says.
use super::*;
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
    check(include_str!("average_by_sums.rs"), &average_by_sums);
    check(
        include_str!("conv_transpose_to_conv.rs"),
        &conv_transpose_to_conv,
    );
    check(
        include_str!("eliminate_common_subexpressions.rs"),
        &eliminate_common_subexpressions,
    );
    check(include_str!("eliminate_dead_code.rs"), &eliminate_dead_code);
    check(include_str!("fold_constants.rs"), &|g| {
        fold_constants(g, 4096)
    });
    check(include_str!("fold_factors.rs"), &fold_factors);
    check(include_str!("fold_identities.rs"), &fold_identities);
    check(include_str!("materialise_padding.rs"), &materialise_padding);
    check(include_str!("simplify_powers.rs"), &simplify_powers);
    check(include_str!("sink_reshapes.rs"), &sink_reshapes);
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
