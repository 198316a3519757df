//! How much memory a kernel or a compiler may still take.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// The megabytes that the compiler takes for a large crate.
const HELD_BY_A_COMPILER: u64 = 1500;

/// How many crates may be compiled at the same time: one a core, unless the memory is too small for that.
pub(crate) fn jobs() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let fit = available().map_or(cores, |megabytes| (megabytes / HELD_BY_A_COMPILER) as usize);
    fit.clamp(1, cores)
}

/// The megabytes that this process and those that it starts can still take: what the machine has left,
/// or a container's limit. None where the system does not tell.
pub(crate) fn available() -> Option<u64> {
    available_below(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

fn available_below(proc: &Path, cgroups: &Path) -> Option<u64> {
    let machine =
        value_of(&fs::read_to_string(proc.join("meminfo")).ok()?, "MemAvailable:")? * 1024;
    let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let bytes =
        groups(&own, cgroups).iter().filter_map(|group| group.left()).fold(machine, u64::min);
    Some(bytes / 1_000_000)
}

/// A folder in which the system tells of a group of processes, and the names of its files.
struct Group {
    folder: PathBuf,
    limit: &'static str,
    used: &'static str,
    reclaimable: &'static str,
}

impl Group {
    /// The bytes below the limit. Files that nobody has used for a while make room by themselves.
    fn left(&self) -> Option<u64> {
        let read = |name| fs::read_to_string(self.folder.join(name)).ok();
        let number = |name| read(name)?.trim().parse::<u64>().ok();
        let (limit, used) = (number(self.limit)?, number(self.used)?);
        let reclaimable = value_of(&read("memory.stat")?, self.reclaimable).unwrap_or(0);
        Some((limit + reclaimable).saturating_sub(used))
    }
}

/// The groups that this process is in: each limits what is below it.
fn groups(own: &str, cgroups: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let version_1 = match controllers {
            "" => false,
            names if names.split(',').any(|name| name == "memory") => true,
            _ => continue,
        };
        // In a container the path can be that of the machine, where only the last folder is seen.
        for below in Path::new(path.trim_start_matches('/')).ancestors() {
            groups.push(match version_1 {
                false => Group {
                    folder: cgroups.join(below),
                    limit: "memory.max",
                    used: "memory.current",
                    reclaimable: "inactive_file",
                },
                true => Group {
                    folder: cgroups.join("memory").join(below),
                    limit: "memory.limit_in_bytes",
                    used: "memory.usage_in_bytes",
                    reclaimable: "total_inactive_file",
                },
            });
        }
    }
    groups
}

/// The number after a word at the beginning of a line.
fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders that stand for those of the system, with these files.
    fn system(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("memory-{name}-{}", std::process::id()));
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn available_in(root: &Path) -> Option<u64> {
        let found = available_below(&root.join("proc"), &root.join("cgroup"));
        fs::remove_dir_all(root).ok();
        found
    }

    const MACHINE: (&str, &str) =
        ("proc/meminfo", "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n");

    #[test]
    fn without_a_limit_it_is_what_the_machine_has_left() {
        assert_eq!(available_in(&system("none", &[MACHINE])), Some(8192));
        let files = [MACHINE, ("proc/self/cgroup", "0::/\n"), ("cgroup/memory.max", "max\n")];
        assert_eq!(available_in(&system("max", &files)), Some(8192));
        assert_eq!(available_in(&system("nothing", &[])), None);
    }

    #[test]
    fn the_lowest_limit_of_all_groups_counts() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("cgroup/outer/memory.max", "2000000000\n"),
            ("cgroup/outer/memory.current", "900000000\n"),
            ("cgroup/outer/memory.stat", "anon 5\ninactive_file 400000000\n"),
            ("cgroup/outer/inner/memory.max", "max\n"),
            ("cgroup/outer/inner/memory.current", "900000000\n"),
        ];
        assert_eq!(available_in(&system("second", &files)), Some(1500));
    }

    #[test]
    fn the_first_version_of_groups_counts_too() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "4:cpu,memory:/docker/of-the-machine\n3:cpuset:/\n0::/\n"),
            ("cgroup/memory/memory.limit_in_bytes", "1000000000\n"),
            ("cgroup/memory/memory.usage_in_bytes", "700000000\n"),
            ("cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 100000000\n"),
        ];
        assert_eq!(available_in(&system("first", &files)), Some(400));
    }

    #[test]
    fn no_limit_of_the_first_version_is_a_huge_one() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "4:memory:/\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cgroup/memory/memory.usage_in_bytes", "700000000\n"),
            ("cgroup/memory/memory.stat", "total_inactive_file 100000000\n"),
        ];
        assert_eq!(available_in(&system("huge", &files)), Some(8192));
    }
}
