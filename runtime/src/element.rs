//! Element types of tensors, and the Rust types that stand for them.

use core::fmt;
use core::str::FromStr;

use half::{bf16, f16};

/// The type of the elements of a tensor at the edge of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// 32-bit IEEE 754 binary floating point.
    F32,
    /// 64-bit IEEE 754 binary floating point.
    F64,
    /// 16-bit IEEE 754 binary floating point.
    F16,
    /// The upper 16 bits of an `F32`.
    BF16,
    /// 8-bit signed integer.
    I8,
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// 8-bit unsigned integer.
    U8,
    /// 16-bit unsigned integer.
    U16,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit unsigned integer.
    U64,
    /// Truth value in one byte, 0 or 1.
    Bool,
}

impl ElementType {
    /// Every element type.
    pub const ALL: [ElementType; 13] = [
        Self::F32,
        Self::F64,
        Self::F16,
        Self::BF16,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::Bool,
    ];

    /// Bytes of one element, which is also its alignment.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The short name, such as `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::Bool => "bool",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown element type {name:?}; expected one of f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool"
)]
pub struct UnknownElementType {
    /// The name found.
    pub name: String,
}

impl FromStr for ElementType {
    type Err = UnknownElementType;

    fn from_str(name: &str) -> Result<Self, UnknownElementType> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownElementType { name: name.into() })
    }
}

/// A Rust type with the memory layout of an [`ElementType`].
///
/// # Safety
/// The type has the size and alignment of `TYPE`, no padding, and every bit
/// pattern for which [`Element::bytes_are_valid`] returns true is a value.
pub unsafe trait Element: Copy + 'static {
    /// The element type that this type stands for.
    const TYPE: ElementType;

    /// Whether the bytes hold only values of this type.
    fn bytes_are_valid(_bytes: &[u8]) -> bool {
        true
    }
}

/// An [`Element`] for which every bit pattern is a value, so that raw bytes may
/// be written into it.
///
/// # Safety
/// Every bit pattern of the type is a value.
pub unsafe trait PlainElement: Element {}

macro_rules! element {
    ($($rust:ty => $kind:ident),* $(,)?) => {$(
        const _: () = assert!(
            size_of::<$rust>() == ElementType::$kind.size_bytes()
                && align_of::<$rust>() <= ElementType::$kind.size_bytes()
        );

        // SAFETY: plain numbers of that size; every bit pattern is a value.
        unsafe impl Element for $rust {
            const TYPE: ElementType = ElementType::$kind;
        }

        // SAFETY: as above.
        unsafe impl PlainElement for $rust {}
    )*};
}

element! {
    f32 => F32, f64 => F64, f16 => F16, bf16 => BF16,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
}

// SAFETY: one byte without padding, and bytes other than 0 and 1 are refused.
unsafe impl Element for bool {
    const TYPE: ElementType = ElementType::Bool;

    fn bytes_are_valid(bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| byte <= 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for kind in ElementType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("float".parse::<ElementType>().is_err());
    }

    #[test]
    fn truth_values_are_checked() {
        assert!(bool::bytes_are_valid(&[0, 1, 1]));
        assert!(!bool::bytes_are_valid(&[0, 2]));
        assert!(f32::bytes_are_valid(&[0xFF; 4]));
    }
}
