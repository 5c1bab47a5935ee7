//! The `.npz` format: a zip archive of `.npy` files.
use super::{Named, read_npy, write_atomic, write_npy};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;
use tensmith_runtime::Tensor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// From this size on, entries need the 64-bit form of zip archives.
const LARGE_ENTRY_BYTES: usize = (1 << 32) - (1 << 20);

/// Reads all tensors of a file.
///
/// Errors: the file cannot be read or understood.
pub fn read_npz(path: &Path) -> Result<Named> {
    let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    read_archive(BufReader::new(file)).map_err(|reason| Error::file(path, reason))
}

/// Reads all tensors of an archive in memory.
///
/// Errors: what is wrong, in words.
pub fn read_npz_bytes(bytes: &[u8]) -> std::result::Result<Named, String> {
    read_archive(Cursor::new(bytes))
}

fn read_archive(reader: impl Read + Seek) -> std::result::Result<Named, String> {
    let mut archive = ZipArchive::new(reader)
        .map_err(|e| format!("not a .npz archive ({e}); save it with numpy.savez"))?;
    let mut tensors = Named::new();
    for k in 0..archive.len() {
        let mut entry = archive
            .by_index(k)
            .map_err(|e| format!("entry {k} cannot be read: {e}"))?;
        let name = entry
            .name()
            .map_err(|e| format!("the name of entry {k} cannot be read: {e}"))?
            .into_owned();
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_string();
        let tensor = read_npy(&mut entry).map_err(|e| format!("entry `{name}`: {e}"))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Writes tensors by name, uncompressed, as `numpy.savez` does; names may contain slashes. A name
/// that comes again, as where a model lists a result twice, is of the same tensor.
///
/// Errors: the system refuses.
pub fn write_npz<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<()> {
    write_atomic(path, |file| {
        let mut archive = ZipWriter::new_stream(file);
        let mut written = HashSet::new();
        for (name, tensor) in tensors {
            if !written.insert(name) {
                continue;
            }
            let large = tensor.bytes().len() >= LARGE_ENTRY_BYTES;
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(large);
            archive.start_file(format!("{name}.npy"), options)?;
            write_npy(&mut archive, tensor)?;
        }
        archive.finish()?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_contain_slashes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let a = Tensor::from_slice(&[2], &[1_f32, 2.0]).unwrap();
        let b = Tensor::from_slice(&[], &[7_i64]).unwrap();
        write_npz(&path, [("/x/y:0", &a), ("b", &b), ("b", &b)]).unwrap();
        let read = read_npz(&path).unwrap();
        assert_eq!(read["/x/y:0"], a);
        assert_eq!(read["b"], b);
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn text_is_an_error() {
        let error = read_npz_bytes(b"hello").unwrap_err();
        assert!(error.contains("numpy.savez"), "{error}");
    }
}
