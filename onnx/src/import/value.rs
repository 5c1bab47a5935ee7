//! What a name of a model stands for during import.
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::ValueId;

use crate::elem::ElemType;

/// What a name of a model stands for.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    /// A tensor: a value of the graph.
    Tensor(ValueId),
    /// A sequence whose length is known at import.
    Sequence(Vec<ValueId>),
    /// An optional that holds nothing.
    Nothing,
    /// The result of a node that could not be imported; its error is recorded.
    Failed,
}

impl From<ValueId> for Val {
    fn from(id: ValueId) -> Self {
        Val::Tensor(id)
    }
}

/// One tensor as the results of a node.
pub(crate) fn one(id: ValueId) -> Vec<Val> {
    vec![Val::Tensor(id)]
}

/// Tensors as the results of a node.
pub(crate) fn all(ids: Vec<ValueId>) -> Vec<Val> {
    ids.into_iter().map(Val::Tensor).collect()
}

/// The IR's element type for a file's, if it has one.
pub(crate) fn dtype_of(elem: ElemType) -> Option<DType> {
    Some(match elem {
        ElemType::F32 => DType::F32,
        ElemType::F64 => DType::F64,
        ElemType::F16 => DType::F16,
        ElemType::Bf16 => DType::BF16,
        ElemType::I8 => DType::I8,
        ElemType::I16 => DType::I16,
        ElemType::I32 => DType::I32,
        ElemType::I64 => DType::I64,
        ElemType::U8 => DType::U8,
        ElemType::U16 => DType::U16,
        ElemType::U32 => DType::U32,
        ElemType::U64 => DType::U64,
        ElemType::Bool => DType::Bool,
        _ => return None,
    })
}

/// Says that an element type is not supported.
pub(crate) fn no_dtype(elem: ElemType) -> String {
    format!("element type {} is not supported", elem.name())
}
