//! The thread that writes the access log, and the memory between it and the workers.
//!
//! In:  lines from any thread.   Out: bytes in a file, at most a second later.
//! Invariants: a worker appends to a buffer of its own, whose lock the writing thread holds only to swap the buffer, and
//! wakes that thread at most once a second or once in [`CHUNK`] bytes; a buffer never exceeds [`LANE_LIMIT`], beyond
//! that lines are counted and dropped; an idle log wakes nobody; a line that was cut off, by a full disk or by the end of a process,
//! stays alone on its line.
//! Not here: formats (`line`), what the proxy's own log says (`losses`).

use super::losses::Losses;
use crate::metrics::own_shard;
use prometheus::IntCounter;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// A line waits this long at most, while the disk keeps up.
const INTERVAL: Duration = Duration::from_secs(1);
/// So many waiting bytes of one worker are written at once.
const CHUNK: usize = 64 << 10;
/// The most that one worker's lines may take while the file does not keep up.
const LANE_LIMIT: usize = 1 << 20;
/// Workers beyond this many share lanes.
const LANES: usize = 8;

/// An open log file with its thread. When dropped, the thread writes what is left and ends.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    path: PathBuf,
    lanes: [Mutex<Lane>; LANES],
    /// Some lane holds lines.
    dirty: AtomicBool,
    /// Some lane holds a chunk, or someone waits for the lines.
    urgent: AtomicBool,
    reopen: AtomicBool,
    closed: AtomicBool,
    /// Rounds of writing that have begun, and that have ended.
    begun: AtomicU64,
    ended: Mutex<u64>,
    round_ended: Condvar,
    losses: Losses,
}

#[derive(Default)]
struct Lane {
    bytes: Vec<u8>,
    lines: u64,
}

impl Writer {
    /// Opens `path` for appending and starts the thread. The counters are of lines written and of lines lost.
    pub(super) fn open(path: &Path, (written, dropped): (IntCounter, IntCounter)) -> io::Result<Self> {
        let output = open(path)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            lanes: Default::default(),
            dirty: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ended: Mutex::new(0),
            round_ended: Condvar::new(),
            losses: Losses::new(path.to_owned(), dropped),
        });
        let half_line = ends_within_a_line(path, &output).unwrap_or(false);
        let mut file =
            LogFile { output, written, shared: Arc::clone(&shared), lane: Lane::default(), half_line };
        let handle = thread::Builder::new().name("access-log".into()).spawn(move || file.run())?;
        Ok(Writer { shared, thread: handle.thread().clone() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Lets `write` append one line.
    pub(super) fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lane = lock(&self.shared.lanes[own_shard() % LANES]);
        if lane.bytes.len() >= LANE_LIMIT {
            drop(lane);
            self.shared.losses.lose(1, &"the file does not keep up");
            return;
        }
        write(&mut lane.bytes);
        lane.lines += 1;
        let is_chunk = lane.bytes.len() >= CHUNK;
        drop(lane);
        // The writing thread clears a flag before it looks at the lanes: who sees a flag set will be looked at.
        let wake = if is_chunk { raise(&self.shared.urgent) } else { raise(&self.shared.dirty) };
        if wake {
            self.thread.unpark();
        }
    }

    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, SeqCst);
        self.wake();
    }

    pub(super) fn flush(&self, patience: Duration) -> bool {
        // A round that has begun may have passed a lane already; the one after it has not.
        let round = self.shared.begun.load(SeqCst) + 1;
        self.wake();
        let ended = lock(&self.shared.ended);
        let waited = self.shared.round_ended.wait_timeout_while(ended, patience, |ended| *ended < round);
        let (ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *ended >= round
    }

    fn wake(&self) {
        self.shared.urgent.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not joined: a worker may hold the last reference, and must not wait for a disk.
        self.shared.closed.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// Sets `flag`; whether it was not set.
fn raise(flag: &AtomicBool) -> bool {
    !flag.load(Relaxed) && !flag.swap(true, SeqCst)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while a line was formatted leaves at worst half a line.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing thread.
struct LogFile {
    output: File,
    written: IntCounter,
    shared: Arc<Shared>,
    /// What is being written; swapped with the workers' lanes, so that buffers are used again.
    lane: Lane,
    /// The file ends without a line's end: a failed write may have left it so, or another process.
    half_line: bool,
}

impl LogFile {
    fn run(&mut self) {
        loop {
            self.wait();
            let closed = self.shared.closed.load(SeqCst);
            self.round();
            if closed {
                return;
            }
        }
    }

    /// Until there is something to do: at once if urgent, after [`INTERVAL`] if there are lines.
    fn wait(&self) {
        let shared = &self.shared;
        let mut due: Option<Instant> = None;
        while !shared.urgent.load(SeqCst) && !shared.closed.load(SeqCst) {
            if due.is_none() && shared.dirty.load(SeqCst) {
                due = Some(Instant::now() + INTERVAL);
            }
            match due.map(|due| due.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return,
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
    }

    /// Writes what all lanes hold.
    fn round(&mut self) {
        // In this order: who then reads the old number is served by this round, who reads the new one raises a flag that
        // stays raised for the next.
        self.shared.urgent.store(false, SeqCst);
        self.shared.dirty.store(false, SeqCst);
        let round = self.shared.begun.fetch_add(1, SeqCst) + 1;
        if self.shared.reopen.swap(false, SeqCst)
            && let Err(error) = self.reopen()
        {
            let path = self.shared.path.display();
            tracing::warn!(%path, %error, "the access log cannot be opened anew: the file that is open is written to");
        }
        let shared = Arc::clone(&self.shared);
        for lane in &shared.lanes {
            std::mem::swap(&mut *lock(lane), &mut self.lane);
            if self.lane.lines > 0 {
                self.write();
            }
            self.lane.lines = 0;
            self.lane.bytes.clear();
            self.lane.bytes.shrink_to(2 * CHUNK);
        }
        *lock(&shared.ended) = round;
        shared.round_ended.notify_all();
    }

    /// Writes [`Self::lane`].
    fn write(&mut self) {
        if self.is_gone()
            && let Err(error) = self.reopen()
        {
            return self.shared.losses.lose(self.lane.lines, &error);
        }
        let lane = &self.lane;
        if self.half_line {
            match write_all(&mut self.output, b"\n").1 {
                Ok(()) => self.half_line = false,
                Err(error) => return self.failed(lane.lines, &error),
            }
        }
        let (count, end) = write_all(&mut self.output, &lane.bytes);
        let (whole, rest) = lane.bytes.split_at(count);
        // Formats may hold line ends of their own; then the count of lost lines is of lines in the file.
        let lost = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.written.inc_by(lane.lines.saturating_sub(lost));
        match end {
            Ok(()) => self.shared.losses.end(),
            Err(error) => {
                self.half_line = whole.last().is_some_and(|byte| *byte != b'\n');
                self.failed(lost, &error);
            }
        }
    }

    /// Whether nobody will ever read what is written: the file has no name any more.
    fn is_gone(&self) -> bool {
        self.output.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Counts, and tries the path anew: the file may have been on a disk that is gone.
    fn failed(&mut self, lines: u64, error: &io::Error) {
        self.shared.losses.lose(lines, error);
        let _ = self.reopen(); // the next write fails, too
    }

    /// Keeps the open file when the path cannot be opened.
    fn reopen(&mut self) -> io::Result<()> {
        let path = &self.shared.path;
        self.output = open(path)?;
        self.half_line = ends_within_a_line(path, &self.output).unwrap_or(self.half_line);
        Ok(())
    }
}

/// Opens `path` for appending.
fn open(path: &Path) -> io::Result<File> {
    // Opening these by path fails when they are sockets, as under some supervisors. Not the library's handles: one keeps what could
    // not be written, the other makes all who write to it wait for a reader that sleeps.
    let standard = |stream: BorrowedFd<'_>| stream.try_clone_to_owned().map(File::from);
    match path.to_str() {
        Some("/dev/stdout") => standard(io::stdout().as_fd()),
        Some("/dev/stderr") => standard(io::stderr().as_fd()),
        // Lines may hold tokens in paths: not for everyone to read.
        _ => OpenOptions::new().create(true).append(true).mode(0o640).open(path),
    }
}

/// Whether the last line of `file` lacks its end; `None`: it is no plain file, or may not be read.
fn ends_within_a_line(path: &Path, file: &File) -> Option<bool> {
    let found = file.metadata().ok().filter(|found| found.is_file())?;
    let Some(last) = found.len().checked_sub(1) else { return Some(false) };
    let mut byte = [0];
    File::open(path).ok()?.read_exact_at(&mut byte, last).ok()?;
    Some(byte != *b"\n")
}

/// How much could be written, and what kept it from all.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
