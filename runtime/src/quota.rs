//! How many cores this process may use, and how much memory it occupies.
//!
//! Everything is read from the operating system; the parsers are pure
//! functions of the text.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v2.rst` (`cpu.max`),
//! `Documentation/scheduler/sched-bwc.rst` (`cpu.cfs_quota_us`),
//! `Documentation/admin-guide/cgroup-v1/memory.rst`, proc(5).

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// The number of threads that can make progress at the same time, at least 1:
/// the smallest of the processor affinity, the processor-time quota of the
/// control groups (rounded up), and the standard library's estimate.
pub fn usable_cores() -> usize {
    let estimate = available_parallelism().map_or(1, NonZero::get);
    [affinity_cores(), group_cores(Path::new("/"))]
        .into_iter()
        .flatten()
        .fold(estimate, usize::min)
        .max(1)
}

/// What bounds the cores of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cores {
    /// Threads that can make progress at the same time: [`usable_cores`].
    pub usable: usize,
    /// Cores that the system lets this process run on (cpuset and affinity); `None` where it does
    /// not say.
    pub affinity: Option<usize>,
    /// Cores' worth of time that the control groups grant; `None` for no quota.
    pub quota: Option<f64>,
}

/// What bounds the cores of this process.
pub fn cores() -> Cores {
    Cores {
        usable: usable_cores(),
        affinity: affinity_cores(),
        quota: tightest_quota(Path::new("/")).map(Quota::share),
    }
}

/// Memory of the machine and of this process's groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Units: bytes that the machine has.
    pub total_bytes: Option<u64>,
    /// Units: bytes that new work can take.
    pub available_bytes: Option<u64>,
    /// Units: bytes that the control groups grant this process; `None` for no limit.
    pub limit_bytes: Option<u64>,
}

/// The memory that there is; `None` for what the system does not say.
pub fn memory() -> Memory {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Memory {
        total_bytes: parse_status_bytes(&text, "MemTotal"),
        available_bytes: parse_status_bytes(&text, "MemAvailable"),
        limit_bytes: memory_limit(Path::new("/")),
    }
}

/// Bytes of memory that this process holds now; `None` where the system does
/// not say.
pub fn rss_bytes() -> Option<u64> {
    parse_status_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// The most bytes of memory that this process has held so far; `None` where
/// the system does not say.
pub fn peak_rss_bytes() -> Option<u64> {
    parse_status_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

#[cfg(target_os = "linux")]
fn affinity_cores() -> Option<usize> {
    let set = rustix::thread::sched_getaffinity(None).ok()?;
    usize::try_from(set.count()).ok()
}

#[cfg(not(target_os = "linux"))]
fn affinity_cores() -> Option<usize> {
    None
}

/// The tightest quota of the control groups of this process, in whole cores. `root` is the folder
/// that paths of the system begin at.
fn group_cores(root: &Path) -> Option<usize> {
    tightest_quota(root).map(Quota::cores)
}

fn tightest_quota(root: &Path) -> Option<Quota> {
    let quotas = folders_below(root, "cpu").into_iter().filter_map(|folder| {
        let path = root.join(folder.path.strip_prefix("/").ok()?);
        match folder.version {
            GroupVersion::V1 => read_v1(&path),
            GroupVersion::V2 => parse_cpu_max(&fs::read_to_string(path.join("cpu.max")).ok()?),
        }
    });
    quotas.min_by(|a, b| a.share().total_cmp(&b.share()))
}

/// The tightest limit of memory of the control groups of this process, in bytes.
fn memory_limit(root: &Path) -> Option<u64> {
    let limits = folders_below(root, "memory")
        .into_iter()
        .filter_map(|folder| {
            let path = root.join(folder.path.strip_prefix("/").ok()?);
            let file = match folder.version {
                GroupVersion::V1 => "memory.limit_in_bytes",
                GroupVersion::V2 => "memory.max",
            };
            parse_memory_max(&fs::read_to_string(path.join(file)).ok()?)
        });
    limits.min()
}

/// Parses a limit of memory: bytes, or `max` for none. Version 1 has a number near 2^63 for none.
fn parse_memory_max(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

fn folders_below(root: &Path, controller: &str) -> Vec<GroupFolder> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    group_folders(&groups, &mounts, controller)
}

fn read_v1(folder: &Path) -> Option<Quota> {
    let quota = fs::read_to_string(folder.join("cpu.cfs_quota_us")).ok()?;
    let period = fs::read_to_string(folder.join("cpu.cfs_period_us")).ok()?;
    parse_cfs(&quota, &period)
}

/// Processor time per period, both in the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quota {
    time: u64,
    period: u64,
}

impl Quota {
    fn new(time: u64, period: u64) -> Option<Self> {
        (time > 0 && period > 0).then_some(Quota { time, period })
    }

    /// In cores.
    fn share(self) -> f64 {
        self.time as f64 / self.period as f64
    }

    /// In whole cores.
    fn cores(self) -> usize {
        usize::try_from(self.time.div_ceil(self.period)).unwrap_or(usize::MAX)
    }
}

/// Parses `cpu.max` of version 2: `TIME PERIOD`, or `max PERIOD` for none.
fn parse_cpu_max(text: &str) -> Option<Quota> {
    let mut words = text.split_whitespace();
    let time = words.next()?.parse().ok()?;
    let period = words.next().unwrap_or("100000").parse().ok()?;
    Quota::new(time, period)
}

/// Parses the two files of version 1; a negative quota is none.
fn parse_cfs(quota: &str, period: &str) -> Option<Quota> {
    Quota::new(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupVersion {
    V1,
    V2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupFolder {
    version: GroupVersion,
    path: PathBuf,
}

/// The folders that hold what a controller grants this process: its own group
/// and all groups above it, in every hierarchy that has the controller.
fn group_folders(groups: &str, mounts: &str, controller: &str) -> Vec<GroupFolder> {
    let mut folders = Vec::new();
    for (version, group) in groups.lines().filter_map(|l| parse_group(l, controller)) {
        for mount in mounts.lines().filter_map(|l| parse_mount(l, controller)) {
            if mount.version == version {
                push_chain(&mut folders, &mount, group);
            }
        }
    }
    folders
}

/// Adds the folder of `group` and those above it, up to the mount point. A
/// group outside the mounted part of the hierarchy leaves the mount point.
fn push_chain(folders: &mut Vec<GroupFolder>, mount: &GroupMount<'_>, group: &str) {
    let inner = Path::new(group)
        .strip_prefix(mount.root)
        .ok()
        .filter(|path| path.components().all(is_plain))
        .unwrap_or(Path::new(""));
    for part in inner.ancestors() {
        folders.push(GroupFolder {
            version: mount.version,
            path: Path::new(mount.point).join(part),
        });
    }
}

fn is_plain(component: std::path::Component<'_>) -> bool {
    matches!(component, std::path::Component::Normal(_))
}

/// Parses a line of `/proc/self/cgroup`: `ID:CONTROLLERS:PATH`.
fn parse_group<'a>(line: &'a str, controller: &str) -> Option<(GroupVersion, &'a str)> {
    let mut fields = line.splitn(3, ':');
    let _id = fields.next()?;
    let controllers = fields.next()?;
    let path = fields.next()?;
    if controllers.is_empty() {
        return Some((GroupVersion::V2, path));
    }
    let controls = controllers.split(',').any(|name| name == controller);
    controls.then_some((GroupVersion::V1, path))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GroupMount<'a> {
    version: GroupVersion,
    root: &'a str,
    point: &'a str,
}

/// Parses a line of `/proc/self/mountinfo` if it mounts a hierarchy that can
/// have the controller.
fn parse_mount<'a>(line: &'a str, controller: &str) -> Option<GroupMount<'a>> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1).unwrap_or(""));
    let version = match kind {
        "cgroup2" => GroupVersion::V2,
        "cgroup" if options.split(',').any(|name| name == controller) => GroupVersion::V1,
        _ => return None,
    };
    Some(GroupMount {
        version,
        root,
        point,
    })
}

/// Finds the row `KEY:  N kB` of `/proc/self/status` or `/proc/meminfo`.
fn parse_status_bytes(text: &str, key: &str) -> Option<u64> {
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let mut words = row.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    (words.next()? == "kB").then_some(number.checked_mul(1024)?)
}

#[cfg(test)]
mod tests;
