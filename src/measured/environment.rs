//! Reads facts about the machine from Linux's files. Nothing here fails: a fact that the system
//! does not tell is left out.

use std::fs;
use std::path::Path;

use rustix::system::uname;

use super::Environment;

impl Environment {
    /// Reads the environment of the calling thread; `cpus_allowed` are the CPUs of this thread. The
    /// caller knows both flags.
    ///
    /// ```
    /// use resound::measured::Environment;
    ///
    /// let here = Environment::here(true, false);
    /// assert!(!here.host.is_empty() && here.cpus_online != Some(0));
    /// ```
    pub fn here(loopback: bool, shared_cpus: bool) -> Environment {
        let system = uname();
        let [host, name, release] = [system.nodename(), system.sysname(), system.release()]
            .map(|text| text.to_string_lossy().into_owned());
        let mut environment = Environment {
            host,
            kernel: format!("{name} {release}"),
            cpus_allowed: cpus_allowed(),
            loopback,
            shared_cpus,
            ..Environment::default()
        };
        environment.read_machine(Path::new("/"));
        environment
    }

    /// Reads the files of /proc and /sys under `root`.
    fn read_machine(&mut self, root: &Path) {
        let cpus = root.join("sys/devices/system/cpu");
        let cpu_info = read(&root.join("proc/cpuinfo")).unwrap_or_default();
        self.cpu_model = cpu_model(&cpu_info);
        // `cpus_allowed` would be wrong here: the generator may be pinned to one of many CPUs.
        self.cpus_online = read(&cpus.join("online"))
            .and_then(|list| counted_cpus(&list))
            .or_else(|| listed_cpus(&cpu_info));
        let first = self.cpus_allowed.first().copied().unwrap_or_default();
        self.governor = read(&cpus.join(format!("cpu{first}/cpufreq/scaling_governor")));
        let clock = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        self.clock_source = read(&root.join(clock));
    }
}

/// Returns the text of a file without white space around it; `None` if it is empty or unreadable.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns the model of the CPU. x86 names it `model name`, some Arm boards `Model` or `Hardware`,
/// MIPS `cpu model`, and PowerPC `cpu`.
fn cpu_model(cpu_info: &str) -> Option<String> {
    let value_of = |name: &str| {
        let mut fields = cpu_info.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let names = ["model name", "Model", "Hardware", "cpu model", "cpu"];
    names.iter().find_map(|name| value_of(name)).filter(|model| !model.is_empty())
}

/// Returns how many CPUs /proc/cpuinfo describes, which are those online. `None` if it does not
/// list CPUs by number, as on s390.
fn listed_cpus(cpu_info: &str) -> Option<u64> {
    let names_cpu =
        |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.trim_end() == "processor");
    let count = cpu_info.lines().filter(names_cpu).count() as u64;
    (count > 0).then_some(count)
}

/// Returns how many CPUs a list such as `0-3,8` names.
fn counted_cpus(list: &str) -> Option<u64> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').try_fold(0_u64, |sum, range| sum.checked_add(count(range.trim())?))
}

#[cfg(target_os = "linux")]
fn cpus_allowed() -> Vec<u64> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u64).collect()
}

#[cfg(not(target_os = "linux"))]
fn cpus_allowed() -> Vec<u64> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Environment {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut environment = Environment { cpus_allowed: vec![2, 3], ..Environment::default() };
        environment.read_machine(root.path());
        environment
    }

    #[test]
    fn the_facts_that_the_system_tells_are_read() {
        let clock = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        let found = machine(&[
            ("proc/cpuinfo", "processor\t: 0\nmodel name\t: A: fast one\nprocessor\t: 1\n"),
            ("sys/devices/system/cpu/online", "0-3,8\n"),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n"),
            (clock, "tsc\n"),
        ]);
        assert_eq!(found.cpu_model.as_deref(), Some("A: fast one"));
        assert_eq!(found.cpus_online, Some(5));
        assert_eq!(found.governor.as_deref(), Some("powersave"));
        assert_eq!(found.clock_source.as_deref(), Some("tsc"));
    }

    #[test]
    fn a_machine_that_tells_nothing_is_no_error() {
        let found = machine(&[("proc/cpuinfo", "model name\t:\n\0"), ("sys/devices", "")]);
        assert_eq!((found.cpu_model, found.governor, found.clock_source), (None, None, None));
        assert_eq!(found.cpus_online, None, "the CPUs of this thread are not all CPUs online");
        let found = machine(&[("proc/cpuinfo", "processor\t: 0\n\nprocessor\t: 1\nbogus: 1\n")]);
        assert_eq!(found.cpus_online, Some(2));
    }

    #[test]
    fn a_malformed_list_of_cpus_has_no_count() {
        for list in ["", "3-1", "x", "0-", "0-18446744073709551615,0-18446744073709551615"] {
            assert_eq!(counted_cpus(list), None, "{list:?}");
        }
        assert_eq!(counted_cpus("0"), Some(1));
    }

    #[test]
    fn the_environment_of_this_thread_is_known() {
        let here = Environment::here(true, true);
        assert!(here.loopback && here.shared_cpus);
        assert!(!here.cpus_allowed.is_empty());
        assert!(here.kernel.starts_with("Linux "), "{}", here.kernel);
    }
}
