//! Files that appear whole or not at all.
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Result, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes a file through a temporary one beside it, synced and renamed.
///
/// Errors: the system refuses; an older file of that name then stays as it was.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>,
) -> Result<()> {
    let folder = folder_of(path);
    let mut temporary = temporary_in(folder)?;
    let mut writer = BufWriter::new(temporary.as_file_mut());
    fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    allow_reading(temporary.as_file())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    // The rename is on disk once the folder is. A folder that cannot be opened for that is fine.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Whether [`write_atomic`] could write a file now.
///
/// Errors: the system would refuse.
pub fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    temporary_in(folder_of(path)).map(drop)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn temporary_in(folder: &Path) -> Result<NamedTempFile> {
    NamedTempFile::new_in(folder).map_err(|e| refused(folder, &e))
}

/// The error without the name of the temporary file.
fn refused(folder: &Path, error: &std::io::Error) -> std::io::Error {
    match error.kind() {
        ErrorKind::NotFound => {
            let text = format!("there is no folder {}; make it first", folder.display());
            std::io::Error::new(ErrorKind::NotFound, text)
        }
        kind => kind.into(),
    }
}

/// Temporary files are private; what replaces a file gets the usual permissions.
#[cfg(unix)]
fn allow_reading(file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn allow_reading(_file: &File) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let fail = |w: &mut BufWriter<&mut File>| {
            w.write_all(b"new")?;
            Err(std::io::Error::other("no"))
        };
        assert_eq!(write_atomic(&path, fail).unwrap_err().to_string(), "no");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    #[test]
    fn what_cannot_be_written_is_seen_before() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("a")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let no_folder = check_writable(&folder.path().join("b/a")).unwrap_err();
        assert!(no_folder.to_string().contains("make it first"));
        let is_folder = check_writable(folder.path()).unwrap_err();
        assert_eq!(is_folder.kind(), ErrorKind::IsADirectory);
    }
}
