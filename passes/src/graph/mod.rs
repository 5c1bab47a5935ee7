//! Graph passes: each a function from a graph to an equal one. They leave subgraphs alone;
//! [`crate::pipeline::optimise`] visits those first.
mod absorb_transposes;
mod average_by_sums;
mod cancel_transposes;
mod constant_gathers;
mod contract_to_conv;
mod conv_algorithm;
mod conv_error;
mod conv_moments;
mod conv_of_view;
mod conv_to_winograd;
mod conv_transpose_to_conv;
mod dequantise_late;
pub mod egraph;
mod eliminate_common_subexpressions;
mod eliminate_dead_code;
mod existing_views;
mod fold_constants;
mod fold_factors;
mod fold_identities;
mod fold_operands;
mod fold_signs;
mod integer_bounds;
mod interleave_zeros;
mod join_columns;
mod join_transposes;
mod keep_half_weights;
mod kept_axes;
mod materialise_padding;
mod merge_contractions;
mod merge_convolutions;
mod multiply_bytes;
mod order_nodes;
mod order_operands;
mod part_before_slices;
mod part_rows;
mod repeat_channels;
mod resize_to_repeat;
mod rewriter;
mod round_quotients;
mod scale_bounds;
mod scale_products;
mod shape_groups;
mod share_operands;
mod simplify_conditions;
mod simplify_movement;
mod simplify_powers;
mod sink_reshapes;
mod sink_transposes;
mod split_conv_transpose;
mod split_pooling;
mod sum_integers_in_floats;
mod sum_weights;
#[cfg(test)]
mod tests;
mod transpose_columns;
mod trim_windows;
mod widen_halves;
mod widen_masks;

pub use absorb_transposes::absorb_transposes;
pub use average_by_sums::average_by_sums;
pub use cancel_transposes::cancel_transposes;
pub use contract_to_conv::contract_to_conv;
pub use conv_algorithm::Algorithm;
pub use conv_to_winograd::conv_to_winograd;
pub use conv_transpose_to_conv::conv_transpose_to_conv;
pub use dequantise_late::dequantise_late;
pub use eliminate_common_subexpressions::eliminate_common_subexpressions;
pub use eliminate_dead_code::eliminate_dead_code;
pub use fold_constants::fold_constants;
pub use fold_factors::fold_factors;
pub use fold_identities::fold_identities;
pub use fold_operands::fold_operands;
pub use fold_signs::fold_signs;
pub use interleave_zeros::interleave_zeros;
pub use join_columns::join_columns;
pub use join_transposes::join_transposes;
pub use keep_half_weights::{keep_half_weights, reads_halves_once};
pub use materialise_padding::materialise_padding;
pub use merge_contractions::merge_contractions;
pub use merge_convolutions::merge_convolutions;
pub use multiply_bytes::multiply_bytes;
pub use order_nodes::order_nodes;
pub use order_operands::order_operands;
pub use part_before_slices::part_before_slices;
pub use part_rows::part_rows;
pub use repeat_channels::repeat_channels;
pub use resize_to_repeat::resize_to_repeat;
pub use rewriter::{Rewriter, Rewritten};
pub use round_quotients::round_quotients;
pub use scale_bounds::scale_bounds;
pub use scale_products::scale_products;
pub use share_operands::share_operands;
pub use simplify_conditions::simplify_conditions;
pub use simplify_movement::simplify_movement;
pub use simplify_powers::simplify_powers;
pub use sink_reshapes::sink_reshapes;
pub use sink_transposes::sink_transposes;
pub use split_conv_transpose::split_conv_transpose;
pub use split_pooling::split_pooling;
pub use sum_integers_in_floats::sum_integers_in_floats;
pub use sum_weights::sum_weights;
pub use transpose_columns::transpose_columns;
pub use trim_windows::trim_windows;
pub use widen_halves::widen_halves;
pub use widen_masks::widen_masks;

use tensmith_ir::graph::{Graph, Node};

/// Whether a node is a convolution of each channel by itself, with one filter for it or several.
pub(crate) fn is_depthwise(graph: &Graph, node: &Node) -> bool {
    node.op.name == "conv"
        && node.attrs.int("groups") > 1
        && graph.ty(node.inputs[1]).shape[1].is(1)
}
