//! Which crate may know which.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace::Workspace;

/// Every crate of the workspace and the others of the workspace that it may depend on.
const ARROWS: [(&str, &[&str]); 8] = [
    ("tensmith-ir", &[]),
    ("tensmith-onnx", &["tensmith-ir"]),
    ("tensmith-passes", &["tensmith-ir"]),
    ("tensmith-runtime", &[]),
    ("tensmith-codegen", &["tensmith-ir", "tensmith-runtime"]),
    (
        "tensmith-autotune",
        &[
            "tensmith-ir",
            "tensmith-passes",
            "tensmith-codegen",
            "tensmith-runtime",
        ],
    ),
    (
        "tensmith",
        &[
            "tensmith-ir",
            "tensmith-onnx",
            "tensmith-passes",
            "tensmith-codegen",
            "tensmith-runtime",
            "tensmith-autotune",
        ],
    ),
    (
        "xtask",
        &[
            "tensmith-ir",
            "tensmith-onnx",
            "tensmith-passes",
            "tensmith-runtime",
        ],
    ),
];

/// External crates that one crate alone may use; a trailing `-` stands for any ending.
const OWNED: [(&str, &str); 5] = [
    ("cranelift-", "tensmith-codegen"),
    ("iced-x86", "tensmith-codegen"),
    ("regalloc2", "tensmith-codegen"),
    ("egg", "tensmith-passes"),
    ("rusqlite", "tensmith-autotune"),
];

/// A crate of the workspace, as cargo describes it.
#[derive(Deserialize)]
pub struct Crate {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// None for a normal dependency.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
}

/// Ask cargo for the crates of the workspace.
pub fn read_crates(workspace: &Workspace) -> Result<Vec<Crate>> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(&workspace.root)
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    Ok(metadata.packages)
}

/// Dependencies, apart from those of tests, that no arrow allows.
pub fn wrong_arrows(crates: &[Crate]) -> Vec<String> {
    let mut findings = Vec::new();
    for krate in crates {
        let name = krate.name.as_str();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            findings.push(format!("{name}: not in the table of arrows"));
            continue;
        };
        let built = krate
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        for dependency in built {
            findings.extend(wrong_dependency(name, allowed, &dependency.name));
        }
    }
    findings
}

fn wrong_dependency(name: &str, allowed: &[&str], dependency: &str) -> Option<String> {
    let ours = ARROWS.iter().any(|(known, _)| *known == dependency);
    if ours && !allowed.contains(&dependency) {
        return Some(format!("{name}: must not depend on {dependency}"));
    }
    let (_, owner) = OWNED.iter().find(|(owned, _)| matches(owned, dependency))?;
    (*owner != name).then(|| format!("{name}: only {owner} may depend on {dependency}"))
}

fn matches(owned: &str, dependency: &str) -> bool {
    if owned.ends_with('-') {
        dependency.starts_with(owned)
    } else {
        dependency == owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(name: &str, dependencies: &[(&str, Option<&str>)]) -> Crate {
        let dependencies = dependencies.iter().map(|(name, kind)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
        });
        Crate {
            name: name.to_owned(),
            dependencies: dependencies.collect(),
        }
    }

    #[test]
    fn allows_the_arrows() {
        let good = krate(
            "tensmith-codegen",
            &[
                ("tensmith-ir", None),
                ("cranelift-jit", None),
                ("tensmith-passes", Some("dev")),
            ],
        );
        assert!(wrong_arrows(&[good]).is_empty());
    }

    #[test]
    fn finds_what_points_the_wrong_way() {
        let bad = krate(
            "tensmith-passes",
            &[("tensmith-codegen", None), ("cranelift-jit", Some("build"))],
        );
        assert_eq!(
            wrong_arrows(&[bad, krate("new", &[])]),
            [
                "tensmith-passes: must not depend on tensmith-codegen",
                "tensmith-passes: only tensmith-codegen may depend on cranelift-jit",
                "new: not in the table of arrows",
            ]
        );
    }
}
