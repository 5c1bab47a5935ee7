//! How many cores this process may use, and how much memory it occupies.
//!
//! Everything is read from the operating system; the parsers are pure
//! functions of the text.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v2.rst` (`cpu.max`),
//! `Documentation/scheduler/sched-bwc.rst` (`cpu.cfs_quota_us`), proc(5).

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// The number of threads that can make progress at the same time, at least 1:
/// the smallest of the processor affinity, the processor-time quota of the
/// control groups (rounded up), and the standard library's estimate.
pub fn usable_cores() -> usize {
    let estimate = available_parallelism().map_or(1, NonZero::get);
    [affinity_cores(), group_cores()]
        .into_iter()
        .flatten()
        .fold(estimate, usize::min)
        .max(1)
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

/// The tightest quota of the control groups of this process, in whole cores.
fn group_cores() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    group_folders(&groups, &mounts)
        .into_iter()
        .filter_map(|folder| match folder.version {
            GroupVersion::V1 => read_v1(&folder.path),
            GroupVersion::V2 => {
                parse_cpu_max(&fs::read_to_string(folder.path.join("cpu.max")).ok()?)
            }
        })
        .map(Quota::cores)
        .min()
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

/// The folders that hold the processor quotas of this process: its own group
/// and all groups above it, in every hierarchy that controls the processor.
fn group_folders(groups: &str, mounts: &str) -> Vec<GroupFolder> {
    let mut folders = Vec::new();
    for (version, group) in groups.lines().filter_map(parse_group) {
        for mount in mounts.lines().filter_map(parse_mount) {
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
fn parse_group(line: &str) -> Option<(GroupVersion, &str)> {
    let mut fields = line.splitn(3, ':');
    let _id = fields.next()?;
    let controllers = fields.next()?;
    let path = fields.next()?;
    if controllers.is_empty() {
        return Some((GroupVersion::V2, path));
    }
    let controls_cpu = controllers.split(',').any(|name| name == "cpu");
    controls_cpu.then_some((GroupVersion::V1, path))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GroupMount<'a> {
    version: GroupVersion,
    root: &'a str,
    point: &'a str,
}

/// Parses a line of `/proc/self/mountinfo` if it mounts a hierarchy that can
/// control the processor.
fn parse_mount(line: &str) -> Option<GroupMount<'_>> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1).unwrap_or(""));
    let version = match kind {
        "cgroup2" => GroupVersion::V2,
        "cgroup" if options.split(',').any(|name| name == "cpu") => GroupVersion::V1,
        _ => return None,
    };
    Some(GroupMount {
        version,
        root,
        point,
    })
}

/// Finds the row `KEY:  N kB` of `/proc/self/status`.
fn parse_status_bytes(text: &str, key: &str) -> Option<u64> {
    let row = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let mut words = row.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    (words.next()? == "kB").then_some(number.checked_mul(1024)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(text: &str) -> Option<usize> {
        parse_cpu_max(text).map(Quota::cores)
    }

    #[test]
    fn version_2_quota_is_rounded_up() {
        let cases = [
            ("max 100000\n", None),
            ("200000 100000\n", Some(2)),
            ("150000 100000\n", Some(2)),
            ("1000 100000\n", Some(1)),
            ("250000\n", Some(3)),
            ("0 100000", None),
            ("100000 0", None),
            ("-1 100000", None),
            ("", None),
            ("18446744073709551615 1", Some(usize::MAX)),
        ];
        for (text, expected) in cases {
            assert_eq!(cores(text), expected, "{text:?}");
        }
    }

    #[test]
    fn version_1_quota_is_rounded_up() {
        let parse = |quota, period| parse_cfs(quota, period).map(Quota::cores);
        assert_eq!(parse("-1\n", "100000\n"), None);
        assert_eq!(parse("300001\n", "100000\n"), Some(4));
        assert_eq!(parse("50000\n", "100000\n"), Some(1));
        assert_eq!(parse("50000\n", "0\n"), None);
        assert_eq!(parse("x", "100000"), None);
    }

    fn paths(groups: &str, mounts: &str) -> Vec<String> {
        group_folders(groups, mounts)
            .into_iter()
            .map(|folder| {
                let path = folder.path.to_string_lossy();
                format!("{:?} {}", folder.version, path.trim_end_matches('/'))
            })
            .collect()
    }

    const MOUNT_V2: &str = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_folders_reach_up_to_the_mount_point() {
        assert_eq!(
            paths("0::/a.slice/b.scope\n", MOUNT_V2),
            [
                "V2 /sys/fs/cgroup/a.slice/b.scope",
                "V2 /sys/fs/cgroup/a.slice",
                "V2 /sys/fs/cgroup",
            ]
        );
        assert_eq!(paths("0::/\n", MOUNT_V2), ["V2 /sys/fs/cgroup"]);
    }

    #[test]
    fn groups_outside_the_mount_leave_the_mount_point() {
        assert_eq!(paths("0::/../../x\n", MOUNT_V2), ["V2 /sys/fs/cgroup"]);
        let mount = "41 31 0:38 /box/1 /sys/fs/cgroup rw shared:5 - cgroup2 none rw\n";
        assert_eq!(
            paths("0::/box/1/job\n", mount),
            ["V2 /sys/fs/cgroup/job", "V2 /sys/fs/cgroup"]
        );
        assert_eq!(paths("0::/elsewhere\n", mount), ["V2 /sys/fs/cgroup"]);
    }

    #[test]
    fn version_1_uses_only_the_processor_hierarchy() {
        let groups = "4:memory:/m\n2:cpuacct,cpu:/c\n3:cpuset:/s\nnonsense\n";
        let mounts = "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      34 31 0:31 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n\
                      broken line\n";
        assert_eq!(paths(groups, mounts), ["V1 /cg/cpu/c", "V1 /cg/cpu"]);
    }

    #[test]
    fn status_rows_are_read_in_bytes() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t  12 kB\nVmRSSx:\t 5 kB\n";
        assert_eq!(parse_status_bytes(text, "VmRSS"), Some(12 * 1024));
        assert_eq!(parse_status_bytes(text, "VmHWM"), Some(2 << 20));
        assert_eq!(parse_status_bytes(text, "VmSwap"), None);
        assert_eq!(parse_status_bytes("VmRSS: 5 MB", "VmRSS"), None);
        assert_eq!(
            parse_status_bytes("VmRSS: 18446744073709551615 kB", "VmRSS"),
            None
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_cores_and_memory() {
        assert!(usable_cores() >= 1);
        let now = rss_bytes().expect("the system states it");
        assert!(now > 0);
        assert!(peak_rss_bytes().expect("the system states it") > 0);
    }
}
