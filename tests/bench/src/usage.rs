//! What a process and its children use.
//!
//! Invariants: processor time is counted in nanoseconds, kernel time included.

use std::{collections::BTreeMap, fs, io};

/// A process, its children, their children, and so on.
pub fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    for thread in threads {
        // One that has gone has no children.
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(family));
    }
    all
}

/// How long each thread of a process and of its children has run so far.
#[derive(Debug)]
pub struct CpuTime(BTreeMap<String, u64>);

impl CpuTime {
    /// Of process `id` and its children.
    ///
    /// # Errors
    /// When it has gone, or the kernel keeps no scheduling statistics.
    pub fn of(id: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for (at, process) in family(id).into_iter().enumerate() {
            match fs::read_dir(format!("/proc/{process}/task")) {
                Ok(tasks) => add(&mut threads, tasks)?,
                // A child may end between the two looks.
                Err(error) if at > 0 && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(CpuTime(threads))
    }

    /// Of two processes.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Nanoseconds from `earlier` to now, over all threads that are still there.
    pub fn since(&self, earlier: &CpuTime) -> u64 {
        self.0.iter().map(|(thread, now)| now - earlier.0.get(thread).copied().unwrap_or(0)).sum()
    }
}

fn add(threads: &mut BTreeMap<String, u64>, tasks: fs::ReadDir) -> io::Result<()> {
    for task in tasks {
        let path = task?.path();
        match fs::read_to_string(path.join("schedstat")) {
            Ok(text) => {
                threads.insert(path.to_string_lossy().into_owned(), first_number(&text)?);
            }
            // A thread may end between the two looks, or between opening its file and reading it (ESRCH).
            Err(_) if !path.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn first_number(text: &str) -> io::Result<u64> {
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::other(format!("not scheduling statistics: {text:?}")))
}

/// Resident memory of a process and its children. What they share is counted for each.
///
/// # Errors
/// When it has gone.
pub fn resident_bytes(id: u32) -> io::Result<u64> {
    let mut sum = 0;
    for process in family(id) {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        sum += resident.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10;
    }
    Ok(sum)
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
    fn the_time_of_children_counts() {
        let mut parent =
            std::process::Command::new("sh").args(["-c", "(while :; do :; done) & wait"]).spawn().unwrap();
        let begin = Instant::now();
        while family(parent.id()).len() < 2 && begin.elapsed() < Duration::from_secs(10) {}
        let all = family(parent.id());
        let before = CpuTime::of(parent.id()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let burnt = CpuTime::of(parent.id()).unwrap().since(&before);
        for id in &all {
            let id = rustix::process::Pid::from_raw(*id as i32).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
        }
        parent.wait().unwrap();
        assert_eq!((all[0], all.len()), (parent.id(), 2));
        assert!(burnt > 1_000_000, "{burnt} ns");
    }

    #[test]
    fn memory_that_is_used_is_resident() {
        let before = resident_bytes(std::process::id()).unwrap();
        let much = vec![1u8; 64 << 20];
        let after = resident_bytes(std::process::id()).unwrap();
        assert!(after > before + (32 << 20), "{before} {after}");
        drop(std::hint::black_box(much));
    }
}
