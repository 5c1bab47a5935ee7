//! `cargo xtask tidy`: rules on the sources that the compiler does not know.

mod arrows;
mod doc_paths;
mod names;
mod sizes;

use anyhow::{Context, Result, bail};

use crate::docs;
use crate::workspace::Workspace;

/// A text file of the checkout.
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// Endings of the files that the checks read.
const TEXT: [&str; 7] = [".rs", ".md", ".toml", ".py", ".c", ".h", ".sh"];

/// Run every check and list all findings.
pub fn run(workspace: &Workspace) -> Result<()> {
    let sources = read_sources(workspace)?;
    for note in sizes::long_files(&sources) {
        eprintln!("note: {note}");
    }
    let mut findings = sizes::oversized_files(&sources);
    findings.extend(doc_paths::missing_paths(&sources, |path| {
        workspace.root.join(path).exists()
    }));
    findings.extend(arrows::wrong_arrows(&arrows::read_crates(workspace)?));
    findings.extend(names::misplaced_names(&sources));
    findings.extend(docs::out_of_date(workspace)?);
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    bail!("tidy: {} findings", findings.len());
}

fn read_sources(workspace: &Workspace) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for file in workspace.files()? {
        let path = file.to_string_lossy().into_owned();
        if TEXT.iter().any(|ending| path.ends_with(ending)) {
            let text = std::fs::read_to_string(workspace.root.join(&file))
                .with_context(|| format!("cannot read {path}"))?;
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

#[cfg(test)]
impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }
}
