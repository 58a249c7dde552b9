//! How much of the memory that this process may have it uses.
//!
//! In:  `limits.maxMemoryBytes`, or the limits of the process' control groups.   Out: [`Overload`](crate::overload::Overload), and a gauge;
//! memory that is free given back while it is short.
//! Invariants: what others use of a control group is not laid to this process' charge: with others it shares what they leave, and
//! refuses requests only when it is itself what fills the rest. Without a limit nothing is measured.
//! Not here: what is refused at which share (`crate::overload`).
//! Source: the kernel's "Control Group v2" and "Memory Resource Controller" (v1).

use super::state::AppState;
use crate::overload::Pressure;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Between measurements: as long as it takes to fill tens of megabytes.
const PERIOD: Duration = Duration::from_millis(250);
/// The same where there is no limit, unless another configuration is in force.
const UNLIMITED: Duration = Duration::from_secs(5);
/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 writes "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 60;

/// Measures until the process ends.
pub async fn watch(state: Arc<AppState>) {
    let groups = Group::all(Path::new(ROOT), &read("/proc/self/cgroup".as_ref()));
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut measured = false;
    let mut relief = Relief::default();
    loop {
        ticks.tick().await;
        let given = state.max_memory();
        if given.is_none() && groups.is_empty() && !measured {
            // Nothing ticks while there is no limit; the configuration may bring one.
            let _ = tokio::time::timeout(UNLIMITED, state.limits.notified()).await;
            continue;
        }
        let share = relief.share(|| share(given, &groups, resident()), sidle_heap::give_back);
        measured = share > 0.0;
        let pressure = Pressure::at(share);
        if let Some(before) = state.set_pressure(share, pressure)
            && before != pressure
        {
            tracing::warn!(?pressure, share = format!("{:.0} %", share * 100.0), "memory");
        }
    }
}

/// Has memory that is free given back where there is a shortage: what the C library keeps would look like use for ever.
#[derive(Debug, Default)]
struct Relief {
    /// Measurements until the next time.
    wait: u32,
    /// Measurements between two times.
    pause: u32,
}

impl Relief {
    /// Measurements between two times: other threads may wait for memory meanwhile, and what a busy proxy gives back it takes again.
    const PAUSE: u32 = 4;
    /// The same while it does not end the shortage.
    const LONGEST_PAUSE: u32 = 64;

    /// The share, after what is free was given back if that was needed.
    fn share(&mut self, measure: impl Fn() -> f64, give_back: impl FnOnce()) -> f64 {
        let share = measure();
        if self.wait > 0 {
            self.wait -= 1;
            return share;
        }
        if Pressure::at(share) == Pressure::None {
            self.pause = 0;
            return share;
        }
        give_back();
        self.pause = (2 * self.pause).clamp(Self::PAUSE, Self::LONGEST_PAUSE);
        self.wait = self.pause;
        measure()
    }
}

/// The share of what this process may have that it has; 0 without a limit.
fn share(given: Option<u64>, groups: &[Group], resident: u64) -> f64 {
    let of = |most: u64| resident as f64 / most.max(1) as f64;
    match given {
        Some(limit) => of(limit),
        None => groups.iter().filter_map(Group::left).map(|left| of(resident + left)).fold(0.0, f64::max),
    }
}

fn resident() -> u64 {
    let status = read("/proc/self/status".as_ref());
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// A control group that this process is in, itself or with its parents.
#[derive(Debug)]
struct Group {
    folder: PathBuf,
    version_2: bool,
}

impl Group {
    /// All that have a limit now; a group without one seldom gets one.
    fn all(root: &Path, memberships: &str) -> Vec<Group> {
        let mut groups = Vec::new();
        for line in memberships.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let path = path.trim_start_matches('/');
            if controllers.is_empty() {
                let own = Path::new(path).ancestors().map(|path| root.join(path));
                groups.extend(own.map(|folder| Group { folder, version_2: true }));
            } else if controllers.split(',').any(|controller| controller == "memory") {
                // Inside a container its own group is mounted as the root.
                let root = root.join("memory");
                let own =
                    [root.join(path), root].into_iter().find(|folder| folder.join("memory.stat").is_file());
                groups.extend(own.map(|folder| Group { folder, version_2: false }));
            }
        }
        groups.retain(|group| group.left().is_some());
        groups
    }

    /// How much more its processes may take; `None`: there is no limit.
    fn left(&self) -> Option<u64> {
        let number = |file: &str| read(&self.folder.join(file)).trim().parse::<u64>().ok();
        let stat = read(&self.folder.join("memory.stat"));
        let stat = |key: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<u64>().ok())
        };
        let (limit, used, cache) = match self.version_2 {
            true => (number("memory.max")?, number("memory.current")?, stat("inactive_file")),
            false => (
                stat("hierarchical_memory_limit").filter(|limit| *limit < NO_LIMIT)?,
                number("memory.usage_in_bytes")?,
                stat("total_inactive_file"),
            ),
        };
        // Files that nobody has read for a while go when memory is needed.
        Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or_default())))
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (file, content) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// A process of which so much is in use, and so much free.
    #[derive(Default)]
    struct Memory {
        relief: Relief,
        used: f64,
        free: Cell<f64>,
        times: Cell<u32>,
    }

    impl Memory {
        fn measure(&mut self) -> f64 {
            let give_back = || {
                self.times.set(self.times.get() + 1);
                self.free.set(0.0);
            };
            self.relief.share(|| self.used + self.free.get(), give_back)
        }
    }

    #[test]
    fn what_is_free_is_given_back_while_memory_is_short() {
        let mut memory = Memory { used: 0.5, free: Cell::new(0.3), ..Memory::default() };
        assert_eq!((memory.measure(), memory.times.get()), (0.8, 0), "there is enough");
        memory.free.set(0.5);
        assert_eq!((memory.measure(), memory.times.get()), (0.5, 1), "what is counted is what is left");
        for _ in 0..100 {
            memory.measure();
        }
        memory.free.set(0.45);
        assert_eq!((memory.measure(), memory.times.get()), (0.5, 2), "at once again");
    }

    #[test]
    fn what_does_not_end_a_shortage_is_seldom_tried() {
        let mut memory = Memory { used: 0.93, ..Memory::default() };
        for _ in 0..1_000 {
            memory.free.set(0.02); // is given back, and taken again
            assert!(memory.measure() > 0.92);
        }
        assert!((10..25).contains(&memory.times.get()), "{}", memory.times.get());
    }

    #[test]
    fn version_2_counts_the_tightest_of_a_group_and_its_parents() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("a/b/memory.max", "max\n"),
                ("a/b/memory.current", "900\n"),
                ("a/memory.max", "1000\n"),
                ("a/memory.current", "900\n"),
                ("a/memory.stat", "anon 600\ninactive_file 300\nactive_file 7\n"),
            ],
        );
        let groups = Group::all(root.path(), "0::/a/b\n");
        assert_eq!(groups.iter().map(Group::left).collect::<Vec<_>>(), [Some(400)]);
        assert_eq!(share(None, &groups, 600), 0.6, "alone");
        assert_eq!(share(None, &groups, 100), 0.2, "others have 500 of it");
        write(root.path(), &[("a/memory.current", "1300\n")]);
        assert_eq!(share(None, &groups, 100), 1.0);
    }

    #[test]
    fn version_1_has_its_own_names() {
        let root = tempfile::tempdir().unwrap();
        let memberships = "5:cpu:/x\n4:memory:/docker/1\n0::/\n";
        write(
            root.path(),
            &[
                ("memory/memory.stat", "hierarchical_memory_limit 1000\ntotal_inactive_file 100\n"),
                ("memory/memory.usage_in_bytes", "600\n"),
            ],
        );
        let left = |root| Group::all(root, memberships).iter().map(Group::left).collect::<Vec<_>>();
        assert_eq!(left(root.path()), [Some(500)]);
        write(root.path(), &[("memory/memory.stat", "hierarchical_memory_limit 9223372036854771712\n")]);
        assert_eq!(left(root.path()), []);
    }

    #[test]
    fn without_a_limit_there_is_no_pressure_and_a_given_one_is_first() {
        assert_eq!(share(None, &[], 1 << 30), 0.0);
        assert_eq!(share(Some(1 << 30), &[], 1 << 29), 0.5);
        assert!(resident() > 1 << 20);
    }
}
