//! Between tensors of the compiler and tensors of the run time.
use crate::error::{Error, Result};
use tensmith_ir::dtype::DType;
use tensmith_ir::tensor as ir;
use tensmith_runtime::{ElementType, Tensor, TensorView};

/// Both names of each element type.
const TYPES: [(DType, ElementType); 13] = [
    (DType::F32, ElementType::F32),
    (DType::F64, ElementType::F64),
    (DType::F16, ElementType::F16),
    (DType::BF16, ElementType::BF16),
    (DType::I8, ElementType::I8),
    (DType::I16, ElementType::I16),
    (DType::I32, ElementType::I32),
    (DType::I64, ElementType::I64),
    (DType::U8, ElementType::U8),
    (DType::U16, ElementType::U16),
    (DType::U32, ElementType::U32),
    (DType::U64, ElementType::U64),
    (DType::Bool, ElementType::Bool),
];

/// The run time's name of an element type.
pub fn element_type(dtype: DType) -> ElementType {
    let found = TYPES.iter().find(|(d, _)| *d == dtype);
    found.expect("invariant: the table is complete").1
}

/// The compiler's name of an element type.
pub fn dtype(element: ElementType) -> DType {
    let found = TYPES.iter().find(|(_, e)| *e == element);
    found.expect("invariant: the table is complete").0
}

/// A copy as a tensor of the run time.
///
/// Errors: memory ends, or a `bool` that is neither 0 nor 1.
pub fn to_runtime(tensor: &ir::Tensor) -> Result<Tensor> {
    let element = element_type(tensor.dtype);
    Ok(Tensor::from_bytes(element, &tensor.shape, &tensor.data)?)
}

/// A copy as a tensor of the compiler.
pub fn to_ir(view: TensorView<'_>) -> ir::Tensor {
    let data = bytes::Bytes::copy_from_slice(view.bytes());
    let tensor = ir::Tensor::new(dtype(view.dtype()), view.shape().to_vec(), data);
    tensor.expect("invariant: a view has as many bytes as its shape says")
}

/// Elements rounded or wrapped to another type, for data whose type does not matter.
pub fn cast(tensor: &Tensor, to: ElementType) -> Result<Tensor> {
    let values = to_ir(tensor.view()).to_f64();
    let (dtype, shape) = (dtype(to), tensor.shape().to_vec());
    let wide = if dtype.is_float() {
        ir::Wide::Float(values)
    } else {
        ir::Wide::Int(values.into_iter().map(|v| v as i128).collect())
    };
    to_runtime(&ir::Tensor::from_wide(dtype, shape, &wide))
}

/// Type and shape as text, such as `f32[2, 3]`.
pub fn describe(dtype: ElementType, shape: &[usize]) -> String {
    format!("{dtype}{shape:?}")
}

/// A symbolic type as text for users, such as `f32[batch, 3]`: without the marks of the IR's text
/// form.
pub fn describe_type(ty: &tensmith_ir::graph::TensorType) -> String {
    ty.to_string().replace('$', "")
}

/// A size in bytes as a number of the host.
///
/// Errors: `Limit` for negative or enormous sizes.
pub fn bytes_of(size: Option<i64>, what: &str) -> Result<usize> {
    let size = size.and_then(|s| usize::try_from(s).ok());
    size.ok_or_else(|| Error::Limit(format!("{what} is too large to count; use smaller sizes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_same_names_and_sizes() {
        for (d, e) in TYPES {
            assert_eq!((d.name(), d.bytes()), (e.name(), e.size_bytes()));
            assert_eq!((element_type(d), dtype(e)), (e, d));
        }
        assert_eq!(TYPES.len(), DType::ALL.len());
    }
}
