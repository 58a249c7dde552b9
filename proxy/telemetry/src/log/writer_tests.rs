//! The writing thread against real files.

use super::*;
use std::fs;

const PATIENCE: Duration = Duration::from_secs(20);

struct Log {
    writer: Writer,
    written: IntCounter,
    dropped: IntCounter,
}

fn open(path: &Path) -> Log {
    let counter = |name| IntCounter::new(name, "help").unwrap();
    let (written, dropped) = (counter("written"), counter("dropped"));
    Log { writer: Writer::open(path, (written.clone(), dropped.clone())).unwrap(), written, dropped }
}

fn line(log: &Log, text: &str) {
    log.writer.line(|out| out.extend_from_slice(format!("{text}\n").as_bytes()));
}

/// Whether it is a line that a test wrote: `worker 1 line 23`.
fn is_whole(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    matches!(words[..], ["worker", worker, "line", n] if worker.len() == 1 && n.parse::<u16>().is_ok())
}

#[test]
fn lines_of_all_threads_arrive_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path);
    thread::scope(|scope| {
        for worker in 0..4 {
            let log = &log;
            scope.spawn(move || (0..5000).for_each(|n| line(log, &format!("worker {worker} line {n}"))));
        }
    });
    assert!(log.writer.flush(PATIENCE));
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    let odd: Vec<_> = text.lines().enumerate().filter(|(_, line)| !is_whole(line)).collect();
    assert!(odd.is_empty(), "cut lines: {odd:?}");
    lines.sort_unstable();
    lines.dedup();
    assert_eq!((lines.len() as u64 + log.dropped.get(), log.dropped.get()), (20_000, 0));
    assert_eq!(log.written.get(), 20_000);
}

#[test]
fn a_line_is_written_within_an_interval_without_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path);
    let start = Instant::now();
    line(&log, "one");
    while fs::read(&path).unwrap().is_empty() {
        assert!(start.elapsed() < PATIENCE, "nothing was written");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() >= INTERVAL / 2, "a single line must not wake the thread at once");
}

#[test]
fn a_moved_file_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let log = open(&path);
    line(&log, "before");
    assert!(log.writer.flush(PATIENCE));
    fs::rename(&path, &moved).unwrap();
    log.writer.reopen();
    assert!(log.writer.flush(PATIENCE));
    line(&log, "after");
    assert!(log.writer.flush(PATIENCE));
    assert_eq!(fs::read_to_string(&moved).unwrap(), "before\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_lines_and_is_counted() {
    let log = open(Path::new("/dev/full"));
    line(&log, "one");
    line(&log, "two");
    assert!(log.writer.flush(PATIENCE));
    assert_eq!((log.written.get(), log.dropped.get()), (0, 2));
}

#[test]
fn a_reader_that_sleeps_costs_lines_and_never_time() {
    // A pipe takes 64 KiB; then the writing thread stands still for good.
    let (reader, pipe) = io::pipe().unwrap();
    // Open for good: the writing thread opens the path anew when the reader has gone, and another test's file may have that number by then.
    let path = format!("/proc/self/fd/{}", std::os::fd::IntoRawFd::into_raw_fd(pipe));
    let log = open(Path::new(&path));
    let text = "x".repeat(1023);
    let start = Instant::now();
    (0..4 * LANE_LIMIT / 1024).for_each(|_| line(&log, &text));
    assert!(start.elapsed() < PATIENCE);
    assert!(log.dropped.get() > 0);
    assert!(!log.writer.flush(Duration::from_millis(50)));
    drop(reader);
}

#[test]
fn what_is_left_is_written_after_the_last_reference_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(&path);
    line(&log, "last");
    let written = log.written.clone();
    drop(log);
    let start = Instant::now();
    while written.get() == 0 && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "last\n");
}

#[test]
fn a_file_without_a_name_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (place, path) = (folder.path().join("logs"), folder.path().join("logs/access.log"));
    fs::create_dir(&place).unwrap();
    let log = open(&path);
    line(&log, "one");
    assert!(log.writer.flush(PATIENCE));
    fs::remove_dir_all(&place).unwrap();
    line(&log, "nowhere");
    assert!(log.writer.flush(PATIENCE));
    assert_eq!((log.written.get(), log.dropped.get()), (1, 1));
    fs::create_dir(&place).unwrap();
    line(&log, "two");
    assert!(log.writer.flush(PATIENCE));
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    assert_eq!((log.written.get(), log.dropped.get()), (2, 1));
}

#[test]
fn a_line_that_another_process_could_not_end_stays_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    fs::write(&path, "whole\nha").unwrap();
    let log = open(&path);
    line(&log, "next");
    assert!(log.writer.flush(PATIENCE));
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nha\nnext\n");
    fs::write(&path, "whole\n").unwrap();
    log.writer.reopen();
    line(&log, "last");
    assert!(log.writer.flush(PATIENCE));
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nlast\n");
}
