//! Steps that are skipped when their product exists and their inputs have not changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::process::timed;

/// A step, its inputs as a digest, and the paths that it makes.
pub struct Step {
    name: String,
    digest: String,
    stamp: PathBuf,
    products: Vec<PathBuf>,
}

impl Step {
    /// A step called `name` that reads the files `inputs` and makes `products`. Its stamp lies in
    /// `folder`, beneath `stamps/`.
    pub fn new(
        folder: &Path,
        name: &str,
        inputs: &[PathBuf],
        products: Vec<PathBuf>,
    ) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            digest: digest(inputs)?,
            stamp: folder.join("stamps").join(name),
            products,
        })
    }

    /// Whether every product exists and was made from the same inputs.
    pub fn is_done(&self) -> bool {
        let stamped = fs::read_to_string(&self.stamp).is_ok_and(|text| text == self.digest);
        stamped && self.products.iter().all(|product| product.exists())
    }

    /// Do the work unless it is done, then stamp it.
    pub fn ensure(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        timed(&self.name, work)?;
        for product in &self.products {
            anyhow::ensure!(
                product.exists(),
                "{}: {} was not made",
                self.name,
                product.display()
            );
        }
        let folder = self.stamp.parent().expect("invariant: beneath stamps/");
        fs::create_dir_all(folder)?;
        fs::write(&self.stamp, &self.digest)
            .with_context(|| format!("cannot write {}", self.stamp.display()))
    }
}

/// One digest over the names and the bytes of files.
fn digest(files: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().unwrap_or_default().as_encoded_bytes();
        for part in [name, bytes.as_slice()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    let hash = hasher.finalize();
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_when_input_or_product_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (input, product) = (folder.path().join("in"), folder.path().join("out"));
        fs::write(&input, "1").unwrap();
        let step = || {
            Step::new(
                folder.path(),
                "step",
                std::slice::from_ref(&input),
                vec![product.clone()],
            )
            .unwrap()
        };
        assert!(!step().is_done());
        assert!(step().ensure(|| Ok(())).is_err(), "the product is missing");
        assert!(!step().is_done());
        step().ensure(|| Ok(fs::write(&product, "")?)).unwrap();
        assert!(step().is_done());
        fs::write(&input, "2").unwrap();
        assert!(!step().is_done());
        fs::write(&input, "1").unwrap();
        assert!(step().is_done());
        fs::remove_file(&product).unwrap();
        assert!(!step().is_done());
    }
}
