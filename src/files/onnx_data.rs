//! Folders of ONNX test data: `input_K.pb` and `output_K.pb`, a tensor each.
use super::Named;
use crate::convert::to_runtime;
use crate::error::{Error, Result};
use prost::Message;
use std::path::Path;
use tensmith_ir::dtype::DType;
use tensmith_ir::tensor as ir;
use tensmith_onnx::proto::TensorProto;
use tensmith_onnx::{ElemType, LoadedModel, OnnxError, TensorData};
use tensmith_runtime::Tensor;

/// The tensors of a folder by the names of the model's inputs and outputs.
#[derive(Debug, Default)]
pub struct DataSet {
    /// The inputs.
    pub inputs: Named,
    /// The expected outputs.
    pub outputs: Named,
}

/// Reads a folder of test data of a model.
///
/// Errors: a file that cannot be read or understood; no file; more files than the model has
/// inputs or outputs.
pub fn read_data_set(folder: &Path, model: &LoadedModel) -> Result<DataSet> {
    let inputs: Vec<&str> = model.required_inputs().map(|i| &i.name[..]).collect();
    let outputs: Vec<&str> = model.graph().output.iter().map(|o| &o.name[..]).collect();
    let set = DataSet {
        inputs: read_side(folder, "input", &inputs, model)?,
        outputs: read_side(folder, "output", &outputs, model)?,
    };
    if set.inputs.is_empty() && !inputs.is_empty() {
        let reason = "there is no input_0.pb; name a test_data_set_N folder";
        return Err(Error::file(folder, reason));
    }
    Ok(set)
}

fn read_side(folder: &Path, side: &str, names: &[&str], model: &LoadedModel) -> Result<Named> {
    let mut tensors = Named::new();
    for k in 0.. {
        let path = folder.join(format!("{side}_{k}.pb"));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let name = names.get(k).ok_or_else(|| {
            let reason = format!("the model has only {} {side}s", names.len());
            Error::file(&path, reason)
        })?;
        tensors.insert((*name).into(), read_tensor(&path, bytes, model)?);
    }
    Ok(tensors)
}

fn read_tensor(path: &Path, bytes: Vec<u8>, model: &LoadedModel) -> Result<Tensor> {
    let proto = TensorProto::decode(&bytes[..]).map_err(|e| {
        let reason = format!("not a tensor ({e}); sequences and optionals are not supported");
        Error::file(path, reason)
    })?;
    let data = model.tensor(&proto, &path.display().to_string())?;
    to_runtime(&to_ir(data)?)
}

/// The tensor in the compiler's types.
fn to_ir(data: TensorData) -> Result<ir::Tensor> {
    let data = data.unpacked().unwrap_or(data);
    let dtype = dtype_of(data.dtype).ok_or_else(|| {
        OnnxError::unsupported("tensor", format!("elements of type {}", data.dtype.name()))
    })?;
    let tensor = ir::Tensor::new(dtype, data.shape, data.bytes);
    Ok(tensor.expect("invariant: decoding checked the number of bytes"))
}

fn dtype_of(elem: ElemType) -> Option<DType> {
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
