//! Who runs on which core, and how much a core is used.
//!
//! Invariant: the proxy has a core that nobody else here uses.

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use std::{fs, io};

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
        move_to(&[load])?;
        Ok(Some(Cores { proxy, load }))
    }

    /// These two, and moves this thread to the second; `None` stands for the first that is left.
    ///
    /// # Errors
    /// When this process may not use them, or they are one.
    pub fn choose(proxy: Option<usize>, load: Option<usize>) -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let usable = |core: usize| core < CpuSet::MAX_CPU && allowed.is_set(core);
        let left =
            |other: Option<usize>| (0..CpuSet::MAX_CPU).find(|core| usable(*core) && Some(*core) != other);
        let cores =
            proxy.or_else(|| left(load)).and_then(|proxy| Some((proxy, load.or_else(|| left(Some(proxy)))?)));
        match cores {
            Some((proxy, load)) if proxy != load && usable(proxy) && usable(load) => {
                move_to(&[load])?;
                Ok(Cores { proxy, load })
            }
            _ => Err(io::Error::other("two cores are needed, one for the proxy and one for everything else")),
        }
    }

    /// The proxy's.
    pub fn proxy(self) -> usize {
        self.proxy
    }

    /// Everybody else's.
    pub fn load(self) -> usize {
        self.load
    }

    /// Does `spawn` where it may use both cores.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn on_both<T>(self, spawn: impl FnOnce() -> T) -> io::Result<T> {
        move_to(&[self.proxy, self.load])?;
        let child = spawn();
        move_to(&[self.load])?;
        Ok(child)
    }

    /// Does `spawn` on the proxy's core: a child keeps the core that it was born on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn on_proxy_core<T>(self, spawn: impl FnOnce() -> T) -> io::Result<T> {
        move_to(&[self.proxy])?;
        let child = spawn();
        move_to(&[self.load])?;
        Ok(child)
    }
}

/// Moves this thread to these cores.
///
/// # Errors
/// When the system refuses.
pub fn move_to(cores: &[usize]) -> io::Result<()> {
    let mut only = CpuSet::new();
    for core in cores {
        only.set(*core);
    }
    Ok(sched_setaffinity(None, &only)?)
}

/// Moves each thread of process `id` whose name begins with `name` to one of these cores, in the order in which they began.
///
/// # Errors
/// When there are not as many, or the system refuses.
pub fn spread(id: u32, name: &str, cores: &[usize]) -> io::Result<()> {
    let mut threads = Vec::new();
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let thread = thread?;
        if fs::read_to_string(thread.path().join("comm"))?.starts_with(name) {
            threads.extend(thread.file_name().to_str().and_then(|number| number.parse::<i32>().ok()));
        }
    }
    threads.sort_unstable();
    if threads.len() != cores.len() {
        return Err(io::Error::other(format!("{} threads are called {name}…", threads.len())));
    }
    for (thread, core) in threads.into_iter().zip(cores) {
        let mut only = CpuSet::new();
        only.set(*core);
        sched_setaffinity(Pid::from_raw(thread), &only)?;
    }
    Ok(())
}

/// How long a core has been used so far, by anybody, and by others than this machine.
#[derive(Debug, Clone, Copy)]
pub struct CoreTime {
    ticks: u64,
}

impl CoreTime {
    /// Of core `number`.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(number: usize) -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat")?, number)
            .ok_or_else(|| io::Error::other(format!("no figures of core {number}")))
    }

    fn parse(stat: &str, number: usize) -> Option<Self> {
        let name = format!("cpu{number} ");
        let figures = stat.lines().find_map(|line| line.strip_prefix(&name))?;
        let figures: Vec<u64> = figures.split_whitespace().map_while(|figure| figure.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let [user, nice, system, _, _, irq, softirq, steal] = *figures.first_chunk()?;
        Some(CoreTime { ticks: user + nice + system + irq + softirq + steal })
    }

    /// Seconds from `earlier` to now.
    pub fn since(self, earlier: &CoreTime) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0; // USER_HZ, the same on every Linux
        (self.ticks - earlier.ticks) as f64 / TICKS_PER_SECOND
    }
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

    #[test]
    fn a_core_is_used_or_idle() {
        let stat = "cpu  9 9 9 9\ncpu0 1 2 3 1000 50 4 5 6 0 0\ncpu10 1 1 1 1 1 1 1 1 0 0\n";
        let (first, eleventh) = (CoreTime::parse(stat, 0).unwrap(), CoreTime::parse(stat, 10).unwrap());
        assert_eq!((first.ticks, eleventh.ticks), (21, 6));
        assert!(CoreTime::parse(stat, 1).is_none());
        assert_eq!(first.since(&eleventh), 0.15);
    }

    #[test]
    fn cores_that_are_not_there_and_one_for_both_are_refused() {
        for (proxy, load) in [(Some(9999), None), (None, Some(usize::MAX)), (Some(0), Some(0))] {
            assert!(Cores::choose(proxy, load).is_err(), "{proxy:?} {load:?}");
        }
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
        let both = allowed(cores.on_both(child).unwrap());
        assert!(both.len() > 1 && both.contains(&cores.proxy.to_string()), "{both}");
        assert_eq!(allowed(child()), cores.load.to_string());
    }
}
