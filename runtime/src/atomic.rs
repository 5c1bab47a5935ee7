//! Files that appear whole or not at all.
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Links to follow at most.
const MOST_LINKS: usize = 40;

/// Writes a file through a temporary one beside it, synced and renamed. A link stays: the file that
/// it leads to is written. What is no file, such as `/dev/null` or a pipe, is written to as it is.
///
/// Errors: the system refuses; an older file of that name then stays as it was.
pub fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>,
) -> Result<()> {
    let path = &followed(path)?;
    let older = match older(path)? {
        Some(mut other) if !other.metadata()?.is_file() => return write(&mut other, fill),
        older => older,
    };
    let folder = folder_of(path);
    let mut temporary = temporary_in(folder)?;
    write(temporary.as_file_mut(), fill)?;
    if let Some(older) = older {
        (temporary.as_file()).set_permissions(older.metadata()?.permissions())?;
    }
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
    let path = &followed(path)?;
    if path.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    // Whoever opens a pipe waits for its reader.
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Ok(()),
        _ => {
            older(path)?;
            temporary_in(folder_of(path)).map(drop)
        }
    }
}

fn write(
    file: &mut File,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>,
) -> Result<()> {
    let mut writer = BufWriter::new(file);
    fill(&mut writer)?;
    writer.flush()
}

/// What links lead to, which need not be there.
fn followed(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match path.read_link() {
            Ok(next) => path = folder_of(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(std::io::Error::other("too many links lead to each other"))
}

/// What is at a path, opened to write.
fn older(path: &Path) -> Result<Option<File>> {
    match File::options().write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn temporary_in(folder: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    allow_reading(&mut builder);
    builder.tempfile_in(folder).map_err(|e| refused(folder, &e))
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

/// Temporary files are private; what becomes a file gets the usual permissions, of which the mask of
/// the process takes some.
#[cfg(unix)]
fn allow_reading(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(std::fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
fn allow_reading(_builder: &mut tempfile::Builder<'_, '_>) {}

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
    #[cfg(unix)]
    #[test]
    fn links_permissions_and_what_is_no_file_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let [file, link, null] = ["file", "link", "null"].map(|n| folder.path().join(n));
        symlink("file", &link).unwrap();
        check_writable(&link).unwrap();
        write_atomic(&link, |w| w.write_all(b"new")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        write_atomic(&file, |w| w.write_all(b"newer")).unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        symlink("/dev/null", &null).unwrap();
        check_writable(&null).unwrap();
        write_atomic(&null, |w| w.write_all(b"gone")).unwrap();
        assert!(!std::fs::metadata(&null).unwrap().is_file());
        symlink("link2", folder.path().join("link1")).unwrap();
        symlink("link1", folder.path().join("link2")).unwrap();
        assert!(check_writable(&folder.path().join("link1")).is_err());
    }
}
