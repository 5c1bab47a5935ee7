//! The directed passes: what each does, and their order.
use super::{Decisions, PassOptions};
use crate::graph::egraph::Rounding;
use crate::graph::{
    absorb_transposes, average_by_sums, cancel_transposes, contract_to_conv, contract_to_sum,
    conv_to_winograd, conv_transpose_to_conv, dequantise_late, drop_unit_rows,
    eliminate_common_subexpressions, eliminate_dead_code, flatten_late, fold_constants,
    fold_factors, fold_identities, fold_operands, fold_signs, interleave_zeros, join_columns,
    join_transposes, keep_half_weights, materialise_padding, merge_contractions,
    merge_convolutions, multiply_bytes, order_nodes, order_operands, part_before_slices, part_rows,
    repeat_channels, resize_to_repeat, round_quotients, scale_bounds, scale_products,
    share_operands, simplify_conditions, simplify_movement, simplify_powers, sink_reshapes,
    sink_transposes, split_conv_transpose, split_pooling, sum_integers_in_floats, sum_weights,
    tanh_of_softplus, transpose_columns, trim_windows, widen_halves, widen_masks,
    windows_of_blocks,
};
use tensmith_ir::graph::{Graph, GraphError};

/// A function from a graph to an equal one.
pub struct Pass {
    /// The name: that of the function.
    pub name: &'static str,
    /// What it may do to rounding.
    pub rounding: Rounding,
    /// What it replaces by what.
    pub text: &'static str,
    run: fn(&Graph, &PassOptions, &mut Decisions) -> Result<Graph, GraphError>,
}

impl Pass {
    /// The new graph; `decisions` gets what was chosen.
    ///
    /// Errors: a defect of the pass.
    pub fn run(
        &self,
        graph: &Graph,
        options: &PassOptions,
        decisions: &mut Decisions,
    ) -> Result<Graph, GraphError> {
        (self.run)(graph, options, decisions)
    }
}

/// A pass, and when it has its turn.
pub(super) struct Step(
    pub(super) &'static Pass,
    pub(super) fn(&PassOptions) -> bool,
);

fn always(_: &PassOptions) -> bool {
    true
}

fn reassociates(options: &PassOptions) -> bool {
    options.precision.admits(Rounding::Reassociates)
}

fn dots(options: &PassOptions) -> bool {
    options.target.dots
}

const WIDEN_HALVES: Pass = Pass {
    name: "widen-halves",
    rounding: Rounding::Reassociates,
    text: "operations on f16 and bf16 => on f32, rounded where results leave the graph",
    run: |g, _, _| widen_halves(g),
};
const FOLD_IDENTITIES: Pass = Pass {
    name: "fold-identities",
    rounding: Rounding::Exact,
    text: "nodes that do nothing go, and neighbours that do one thing are one node",
    run: |g, _, _| fold_identities(g),
};
const SIMPLIFY_MOVEMENT: Pass = Pass {
    name: "simplify-movement",
    rounding: Rounding::Exact,
    text: "what only moves elements is written in one way",
    run: |g, _, _| simplify_movement(g),
};
const DEQUANTISE_LATE: Pass = Pass {
    name: "dequantise-late",
    rounding: Rounding::Exact,
    text: "what moves, bounds or compares dequantised elements is done with their bytes",
    run: |g, _, _| dequantise_late(g),
};
const SCALE_PRODUCTS: Pass = Pass {
    name: "scale-products",
    rounding: Rounding::Reassociates,
    text: "sum (s*i) * (t*j) => (sum i*j) * s * t, for bytes i and j",
    run: |g, _, _| scale_products(g),
};
const FOLD_CONSTANTS: Pass = Pass {
    name: "fold-constants",
    rounding: Rounding::Exact,
    text: "small results of constants alone are computed",
    run: |g, o, _| fold_constants(g, o.fold_bytes),
};
const ROUND_QUOTIENTS: Pass = Pass {
    name: "round-quotients",
    rounding: Rounding::Reassociates,
    text: "a rounded division by a constant => two products that give the same integer",
    run: |g, _, _| round_quotients(g),
};
const SIMPLIFY_CONDITIONS: Pass = Pass {
    name: "simplify-conditions",
    rounding: Rounding::Exact,
    text: "conditions, and choices by them, are written in one way",
    run: |g, _, _| simplify_conditions(g),
};
const FOLD_SIGNS: Pass = Pass {
    name: "fold-signs",
    rounding: Rounding::Exact,
    text: "constant signs of a concatenation => signs of its parts",
    run: |g, _, _| fold_signs(g),
};
const ELIMINATE_COMMON_SUBEXPRESSIONS: Pass = Pass {
    name: "eliminate-common-subexpressions",
    rounding: Rounding::Exact,
    text: "equal nodes and equal constants are one",
    run: |g, _, _| eliminate_common_subexpressions(g),
};
const CANCEL_TRANSPOSES: Pass = Pass {
    name: "cancel-transposes",
    rounding: Rounding::Reassociates,
    text: "(transpose (f (transpose ?x))) => (f ?x), for a transpose and its inverse; sums in their order where that matters",
    run: |g, o, _| cancel_transposes(g, reassociates(o)),
};
const ELIMINATE_DEAD_CODE: Pass = Pass {
    name: "eliminate-dead-code",
    rounding: Rounding::Exact,
    text: "nodes that no output depends on go",
    run: |g, _, _| eliminate_dead_code(g),
};
const SHARE_OPERANDS: Pass = Pass {
    name: "share-operands",
    rounding: Rounding::Exact,
    text: "(contract (expand ?x) ?y) => (contract ?x ?y)",
    run: |g, _, _| share_operands(g),
};
const JOIN_COLUMNS: Pass = Pass {
    name: "join-columns",
    rounding: Rounding::Exact,
    text: "axes of weights that stand side by side in a product are one",
    run: |g, _, _| join_columns(g),
};
const CONTRACT_TO_CONV: Pass = Pass {
    name: "contract-to-conv",
    rounding: Rounding::Exact,
    text: "products of channels with weights => convolutions of one tap",
    run: |g, _, _| contract_to_conv(g),
};
const CONTRACT_TO_SUM: Pass = Pass {
    name: "contract-to-sum",
    rounding: Rounding::Reassociates,
    text: "(contract ?x w) => (mul (reduce_sum ?x) c), for weights that are all c",
    run: |g, _, _| contract_to_sum(g),
};
const WINDOWS_OF_BLOCKS: Pass = Pass {
    name: "windows-of-blocks",
    rounding: Rounding::Reassociates,
    text: "convolutions and products of blocks of an image that are stacked first => convolutions of the image",
    run: |g, _, _| windows_of_blocks(g),
};
const SINK_RESHAPES: Pass = Pass {
    name: "sink-reshapes",
    rounding: Rounding::Exact,
    text: "(f (reshape ?x)) => (reshape (f ?x)), for an f that needs no such shape",
    run: |g, _, _| sink_reshapes(g),
};
const PART_ROWS: Pass = Pass {
    name: "part-rows",
    rounding: Rounding::Exact,
    text: "rows that are parted behind a product are parted before it",
    run: |g, _, _| part_rows(g),
};
const JOIN_TRANSPOSES: Pass = Pass {
    name: "join-transposes",
    rounding: Rounding::Exact,
    text: "(transpose (reshape (transpose ?x))) => one transpose between reshapes",
    run: |g, _, _| join_transposes(g),
};
const SINK_TRANSPOSES: Pass = Pass {
    name: "sink-transposes",
    rounding: Rounding::Exact,
    text: "(f (transpose ?x)) => (transpose (f ?x)), where fewer copies are left",
    run: |g, _, _| sink_transposes(g),
};
const ABSORB_TRANSPOSES: Pass = Pass {
    name: "absorb-transposes",
    rounding: Rounding::Exact,
    text: "(contract (transpose ?x) ?y) => a product that reads ?x where it lies",
    run: |g, _, _| absorb_transposes(g),
};
const SIMPLIFY_POWERS: Pass = Pass {
    name: "simplify-powers",
    rounding: Rounding::Reassociates,
    text: "powers with a few constant exponents => products and roots",
    run: |g, _, _| simplify_powers(g),
};
const ORDER_OPERANDS: Pass = Pass {
    name: "order-operands",
    rounding: Rounding::Reassociates,
    text: "sums, products and comparisons are written in one order",
    run: |g, _, _| order_operands(g),
};
const SCALE_BOUNDS: Pass = Pass {
    name: "scale-bounds",
    rounding: Rounding::Reassociates,
    text: "a constant factor behind bounds => one before them, and scaled bounds",
    run: |g, _, _| scale_bounds(g),
};
const TANH_OF_SOFTPLUS: Pass = Pass {
    name: "tanh-of-softplus",
    rounding: Rounding::Reassociates,
    text: "tanh(log(1 + e^x)), the gate of mish => a quotient of one power",
    run: |g, _, _| tanh_of_softplus(g),
};
const FOLD_FACTORS: Pass = Pass {
    name: "fold-factors",
    rounding: Rounding::Reassociates,
    text: "constant factors and summands around a product => its weights, and one summand",
    run: |g, _, _| fold_factors(g),
};
const FOLD_OPERANDS: Pass = Pass {
    name: "fold-operands",
    rounding: Rounding::Reassociates,
    text: "(conv (add (mul ?x c) d) w) => (add (conv ?x c*w) e), for constants along axes of w; also contractions",
    run: |g, _, _| fold_operands(g),
};
const SUM_WEIGHTS: Pass = Pass {
    name: "sum-weights",
    rounding: Rounding::Reassociates,
    text: "sums of linear maps of one value with constant weights => one of summed weights",
    run: |g, _, _| sum_weights(g),
};
const INTERLEAVE_ZEROS: Pass = Pass {
    name: "interleave-zeros",
    rounding: Rounding::Reassociates,
    text: "of a transposed convolution only elements that taps meet are computed",
    run: |g, _, _| interleave_zeros(g),
};
const SPLIT_CONV_TRANSPOSE: Pass = Pass {
    name: "split-conv-transpose",
    rounding: Rounding::Reassociates,
    text: "a transposed convolution => one convolution for each phase",
    run: |g, _, _| split_conv_transpose(g),
};
const CONV_TRANSPOSE_TO_CONV: Pass = Pass {
    name: "conv-transpose-to-conv",
    rounding: Rounding::Reassociates,
    text: "a transposed convolution => a convolution with the phases as channels",
    run: |g, _, _| conv_transpose_to_conv(g),
};
const TRIM_WINDOWS: Pass = Pass {
    name: "trim-windows",
    rounding: Rounding::Reassociates,
    text: "taps that no position has inside of the image go",
    run: |g, _, _| trim_windows(g),
};
const CONV_TO_WINOGRAD: Pass = Pass {
    name: "conv-to-winograd",
    rounding: Rounding::Reassociates,
    text: "3x3 convolutions => minimal filtering, where it is faster and within the errors",
    run: conv_to_winograd,
};
const MULTIPLY_BYTES: Pass = Pass {
    name: "multiply-bytes",
    rounding: Rounding::Exact,
    text: "sum (x - z) * w => (sum x * w) - z * (sum w), for bytes",
    run: |g, _, _| multiply_bytes(g),
};
const SUM_INTEGERS_IN_FLOATS: Pass = Pass {
    name: "sum-integers-in-floats",
    rounding: Rounding::Exact,
    text: "sums of products of small integers => sums in f32 that are exact",
    run: |g, _, _| sum_integers_in_floats(g),
};
const RESIZE_TO_REPEAT: Pass = Pass {
    name: "resize-to-repeat",
    rounding: Rounding::Exact,
    text: "a resize to the nearest by whole scales => repeated elements",
    run: |g, _, _| resize_to_repeat(g),
};
const AVERAGE_BY_SUMS: Pass = Pass {
    name: "average-by-sums",
    rounding: Rounding::Exact,
    text: "an average of windows => their sum over constant counts",
    run: |g, _, _| average_by_sums(g),
};
const SPLIT_POOLING: Pass = Pass {
    name: "split-pooling",
    rounding: Rounding::Reassociates,
    text: "a large window => its rows, then their column; greatest elements in every precision",
    run: |g, o, _| split_pooling(g, reassociates(o)),
};
const REPEAT_CHANNELS: Pass = Pass {
    name: "repeat-channels",
    rounding: Rounding::Exact,
    text: "few results for each channel of a depthwise convolution => a channel for each",
    run: |g, _, _| repeat_channels(g),
};
const MATERIALISE_PADDING: Pass = Pass {
    name: "materialise-padding",
    rounding: Rounding::Exact,
    text: "padding of convolutions and pooling => a node of its own",
    run: |g, _, _| materialise_padding(g),
};
const FLATTEN_LATE: Pass = Pass {
    name: "flatten-late",
    rounding: Rounding::Exact,
    text: "(transpose (reshape ?x)) => (reshape (transpose ?x)), for an image whose channels come last",
    run: |g, _, _| flatten_late(g),
};
const TRANSPOSE_COLUMNS: Pass = Pass {
    name: "transpose-columns",
    rounding: Rounding::Exact,
    text: "the second operand of a product of rows with rows is transposed",
    run: |g, _, _| transpose_columns(g),
};
const DROP_UNIT_ROWS: Pass = Pass {
    name: "drop-unit-rows",
    rounding: Rounding::Exact,
    text: "products with other rows beside one of extent 1 => products without it",
    run: |g, _, _| drop_unit_rows(g),
};
const MERGE_CONTRACTIONS: Pass = Pass {
    name: "merge-contractions",
    rounding: Rounding::Exact,
    text: "products of one value with several weights => one product",
    run: |g, o, _| merge_contractions(g, o),
};
const PART_BEFORE_SLICES: Pass = Pass {
    name: "part-before-slices",
    rounding: Rounding::Exact,
    text: "(reshape (slice ?x)) => (slice (reshape ?x)), for parts of an axis that are parted again",
    run: |g, _, _| part_before_slices(g),
};
const MERGE_CONVOLUTIONS: Pass = Pass {
    name: "merge-convolutions",
    rounding: Rounding::Exact,
    text: "convolutions of one image alike => one convolution",
    run: |g, o, _| merge_convolutions(g, &o.target),
};
const ORDER_NODES: Pass = Pass {
    name: "order-nodes",
    rounding: Rounding::Exact,
    text: "nodes in the order in which the outputs need them",
    run: |g, _, _| order_nodes(g),
};
const KEEP_HALF_WEIGHTS: Pass = Pass {
    name: "keep-half-weights",
    rounding: Rounding::Exact,
    text: "(transpose (cast ?w)) => (cast (transpose ?w)), for constants of f16 and bf16",
    run: |g, _, _| keep_half_weights(g),
};
const WIDEN_MASKS: Pass = Pass {
    name: "widen-masks",
    rounding: Rounding::Exact,
    text: "boolean masks that streamed chains read => numbers of 32 bits",
    run: |g, _, _| widen_masks(g),
};

/// Normal forms, and what is cheaper whatever is around it: what both the rules and the directed
/// path begin with.
pub(super) const NORMALISE: &[Step] = &[
    Step(&WIDEN_HALVES, reassociates),
    Step(&FOLD_IDENTITIES, always),
    Step(&SIMPLIFY_MOVEMENT, always),
    Step(&DEQUANTISE_LATE, always),
    // Before scales fold into what they scale.
    Step(&SCALE_PRODUCTS, |o| reassociates(o) && dots(o)),
    Step(&FOLD_CONSTANTS, always),
    // Before divisions by constants are products.
    Step(&ROUND_QUOTIENTS, |o| reassociates(o) && o.target.fma),
    Step(&SIMPLIFY_CONDITIONS, always),
    Step(&FOLD_IDENTITIES, always),
    Step(&FOLD_SIGNS, always),
    Step(&ELIMINATE_COMMON_SUBEXPRESSIONS, always),
    Step(&SIMPLIFY_MOVEMENT, always),
    Step(&FOLD_IDENTITIES, always),
    Step(&CONTRACT_TO_SUM, reassociates),
    Step(&CANCEL_TRANSPOSES, always),
    Step(&ELIMINATE_DEAD_CODE, always),
    Step(&SHARE_OPERANDS, always),
    Step(&JOIN_COLUMNS, always),
    Step(&CONTRACT_TO_CONV, always),
    Step(&DROP_UNIT_ROWS, always),
    Step(&WINDOWS_OF_BLOCKS, reassociates),
    Step(&SINK_RESHAPES, always),
    Step(&ELIMINATE_DEAD_CODE, always),
    Step(&PART_ROWS, always),
    Step(&ELIMINATE_DEAD_CODE, always),
    Step(&JOIN_TRANSPOSES, always),
    Step(&CANCEL_TRANSPOSES, always),
    Step(&ELIMINATE_DEAD_CODE, always),
    Step(&SINK_TRANSPOSES, always),
    Step(&ELIMINATE_DEAD_CODE, always),
    Step(&FOLD_IDENTITIES, always),
    Step(&ELIMINATE_COMMON_SUBEXPRESSIONS, always),
];

/// Algorithms, layouts of operands and joined kernels: what follows the rules.
pub(super) const LOWER: &[Step] = &[
    Step(&ABSORB_TRANSPOSES, always),
    Step(&FOLD_CONSTANTS, reassociates),
    Step(&SIMPLIFY_POWERS, reassociates),
    Step(&ORDER_OPERANDS, reassociates),
    Step(&ELIMINATE_DEAD_CODE, reassociates),
    Step(&TANH_OF_SOFTPLUS, reassociates),
    Step(&SCALE_BOUNDS, reassociates),
    Step(&ELIMINATE_DEAD_CODE, reassociates),
    Step(&ELIMINATE_COMMON_SUBEXPRESSIONS, reassociates),
    Step(&FOLD_OPERANDS, reassociates),
    Step(&ELIMINATE_DEAD_CODE, reassociates),
    Step(&FOLD_FACTORS, reassociates),
    Step(&ELIMINATE_DEAD_CODE, reassociates),
    Step(&SUM_WEIGHTS, reassociates),
    Step(&ELIMINATE_DEAD_CODE, reassociates),
    Step(&INTERLEAVE_ZEROS, reassociates),
    Step(&SPLIT_CONV_TRANSPOSE, reassociates),
    Step(&CONV_TRANSPOSE_TO_CONV, reassociates),
    Step(&TRIM_WINDOWS, reassociates),
    Step(&CONV_TO_WINOGRAD, reassociates),
    Step(&DEQUANTISE_LATE, dots),
    Step(&MULTIPLY_BYTES, dots),
    Step(&SUM_INTEGERS_IN_FLOATS, always),
    Step(&RESIZE_TO_REPEAT, always),
    Step(&AVERAGE_BY_SUMS, always),
    Step(&SPLIT_POOLING, always),
    Step(&REPEAT_CHANNELS, always),
    Step(&MATERIALISE_PADDING, always),
    Step(&DEQUANTISE_LATE, always),
    Step(&SINK_RESHAPES, always),
    Step(&FLATTEN_LATE, always),
    Step(&TRANSPOSE_COLUMNS, always),
    Step(&ELIMINATE_DEAD_CODE, always),
    Step(&MERGE_CONTRACTIONS, always),
    Step(&PART_BEFORE_SLICES, always),
    Step(&FOLD_IDENTITIES, always),
    Step(&FOLD_CONSTANTS, always),
    Step(&ELIMINATE_COMMON_SUBEXPRESSIONS, always),
    // Where convolutions pad alike, they share an image now.
    Step(&MERGE_CONVOLUTIONS, always),
    Step(&KEEP_HALF_WEIGHTS, always),
    Step(&ELIMINATE_DEAD_CODE, always),
    Step(&ORDER_NODES, always),
    Step(&WIDEN_MASKS, always),
    Step(&ELIMINATE_COMMON_SUBEXPRESSIONS, always),
];

/// All passes, each once, in the order in which they begin.
pub fn all() -> Vec<&'static Pass> {
    let mut passes: Vec<&Pass> = Vec::new();
    for Step(pass, _) in NORMALISE.iter().chain(LOWER) {
        if passes.iter().all(|p| p.name != pass.name) {
            passes.push(pass);
        }
    }
    passes
}
