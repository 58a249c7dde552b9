//! Who gets a core first, so that a percentile of the healthy client is about the proxy: in the field the attacker and the
//! upstreams have machines of their own, here all share one.
//!
//! Invariants: Linux keeps a priority for each thread, and threads and processes inherit it; one that may not be had (only root
//! may have the first two) is not had.

use std::process::Stdio;

/// Whom a piece of the harness stands for.
#[derive(Clone, Copy)]
pub enum Side {
    /// The healthy client and what answers it: they never wait for a core.
    Healthy,
    /// The proxy: it waits for nobody but them.
    Proxy,
    /// The attacker and what answers it: they take what is left.
    Hostile,
}

/// Runs `work`, and what it starts, on a thread of this priority.
pub fn with<T: Send>(side: Side, work: impl FnOnce() -> T + Send) -> T {
    let run = move || {
        let thread = rustix::thread::gettid().as_raw_pid().to_string();
        let how: &[&str] = match side {
            Side::Healthy => &["--fifo", "--pid", "2"],
            Side::Proxy => &["--fifo", "--pid", "1"],
            Side::Hostile => &["--idle", "--pid", "0"],
        };
        let _ = std::process::Command::new("chrt").args(how).arg(thread).stderr(Stdio::null()).status();
        work()
    };
    match std::thread::scope(|scope| scope.spawn(run).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
