//! The page of the passes, from the comments at the heads of their files.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;

/// Folders and files of passes, and what they are called together.
const SECTIONS: [(&str, &str, &[&str]); 3] = [
    (
        "Graph passes",
        "From a graph to an equal graph. Before and After are run as tests.",
        &["passes/src/graph"],
    ),
    (
        "From graph to plan",
        "Which nodes become one kernel, what is computed ahead, when kernels run and where data lies.",
        &[
            "passes/src/split.rs",
            "passes/src/partition",
            "passes/src/plan",
            "passes/src/memory.rs",
            "passes/src/barriers.rs",
        ],
    ),
    (
        "Schedules",
        "From the naive loops of a kernel to loops that run fast, without a change of what is computed.",
        &["passes/src/schedule"],
    ),
];

/// The begin of the page of the schedule primitives.
const SCHEDULES: &str = "# Schedule primitives

Made by `cargo xtask docs` from the heads of the files; do not edit.

A schedule is a list of primitives, which makes a kernel of its naive one: a *trace*. \
`tensmith compile MODEL --emit schedule` prints the trace of each kernel, `--emit kernels` the loops \
that it makes, and `tensmith explain --json` has both. A line is a primitive with its loops (by their \
variables), buffers (by their names) and numbers, and behind the arrow the loops that it makes; a \
line after `#` names the recipe that chose the lines below. The same trace on the same naive kernel \
gives the same kernel.

A primitive keeps what a kernel computes, or is rejected with a reason. Those that reorder the terms \
of sums say so; all others keep every bit. Before and After are run as tests.

Not among them: *fusing kernels*, which the partition \
does on the graph; *tensorizing*, as code generation takes every nest of lanes that it can to the \
wide-vector emitter; *padding* the tail of a split, as tails have masks (`vectorize`), or code of \
their own (`peel`, `cut`), and compute nothing in vain.
";

/// A comment that describes a pass has one of these.
const MARKS: [&str; 3] = ["Requires:", "Before:", "The recipe of"];

/// The page of the passes.
pub fn passes(workspace: &Workspace) -> Result<String> {
    let mut text = String::from(
        "# Passes\n\nMade by `cargo xtask docs` from the heads of the files; do not edit. \
         `passes/src/pipeline/passes.rs` lists the graph passes in their order.\n",
    );
    for (title, sentence, places) in SECTIONS {
        let _ = write!(text, "\n## {title}\n\n{sentence}\n");
        for place in places {
            append_heads(workspace, place, &mut text)?;
        }
    }
    Ok(text)
}

/// The page of the schedule primitives.
pub fn schedules(workspace: &Workspace) -> Result<String> {
    let mut text = String::from(SCHEDULES);
    append_heads(workspace, "passes/src/schedule/primitives", &mut text)?;
    Ok(text)
}

/// Appends the heads of the files of a place that describe passes.
fn append_heads(workspace: &Workspace, place: &str, text: &mut String) -> Result<()> {
    for path in rust_files(&workspace.root, place)? {
        let source = fs::read_to_string(workspace.root.join(&path))
            .with_context(|| format!("cannot read {path}"))?;
        if let Some(head) = pass_head(&source) {
            let _ = write!(text, "\n### `{path}`\n\n{head}\n");
        }
    }
    Ok(())
}

/// A file, or the Rust files of a folder in order.
fn rust_files(root: &Path, place: &str) -> Result<Vec<String>> {
    if place.ends_with(".rs") {
        return Ok(vec![place.to_owned()]);
    }
    let folder = fs::read_dir(root.join(place)).with_context(|| format!("cannot read {place}"))?;
    let mut files = Vec::new();
    for entry in folder {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rs") {
            files.push(format!("{place}/{name}"));
        }
    }
    ensure!(!files.is_empty(), "{place}: no passes");
    files.sort();
    Ok(files)
}

/// The comment at the head of a file, if it describes a pass.
fn pass_head(source: &str) -> Option<String> {
    let comment = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<String> = comment
        .map(|line| unlinked(line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    let described = lines
        .iter()
        .any(|line| MARKS.iter().any(|mark| line.starts_with(mark)));
    described.then(|| spaced(&lines))
}

/// The words of links to items of the code.
fn unlinked(line: &str) -> String {
    line.replace("[`", "`")
        .replace("`](self)", "`")
        .replace("`]", "`")
}

/// Lines with an empty one before each that begins with a heading such as `Ensures:`, and around
/// fenced text.
fn spaced(lines: &[String]) -> String {
    const HEADS: [&str; 5] = ["Requires:", "Ensures:", "Before:", "After:", "Source:"];
    let (mut text, mut fenced, mut closed) = (String::new(), false, false);
    for line in lines {
        let fence = line.starts_with("```");
        let opens = fence && !fenced;
        let head = !fenced && HEADS.iter().any(|head| line.starts_with(head));
        if (opens || head || closed) && !text.is_empty() && !text.ends_with("\n\n") {
            text.push('\n');
        }
        closed = fence && fenced;
        fenced ^= fence;
        text += line;
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_passes::pipeline;

    #[test]
    fn heads_are_spaced_and_unlinked() {
        let source = "//! Does [`it`](self).\n//!\n//! Requires: a.\n//! Ensures: b\n//! and c.\n\
                      //!\n//! Before:\n//! ```text\n//!   x\n//! ```\n//! After: y\nuse a;\n//! no\n";
        assert_eq!(
            pass_head(source).unwrap(),
            "Does `it`.\n\nRequires: a.\n\nEnsures: b\nand c.\n\nBefore:\n\n```text\n  x\n```\n\nAfter: y"
        );
    }

    #[test]
    fn other_files_are_passed_over() {
        assert_eq!(pass_head("//! Helpers.\nuse a;\n"), None);
        assert_eq!(pass_head(""), None);
    }

    #[test]
    fn every_pass_of_the_pipeline_is_on_the_page() {
        let workspace = Workspace::here();
        let page = passes(&workspace).unwrap();
        for pass in pipeline::passes() {
            let pass = pass.name.replace('-', "_");
            assert!(page.contains(&format!("/{pass}.rs`")), "{pass}");
        }
    }
}
