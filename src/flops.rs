//! The arithmetic of the direct algorithms.
use tensmith_ir::eval::Sizes;
use tensmith_ir::expr::{Atom, Expr, product};
use tensmith_ir::graph::{Graph, Node};

/// Units: floating-point operations of all contractions, convolutions and recurrences by their
/// direct algorithms, a multiplication and an addition for each term, for given sizes. Bodies of
/// subgraphs count once. A node whose size is unknown counts nothing.
pub fn direct_flops(graph: &Graph, sizes: &Sizes) -> f64 {
    let own = graph.nodes.iter().map(|n| node_flops(graph, n, sizes));
    let nested = graph.nodes.iter().flat_map(|n| &n.regions);
    own.sum::<f64>() + nested.map(|g| direct_flops(g, sizes)).sum::<f64>()
}

/// Units: floating-point operations of one node; 0 for what has no products that are summed.
pub fn node_flops(graph: &Graph, node: &Node, sizes: &Sizes) -> f64 {
    let terms = match node.op.name {
        "contract" => contract_terms(graph, node),
        "conv" => {
            // Each output element has a term for each weight of its channel.
            let weights = &graph.ty(node.inputs[1]).shape;
            let taps = product(weights.get(1..).unwrap_or_default());
            Some(graph.ty(node.outputs[0]).count() * taps)
        }
        "conv_transpose" => {
            // Each input element is multiplied by each weight of its channel.
            let weights = &graph.ty(node.inputs[1]).shape;
            let taps = product(weights.get(1..).unwrap_or_default());
            Some(graph.ty(node.inputs[0]).count() * taps)
        }
        "lstm" | "gru" | "rnn" => {
            // In each step the state is multiplied by the weights of each gate.
            let hidden = &graph.ty(node.inputs[1]).shape[1];
            Some(graph.ty(node.inputs[0]).count() * hidden.clone())
        }
        _ => None,
    };
    terms.and_then(|t| at(&t, sizes)).map_or(0.0, |t| 2.0 * t)
}

/// The product of the extents of all letters.
fn contract_terms(graph: &Graph, node: &Node) -> Option<Expr> {
    let spec = node.attrs.str("spec");
    let (operands, _) = spec.split_once("->")?;
    let mut seen = Vec::new();
    let mut terms = Expr::from(1);
    for (letters, operand) in operands.split(',').zip(&node.inputs) {
        for (letter, extent) in letters.chars().zip(&graph.ty(*operand).shape) {
            if !seen.contains(&letter) {
                seen.push(letter);
                terms = terms * extent.clone();
            }
        }
    }
    Some(terms)
}

fn at(e: &Expr, sizes: &Sizes) -> Option<f64> {
    let value = e.eval(&|atom| match atom {
        Atom::Size(s) => sizes.get(s).copied(),
        _ => None,
    });
    value.map(|v| v as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::expr::Symbol;
    use tensmith_ir::graph::parse_graph;

    #[test]
    fn products_that_are_summed_count_two_each() {
        let text = "graph \"net\" ($b in 1..=9) {
  %0 = input \"gates\" : f32[5, $b, 8]
  %1 = input \"r\" : f32[8, 8]
  %2 = input \"h\" : f32[$b, 8]
  %3 = input \"lengths\" : i64[$b]
  %4, %5 = rnn(%0, %1, %2, %3) {activations=\"tanh\", alpha=[0.0], beta=[0.0], clip=inf, reverse=false} \"rnn\" : f32[5, $b, 8], f32[$b, 8]
  %6 = input \"w\" : f32[8, 3]
  %7 = contract(%5, %6) {spec=\"mk,kn->mn\"} \"dense\" : f32[$b, 3]
  %8 = add(%7, %7) {} \"twice\" : f32[$b, 3]
  output \"y\" = %8
}
";
        let graph = parse_graph(text).unwrap_or_else(|e| panic!("{e}"));
        let sizes = Sizes::from([(Symbol::new("b"), 4)]);
        let recurrence = 2.0 * 5.0 * 4.0 * 8.0 * 8.0;
        assert_eq!(
            direct_flops(&graph, &sizes),
            recurrence + 2.0 * 4.0 * 8.0 * 3.0
        );
        assert_eq!(direct_flops(&graph, &Sizes::new()), 0.0);
    }
}
