//! `cargo xtask docs`: the pages of the manual that are made from the code.

mod headers;
mod tables;

use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// A page that is made from the code.
struct Page {
    /// Relative to the root.
    path: &'static str,
    text: String,
}

/// Write every page.
pub fn write(workspace: &Workspace) -> Result<()> {
    for page in pages(workspace)? {
        let path = workspace.root.join(page.path);
        fs::write(&path, page.text).with_context(|| format!("cannot write {}", page.path))?;
    }
    Ok(())
}

/// Pages that differ from what the code says.
pub fn out_of_date(workspace: &Workspace) -> Result<Vec<String>> {
    let pages = pages(workspace)?.into_iter();
    let stale = pages.filter(|page| {
        let found = fs::read_to_string(workspace.root.join(page.path));
        found.ok().as_deref() != Some(&page.text)
    });
    Ok(stale
        .map(|page| format!("{}: out of date; run `cargo xtask docs`", page.path))
        .collect())
}

fn pages(workspace: &Workspace) -> Result<Vec<Page>> {
    Ok(vec![
        page("docs/math.md", tables::math()),
        page("docs/onnx.md", tables::onnx()),
        page("docs/ops.md", tables::ops()),
        page("docs/passes.md", headers::passes(workspace)?),
        page("docs/rules.md", tables::rules()),
        page("docs/schedules.md", headers::schedules(workspace)?),
    ])
}

fn page(path: &'static str, text: String) -> Page {
    Page { path, text }
}
