//! Graph passes: each a function from a graph to an equal one. They leave subgraphs alone;
//! [`crate::pipeline::optimise`] visits those first.
mod average_by_sums;
mod conv_algorithm;
mod conv_to_winograd;
mod conv_transpose_to_conv;
pub mod egraph;
mod eliminate_common_subexpressions;
mod eliminate_dead_code;
mod fold_constants;
mod fold_factors;
mod fold_identities;
mod materialise_padding;
mod order_operands;
mod resize_to_repeat;
mod rewriter;
mod simplify_powers;
mod sink_reshapes;
#[cfg(test)]
mod tests;
mod transpose_columns;
mod widen_masks;

pub use average_by_sums::average_by_sums;
pub use conv_to_winograd::conv_to_winograd;
pub use conv_transpose_to_conv::conv_transpose_to_conv;
pub use eliminate_common_subexpressions::eliminate_common_subexpressions;
pub use eliminate_dead_code::eliminate_dead_code;
pub use fold_constants::fold_constants;
pub use fold_factors::fold_factors;
pub use fold_identities::fold_identities;
pub use materialise_padding::materialise_padding;
pub use order_operands::order_operands;
pub use resize_to_repeat::resize_to_repeat;
pub use rewriter::{Rewriter, Rewritten};
pub use simplify_powers::simplify_powers;
pub use sink_reshapes::sink_reshapes;
pub use transpose_columns::transpose_columns;
pub use widen_masks::widen_masks;
