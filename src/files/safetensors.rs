//! The `.safetensors` format.
use super::Named;
use crate::error::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;
use tensmith_runtime::{ElementType, Tensor};

/// Reads all tensors of a file.
///
/// Errors: the file cannot be read or understood, or holds an unknown element type.
pub fn read_safetensors(path: &Path) -> Result<Named> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::file(path, format!("not a .safetensors file: {e}")))?;
    let mut tensors = Named::new();
    for (name, view) in file.tensors() {
        let dtype = element_type(view.dtype()).ok_or_else(|| {
            let found = view.dtype();
            let reason = format!("tensor `{name}`: elements of type {found:?} are not supported");
            Error::file(path, reason)
        })?;
        let tensor = Tensor::from_bytes(dtype, view.shape(), view.data())
            .map_err(|e| Error::file(path, format!("tensor `{name}`: {e}")))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn element_type(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        Dtype::I8 => ElementType::I8,
        Dtype::I16 => ElementType::I16,
        Dtype::I32 => ElementType::I32,
        Dtype::I64 => ElementType::I64,
        Dtype::U8 => ElementType::U8,
        Dtype::U16 => ElementType::U16,
        Dtype::U32 => ElementType::U32,
        Dtype::U64 => ElementType::U64,
        Dtype::BOOL => ElementType::Bool,
        _ => return None,
    })
}
