//! ONNX models to graph IR.
//!
//! [`import`] walks a checked model in order and builds rows of the op table. Small integer
//! tensors are followed symbolically on the way, so that what computes shapes becomes extents.
mod activation;
mod attention;
mod constant;
mod control;
mod conv;
mod cx;
mod demand;
mod elementwise;
mod grid;
mod helpers;
mod index;
mod inputs;
mod known;
mod loss;
mod matmul;
mod movement;
mod norm;
mod order;
mod pool;
mod prune;
mod quant;
mod recurrent;
mod reduce;
mod refusal;
mod registry;
mod resize;
mod row_name;
mod sequence;
mod shape;
mod signal;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use tensmith_ir::graph::{Graph, ValueId};
use tensmith_ir::tensor::Tensor;

use crate::error::{OnnxError, Result};
use crate::model::LoadedModel;
use crate::tensor::TensorData;
use cx::Cx;

pub use inputs::DIM_MAX;
pub use registry::supported_ops;

/// Which named dimensions stay symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeepSymbolic {
    /// None: each takes its binding, or 1.
    #[default]
    None,
    /// These.
    Names(BTreeSet<String>),
    /// All without a binding.
    All,
}

/// How to import a model.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Values of named dimensions. Dimensions without a name are called `INPUT_AXIS`.
    pub dims: BTreeMap<String, i64>,
    /// Which dimensions stay symbols.
    pub keep_symbolic: KeepSymbolic,
    /// Greatest value of each symbol that is kept; the default is 2^20.
    pub max_dims: BTreeMap<String, i64>,
    /// Shapes of inputs, by name: they bind the names of dimensions, and replace shapes unknown.
    pub input_shapes: BTreeMap<String, Vec<i64>>,
    /// Values of inputs that may be taken as constants where an op needs one at compile time.
    pub specialise: BTreeMap<String, Tensor>,
    /// Greatest number of bytes of a tensor that the graph computes.
    pub tensor_bytes: u64,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            dims: BTreeMap::new(),
            keep_symbolic: KeepSymbolic::None,
            max_dims: BTreeMap::new(),
            input_shapes: BTreeMap::new(),
            specialise: BTreeMap::new(),
            tensor_bytes: 64 << 30,
        }
    }
}

/// Values of inputs with more elements are better not taken as constants, though a caller may: shapes,
/// axes and flags have fewer.
pub const SPECIALISE_ELEMENTS: usize = 64;

/// Imports of one model at most, each with lower bounds of sizes.
const BOUNDS: usize = 8;

/// A model as graph IR.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The graph. Values have the names that the model gives them.
    pub graph: Graph,
    /// What the model's names stand for, as far as an output needs it. Several may stand for one
    /// value: a node that only renames makes none of its own.
    pub names: BTreeMap<String, ValueId>,
    /// What a user should know about how the model was read.
    pub notes: Vec<String>,
    /// Inputs whose given values were used as constants: another value needs another import.
    pub specialised: Vec<(String, Tensor)>,
}

/// Imports a checked model. Size symbols may be 0, or, where that leaves something unsupported, are
/// at least 1, or at most the rows of a table that are taken for them.
///
/// Errors: `Unsupported` lists every operator without support at once, or else every node that
/// needs a value or a proof that the import does not have; `Invalid` for attributes and operands
/// that break an operator's rules; `Limit` for a tensor larger than the options admit.
pub fn import(model: &LoadedModel, options: &ImportOptions) -> Result<Imported> {
    registry::check_supported(model)?;
    let all = match options.keep_symbolic {
        KeepSymbolic::None => &[(0, 0)][..],
        _ => &[(0, 0), (1, 0), (0, BOUNDS), (1, BOUNDS)],
    };
    let mut first = None;
    for (least, bounds) in all {
        match import_within(model, options, *least, *bounds) {
            Err(error @ OnnxError::Unsupported { .. }) => drop(first.get_or_insert(error)),
            result => return result,
        }
    }
    Err(first.expect("invariant: an attempt that is not returned has failed"))
}

/// Imports with size symbols that are at least `least`, and at most what nodes can take that are
/// not supported else: such bounds are found and set so many times at most.
fn import_within(
    model: &LoadedModel,
    options: &ImportOptions,
    least: i64,
    bounds: usize,
) -> Result<Imported> {
    let mut options = options.clone();
    let mut notes = model.notes().to_vec();
    let mut greatest = BTreeMap::new();
    let mut result = import_from(model, &options, (least, &notes), &mut greatest);
    for _ in 0..bounds {
        if !matches!(result, Err(OnnxError::Unsupported { .. })) || greatest.is_empty() {
            break;
        }
        for (name, (most, note)) in std::mem::take(&mut greatest) {
            options.max_dims.insert(name, most.max(least));
            notes.push(note);
        }
        result = import_from(model, &options, (least, &notes), &mut greatest);
    }
    result
}

/// Imports with size symbols that are at least `least`; `greatest` then holds those that must not
/// exceed a value, and notes that say why.
fn import_from(
    model: &LoadedModel,
    options: &ImportOptions,
    (least, notes): (i64, &[String]),
    greatest: &mut BTreeMap<String, (i64, String)>,
) -> Result<Imported> {
    let mut cx = Cx::new(model, options);
    cx.notes.extend(notes.iter().cloned());
    inputs::add_inputs(&mut cx, least)?;
    cx.add_initializers(model.graph())?;
    cx.import_nodes(&model.graph().node)?;
    *greatest = std::mem::take(&mut cx.greatest);
    cx.finish()
}

/// A tensor of a file as a tensor of the IR, bytes shared.
///
/// Errors: `Unsupported` for an element type that the IR does not have.
pub fn ir_tensor(data: &TensorData, place: &str) -> Result<Tensor> {
    let unpacked = data.unpacked();
    let data = unpacked.as_ref().unwrap_or(data);
    let dtype = value::dtype_of(data.dtype)
        .ok_or_else(|| OnnxError::unsupported(place, value::no_dtype(data.dtype)))?;
    Tensor::new(dtype, data.shape.clone(), data.bytes.clone())
        .ok_or_else(|| OnnxError::invalid(place, "its bytes do not fit its shape"))
}
