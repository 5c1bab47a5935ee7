//! Element types of ONNX tensors.

/// An element type that a file can name; more than the compiler computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
#[allow(missing_docs, reason = "the schema's own names")]
pub enum ElemType {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    I32 = 6,
    I64 = 7,
    String = 8,
    Bool = 9,
    F16 = 10,
    F64 = 11,
    U32 = 12,
    U64 = 13,
    Complex64 = 14,
    Complex128 = 15,
    Bf16 = 16,
    F8E4M3Fn = 17,
    F8E4M3FnUz = 18,
    F8E5M2 = 19,
    F8E5M2FnUz = 20,
    U4 = 21,
    I4 = 22,
    F4E2M1 = 23,
    F8E8M0 = 24,
    U2 = 25,
    I2 = 26,
    F6E2M3 = 27,
    F6E3M2 = 28,
}

/// Every element type, its name in the schema, and its width in bits (0 for strings).
const TABLE: [(ElemType, &str, u64); 28] = [
    (ElemType::F32, "FLOAT", 32),
    (ElemType::U8, "UINT8", 8),
    (ElemType::I8, "INT8", 8),
    (ElemType::U16, "UINT16", 16),
    (ElemType::I16, "INT16", 16),
    (ElemType::I32, "INT32", 32),
    (ElemType::I64, "INT64", 64),
    (ElemType::String, "STRING", 0),
    (ElemType::Bool, "BOOL", 8),
    (ElemType::F16, "FLOAT16", 16),
    (ElemType::F64, "DOUBLE", 64),
    (ElemType::U32, "UINT32", 32),
    (ElemType::U64, "UINT64", 64),
    (ElemType::Complex64, "COMPLEX64", 64),
    (ElemType::Complex128, "COMPLEX128", 128),
    (ElemType::Bf16, "BFLOAT16", 16),
    (ElemType::F8E4M3Fn, "FLOAT8E4M3FN", 8),
    (ElemType::F8E4M3FnUz, "FLOAT8E4M3FNUZ", 8),
    (ElemType::F8E5M2, "FLOAT8E5M2", 8),
    (ElemType::F8E5M2FnUz, "FLOAT8E5M2FNUZ", 8),
    (ElemType::U4, "UINT4", 4),
    (ElemType::I4, "INT4", 4),
    (ElemType::F4E2M1, "FLOAT4E2M1", 4),
    (ElemType::F8E8M0, "FLOAT8E8M0", 8),
    (ElemType::U2, "UINT2", 2),
    (ElemType::I2, "INT2", 2),
    (ElemType::F6E2M3, "FLOAT6E2M3", 6),
    (ElemType::F6E3M2, "FLOAT6E3M2", 6),
];

impl ElemType {
    /// The element type with this number in the schema.
    pub fn from_number(number: i32) -> Option<Self> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        TABLE.get(index).map(|row| row.0)
    }

    /// The number in the schema.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The name in the schema.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Width of an element in bits; 0 for strings, whose elements have no fixed width.
    pub fn bits(self) -> u64 {
        self.row().2
    }

    /// Bytes of `count` elements, those narrower than a byte packed; `None` on overflow.
    pub fn bytes_of(self, count: u64) -> Option<u64> {
        Some(count.checked_mul(self.bits())?.div_ceil(8))
    }

    fn row(self) -> &'static (Self, &'static str, u64) {
        &TABLE[self as usize - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_numbers() {
        for number in 1..=28 {
            let elem = ElemType::from_number(number).unwrap();
            assert_eq!(elem.number(), number);
            assert_eq!(elem.row().0, elem);
        }
        for bad in [i32::MIN, -1, 0, 29, i32::MAX] {
            assert_eq!(ElemType::from_number(bad), None);
        }
    }
}
