//! Paths named in documents exist.

use super::Source;

const ENDINGS: [&str; 12] = [
    ".rs", ".md", ".toml", ".py", ".txt", ".onnx", ".npz", ".json", ".c", ".h", ".sh", "/",
];

/// First folders of paths that are made, not committed.
const PRODUCTS: [&str; 2] = ["target", "models"];

/// Backticked paths of README.md and docs/ that do not exist, from the root or from the
/// document's folder. `exists` takes a path relative to the root.
pub fn missing_paths(sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| is_document(&source.path)) {
        let folder = source
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        for (line, token) in ticked(&source.text) {
            if is_repository_path(token) && !exists(token) && !exists(&format!("{folder}/{token}"))
            {
                let path = &source.path;
                findings.push(format!("{path}:{line}: `{token}` does not exist"));
            }
        }
    }
    findings
}

fn is_document(path: &str) -> bool {
    path == "README.md" || (path.starts_with("docs/") && path.ends_with(".md"))
}

/// The `code` spans outside fenced blocks, with their line numbers from 1.
fn ticked(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let lines = text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    lines.flat_map(|(index, line)| {
        let spans = line.split('`').skip(1).step_by(2);
        spans.map(move |span| (index + 1, span))
    })
}

/// Whether a span is written like a path of a file or folder that is committed.
fn is_repository_path(token: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let first = token.split('/').next().unwrap_or_default();
    token.contains('/')
        && token.chars().all(plain)
        && ENDINGS.iter().any(|ending| token.ends_with(ending))
        && !first.is_empty()
        && !PRODUCTS.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(text: &str) -> Vec<String> {
        let sources = [Source::new("docs/a.md", text)];
        missing_paths(&sources, |path| ["ir/src/", "docs/b/c.md"].contains(&path))
    }

    #[test]
    fn finds_what_is_gone() {
        assert_eq!(
            missing("x\n`ir/src/` and `ir/gone.rs`"),
            ["docs/a.md:2: `ir/gone.rs` does not exist"]
        );
        assert!(missing("`b/c.md`").is_empty());
    }

    #[test]
    fn passes_over_what_is_no_path() {
        for text in [
            "`a/b`",
            "`main.rs`",
            "`/proc/`",
            "`models/a.onnx`",
            "`x/<name>.rs`",
            "```\n`a/b.rs`\n```",
            "a/b.rs",
        ] {
            assert!(missing(text).is_empty(), "{text}");
        }
    }
}
