//! Where things lie.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders at the top that hold no sources.
const PRODUCTS: [&str; 2] = ["target", "models"];

/// The checkout and the folder of the models.
pub struct Workspace {
    /// The checkout.
    pub root: PathBuf,
    /// `TENSMITH_MODELS`, or `models/` in the checkout.
    pub models: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub fn here() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("invariant: xtask is a folder of the workspace")
            .to_path_buf();
        let models = match env::var_os("TENSMITH_MODELS").filter(|value| !value.is_empty()) {
            Some(folder) => env::current_dir().unwrap_or_default().join(folder),
            None => root.join("models"),
        };
        Self { root, models }
    }

    /// The folder of the Python scripts and pins.
    pub fn scripts(&self) -> PathBuf {
        self.root.join("tests/models")
    }

    /// Every file of the checkout that is neither hidden nor a product, relative to the root,
    /// sorted.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder))? {
                let entry = entry?;
                let path = folder.join(entry.file_name());
                let kind = entry.file_type()?;
                if is_product(&path) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Whether a path relative to the root is hidden, built or downloaded.
fn is_product(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    hidden || PRODUCTS.iter().any(|product| path == Path::new(product))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_only_at_the_top() {
        assert!(is_product(Path::new("target")));
        assert!(is_product(Path::new(".git")));
        assert!(!is_product(Path::new("tests/models")));
    }

    #[test]
    fn own_sources_are_found() {
        let files = Workspace::here().files().unwrap();
        assert!(files.contains(&PathBuf::from("xtask/src/workspace.rs")));
        assert!(!files.iter().any(|file| file.starts_with("target")));
    }
}
