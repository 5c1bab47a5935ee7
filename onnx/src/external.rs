//! Files named by a model: opened only beneath its folder, mapped, and cut with checked ranges.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::budget::{Budget, within};
use crate::error::{OnnxError, Result, quoted};
use crate::proto::StringStringEntryProto;

/// Files up to this size are read, larger ones are mapped: below it a copy costs less than page
/// faults, and a copy cannot change under the reader.
const READ_BYTES: u64 = 1 << 20;

/// How often an open that raced with a rename is repeated.
const RETRIES: usize = 8;

/// The bytes of an open regular file of at most `limit` bytes, read or mapped.
///
/// A mapped file must not be truncated while it is in use, or the process is killed by SIGBUS.
pub(crate) fn file_bytes(
    file: File,
    path: &Path,
    limit: u64,
    field: &'static str,
) -> Result<Bytes> {
    let io = |source| OnnxError::Io {
        path: path.to_owned(),
        source,
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| io(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io(io::Error::other("not a regular file")));
    }
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    within(len, limit, "bytes of file", field, || {
        format!("file {}", path.display())
    })?;
    if len <= READ_BYTES {
        let mut bytes = Vec::with_capacity(len as usize);
        file.take(len).read_to_end(&mut bytes).map_err(io)?;
        return Ok(bytes.into());
    }
    // SAFETY: the mapping is private and read-only. As for every mapped file, another process
    // that truncates it can make reads fault; the contract above states it.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
    Ok(Bytes::from_owner(map))
}

/// The external data files of a model: each opened at most once.
#[derive(Debug)]
pub(crate) struct ExternalFiles {
    /// The model's folder; `None` for a model that did not come from a file.
    folder: Option<(OwnedFd, PathBuf)>,
    external_bytes: u64,
    external_files: u64,
    open: Mutex<HashMap<String, Bytes>>,
}

impl ExternalFiles {
    /// No folder: every external tensor is refused.
    pub(crate) fn none(budget: &Budget) -> Self {
        Self {
            folder: None,
            external_bytes: budget.external_bytes,
            external_files: budget.external_files,
            open: Mutex::default(),
        }
    }

    /// Files beneath the folder that holds the model file `model`.
    ///
    /// Errors: `Io` when the folder cannot be opened.
    pub(crate) fn beside(model: &Path, budget: &Budget) -> Result<Self> {
        let folder = match model.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| OnnxError::Io {
            path: folder.to_owned(),
            source: errno.into(),
        })?;
        Ok(Self {
            folder: Some((fd, folder.to_owned())),
            ..Self::none(budget)
        })
    }

    /// The `need` bytes of the tensor at `place` that `entries` locate.
    ///
    /// Errors: `Invalid` for paths that leave the folder or pass a link and for ranges that do
    /// not fit, `Unsupported` where the kernel cannot confine the lookup, `Limit`, `Io`.
    pub(crate) fn slice(
        &self,
        entries: &[StringStringEntryProto],
        need: u64,
        place: &str,
    ) -> Result<Bytes> {
        let range = Range::parse(entries, place)?;
        if let Some(length) = range.length.filter(|&length| length != need) {
            let problem = format!("the shape needs {need} bytes, external length is {length}");
            return Err(OnnxError::invalid(place, problem));
        }
        let file = self.file(range.location, place)?;
        let end = range.offset.checked_add(need);
        let Some(end) = end.filter(|&end| end <= file.len() as u64) else {
            let problem = format!(
                "{need} bytes at offset {} do not fit in the {} bytes of {}",
                range.offset,
                file.len(),
                quoted(range.location)
            );
            let help = "the data file is truncated or belongs to another model: fetch it again";
            return Err(OnnxError::invalid_help(place, problem, help));
        };
        Ok(file.slice(range.offset as usize..end as usize))
    }

    fn file(&self, location: &str, place: &str) -> Result<Bytes> {
        let mut open = self.open.lock().unwrap_or_else(|lock| lock.into_inner());
        if let Some(bytes) = open.get(location) {
            return Ok(bytes.clone());
        }
        let Some((folder, folder_path)) = &self.folder else {
            let problem = format!("its elements are in the file {}", quoted(location));
            let help = "load the model by its path, so that its folder is known";
            return Err(OnnxError::invalid_help(place, problem, help));
        };
        check_location(location, place)?;
        let files = open.len() as u64 + 1;
        let limit = self.external_files;
        within(
            files,
            limit,
            "external data files",
            "external_files",
            || place.to_owned(),
        )?;
        let used: u64 = open.values().map(|bytes| bytes.len() as u64).sum();
        let path = folder_path.join(location);
        let file = open_beneath(folder, location)
            .map_err(|errno| open_error(errno, location, &path, place))?;
        let left = self.external_bytes.saturating_sub(used);
        let bytes = file_bytes(file.into(), &path, left, "external_bytes")?;
        open.insert(location.to_owned(), bytes.clone());
        Ok(bytes)
    }
}

/// Where the entries of a tensor say its bytes are.
struct Range<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl<'a> Range<'a> {
    fn parse(entries: &'a [StringStringEntryProto], place: &str) -> Result<Self> {
        let find = |key: &str| {
            let mut found = entries.iter().filter(|entry| entry.key == key);
            let value = found.next().map(|entry| entry.value.as_str());
            match found.next() {
                Some(_) => Err(OnnxError::invalid(
                    place,
                    format!("external data states {key} twice"),
                )),
                None => Ok(value),
            }
        };
        let number = |key: &str| match find(key)? {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                let problem = format!("external {key} {} is not a byte count", quoted(text));
                OnnxError::invalid(place, problem)
            }),
        };
        let location = find("location")?
            .ok_or_else(|| OnnxError::invalid(place, "external data without a location"))?;
        Ok(Self {
            location,
            offset: number("offset")?.unwrap_or(0),
            length: number("length")?,
        })
    }
}

/// Refuses paths that are wrong by their spelling alone; the kernel refuses the rest.
fn check_location(location: &str, place: &str) -> Result<()> {
    let path = Path::new(location);
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let problem = if location.is_empty() || location.contains('\0') {
        "is not a file name"
    } else if path.is_absolute() {
        "is absolute"
    } else if !path.components().all(plain) {
        "leaves the model's folder by `..`"
    } else {
        return Ok(());
    };
    let problem = format!("the external data path {} {problem}", quoted(location));
    Err(confined(place, problem))
}

fn confined(place: &str, problem: String) -> OnnxError {
    let help = "external data must be a plain file beneath the model's folder: \
                move it there and name it by a relative path";
    OnnxError::invalid_help(place, problem, help)
}

fn open_beneath(folder: &OwnedFd, location: &str) -> rustix::io::Result<OwnedFd> {
    // Without NONBLOCK, opening a named pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(folder, location, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RETRIES => tries += 1,
            result => return result,
        }
    }
}

fn open_error(errno: Errno, location: &str, path: &Path, place: &str) -> OnnxError {
    let name = quoted(location);
    match errno {
        Errno::LOOP => confined(
            place,
            format!("the external data path {name} passes a symbolic link"),
        ),
        Errno::XDEV => confined(
            place,
            format!("the external data path {name} leaves the model's folder"),
        ),
        Errno::NOSYS => OnnxError::unsupported(
            place,
            format!(
                "external data {name}: this kernel has no openat2 (Linux 5.6), which confines \
                 the lookup; store the tensors inside the model file"
            ),
        ),
        _ => OnnxError::Io {
            path: path.to_owned(),
            source: io::Error::new(
                io::Error::from(errno).kind(),
                format!("{place}: external data: {}", io::Error::from(errno)),
            ),
        },
    }
}
