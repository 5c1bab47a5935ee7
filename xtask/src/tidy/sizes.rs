//! Rust files stay short enough to read.

use super::Source;

/// Lines above which a file is an error, unless it holds [`TABLE_MARK`].
const TOO_LONG: usize = 1000;
/// Lines above which a file is worth a look.
const LONG: usize = 600;
/// A comment that says that a file is a flat table.
const TABLE_MARK: &str = "// tidy: table";

/// Files that are too long.
pub fn oversized_files(sources: &[Source]) -> Vec<String> {
    rust_files(sources)
        .filter(|(source, lines)| *lines > TOO_LONG && !is_table(source))
        .map(|(source, lines)| {
            let path = &source.path;
            format!("{path}: {lines} lines, more than {TOO_LONG}: split it")
        })
        .collect()
}

/// Files that are long.
pub fn long_files(sources: &[Source]) -> Vec<String> {
    rust_files(sources)
        .filter(|(_, lines)| (LONG + 1..=TOO_LONG).contains(lines))
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect()
}

fn rust_files(sources: &[Source]) -> impl Iterator<Item = (&Source, usize)> {
    let rust = sources.iter().filter(|source| source.path.ends_with(".rs"));
    rust.map(|source| (source, source.text.lines().count()))
}

fn is_table(source: &Source) -> bool {
    source.text.lines().any(|line| line.trim() == TABLE_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> Source {
        Source::new(path, &"\n".repeat(lines))
    }

    #[test]
    fn bounds() {
        let sources = [
            file("a.rs", 1000),
            file("b.rs", 1001),
            file("c.md", 1001),
            file("d.rs", 600),
        ];
        assert_eq!(
            oversized_files(&sources),
            ["b.rs: 1001 lines, more than 1000: split it"]
        );
        assert_eq!(long_files(&sources), ["a.rs: 1000 lines"]);
    }

    #[test]
    fn tables_may_be_long() {
        let text = format!("{TABLE_MARK}\n{}", "\n".repeat(2000));
        assert!(oversized_files(&[Source::new("a.rs", &text)]).is_empty());
    }
}
