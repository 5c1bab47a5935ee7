//! Memory for the parameters of a kernel, filled with elements that depend on their logical index
//! only, so that all layouts of a buffer hold the same tensor.
use tensmith_ir::dtype::DType;
use tensmith_ir::loops::Buffer;
use tensmith_ir::tensor::{Tensor, Wide};
use tensmith_runtime::AlignedBytes;

/// Multiplies indices, so that neighbouring elements differ: an odd number near the golden ratio of
/// 2^64 (Knuth, The Art of Computer Programming, 6.4).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Units: bytes of a buffer, padding included; `None` if its extents are not known.
pub fn bytes(buffer: &Buffer) -> Option<usize> {
    let count = usize::try_from(buffer.count().as_const()?).ok()?;
    count.checked_mul(buffer.dtype.bytes())
}

/// Fills the memory of a buffer: floats in -1 to 1, truth values, and zeros where integers may be
/// indices. `number` tells buffers apart. Padding is 0, as are elements that are known to be.
///
/// Errors: extents are not known, or memory ends.
pub fn filled(buffer: &Buffer, number: u64) -> Result<AlignedBytes, String> {
    let all = bytes(buffer).ok_or("a size of the kernel is not known")?;
    let mut memory = AlignedBytes::zeroed(all).map_err(|e| e.to_string())?;
    let shape: Option<Vec<i64>> = buffer.shape.iter().map(|e| e.as_const()).collect();
    let shape = shape.ok_or("a size of the kernel is not known")?;
    if shape.contains(&0) {
        return Ok(memory);
    }
    let tables = offsets(buffer, &shape);
    let elements = Elements::of(buffer.dtype);
    let size = buffer.dtype.bytes();
    let mut index = vec![0usize; shape.len()];
    let mut linear = number.wrapping_mul(SPREAD) >> 20;
    loop {
        let offset: usize = index.iter().zip(&tables).map(|(i, table)| table[*i]).sum();
        let at = offset * size;
        if !is_zero(buffer, &index) {
            memory[at..at + size].copy_from_slice(elements.at(linear));
        }
        linear += 1;
        let Some(axis) = (0..shape.len()).rfind(|k| index[*k] + 1 < shape[*k] as usize) else {
            return Ok(memory);
        };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// Whether the element is known to be 0.
fn is_zero(buffer: &Buffer, index: &[usize]) -> bool {
    let mut ranges = buffer.nonzero.iter().zip(index);
    ranges.any(|((from, to), i)| !(*from..*to).contains(&(*i as i64)))
}

/// For each logical dimension what each of its indices adds to the offset of an element.
fn offsets(buffer: &Buffer, shape: &[i64]) -> Vec<Vec<usize>> {
    let mut tables: Vec<Vec<usize>> = shape.iter().map(|n| vec![0; *n as usize]).collect();
    let mut stride = 1;
    for part in buffer.layout.0.iter().rev() {
        let blocks = (shape[part.dim] + part.step - 1) / part.step;
        let extent = part.extent.unwrap_or(blocks);
        for (i, offset) in tables[part.dim].iter_mut().enumerate() {
            *offset += ((i as i64 / part.step) % extent * stride) as usize;
        }
        stride *= extent;
    }
    tables
}

/// Some elements of a type in their bytes.
struct Elements {
    bytes: Vec<u8>,
    size: usize,
    count: u64,
}

impl Elements {
    /// As many different ones as are worth it: a prime number of them, so that no row repeats.
    const COUNT: usize = 4093;

    fn of(dtype: DType) -> Elements {
        let wide = match dtype {
            _ if dtype.is_float() => {
                let unit = |k: u64| (k.wrapping_mul(SPREAD) >> 11) as f64 / (1u64 << 53) as f64;
                let values = (1..=Self::COUNT as u64).map(|k| 2.0 * unit(k) - 1.0);
                Wide::Float(values.collect())
            }
            DType::Bool => Wide::Int((0..Self::COUNT).map(|k| i128::from(k % 3 == 0)).collect()),
            DType::I8 | DType::U8 => Wide::Int((0..Self::COUNT).map(|k| (k % 7) as i128).collect()),
            _ => Wide::Int(vec![0; Self::COUNT]),
        };
        let tensor = Tensor::from_wide(dtype, vec![Self::COUNT], &wide);
        Elements {
            bytes: tensor.data.to_vec(),
            size: dtype.bytes(),
            count: Self::COUNT as u64,
        }
    }

    fn at(&self, k: u64) -> &[u8] {
        let at = (k % self.count) as usize * self.size;
        &self.bytes[at..at + self.size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::loops::{Layout, LayoutDim, Scope};

    #[test]
    fn layouts_hold_the_same_tensor() {
        let part = |dim, step, extent| LayoutDim { dim, step, extent };
        let blocked = Layout(vec![
            part(1, 8, None),
            part(0, 1, None),
            part(1, 1, Some(8)),
        ]);
        let buffer = |layout| Buffer {
            name: "a".into(),
            dtype: DType::F32,
            shape: vec![3.into(), 20.into()],
            layout,
            scope: Scope::Input,
            prefetch: 0,
            nonzero: vec![],
        };
        let (plain, packed) = (buffer(Layout::row_major(2)), buffer(blocked));
        let (a, b) = (filled(&plain, 1).unwrap(), filled(&packed, 1).unwrap());
        assert_eq!((a.len(), b.len()), (3 * 20 * 4, 3 * 24 * 4));
        for i in 0..3 {
            for j in 0..20 {
                let (p, q) = (4 * (20 * i + j), 4 * (24 * (j / 8) + 8 * i + j % 8));
                assert_eq!(a[p..p + 4], b[q..q + 4], "{i} {j}");
            }
        }
    }
}
