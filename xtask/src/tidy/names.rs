//! Names that may occur in some places only.

use super::Source;

/// A name, where the rule holds, where the name is allowed all the same, and why.
struct Rule {
    name: &'static str,
    scope: &'static [&'static str],
    allowed: &'static [&'static str],
    reason: &'static str,
}

/// The sources of the product; tests, benches and development commands are not among them.
const PRODUCT: &[&str] = &[
    "ir/src/",
    "onnx/src/",
    "passes/src/",
    "codegen/src/",
    "runtime/src/",
    "autotune/src/",
    "src/",
];

const CRATES: &[&str] = &[
    "ir/src/",
    "onnx/src/",
    "passes/src/",
    "codegen/src/",
    "runtime/src/",
    "autotune/src/",
];

const EVERYWHERE: &[&str] = &[""];

const CODE: &str = "only codegen makes machine code";
const CLOCK: &str = "clocks are read through the runtime's clock";
const FACTS: &str = "facts about the host are read in two places";
const WRITING: &str = "files are written through the runtime's write_atomic";
const MACHINE: &str = "a path of one machine";

const HOST: &[&str] = &["codegen/src/host.rs", "runtime/src/quota"];

const RULES: [Rule; 14] = [
    rule("cranelift_", PRODUCT, &["codegen/"], CODE),
    rule("iced_x86", PRODUCT, &["codegen/"], CODE),
    rule("regalloc2", PRODUCT, &["codegen/"], CODE),
    rule(
        "egg::",
        PRODUCT,
        &["passes/src/graph/egraph"],
        "only the e-graph names egg",
    ),
    rule("Instant::now", PRODUCT, &["runtime/src/clock.rs"], CLOCK),
    rule("SystemTime", PRODUCT, &["runtime/src/clock.rs"], CLOCK),
    rule("\"/proc/", PRODUCT, HOST, FACTS),
    rule("\"/sys/", PRODUCT, HOST, FACTS),
    rule("File::create", PRODUCT, &[], WRITING),
    rule("OpenOptions", PRODUCT, &[], WRITING),
    rule(
        "pub use tensmith_",
        CRATES,
        &[],
        "only the facade re-exports",
    ),
    rule("/home/", EVERYWHERE, SELF, MACHINE),
    rule("/root/", EVERYWHERE, SELF, MACHINE),
    rule("\"/tmp/", EVERYWHERE, SELF, MACHINE),
];

const SELF: &[&str] = &["xtask/src/tidy/names.rs"];

const fn rule(
    name: &'static str,
    scope: &'static [&'static str],
    allowed: &'static [&'static str],
    reason: &'static str,
) -> Rule {
    Rule {
        name,
        scope,
        allowed,
        reason,
    }
}

/// Every occurrence of a name outside its place; comments of Rust files may name anything but
/// machine paths.
pub fn misplaced_names(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for rule in &RULES {
        let within = |paths: &[&str], path: &str| paths.iter().any(|p| path.starts_with(p));
        let scope = sources.iter().filter(|source| {
            within(rule.scope, &source.path) && !within(rule.allowed, &source.path)
        });
        findings.extend(scope.flat_map(|source| occurrences(rule, source)));
    }
    findings
}

fn occurrences(rule: &Rule, source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| rule.reason == MACHINE || !line.trim_start().starts_with("//"))
        .filter(|(_, line)| line.contains(rule.name))
        .map(|(index, _)| {
            let (path, line) = (&source.path, index + 1);
            format!("{path}:{line}: `{}`: {}", rule.name, rule.reason)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        misplaced_names(&[Source::new(path, text)]).len()
    }

    #[test]
    fn clocks_have_one_place() {
        let text = "let t = Instant::now();";
        assert_eq!(findings("runtime/src/clock.rs", text), 0);
        assert_eq!(findings("runtime/src/pool.rs", text), 1);
        assert_eq!(findings("src/bench.rs", text), 1);
        assert_eq!(findings("benches/models.rs", text), 0);
    }

    #[test]
    fn facts_and_files_have_their_places() {
        let read = "fs::read_to_string(\"/proc/meminfo\")";
        assert_eq!(findings("runtime/src/quota.rs", read), 0);
        assert_eq!(findings("autotune/src/profile.rs", read), 1);
        let write = "std::fs::File::create(path)";
        assert_eq!(findings("src/cli/db/files.rs", write), 1);
        assert_eq!(findings("tests/command.rs", write), 0);
    }

    #[test]
    fn code_generation_has_one_place() {
        let text = "use cranelift_codegen::ir;\nuse iced_x86::code_asm;";
        assert_eq!(findings("codegen/src/lib.rs", text), 0);
        assert_eq!(findings("passes/src/lib.rs", text), 2);
        assert_eq!(
            findings("passes/src/lib.rs", "//! as cranelift_codegen does"),
            0
        );
    }

    #[test]
    fn machine_paths_are_found_in_comments_too() {
        assert_eq!(findings("docs/a.md", "see /home/someone/x"), 1);
        assert_eq!(findings("ir/src/lib.rs", "// in /root/x"), 1);
    }

    #[test]
    fn only_the_facade_re_exports() {
        assert_eq!(findings("src/lib.rs", "pub use tensmith_ir as ir;"), 0);
        assert_eq!(findings("onnx/src/lib.rs", "pub use tensmith_ir as ir;"), 1);
    }
}
