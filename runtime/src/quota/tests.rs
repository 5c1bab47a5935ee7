//! What the system's files say of cores and memory.
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
    group_folders(groups, mounts, "cpu")
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
    let cores = super::cores();
    assert!(cores.usable >= 1 && cores.affinity.is_some_and(|n| n >= cores.usable));
    assert!(memory().total_bytes > memory().available_bytes);
    let now = rss_bytes().expect("the system states it");
    assert!(now > 0);
    assert!(peak_rss_bytes().expect("the system states it") > 0);
}

/// A folder that stands for the root of a system, deleted when dropped.
struct System(PathBuf);

impl System {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = format!("tensmith-quota-{name}-{}", std::process::id());
        let system = System(std::env::temp_dir().join(folder));
        for (path, text) in files {
            let path = system.0.join(path);
            let parent = path.parent().expect("files lie in folders");
            fs::create_dir_all(parent).expect("the folder is ours");
            fs::write(path, text).expect("the folder is ours");
        }
        system
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_tightest_of_nested_version_2_groups_counts() {
    let system = System::new(
        "v2",
        &[
            ("proc/self/cgroup", "0::/a/b/c\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/cgroup.procs", ""),
            ("sys/fs/cgroup/a/cpu.max", "800000 100000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/other/cpu.max", "100000 100000\n"),
        ],
    );
    assert_eq!(group_cores(&system.0), Some(3));
}

#[test]
fn version_1_groups_of_a_container_are_found_at_its_mount() {
    let mounts = "32 31 0:29 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
    let system = System::new(
        "v1",
        &[
            (
                "proc/self/cgroup",
                "2:cpu,cpuacct:/docker/x\n1:name=systemd:/\n",
            ),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n"),
        ],
    );
    assert_eq!(group_cores(&system.0), Some(3));
}

#[test]
fn the_tightest_limit_of_memory_counts() {
    let parse = parse_memory_max;
    assert_eq!((parse("max\n"), parse("4096\n")), (None, Some(4096)));
    assert_eq!(parse("9223372036854771712\n"), None);
    let mounts = format!("{MOUNT_V2}32 31 0:29 / /cg/m rw - cgroup cgroup rw,memory\n");
    let system = System::new(
        "memory",
        &[
            ("proc/self/cgroup", "2:memory:/c\n0::/u/v\n"),
            ("proc/self/mountinfo", &mounts),
            ("cg/m/c/memory.limit_in_bytes", "8192\n"),
            ("sys/fs/cgroup/u/memory.max", "4096\n"),
            ("sys/fs/cgroup/u/v/memory.max", "max\n"),
        ],
    );
    assert_eq!(memory_limit(&system.0), Some(4096));
    assert_eq!(group_cores(&system.0), None);
}

#[test]
fn both_versions_at_once_and_neither() {
    let mounts = format!("{MOUNT_V2}32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu\n");
    let system = System::new(
        "hybrid",
        &[
            ("proc/self/cgroup", "2:cpu:/c\n0::/u\n"),
            ("proc/self/mountinfo", &mounts),
            ("cg/cpu/cpu.cfs_quota_us", "-1\n"),
            ("cg/cpu/cpu.cfs_period_us", "100000\n"),
            ("cg/cpu/c/cpu.cfs_quota_us", "500000\n"),
            ("cg/cpu/c/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/u/cpu.max", "700000 100000\n"),
        ],
    );
    assert_eq!(group_cores(&system.0), Some(5));
    let bare = System::new("bare", &[("proc/self/status", "")]);
    assert_eq!(group_cores(&bare.0), None);
}

/// A control group's set of processors reaches the process as its affinity.
#[test]
#[cfg(target_os = "linux")]
fn affinity_bounds_the_usable_cores() {
    let of_thread = || {
        let all = rustix::thread::sched_getaffinity(None).expect("the system states it");
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu));
        let mut one = rustix::thread::CpuSet::new();
        one.set(first.expect("this thread runs somewhere"));
        rustix::thread::sched_setaffinity(None, &one).expect("a part of the set is allowed");
        usable_cores()
    };
    // A thread of its own, since the affinity is the thread's.
    let cores = std::thread::spawn(of_thread).join();
    assert_eq!(cores.expect("it does not panic"), 1);
}
