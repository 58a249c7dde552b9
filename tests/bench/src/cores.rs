//! Who runs on which core, and how long a process has run.
//!
//! Invariants: the proxy has a core that nobody else here uses; CPU time is counted in nanoseconds, kernel time included.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{collections::BTreeMap, fs, io};

/// A core for the proxy and one for everything else.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// For the proxy.
    proxy: usize,
    /// For load and upstreams.
    load: usize,
}

impl Cores {
    /// The first two that this process may use, and moves this thread to the second; `None` if there is only one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn claim() -> io::Result<Option<Self>> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(proxy), Some(load)) = (usable.next(), usable.next()) else { return Ok(None) };
        move_to(load)?;
        Ok(Some(Cores { proxy, load }))
    }

    /// Does `spawn` on the proxy's core: a child keeps the core that it was born on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn on_proxy_core<T>(self, spawn: impl FnOnce() -> T) -> io::Result<T> {
        move_to(self.proxy)?;
        let child = spawn();
        move_to(self.load)?;
        Ok(child)
    }
}

fn move_to(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// How long each thread of a process has run so far.
#[derive(Debug)]
pub struct CpuTime(BTreeMap<String, u64>);

impl CpuTime {
    /// Of process `id`.
    ///
    /// # Errors
    /// When it has gone, or the kernel keeps no scheduling statistics.
    pub fn of(id: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{id}/task"))? {
            let path = task?.path();
            match fs::read_to_string(path.join("schedstat")) {
                Ok(text) => threads.insert(path.to_string_lossy().into_owned(), first_number(&text)?),
                // A thread may end between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => None,
                Err(error) => return Err(error),
            };
        }
        Ok(CpuTime(threads))
    }

    /// Nanoseconds from `earlier` to now, over all threads that are still there.
    pub fn since(&self, earlier: &CpuTime) -> u64 {
        self.0.iter().map(|(thread, now)| now - earlier.0.get(thread).copied().unwrap_or(0)).sum()
    }
}

fn first_number(text: &str) -> io::Result<u64> {
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::other(format!("not scheduling statistics: {text:?}")))
}

/// What runs on this machine already: the load average of the last minute.
///
/// # Errors
/// When the kernel does not say.
pub fn load_average() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::other(format!("not a load average: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn counts_what_a_thread_burns() {
        let id = std::process::id();
        let before = CpuTime::of(id).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(0);
        }
        let burnt = CpuTime::of(id).unwrap().since(&before);
        // The machine may be shared, so there is no sharp lower bound.
        assert!(burnt > 1_000_000, "{burnt} ns");
    }

    #[test]
    fn a_child_keeps_its_core_and_the_parent_goes_back() {
        let Some(cores) = Cores::claim().unwrap() else { return };
        let child = || std::process::Command::new("cat").arg("/proc/self/status").output().unwrap().stdout;
        let allowed = |status: Vec<u8>| {
            let text = String::from_utf8(status).unwrap();
            text.lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:\t").map(str::to_owned))
                .unwrap()
        };
        assert_eq!(allowed(cores.on_proxy_core(child).unwrap()), cores.proxy.to_string());
        assert_eq!(allowed(child()), cores.load.to_string());
    }
}
