//! The Python environment of the other engines, and the models of single kernels.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::stamp::Step;
use crate::workspace::Workspace;

const OFFLINE_HINT: &str = "this step needs the package index: connect, or point TENSMITH_MODELS \
                            at a folder that another checkout has filled";

/// Where the engines, their converted models and the models of kernels lie.
pub struct Environment {
    scripts: PathBuf,
    folder: PathBuf,
    python: PathBuf,
}

impl Environment {
    /// Makes what is missing.
    pub fn ready(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.models.join("peers");
        let environment = Environment {
            scripts: workspace.root.join("xtask/peers"),
            python: folder.join("venv/bin/python"),
            folder,
        };
        std::fs::create_dir_all(&environment.folder)?;
        let _lock = crate::models::lock(workspace)?;
        environment.install()?;
        environment.make_kernels()?;
        Ok(environment)
    }

    fn install(&self) -> Result<()> {
        let pins = [self.scripts.join("requirements.txt")];
        let products = vec![self.python.clone()];
        Step::new(&self.folder, "engines", &pins, products)?.ensure(|| {
            let mut make = Command::new("python3");
            make.args(["-m", "venv", "--clear"]);
            make.arg(self.folder.join("venv"));
            process::run("make the Python environment (3.11 or newer)", &mut make)?;
            let mut install = Command::new(&self.python);
            install.args(["-m", "pip", "install", "--quiet", "--no-deps"]);
            install.args(["--disable-pip-version-check", "--require-hashes"]);
            install.args(["--only-binary", ":all:", "--requirement"]);
            install.arg(&pins[0]);
            process::run("install the engines", &mut install).context(OFFLINE_HINT)
        })
    }

    fn make_kernels(&self) -> Result<()> {
        let script = [self.scripts.join("kernels.py")];
        let products = vec![self.kernels()];
        Step::new(&self.folder, "kernels", &script, products)?.ensure(|| {
            let mut make = self.python();
            make.arg(&script[0]).arg(self.kernels());
            process::run("make the models of kernels", &mut make)
        })
    }

    fn python(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The folder of the models of single kernels.
    pub fn kernels(&self) -> PathBuf {
        self.folder.join("kernels")
    }

    /// The folder of what an engine makes of a model.
    pub fn converted(&self, engine: &str, model: &str) -> PathBuf {
        self.folder.join("converted").join(engine).join(model)
    }

    /// The program that runs an engine, without its arguments.
    pub fn worker(&self) -> Command {
        let mut command = self.python();
        command.arg(self.scripts.join("worker.py"));
        command
    }
}
