//! `cargo xtask conformance-data`: the ONNX conformance cases as files.

use anyhow::Result;

use crate::models;
use crate::process;
use crate::stamp::Step;
use crate::workspace::Workspace;

/// Write the cases beneath `conformance/` of the models' folder.
pub fn make(workspace: &Workspace) -> Result<()> {
    let root = workspace.models.join("conformance");
    let inputs =
        ["make_conformance.py", "requirements.txt"].map(|file| workspace.scripts().join(file));
    let products = vec![root.join("index.json")];
    let step = Step::new(&workspace.models, "conformance", &inputs, products)?;
    if step.is_done() {
        return Ok(());
    }
    let _lock = models::lock(workspace)?;
    let python = models::environment(workspace)?;
    step.ensure(|| {
        let mut command = models::script(workspace, &python, "make_conformance.py");
        process::run(
            "write the conformance cases",
            command.arg("--root").arg(&root),
        )
    })
}
