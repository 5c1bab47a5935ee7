//! Tensors on the host: constants, inputs and results of evaluators.
use crate::dtype::DType;
use bytes::Bytes;
use half::{bf16, f16};

/// A dense row-major tensor of shared little-endian bytes. Cloning shares the bytes.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    /// The element type.
    pub dtype: DType,
    /// The extents.
    pub shape: Vec<usize>,
    /// Elements, row-major, little-endian; of any alignment.
    pub data: Bytes,
}

/// The elements of a tensor in a type wide enough to compute in.
#[derive(Clone, Debug, PartialEq)]
pub enum Wide {
    /// Floating-point elements; every narrower float is exact in `f64`.
    Float(Vec<f64>),
    /// Integers and booleans.
    Int(Vec<i128>),
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Tensor({}{:?}, {} bytes)",
            self.dtype,
            self.shape,
            self.data.len()
        )
    }
}

impl Tensor {
    /// A tensor over shared bytes; `None` if the number of bytes does not fit the shape.
    pub fn new(dtype: DType, shape: Vec<usize>, data: Bytes) -> Option<Self> {
        let count = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b))?;
        (count.checked_mul(dtype.bytes())? == data.len()).then_some(Tensor { dtype, shape, data })
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.data.len() / self.dtype.bytes()
    }

    /// A tensor of `i64`.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Self {
        Self::from_wide(
            DType::I64,
            shape,
            &Wide::Int(values.iter().map(|v| i128::from(*v)).collect()),
        )
    }

    /// A tensor of `f32`.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor {
            dtype: DType::F32,
            shape,
            data: data.into(),
        }
    }

    /// A tensor whose elements are all `value`, rounded or wrapped to the type.
    pub fn splat(dtype: DType, shape: Vec<usize>, value: f64) -> Self {
        let count = shape.iter().product();
        let wide = if dtype.is_float() {
            Wide::Float(vec![value; count])
        } else {
            Wide::Int(vec![value as i128; count])
        };
        Self::from_wide(dtype, shape, &wide)
    }

    /// Elements rounded (to nearest even) or wrapped to `dtype`. `bool` is "not 0".
    ///
    /// Panics: if the number of elements does not fit the shape, or the kind (float or not) does
    /// not fit `dtype`.
    pub fn from_wide(dtype: DType, shape: Vec<usize>, wide: &Wide) -> Self {
        let mut data = Vec::with_capacity(shape.iter().product::<usize>() * dtype.bytes());
        match (dtype, wide) {
            (DType::F64, Wide::Float(v)) => v.iter().for_each(|x| data.extend(x.to_le_bytes())),
            (DType::F32, Wide::Float(v)) => v
                .iter()
                .for_each(|x| data.extend((*x as f32).to_le_bytes())),
            (DType::F16, Wide::Float(v)) => {
                v.iter().for_each(|x| data.extend(to_f16(*x).to_le_bytes()))
            }
            (DType::BF16, Wide::Float(v)) => v
                .iter()
                .for_each(|x| data.extend(to_bf16(*x).to_le_bytes())),
            (DType::Bool, Wide::Int(v)) => data.extend(v.iter().map(|x| u8::from(*x != 0))),
            (_, Wide::Int(v)) => {
                let size = dtype.bytes();
                v.iter().for_each(|x| data.extend(&x.to_le_bytes()[..size]));
            }
            (_, Wide::Float(_)) => panic!("float elements for a tensor of {dtype}"),
        }
        Tensor::new(dtype, shape, data.into())
            .expect("invariant: as many elements as the shape says")
    }

    /// The elements in a wide type.
    pub fn to_wide(&self) -> Wide {
        fn each<const N: usize, T>(data: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
            data.chunks_exact(N)
                .map(|c| f(c.try_into().expect("invariant: chunks of N")))
                .collect()
        }
        let d = &self.data[..];
        match self.dtype {
            DType::F64 => Wide::Float(each(d, f64::from_le_bytes)),
            DType::F32 => Wide::Float(each(d, |b| f64::from(f32::from_le_bytes(b)))),
            DType::F16 => Wide::Float(each(d, |b| f16::from_le_bytes(b).to_f64())),
            DType::BF16 => Wide::Float(each(d, |b| bf16::from_le_bytes(b).to_f64())),
            DType::I8 => Wide::Int(each(d, |b| i8::from_le_bytes(b).into())),
            DType::I16 => Wide::Int(each(d, |b| i16::from_le_bytes(b).into())),
            DType::I32 => Wide::Int(each(d, |b| i32::from_le_bytes(b).into())),
            DType::I64 => Wide::Int(each(d, |b| i64::from_le_bytes(b).into())),
            DType::U8 => Wide::Int(each(d, |b| u8::from_le_bytes(b).into())),
            DType::U16 => Wide::Int(each(d, |b| u16::from_le_bytes(b).into())),
            DType::U32 => Wide::Int(each(d, |b| u32::from_le_bytes(b).into())),
            DType::U64 => Wide::Int(each(d, |b| u64::from_le_bytes(b).into())),
            DType::Bool => Wide::Int(each(d, |b: [u8; 1]| i128::from(b[0] != 0))),
        }
    }

    /// The elements as `f64`, whatever the type.
    pub fn to_f64(&self) -> Vec<f64> {
        match self.to_wide() {
            Wide::Float(v) => v,
            Wide::Int(v) => v.into_iter().map(|x| x as f64).collect(),
        }
    }

    /// The elements as `i64`; floats are truncated.
    pub fn to_i64(&self) -> Vec<i64> {
        match self.to_wide() {
            Wide::Float(v) => v.into_iter().map(|x| x as i64).collect(),
            Wide::Int(v) => v.into_iter().map(|x| x as i64).collect(),
        }
    }
}

/// Rounds a float to what `dtype` can hold.
pub fn round_to(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(x as f32),
        DType::F16 => to_f16(x).to_f64(),
        DType::BF16 => to_bf16(x).to_f64(),
        _ => x,
    }
}

/// Wraps an integer to what `dtype` can hold; `bool` is "not 0".
pub fn wrap_to(dtype: DType, x: i128) -> i128 {
    match dtype {
        DType::Bool => i128::from(x != 0),
        DType::I8 => (x as i8).into(),
        DType::I16 => (x as i16).into(),
        DType::I32 => (x as i32).into(),
        DType::I64 => (x as i64).into(),
        DType::U8 => (x as u8).into(),
        DType::U16 => (x as u16).into(),
        DType::U32 => (x as u32).into(),
        DType::U64 => (x as u64).into(),
        _ => x,
    }
}

/// The nearest `f16`, ties to even, rounded once.
pub fn to_f16(x: f64) -> f16 {
    f16::from_f32(round_to_odd(x))
}

/// The nearest `bf16`, ties to even, rounded once.
pub fn to_bf16(x: f64) -> bf16 {
    bf16::from_f32(round_to_odd(x))
}

/// The `f32` nearest to `x` towards 0, with the last bit set if that is inexact: rounding the
/// result once more to a narrower type gives what rounding `x` to it would.
fn round_to_odd(x: f64) -> f32 {
    let y = x as f32;
    let back = f64::from(y);
    if x.is_nan() || back == x {
        return y;
    }
    let towards_zero = y.to_bits() - u32::from(back.abs() > x.abs());
    f32::from_bits(towards_zero | 1)
}
