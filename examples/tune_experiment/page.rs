//! What the experiment writes into the manual.
use crate::subject::root;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::marker::PhantomData;
use std::path::PathBuf;

/// The folder of measurements and pictures in the manual.
pub fn folder() -> PathBuf {
    root().join("docs/tuning")
}

fn marks(part: &str) -> (String, String) {
    (
        format!("<!-- {part}: made by `cargo xtask tune-experiment` -->\n"),
        format!("<!-- end of {part} -->\n"),
    )
}

fn page() -> Result<(PathBuf, String)> {
    let path = root().join("docs/tuning.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok((path, text))
}

/// The page in three: what stands before a table, the table, and what stands behind it.
fn parted<'t>(text: &'t str, part: &str) -> Result<[&'t str; 3]> {
    let (begin, end) = marks(part);
    let (before, rest) = text
        .split_once(&begin)
        .with_context(|| format!("no `{begin}`"))?;
    let (table, after) = rest
        .split_once(&end)
        .with_context(|| format!("no `{end}`"))?;
    Ok([before, table, after])
}

/// Replaces the table of a part.
pub fn write(part: &str, table: &str) -> Result<()> {
    let (path, text) = page()?;
    let [before, _, after] = parted(&text, part)?;
    let (begin, end) = marks(part);
    fs::write(&path, format!("{before}{begin}{table}{end}{after}"))?;
    Ok(())
}

/// Errors: the page has another table of a part.
pub fn check(part: &str, table: &str) -> Result<()> {
    let (_, text) = page()?;
    let [_, found, _] = parted(&text, part)?;
    ensure!(
        found == table,
        "docs/tuning.md has another table of {part} than its measurements; --write makes it anew"
    );
    Ok(())
}

/// What a part measured, as the manual keeps it.
pub struct Kept<T> {
    path: PathBuf,
    what: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// Of a part.
    pub fn new(part: &str) -> Kept<T> {
        Kept {
            path: folder().join(format!("{part}.json")),
            what: PhantomData,
        }
    }

    /// Reads it.
    pub fn read(&self) -> Result<T> {
        let bytes = fs::read(&self.path).with_context(|| self.path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| self.path.display().to_string())
    }

    /// Replaces it.
    pub fn write(&self, value: &T) -> Result<()> {
        fs::create_dir_all(folder())?;
        fs::write(&self.path, serde_json::to_vec(value)?)?;
        Ok(())
    }
}
