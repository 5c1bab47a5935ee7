//! Native files: objects, archives and shared libraries, each with a C header beside it.
use crate::constants;
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::options::Options;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tensmith_codegen::header::c_header;
use tensmith_codegen::object::write_object;
use tensmith_codegen::target::Target;
use tensmith_ir::plan::Plan;
use tensmith_runtime::Pool;

/// What is written, by the extension of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Object,
    Archive,
    Shared,
}

fn form_of(path: &Path) -> Result<Form> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("o") => Ok(Form::Object),
        Some("a") => Ok(Form::Archive),
        Some("so") => Ok(Form::Shared),
        _ => Err(Error::Usage(format!(
            "{}: the extension says what to write; use .o, .a or .so",
            path.display()
        ))),
    }
}

/// The prefix of a file's symbols: its name without `lib` and extension, as a C identifier.
pub fn symbol_prefix(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.strip_prefix("lib").filter(|s| !s.is_empty());
    let stem = stem.map_or_else(
        || {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        },
        String::from,
    );
    let fine = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = stem.chars().map(fine).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name
    } else {
        format!("model_{name}")
    }
}

/// Writes a plan as a native file and its header beside it; returns the header's path.
///
/// Errors: an unknown extension or target; the system's `cc` or `ar` fails or is missing;
/// files cannot be written.
pub fn write(plan: &Plan, options: &Options, path: &Path) -> Result<PathBuf> {
    let form = form_of(path)?;
    let target = Target::named(options.target_name())?;
    let name = symbol_prefix(path);
    let block = constants::fill(
        plan,
        &Pool::new(options.thread_count())?,
        options.memory_bytes,
    )?;
    let object = write_object(plan, &block, &target, &name)?;
    match form {
        Form::Object => write_atomic(path, |w| w.write_all(&object))?,
        Form::Archive => link(path, &object, "ar", &["rcs"])?,
        Form::Shared => link(
            path,
            &object,
            compiler(&target)?,
            &["-shared", "-nostdlib", "-o"],
        )?,
    }
    let header = path.with_file_name(format!("{name}.h"));
    let text = c_header(plan, &name);
    write_atomic(&header, |w| w.write_all(text.as_bytes()))?;
    Ok(header)
}

/// Errors: the system's `cc` does not link for the target.
fn compiler(target: &Target) -> Result<&'static str> {
    if target.triple.architecture == Target::host().triple.architecture {
        return Ok("cc");
    }
    Err(Error::Unsupported(format!(
        "a shared library for target `{}` needs a cross linker; write a .o file and link it there",
        target.name
    )))
}

/// Has a tool of the system make a file of an object: `tool flags... FILE OBJECT`, in a
/// temporary folder; the result replaces `path` at once.
fn link(path: &Path, object: &[u8], tool: &str, flags: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::io("make a folder for", path, e))?;
    let object_path = folder.path().join("model.o");
    write_atomic(&object_path, |w| w.write_all(object))?;
    let made = folder.path().join("made");
    let output = Command::new(tool)
        .args(flags)
        .arg(&made)
        .arg(&object_path)
        .output()
        .map_err(|e| Error::io("make (with the system's tools)", path, e))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Unsupported(format!("`{tool}` failed: {words}")));
    }
    let bytes = std::fs::read(&made).map_err(|e| Error::io("read", &made, e))?;
    write_atomic(path, |w| w.write_all(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_identifiers() {
        let prefix = |s: &str| symbol_prefix(Path::new(s));
        assert_eq!(prefix("out/libdigits.so"), "digits");
        assert_eq!(prefix("resnet-50.o"), "resnet_50");
        assert_eq!(prefix("50.o"), "model_50");
        assert_eq!(prefix("lib.a"), "lib");
    }
}
