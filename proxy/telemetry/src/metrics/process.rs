//! What the kernel knows of this process, read from `/proc` at each scrape.
//!
//! Invariant: what cannot be read is not shown; nothing here fails a scrape.

use super::export::{family, number};
use crate::names::{self, *};
use prometheus::{
    core::{Collector, Desc},
    proto::MetricFamily,
};
use std::fs;

/// Clock ticks a second in `/proc`: fixed at 100 by the kernel's user interface on all common processors.
const TICKS: f64 = 100.0;

/// Families of this file.
const FAMILIES: &[names::Family] = &[
    PROCESS_CPU,
    PROCESS_RESIDENT,
    PROCESS_VIRTUAL,
    PROCESS_FDS,
    PROCESS_MAX_FDS,
    PROCESS_THREADS,
    PROCESS_START,
];

/// Memory and processor time of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUsage {
    /// User and system, in seconds.
    pub cpu_seconds: Option<f64>,
    /// In bytes.
    pub resident_bytes: Option<f64>,
    /// Highest [`Self::resident_bytes`] so far.
    pub peak_resident_bytes: Option<f64>,
    /// In bytes.
    pub virtual_bytes: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<f64>,
    /// The soft limit.
    pub max_fds: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
    /// Seconds since the Unix epoch.
    pub started: Option<f64>,
}

impl ProcessUsage {
    /// As of now.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (text("/proc/self/stat"), text("/proc/self/status"));
        let kilobytes = |key| field(&status, key).map(|value| value * 1024.0);
        let stat: Vec<f64> = stat_numbers(&stat);
        let ticks = |at: usize| stat.get(at).map(|ticks| ticks / TICKS);
        ProcessUsage {
            cpu_seconds: ticks(UTIME).zip(ticks(UTIME + 1)).map(|(user, system)| user + system),
            resident_bytes: kilobytes("VmRSS:"),
            peak_resident_bytes: kilobytes("VmHWM:"),
            virtual_bytes: kilobytes("VmSize:"),
            // The folder's own descriptor is among the entries.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count().saturating_sub(1) as f64),
            max_fds: field(&text("/proc/self/limits"), "Max open files"),
            threads: field(&status, "Threads:"),
            started: field(&text("/proc/stat"), "btime")
                .zip(ticks(STARTTIME))
                .map(|(boot, since)| boot + since),
        }
    }

    fn values(&self) -> [Option<f64>; 7] {
        [
            self.cpu_seconds,
            self.resident_bytes,
            self.virtual_bytes,
            self.open_fds,
            self.max_fds,
            self.threads,
            self.started,
        ]
    }
}

/// Places in `/proc/self/stat` counted from the field after the command name (proc(5): utime is 14, starttime 22).
const UTIME: usize = 14 - 3;
const STARTTIME: usize = 22 - 3;

/// The numbers after the command name, which may itself hold spaces and parentheses. The state letter counts as 0.
fn stat_numbers(text: &str) -> Vec<f64> {
    let after = text.rfind(')').map_or("", |at| &text[at + 1..]);
    after.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0.0)).collect()
}

/// The first number after `key` at the start of a line.
fn field(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Shows [`ProcessUsage`] to Prometheus.
pub(super) struct Process;

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        // The families need no declaration: their names are unique by a test of `names`.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = ProcessUsage::read().values();
        let shown = FAMILIES.iter().zip(values).filter_map(|(of, value)| Some((of, value?)));
        shown.map(|(of, value)| family(of, vec![number(of, Vec::new(), value)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_hold_anything() {
        let numbers = stat_numbers("12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 777 0");
        assert_eq!((numbers[UTIME], numbers[UTIME + 1], numbers[STARTTIME]), (150.0, 50.0, 777.0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_all_values() {
        let usage = ProcessUsage::read();
        assert!(usage.values().iter().all(Option::is_some), "{usage:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 86_400.0..now + 2.0).contains(&usage.started.unwrap()), "{usage:?}");
        assert!(usage.peak_resident_bytes >= usage.resident_bytes);
    }
}
