//! The time for which the CPU quota of this process's cgroup has kept its threads from running, as
//! the kernel counts it (cgroup v1 and v2; `cpu.stat` in the kernel's cgroup-v2.rst).

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the throttled time of the process's own cgroup so far, summed over its processors;
/// `None` if there is no such cgroup, or if /proc or the cgroup's files cannot be read.
pub(super) fn throttled_ns() -> Option<u64> {
    throttled_under(Path::new("/"))
}

fn throttled_under(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let folder = folder_of(&read("proc/self/cgroup")?, &read("proc/self/mountinfo")?)?;
    let stat = fs::read_to_string(root.join(folder.strip_prefix("/").ok()?).join("cpu.stat"));
    throttled_in(&stat.ok()?)
}

/// Returns the folder that holds the cgroup's CPU files. A v1 hierarchy with the CPU controller has
/// them even if a v2 hierarchy is mounted too.
fn folder_of(cgroups: &str, mounts: &str) -> Option<PathBuf> {
    let group_of = |is_own: fn(&str, &str) -> bool| {
        cgroups.lines().find_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            is_own(number, controllers).then_some(path)
        })
    };
    let has_cpu = |list: &str| list.split(',').any(|name| name == "cpu");
    let v1 = group_of(|_, controllers| controllers.split(',').any(|name| name == "cpu"));
    let v2 = group_of(|number, controllers| number == "0" && controllers.is_empty());
    let folder = |group: &str, is_mount: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let (own, system) = line.split_once(" - ")?;
            let mut own = own.split(' ').skip(3);
            let (mount_root, mount_point) = (own.next()?, own.next()?);
            let mut system = system.split(' ');
            let (kind, options) = (system.next()?, system.nth(1)?);
            let below = Path::new(group).strip_prefix(mount_root).ok()?;
            is_mount(kind, options).then(|| Path::new(mount_point).join(below))
        })
    };
    v1.and_then(|group| folder(group, &|kind, options| kind == "cgroup" && has_cpu(options)))
        .or_else(|| v2.and_then(|group| folder(group, &|kind, _| kind == "cgroup2")))
}

/// Reads `throttled_usec` (v2) or `throttled_time` (v1, in nanoseconds).
fn throttled_in(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let value: u64 = value.trim().parse().ok()?;
        match name {
            "throttled_usec" => Some(value.saturating_mul(1_000)),
            "throttled_time" => Some(value),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "36 32 0:33 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup \
                      rw,cpu,cpuacct\n\
                      37 32 0:34 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";

    fn machine(cgroups: &str, mounts: &str, stat: Option<(&str, &str)>) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("proc/self");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("cgroup"), cgroups).unwrap();
        fs::write(own.join("mountinfo"), mounts).unwrap();
        if let Some((folder, text)) = stat {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("cpu.stat"), text).unwrap();
        }
        throttled_under(root.path())
    }

    /// case B14
    #[test]
    fn the_throttled_time_of_its_own_cgroup_is_read_in_both_versions() {
        let stat = "usage_usec 9\nnr_throttled 1\nthrottled_usec 2500\n";
        let found = machine("0::/a/b\n", V2, Some(("sys/fs/cgroup/a/b", stat)));
        assert_eq!(found, Some(2_500_000));
        let groups = "4:pids:/x\n3:cpu,cpuacct:/a\n0::/\n";
        let stat = "nr_periods 4\nnr_throttled 2\nthrottled_time 77\n";
        let place = Some(("sys/fs/cgroup/cpu,cpuacct/a", stat));
        assert_eq!(machine(groups, &format!("{V2}{V1}"), place), Some(77));
    }

    #[test]
    fn a_container_sees_its_own_part_of_the_hierarchy() {
        let mounts = V2.replace(" / /sys", " /pod/box /sys");
        let stat = Some(("sys/fs/cgroup/in", "throttled_usec 1\n"));
        assert_eq!(machine("0::/pod/box/in\n", &mounts, stat), Some(1_000));
        assert_eq!(machine("0::/elsewhere\n", &mounts, stat), None);
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_not_0() {
        assert_eq!(throttled_under(Path::new("/nonexistent")), None);
        assert_eq!(machine("", V2, None), None);
        assert_eq!(machine("0::/\n", V2, None), None);
        assert_eq!(machine("0::/\n", V2, Some(("sys/fs/cgroup", "usage_usec 9\n"))), None);
        assert_eq!(machine("nonsense\n:\n", "nonsense - x\n", None), None);
    }
}
