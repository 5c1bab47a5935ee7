//! Each pass turns the graph before into the graph after, as its file says.
use super::*;
use tensmith_ir::graph::{Graph, GraphError, parse_graph, verify_graph};

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
    check(include_str!("sink_reshapes.rs"), &sink_reshapes);
}
