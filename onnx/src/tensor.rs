//! Tensors of a file to checked bytes: the one way from a [`TensorProto`] to its elements.

use bytes::Bytes;

use crate::budget::{Budget, within};
use crate::elem::ElemType;
use crate::error::{OnnxError, Result, quoted};
use crate::external::ExternalFiles;
use crate::proto::{SparseTensorProto, TensorProto};

/// The elements of a dense tensor.
///
/// `bytes` are little endian and row major and may share the mapped file, so they are aligned to
/// nothing. Elements narrower than a byte are packed from the low bits up; see
/// [`TensorData::unpacked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorData {
    /// Element type; never a string.
    pub dtype: ElemType,
    /// Extents; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements: exactly `dtype.bytes_of(count)` bytes.
    pub bytes: Bytes,
}

impl TensorData {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same elements with one byte each, when they are narrower than a byte: I4 and I2 as I8,
    /// U4 and U2 as U8, float codes unchanged in the low bits under their own type. `None` for
    /// types of whole bytes.
    pub fn unpacked(&self) -> Option<Self> {
        let bits = self.dtype.bits() as usize;
        if bits >= 8 {
            return None;
        }
        let (dtype, signed) = match self.dtype {
            ElemType::I4 | ElemType::I2 => (ElemType::I8, true),
            ElemType::U4 | ElemType::U2 => (ElemType::U8, false),
            float => (float, false),
        };
        let code = |index: usize| {
            let (byte, shift) = (index * bits / 8, index * bits % 8);
            let high = self.bytes.get(byte + 1).copied().unwrap_or(0);
            let pair = u16::from_le_bytes([self.bytes[byte], high]);
            let code = ((pair >> shift) as u8) << (8 - bits);
            if signed {
                ((code as i8) >> (8 - bits)) as u8
            } else {
                code >> (8 - bits)
            }
        };
        let bytes = (0..self.count()).map(code).collect::<Vec<u8>>().into();
        let shape = self.shape.clone();
        Some(Self {
            dtype,
            shape,
            bytes,
        })
    }
}

/// The elements of a string tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringData {
    /// Extents; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements, row major.
    pub strings: Vec<Bytes>,
}

/// Decodes every tensor of a model; the only reader of its external files.
#[derive(Debug)]
pub struct TensorStore {
    external: ExternalFiles,
    budget: Budget,
}

impl TensorStore {
    pub(crate) fn new(external: ExternalFiles, budget: Budget) -> Self {
        Self { external, budget }
    }

    /// The elements of `tensor`, shared with the file when it stores them raw or externally.
    ///
    /// `place` is where the tensor is used, for messages.
    ///
    /// Errors: `Invalid` when type, shape and bytes disagree or the tensor holds strings (see
    /// [`TensorStore::strings`]), `Limit`, `Io` for external files.
    pub fn decode(&self, tensor: &TensorProto, place: &str) -> Result<TensorData> {
        let at = At { tensor, place };
        let dtype = at.elem_type()?;
        let shape = self.shape(&tensor.dims, &at)?;
        if dtype == ElemType::String {
            return Err(at.invalid("it holds strings where numbers are needed"));
        }
        let count = element_count(&shape);
        let need = dtype.bytes_of(count).unwrap_or(u64::MAX);
        let limit = self.budget.tensor_bytes;
        within(need, limit, "bytes of a tensor", "tensor_bytes", || {
            at.text()
        })?;
        let bytes = self.payload(&at, dtype, count, need)?;
        if bytes.len() as u64 != need {
            return Err(at.disagrees(dtype, need, "bytes", bytes.len() as u64));
        }
        if dtype == ElemType::Bool && bytes.iter().any(|&b| b > 1) {
            return Err(at.invalid("a BOOL element is neither 0 nor 1"));
        }
        Ok(TensorData {
            dtype,
            shape,
            bytes,
        })
    }

    /// The elements of a STRING tensor.
    ///
    /// Errors: `Invalid` when the tensor holds no strings or not as many as its shape says.
    pub fn strings(&self, tensor: &TensorProto, place: &str) -> Result<StringData> {
        let at = At { tensor, place };
        let dtype = at.elem_type()?;
        if dtype != ElemType::String {
            return Err(at.invalid(format!("it holds {}, not strings", dtype.name())));
        }
        at.only_fields(Some(TypedField::String), false)?;
        if tensor.data_location != 0 {
            return Err(at.invalid("strings cannot be stored externally"));
        }
        let shape = self.shape(&tensor.dims, &at)?;
        let (need, found) = (element_count(&shape), tensor.string_data.len() as u64);
        if need != found {
            return Err(at.disagrees(dtype, need, "strings", found));
        }
        let strings = tensor.string_data.clone();
        Ok(StringData { shape, strings })
    }

    /// Checks a tensor of either kind without keeping its elements.
    pub(crate) fn check(&self, tensor: &TensorProto, place: &str) -> Result<()> {
        if tensor.data_type == ElemType::String.number() {
            self.strings(tensor, place).map(drop)
        } else {
            self.decode(tensor, place).map(drop)
        }
    }

    /// Checks a sparse tensor without making it dense.
    pub(crate) fn check_sparse(&self, sparse: &SparseTensorProto, place: &str) -> Result<()> {
        self.coordinates(sparse, place).map(drop)
    }

    /// The sparse tensor made dense, zero where it has no value.
    ///
    /// Errors: as [`TensorStore::decode`]; `Limit` when the dense form exceeds
    /// [`Budget::dense_bytes`]; `Unsupported` for elements narrower than a byte.
    pub fn dense(&self, sparse: &SparseTensorProto, place: &str) -> Result<TensorData> {
        let (values, shape, positions) = self.coordinates(sparse, place)?;
        let bits = values.dtype.bits();
        if bits < 8 {
            let what = format!("a sparse tensor of {}", values.dtype.name());
            return Err(OnnxError::unsupported(place, what));
        }
        let width = (bits / 8) as usize;
        let need = values.dtype.bytes_of(element_count(&shape));
        let (need, limit) = (need.unwrap_or(u64::MAX), self.budget.dense_bytes);
        within(
            need,
            limit,
            "bytes of a sparse tensor made dense",
            "dense_bytes",
            || place.to_owned(),
        )?;
        let mut bytes = vec![0u8; need as usize];
        for (value, &position) in values.bytes.chunks_exact(width).zip(&positions) {
            let start = position as usize * width;
            bytes[start..start + width].copy_from_slice(value);
        }
        Ok(TensorData {
            dtype: values.dtype,
            shape,
            bytes: bytes.into(),
        })
    }

    /// Values, dense shape and the linear position of each value: ascending and within the shape.
    fn coordinates(
        &self,
        sparse: &SparseTensorProto,
        place: &str,
    ) -> Result<(TensorData, Vec<usize>, Vec<u64>)> {
        let missing = |what| OnnxError::invalid(place, format!("the sparse tensor has no {what}"));
        let tensor = sparse.values.as_ref().ok_or_else(|| missing("values"))?;
        let at = At { tensor, place };
        let values = self.decode(tensor, place)?;
        let indices = sparse.indices.as_ref().ok_or_else(|| missing("indices"))?;
        let indices = self.decode(indices, place)?;
        let shape = self.shape(&sparse.dims, &at)?;
        let count = values.count();
        let rank = match indices.shape[..] {
            _ if values.shape.len() != 1 || indices.dtype != ElemType::I64 => None,
            [n] if n == count => Some(1),
            [n, rank] if n == count && rank == shape.len() => Some(rank),
            _ => None,
        };
        let Some(rank) = rank else {
            return Err(at.invalid("sparse values must be [N], indices INT64 [N] or [N, rank]"));
        };
        let linear = indices.shape.len() == 1;
        let total = element_count(&shape);
        let numbers: Vec<i64> = (indices.bytes.chunks_exact(8))
            .map(|b| i64::from_le_bytes(b.try_into().expect("invariant: chunks of 8")))
            .collect();
        let mut positions = Vec::with_capacity(count);
        for index in 0..count {
            let row = &numbers[index * rank..(index + 1) * rank];
            let position = if linear {
                u64::try_from(row[0]).ok().filter(|&p| p < total)
            } else {
                linear_position(row, &shape)
            };
            match position {
                Some(p) if positions.last().is_none_or(|&last| last < p) => positions.push(p),
                Some(_) => return Err(at.invalid("sparse indices are not strictly ascending")),
                None => return Err(at.invalid("a sparse index lies outside the shape")),
            }
        }
        Ok((values, shape, positions))
    }

    /// Checked extents, whose product (zeros aside) fits in an `i64`.
    fn shape(&self, dims: &[i64], at: &At<'_>) -> Result<Vec<usize>> {
        let rank = dims.len() as u64;
        within(rank, self.budget.rank, "dimensions", "rank", || at.text())?;
        if let Some((axis, dim)) = dims.iter().enumerate().find(|(_, d)| **d < 0) {
            return Err(at.invalid(format!("dimension {axis} is negative ({dim})")));
        }
        let product = (dims.iter()).try_fold(1i64, |product, &dim| product.checked_mul(dim.max(1)));
        let elements = product.map_or(u64::MAX, |p| p as u64);
        let limit = i64::MAX as u64;
        within(
            elements,
            limit,
            "elements of a tensor",
            "tensor_bytes",
            || at.text(),
        )?;
        Ok(dims.iter().map(|&dim| dim as usize).collect())
    }

    /// The bytes of `count` elements, from wherever the tensor keeps them.
    fn payload(&self, at: &At<'_>, dtype: ElemType, count: u64, need: u64) -> Result<Bytes> {
        let tensor = at.tensor;
        match tensor.data_location {
            0 => {}
            1 => {
                at.only_fields(None, false)?;
                return self.external.slice(&tensor.external_data, need, &at.text());
            }
            other => return Err(at.invalid(format!("unknown data location {other}"))),
        }
        match &tensor.raw_data {
            Some(raw) if !raw.is_empty() => {
                at.only_fields(None, true)?;
                Ok(raw.clone())
            }
            _ => {
                at.only_fields(Some(TypedField::of(dtype)), true)?;
                at.typed(dtype, count)
            }
        }
    }
}

/// Elements of a checked shape.
fn element_count(shape: &[usize]) -> u64 {
    shape.iter().map(|&extent| extent as u64).product()
}

fn linear_position(row: &[i64], shape: &[usize]) -> Option<u64> {
    row.iter()
        .zip(shape)
        .try_fold(0u64, |position, (&index, &extent)| {
            let index = u64::try_from(index).ok().filter(|&i| i < extent as u64)?;
            Some(position * extent as u64 + index)
        })
}

/// The typed data fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TypedField {
    Float,
    Int32,
    String,
    Int64,
    Double,
    Uint64,
}

impl TypedField {
    /// The field that holds elements of this type.
    fn of(dtype: ElemType) -> Self {
        use ElemType as E;
        match dtype {
            E::F32 | E::Complex64 => Self::Float,
            E::F64 | E::Complex128 => Self::Double,
            E::I64 => Self::Int64,
            E::U32 | E::U64 => Self::Uint64,
            E::String => Self::String,
            _ => Self::Int32,
        }
    }
}

/// A tensor and where it is used.
struct At<'a> {
    tensor: &'a TensorProto,
    place: &'a str,
}

impl At<'_> {
    fn text(&self) -> String {
        if self.tensor.name.is_empty() {
            return self.place.to_owned();
        }
        format!("{}, tensor {}", self.place, quoted(&self.tensor.name))
    }

    fn invalid(&self, problem: impl Into<String>) -> OnnxError {
        OnnxError::invalid(self.text(), problem)
    }

    fn disagrees(&self, dtype: ElemType, need: u64, unit: &str, found: u64) -> OnnxError {
        let dims: Vec<String> = self.tensor.dims.iter().map(i64::to_string).collect();
        self.invalid(format!(
            "{}[{}] needs {need} {unit}, but {found} are stored",
            dtype.name(),
            dims.join(",")
        ))
    }

    fn elem_type(&self) -> Result<ElemType> {
        let number = self.tensor.data_type;
        if self.tensor.segment.is_some() {
            return Err(self.invalid("it is one segment of a split tensor"));
        }
        ElemType::from_number(number)
            .ok_or_else(|| self.invalid(format!("unknown element type {number}")))
    }

    /// Errors: `Invalid` when a data field other than those named holds elements.
    fn only_fields(&self, typed: Option<TypedField>, raw: bool) -> Result<()> {
        let t = self.tensor;
        let fields = [
            (TypedField::Float, "float_data", t.float_data.len()),
            (TypedField::Int32, "int32_data", t.int32_data.len()),
            (TypedField::String, "string_data", t.string_data.len()),
            (TypedField::Int64, "int64_data", t.int64_data.len()),
            (TypedField::Double, "double_data", t.double_data.len()),
            (TypedField::Uint64, "uint64_data", t.uint64_data.len()),
        ];
        let wrong = (fields.iter()).find(|(field, _, len)| *len > 0 && Some(*field) != typed);
        if let Some((_, name, _)) = wrong {
            return Err(self.invalid(format!("unexpected elements in {name}")));
        }
        if !raw && t.raw_data.as_ref().is_some_and(|raw| !raw.is_empty()) {
            return Err(self.invalid("unexpected elements in raw_data"));
        }
        Ok(())
    }

    /// Elements of the typed field of `dtype`, as bytes.
    fn typed(&self, dtype: ElemType, count: u64) -> Result<Bytes> {
        let t = self.tensor;
        let field = TypedField::of(dtype);
        let found = match field {
            TypedField::Float => t.float_data.len(),
            TypedField::Int32 => t.int32_data.len(),
            TypedField::String => t.string_data.len(),
            TypedField::Int64 => t.int64_data.len(),
            TypedField::Double => t.double_data.len(),
            TypedField::Uint64 => t.uint64_data.len(),
        } as u64;
        let need = match dtype {
            ElemType::Complex64 | ElemType::Complex128 => count.saturating_mul(2),
            ElemType::I4 | ElemType::U4 | ElemType::F4E2M1 => count.div_ceil(2),
            ElemType::I2 | ElemType::U2 => count.div_ceil(4),
            _ => count,
        };
        if need != found {
            return Err(self.disagrees(dtype, need, "stored numbers", found));
        }
        let bytes: Vec<u8> = match field {
            TypedField::Float => t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TypedField::Double => t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TypedField::Int64 => t.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TypedField::Uint64 if dtype == ElemType::U64 => {
                t.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect()
            }
            TypedField::Uint64 => self.narrow_u64()?,
            TypedField::Int32 => self.narrow_i32(dtype)?,
            TypedField::String => Vec::new(),
        };
        Ok(bytes.into())
    }

    fn narrow_u64(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.tensor.uint64_data.len() * 4);
        for &value in &self.tensor.uint64_data {
            let narrow = u32::try_from(value)
                .map_err(|_| self.invalid(format!("{value} does not fit in UINT32")))?;
            bytes.extend(narrow.to_le_bytes());
        }
        Ok(bytes)
    }

    fn narrow_i32(&self, dtype: ElemType) -> Result<Vec<u8>> {
        let values = &self.tensor.int32_data;
        let range = match dtype {
            ElemType::I32 => i32::MIN..=i32::MAX,
            ElemType::I16 => -0x8000..=0x7fff,
            ElemType::U16 | ElemType::F16 | ElemType::Bf16 => 0..=0xffff,
            ElemType::I8 => -0x80..=0x7f,
            ElemType::Bool => 0..=1,
            ElemType::F6E2M3 | ElemType::F6E3M2 => 0..=0x3f,
            ElemType::I4 | ElemType::I2 => -0x80..=0xff,
            _ => 0..=0xff,
        };
        if let Some(value) = values.iter().find(|value| !range.contains(value)) {
            return Err(self.invalid(format!("{value} does not fit in {}", dtype.name())));
        }
        let bytes = match dtype.bits() {
            32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            16 => (values.iter().flat_map(|v| (*v as u16).to_le_bytes())).collect(),
            6 => pack_six_bits(values),
            _ => values.iter().map(|v| *v as u8).collect(),
        };
        Ok(bytes)
    }
}

/// Six-bit codes as a bit stream, low bits first.
fn pack_six_bits(codes: &[i32]) -> Vec<u8> {
    let mut bytes = vec![0u8; (codes.len() * 6).div_ceil(8)];
    for (index, &code) in codes.iter().enumerate() {
        let (byte, shift) = (index * 6 / 8, index * 6 % 8);
        let pair = ((code as u16) << shift).to_le_bytes();
        bytes[byte] |= pair[0];
        if let Some(next) = bytes.get_mut(byte + 1) {
            *next |= pair[1];
        }
    }
    bytes
}

#[cfg(test)]
#[path = "tensor_tests.rs"]
mod tests;
