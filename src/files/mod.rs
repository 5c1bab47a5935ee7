//! Files of tensors, and files written whole or not at all.
mod npy;
mod npz;
mod onnx_data;
mod safetensors;

pub use npy::{read_npy, write_npy};
pub use npz::{read_npz, read_npz_bytes, write_npz};
pub use onnx_data::{DataSet, read_data_set};
pub use safetensors::read_safetensors;

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use tensmith_runtime::{Tensor, atomic};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// The greatest number of bytes of one tensor in a file: 16 GiB, above any sensible input, so
/// that a small compressed file cannot ask for unbounded memory.
pub(crate) const MAX_TENSOR_BYTES: u64 = 16 << 30;

/// Writes a file that appears whole or not at all.
///
/// Errors: the system refuses; an older file of that name then stays as it was.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> std::io::Result<()>,
) -> Result<()> {
    atomic::write_atomic(path, fill).map_err(|e| Error::io("write", path, e))
}

/// Whether [`write_atomic`] could write a file now, for what is written after much work.
///
/// Errors: the system would refuse.
pub fn check_writable(path: &Path) -> Result<()> {
    atomic::check_writable(path).map_err(|e| Error::io("write", path, e))
}

/// Reads a `.npz`, `.npy` (one tensor, named like the file) or `.safetensors` file.
///
/// Errors: an unknown extension, a file that cannot be read or understood.
pub fn read_named(path: &Path) -> Result<Named> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    match extension {
        "npz" => read_npz(path),
        "safetensors" => read_safetensors(path),
        "npy" => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            Ok(Named::from([(name.into_owned(), read_npy_file(path)?)]))
        }
        _ => Err(Error::file(
            path,
            "not a file of tensors by its name; use .npz, .npy or .safetensors",
        )),
    }
}

/// Reads a `.npy` file.
///
/// Errors: the file cannot be read or understood.
pub fn read_npy_file(path: &Path) -> Result<Tensor> {
    let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    let mut reader = std::io::BufReader::new(file);
    read_npy(&mut reader).map_err(|reason| Error::file(path, reason))
}
