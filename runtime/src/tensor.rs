//! Tensors at the edge of the API: dense, row-major, native byte order.

use core::slice;

use crate::aligned::{AlignedBytes, AllocationError};
use crate::element::{Element, ElementType, PlainElement};

/// Why a tensor could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape asks for more bytes than an address can count.
    #[error("a {dtype} tensor of shape {shape:?} has too many bytes; use smaller dimensions")]
    TooLarge {
        /// The element type.
        dtype: ElementType,
        /// The shape.
        shape: Vec<usize>,
    },
    /// The data has another length than the shape says.
    #[error(
        "a {dtype} tensor of shape {shape:?} takes {expected} bytes, but the data has {found}; pass data of that length"
    )]
    LengthMismatch {
        /// The element type.
        dtype: ElementType,
        /// The shape.
        shape: Vec<usize>,
        /// Bytes that the shape takes.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Borrowed data starts at an address that its element type cannot have.
    #[error("data of a {dtype} tensor is not aligned to {alignment} bytes; copy it into a Tensor")]
    Misaligned {
        /// The element type.
        dtype: ElementType,
        /// The alignment needed.
        alignment: usize,
    },
    /// The tensor was read as another type than its own.
    #[error("the tensor holds {found} elements, not {requested}; read it as {found}")]
    TypeMismatch {
        /// The element type of the tensor.
        found: ElementType,
        /// The element type asked for.
        requested: ElementType,
    },
    /// A byte of a bool tensor is neither 0 nor 1.
    #[error("a bool tensor holds a byte that is neither 0 nor 1; write 0 or 1 for each element")]
    InvalidBool,
    /// Memory could not be had.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
}

/// Bytes of a dense tensor of that type and shape.
///
/// Errors: the number exceeds `isize::MAX`, the most that an address range
/// can hold.
pub fn checked_size_bytes(dtype: ElementType, shape: &[usize]) -> Result<usize, TensorError> {
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(dtype.size_bytes(), |size, &dim| size.checked_mul(dim))
        .filter(|&size| size <= isize::MAX as usize)
        .ok_or_else(|| TensorError::TooLarge {
            dtype,
            shape: shape.to_vec(),
        })
}

fn check_length(dtype: ElementType, shape: &[usize], found: usize) -> Result<(), TensorError> {
    let expected = checked_size_bytes(dtype, shape)?;
    if found == expected {
        return Ok(());
    }
    Err(TensorError::LengthMismatch {
        dtype,
        shape: shape.to_vec(),
        expected,
        found,
    })
}

fn check_alignment(dtype: ElementType, data: *const u8) -> Result<(), TensorError> {
    let alignment = dtype.size_bytes();
    if data.addr().is_multiple_of(alignment) {
        return Ok(());
    }
    Err(TensorError::Misaligned { dtype, alignment })
}

fn check_values(dtype: ElementType, data: &[u8]) -> Result<(), TensorError> {
    if dtype == ElementType::Bool && !bool::bytes_are_valid(data) {
        return Err(TensorError::InvalidBool);
    }
    Ok(())
}

/// Checks everything that reading `data` as elements of `T` relies on.
fn check_elements<T: Element>(dtype: ElementType, data: &[u8]) -> Result<(), TensorError> {
    if T::TYPE != dtype {
        return Err(TensorError::TypeMismatch {
            found: dtype,
            requested: T::TYPE,
        });
    }
    check_alignment(dtype, data.as_ptr())?;
    check_values(dtype, data)
}

fn elements<T: Element>(dtype: ElementType, data: &[u8]) -> Result<&[T], TensorError> {
    check_elements::<T>(dtype, data)?;
    let len = data.len() / size_of::<T>();
    // SAFETY: type, alignment and values were checked; `len` elements fit.
    Ok(unsafe { slice::from_raw_parts(data.as_ptr().cast(), len) })
}

fn elements_mut<T: Element>(dtype: ElementType, data: &mut [u8]) -> Result<&mut [T], TensorError> {
    check_elements::<T>(dtype, data)?;
    let len = data.len() / size_of::<T>();
    // SAFETY: as in `elements`; the borrow is exclusive, and every value of an
    // element type is valid as bytes.
    Ok(unsafe { slice::from_raw_parts_mut(data.as_mut_ptr().cast(), len) })
}

fn bytes_of<T: Element>(values: &[T]) -> &[u8] {
    // SAFETY: element types have no padding, so all bytes are initialised.
    unsafe { slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// A tensor that owns its data, 64-byte aligned.
#[derive(Debug)]
pub struct Tensor {
    dtype: ElementType,
    shape: Vec<usize>,
    /// At least as many bytes as the shape takes.
    data: AlignedBytes,
    len: usize,
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// Errors: the shape is too large for the address space or the memory.
    pub fn zeros(dtype: ElementType, shape: &[usize]) -> Result<Self, TensorError> {
        let len = checked_size_bytes(dtype, shape)?;
        Ok(Tensor {
            dtype,
            shape: shape.to_vec(),
            data: AlignedBytes::zeroed(len)?,
            len,
        })
    }

    /// A tensor with a copy of `values` in row-major order.
    ///
    /// Errors: the number of values is not that of the shape, or memory ends.
    pub fn from_slice<T: Element>(shape: &[usize], values: &[T]) -> Result<Self, TensorError> {
        Self::from_bytes(T::TYPE, shape, bytes_of(values))
    }

    /// A tensor with a copy of `bytes`, which may have any alignment.
    ///
    /// Errors: the number of bytes is not that of the shape, a bool is neither
    /// 0 nor 1, or memory ends.
    pub fn from_bytes(
        dtype: ElementType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Self, TensorError> {
        check_length(dtype, shape, bytes.len())?;
        check_values(dtype, bytes)?;
        Ok(Tensor {
            dtype,
            shape: shape.to_vec(),
            data: AlignedBytes::copy_of(bytes)?,
            len: bytes.len(),
        })
    }

    /// Gives the tensor another shape. The contents are unspecified after it.
    /// Allocates only if a larger size or rank is needed than ever before.
    ///
    /// Errors: the shape is too large; the tensor is then unchanged.
    pub fn resize(&mut self, shape: &[usize]) -> Result<(), TensorError> {
        let len = checked_size_bytes(self.dtype, shape)?;
        if len > self.data.len() {
            self.data = AlignedBytes::zeroed(len)?;
        }
        self.len = len;
        self.shape.clear();
        self.shape.extend_from_slice(shape);
        Ok(())
    }

    /// The element type.
    pub fn dtype(&self) -> ElementType {
        self.dtype
    }

    /// The extents of the axes; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn element_count(&self) -> usize {
        self.len / self.dtype.size_bytes()
    }

    /// The data as bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data[..self.len]
    }

    /// The data as bytes. Bytes of a bool tensor are to be 0 or 1.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data[..self.len]
    }

    /// The elements in row-major order.
    ///
    /// Errors: `T` is not the element type of the tensor, or a bool is neither
    /// 0 nor 1.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        elements(self.dtype, self.bytes())
    }

    /// The elements in row-major order, for writing.
    ///
    /// Errors: as for [`Tensor::as_slice`].
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        elements_mut(self.dtype, &mut self.data[..self.len])
    }

    /// A view of the whole tensor.
    pub fn view(&self) -> TensorView<'_> {
        TensorView {
            dtype: self.dtype,
            shape: &self.shape,
            data: self.bytes(),
        }
    }

    /// A writable view of the whole tensor.
    pub fn view_mut(&mut self) -> TensorViewMut<'_> {
        TensorViewMut {
            dtype: self.dtype,
            shape: &self.shape,
            data: &mut self.data[..self.len],
        }
    }

    /// A copy of the tensor.
    ///
    /// Errors: memory ends.
    pub fn try_clone(&self) -> Result<Self, TensorError> {
        self.view().to_tensor()
    }
}

/// Equal type, shape and bytes: NaN equals itself, and 0 differs from -0.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        (self.dtype, self.shape(), self.bytes()) == (other.dtype, other.shape(), other.bytes())
    }
}

impl Eq for Tensor {}

/// A tensor in borrowed memory.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    dtype: ElementType,
    shape: &'a [usize],
    data: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// A view of `data` as a dense tensor.
    ///
    /// Errors: length or alignment of the data are wrong, or a bool is neither
    /// 0 nor 1.
    pub fn new(
        dtype: ElementType,
        shape: &'a [usize],
        data: &'a [u8],
    ) -> Result<Self, TensorError> {
        check_length(dtype, shape, data.len())?;
        check_alignment(dtype, data.as_ptr())?;
        check_values(dtype, data)?;
        Ok(TensorView { dtype, shape, data })
    }

    /// A view of `values` in row-major order.
    ///
    /// Errors: the number of values is not that of the shape.
    pub fn from_slice<T: Element>(
        shape: &'a [usize],
        values: &'a [T],
    ) -> Result<Self, TensorError> {
        Self::new(T::TYPE, shape, bytes_of(values))
    }

    /// The element type.
    pub fn dtype(&self) -> ElementType {
        self.dtype
    }

    /// The extents of the axes; empty for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The number of elements.
    pub fn element_count(&self) -> usize {
        self.data.len() / self.dtype.size_bytes()
    }

    /// The data as bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// The elements in row-major order.
    ///
    /// Errors: as for [`Tensor::as_slice`].
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], TensorError> {
        elements(self.dtype, self.data)
    }

    /// An owned copy.
    ///
    /// Errors: memory ends.
    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        Ok(Tensor {
            dtype: self.dtype,
            shape: self.shape.to_vec(),
            data: AlignedBytes::copy_of(self.data)?,
            len: self.data.len(),
        })
    }
}

/// A tensor in borrowed memory that can be written.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    dtype: ElementType,
    shape: &'a [usize],
    data: &'a mut [u8],
}

impl<'a> TensorViewMut<'a> {
    /// A writable view of `data` as a dense tensor of bytes that need not hold
    /// valid elements yet.
    ///
    /// Errors: length or alignment of the data are wrong.
    pub fn new(
        dtype: ElementType,
        shape: &'a [usize],
        data: &'a mut [u8],
    ) -> Result<Self, TensorError> {
        check_length(dtype, shape, data.len())?;
        check_alignment(dtype, data.as_ptr())?;
        Ok(TensorViewMut { dtype, shape, data })
    }

    /// A writable view of `values` in row-major order.
    ///
    /// Errors: the number of values is not that of the shape.
    pub fn from_mut_slice<T: PlainElement>(
        shape: &'a [usize],
        values: &'a mut [T],
    ) -> Result<Self, TensorError> {
        let bytes = size_of_val(values);
        // SAFETY: plain elements have no padding and every bit pattern is a
        // value, so any bytes may be read and written; the borrow is exclusive.
        let data = unsafe { slice::from_raw_parts_mut(values.as_mut_ptr().cast(), bytes) };
        Self::new(T::TYPE, shape, data)
    }

    /// The element type.
    pub fn dtype(&self) -> ElementType {
        self.dtype
    }

    /// The extents of the axes; empty for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The number of elements.
    pub fn element_count(&self) -> usize {
        self.data.len() / self.dtype.size_bytes()
    }

    /// The data as bytes.
    pub fn bytes(&self) -> &[u8] {
        self.data
    }

    /// The data as bytes. Bytes of a bool tensor are to be 0 or 1.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.data
    }

    /// The elements in row-major order.
    ///
    /// Errors: as for [`Tensor::as_slice`].
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        elements(self.dtype, self.data)
    }

    /// The elements in row-major order, for writing.
    ///
    /// Errors: as for [`Tensor::as_slice`].
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        elements_mut(self.dtype, self.data)
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn typed_data_round_trips() {
        fn check<T: Element + PartialEq + core::fmt::Debug>(values: &[T]) {
            let tensor = Tensor::from_slice(&[2, values.len() / 2], values).expect("valid");
            assert_eq!(tensor.dtype(), T::TYPE);
            assert_eq!(tensor.element_count(), values.len());
            assert_eq!(tensor.as_slice::<T>().expect("own type"), values);
            assert_eq!(tensor.try_clone().expect("small"), tensor);
            let view = TensorView::from_slice(tensor.shape(), values).expect("valid");
            assert_eq!(view.as_slice::<T>().expect("own type"), values);
        }
        check(&[1.5_f32, -0.0, f32::INFINITY, 2.0]);
        check(&[1.5_f64, -2.0]);
        check(&[f16::from_f32(0.5), f16::ONE]);
        check(&[bf16::from_f32(0.5), bf16::ONE]);
        check(&[-1_i8, 1]);
        check(&[-1_i16, 1]);
        check(&[-1_i32, 1]);
        check(&[i64::MIN, i64::MAX]);
        check(&[0_u8, 255]);
        check(&[0_u16, 65535]);
        check(&[0_u32, u32::MAX]);
        check(&[0_u64, u64::MAX]);
        check(&[true, false]);
    }

    #[test]
    fn scalars_have_one_element_and_empty_axes_none() {
        let scalar = Tensor::from_slice(&[], &[7_i64]).expect("valid");
        assert_eq!(scalar.as_slice::<i64>(), Ok(&[7][..]));
        let empty = Tensor::zeros(ElementType::F32, &[usize::MAX, usize::MAX, 0]).expect("empty");
        assert_eq!(empty.element_count(), 0);
        assert_eq!(empty.as_slice::<f32>(), Ok(&[][..]));
    }

    #[test]
    fn sizes_that_overflow_are_errors() {
        for shape in [vec![usize::MAX, 2], vec![1 << 62], vec![1 << 32, 1 << 32]] {
            let error = Tensor::zeros(ElementType::F32, &shape).expect_err("too large");
            assert!(matches!(error, TensorError::TooLarge { .. }), "{shape:?}");
        }
        let error = Tensor::zeros(ElementType::U8, &[isize::MAX as usize - 64]);
        assert!(matches!(error, Err(TensorError::Allocation(_))));
    }

    #[test]
    fn wrong_length_type_and_alignment_are_errors() {
        let error = Tensor::from_slice(&[3], &[1_f32, 2.0]).expect_err("length");
        let expected = TensorError::LengthMismatch {
            dtype: ElementType::F32,
            shape: vec![3],
            expected: 12,
            found: 8,
        };
        assert_eq!(error, expected);

        let tensor = Tensor::zeros(ElementType::I32, &[2]).expect("small");
        let expected = TensorError::TypeMismatch {
            found: ElementType::I32,
            requested: ElementType::F32,
        };
        assert_eq!(tensor.as_slice::<f32>(), Err(expected));

        let block = AlignedBytes::zeroed(9).expect("small");
        let error = TensorView::new(ElementType::F32, &[2], &block[1..]).expect_err("odd address");
        assert!(matches!(
            error,
            TensorError::Misaligned { alignment: 4, .. }
        ));
        assert!(Tensor::from_bytes(ElementType::F32, &[2], &block[1..]).is_ok());
    }

    #[test]
    fn invalid_truth_values_are_never_read() {
        let from_bytes = Tensor::from_bytes(ElementType::Bool, &[2], &[1, 2]);
        assert_eq!(from_bytes, Err(TensorError::InvalidBool));
        let view = TensorView::new(ElementType::Bool, &[2], &[1, 2]);
        assert_eq!(view.map(|_| ()), Err(TensorError::InvalidBool));
        let mut tensor = Tensor::zeros(ElementType::Bool, &[2]).expect("small");
        tensor.bytes_mut()[1] = 3;
        assert_eq!(tensor.as_slice::<bool>(), Err(TensorError::InvalidBool));
        assert_eq!(tensor.as_mut_slice::<bool>(), Err(TensorError::InvalidBool));
    }

    #[test]
    fn resize_keeps_the_buffer_while_it_fits() {
        let mut tensor = Tensor::zeros(ElementType::F32, &[4, 4]).expect("small");
        let address = tensor.bytes().as_ptr();
        tensor.resize(&[3, 2]).expect("smaller");
        assert_eq!((tensor.shape(), tensor.bytes().len()), (&[3, 2][..], 24));
        tensor.resize(&[16]).expect("as large as before");
        assert_eq!(tensor.bytes().as_ptr(), address);
        tensor.resize(&[17]).expect("larger");
        assert_eq!(tensor.as_slice::<f32>().map(<[f32]>::len), Ok(17));
        assert!(tensor.resize(&[usize::MAX]).is_err());
        assert_eq!(tensor.shape(), [17]);
    }

    #[test]
    fn writable_views_reach_the_data() {
        let mut values = [0_f32; 4];
        let mut view = TensorViewMut::from_mut_slice(&[2, 2], &mut values).expect("valid");
        view.as_mut_slice::<f32>().expect("own type")[3] = 2.0;
        assert_eq!(values, [0.0, 0.0, 0.0, 2.0]);
        let mut tensor = Tensor::zeros(ElementType::U8, &[2]).expect("small");
        tensor.view_mut().bytes_mut()[0] = 9;
        assert_eq!(tensor.view().as_slice::<u8>(), Ok(&[9, 0][..]));
    }
}
