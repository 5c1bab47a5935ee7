//! The `.npy` format.
//!
//! Source: NumPy documentation, `numpy.lib.format`, versions 1.0 to 3.0.
use super::MAX_TENSOR_BYTES;
use crate::convert::dtype;
use std::io::{Read, Write};
use tensmith_ir::dtype::DType;
use tensmith_runtime::tensor::checked_size_bytes;
use tensmith_runtime::{ElementType, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read: it holds a type and a shape.
const MAX_HEADER_BYTES: usize = 64 << 10;

struct Header {
    dtype: ElementType,
    swapped: bool,
    fortran: bool,
    shape: Vec<usize>,
}

/// Reads one tensor.
///
/// Errors: what is wrong, in words.
pub fn read_npy(reader: &mut impl Read) -> Result<Tensor, String> {
    let header = parse_header(&read_header(reader)?)?;
    let bytes = checked_size_bytes(header.dtype, &header.shape).map_err(|e| e.to_string())?;
    if bytes as u64 > MAX_TENSOR_BYTES {
        return Err(format!("a tensor of {bytes} bytes is too large to read"));
    }
    let mut data = Vec::new();
    reader
        .take(bytes as u64)
        .read_to_end(&mut data)
        .map_err(|e| format!("the data cannot be read: {e}"))?;
    if data.len() != bytes {
        let shape = &header.shape;
        return Err(format!(
            "shape {shape:?} takes {bytes} bytes, but the data has {}",
            data.len()
        ));
    }
    let size = header.dtype.size_bytes();
    if header.swapped {
        data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    if header.fortran {
        data = to_row_major(&data, &header.shape, size);
    }
    if header.dtype == ElementType::Bool {
        data.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    Tensor::from_bytes(header.dtype, &header.shape, &data).map_err(|e| e.to_string())
}

fn read_header(reader: &mut impl Read) -> Result<String, String> {
    let short = |_| "it is too short for a .npy header".to_string();
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(short)?;
    if &start[..6] != MAGIC {
        return Err("it does not begin like a .npy file; save it with numpy.save".into());
    }
    let length = match start[6] {
        1 => {
            let mut n = [0; 2];
            reader.read_exact(&mut n).map_err(short)?;
            usize::from(u16::from_le_bytes(n))
        }
        2 | 3 => {
            let mut n = [0; 4];
            reader.read_exact(&mut n).map_err(short)?;
            u32::from_le_bytes(n) as usize
        }
        version => return Err(format!("version {version} of the .npy format is unknown")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("its header has {length} bytes, which is too long"));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).map_err(short)?;
    String::from_utf8(text).map_err(|_| "its header is not text".into())
}

/// The text after `'key':`.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let found = quoted
        .iter()
        .find_map(|q| header.find(q.as_str()).map(|at| &header[at + q.len()..]));
    found
        .and_then(|rest| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| format!("its header has no `{key}`"))
}

fn parse_header(header: &str) -> Result<Header, String> {
    let descr = field(header, "descr")?;
    let quote = descr.chars().next().filter(|c| "'\"".contains(*c));
    let Some(quote) = quote else {
        return Err("records are not supported; save plain arrays".into());
    };
    let descr = descr[1..].split(quote).next().unwrap_or("");
    let fortran = field(header, "fortran_order")?.starts_with("True");
    let shape = field(header, "shape")?;
    let shape = shape
        .strip_prefix('(')
        .and_then(|s| s.split_once(')'))
        .ok_or("its shape is not a tuple")?
        .0;
    let shape = shape
        .split(',')
        .map(|d| d.trim().trim_end_matches('L'))
        .filter(|d| !d.is_empty())
        .map(|d| {
            d.parse::<usize>()
                .map_err(|_| format!("`{d}` is no extent"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (dtype, swapped) = parse_type(descr)?;
    Ok(Header {
        dtype,
        swapped,
        fortran,
        shape,
    })
}

fn parse_type(descr: &str) -> Result<(ElementType, bool), String> {
    let (order, code) = match descr.chars().next() {
        Some(c @ ('<' | '>' | '|' | '=')) => (c, &descr[1..]),
        _ => ('=', descr),
    };
    let dtype = match code {
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        "f2" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "i1" => ElementType::I8,
        "i2" => ElementType::I16,
        "i4" => ElementType::I32,
        "i8" => ElementType::I64,
        "u1" => ElementType::U8,
        "u2" => ElementType::U16,
        "u4" => ElementType::U32,
        "u8" => ElementType::U64,
        "b1" | "?" => ElementType::Bool,
        // How NumPy saves the type of the package `ml_dtypes`.
        "V2" => ElementType::BF16,
        _ => return Err(format!("elements of type `{descr}` are not supported")),
    };
    Ok((dtype, order == '>'))
}

fn to_row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..data.len() / size {
        let mut at = 0;
        for (i, extent) in index.iter().zip(shape).rev() {
            at = at * extent + i;
        }
        out.extend_from_slice(&data[at * size..][..size]);
        for (i, extent) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *extent {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// Writes one tensor. NumPy has no `bf16`: it is written as `f32`, which holds every value.
///
/// Errors: the writer's.
pub fn write_npy(writer: &mut impl Write, tensor: &Tensor) -> std::io::Result<()> {
    if tensor.dtype() == ElementType::BF16 {
        let wide = crate::convert::cast(tensor, ElementType::F32).map_err(std::io::Error::other)?;
        return write_npy(writer, &wide);
    }
    let kind = match dtype(tensor.dtype()) {
        DType::Bool => "|b1".to_string(),
        d => {
            let letter = match d {
                _ if d.is_float() => 'f',
                _ if d.is_signed() => 'i',
                _ => 'u',
            };
            let order = if d.bytes() == 1 { '|' } else { '<' };
            format!("{order}{letter}{}", d.bytes())
        }
    };
    let shape: String = tensor.shape().iter().map(|d| format!("{d}, ")).collect();
    let shape = match tensor.shape() {
        [_] => shape.trim_end().to_string(),
        _ => shape.trim_end_matches(", ").to_string(),
    };
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version, length, text and a newline make a multiple of 64.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    writer.write_all(&(length as u16).to_le_bytes())?;
    writer.write_all(format!("{text:<width$}\n", width = length - 1).as_bytes())?;
    writer.write_all(tensor.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn what_is_written_reads_back() {
        for dtype in ElementType::ALL {
            for shape in [vec![], vec![1], vec![0, 3], vec![2, 3]] {
                let mut tensor = Tensor::zeros(dtype, &shape).unwrap();
                tensor
                    .bytes_mut()
                    .iter_mut()
                    .step_by(2)
                    .for_each(|b| *b = 1);
                let mut bytes = Vec::new();
                write_npy(&mut bytes, &tensor).unwrap();
                let data_bytes: usize = if dtype == ElementType::BF16 { 2 } else { 1 };
                assert_eq!((bytes.len() - tensor.bytes().len() * data_bytes) % 64, 0);
                let read = read_npy(&mut &bytes[..]).unwrap();
                if dtype != ElementType::BF16 {
                    assert_eq!(read, tensor);
                }
                assert_eq!(read.shape(), shape);
            }
        }
    }

    #[test]
    fn fortran_order_and_byte_order_are_read() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }";
        let bytes = file(header, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6]);
        let tensor = read_npy(&mut &bytes[..]).unwrap();
        assert_eq!(tensor.as_slice::<i16>().unwrap(), &[1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn damaged_files_are_errors() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let cases = [
            (b"hello, this is text".to_vec(), "begin like"),
            (b"\x93NUM".to_vec(), "too short"),
            (file(good, &[0; 7]), "takes 8 bytes"),
            (file(&good.replace("<f4", "|O"), &[0; 8]), "not supported"),
            (file(&good.replace("(2,)", "(-2,)"), &[]), "no extent"),
            (
                file(&good.replace("(2,)", "(99999999999999999, 9999999)"), &[]),
                "too many bytes",
            ),
            (file(&good.replace("(2,)", "(9999999999999)"), &[]), "large"),
            (file("{}", &[]), "no `descr`"),
        ];
        for (bytes, part) in cases {
            let error = read_npy(&mut &bytes[..]).unwrap_err();
            assert!(error.contains(part), "{error} / {part}");
        }
    }
}
