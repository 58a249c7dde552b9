//! Where lines of the proxy's own log go: a stream whose reader may sleep, and whose disk may be full.
//!
//! In:  lines from any thread.   Out: the same, in order, at once.
//! Invariants: nobody waits for a reader longer than [`PATIENCE`], and all together once in [`BETWEEN`] (of a terminal or an old kernel, as long
//! as the room that was seen is not taken by another writer); a line that cannot be written
//! is counted, and the log says how many are missing where they are; a line that was cut off stays alone on its line.
//! Not here: what a line looks like (`tracing_subscriber`).

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat},
    io::{Errno, ReadWriteFlags, pwritev2},
};
use std::{
    io,
    os::fd::AsFd,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a line may wait for a reader that is slow.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two such waits, so that a slow reader does not make each line wait.
const BETWEEN: Duration = Duration::from_secs(1);
/// Not at a place of the file, but where it ends.
const HERE: u64 = u64::MAX;
/// A pipe that can be written to takes so much at once: `PIPE_BUF`.
const PIECE: usize = 4096;

/// A stream of lines. `dropped` is told of each that is lost.
pub(super) struct Output<S, F> {
    stream: Mutex<Stream<S>>,
    dropped: F,
}

struct Stream<S> {
    end: S,
    /// A pipe or a socket of a kernel that can be told not to wait.
    at_once: bool,
    /// When somebody last waited for its reader.
    waited: Option<Instant>,
    /// The last line has no end.
    half_line: bool,
    /// Lines lost since the last that was written.
    lost: u64,
}

impl<S: AsFd, F: Fn()> Output<S, F> {
    pub(super) fn new(end: S, dropped: F) -> Self {
        let kind = fstat(&end).map(|found| FileType::from_raw_mode(found.st_mode));
        let at_once = matches!(kind, Ok(FileType::Fifo | FileType::Socket));
        Output {
            stream: Mutex::new(Stream { end, at_once, waited: None, half_line: false, lost: 0 }),
            dropped,
        }
    }
}

impl<S: AsFd, F: Fn()> io::Write for &Output<S, F> {
    /// A whole line, with its end.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.line(line).is_err() {
            stream.lost += 1;
            drop(stream);
            (self.dropped)();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsFd> Stream<S> {
    fn line(&mut self, line: &[u8]) -> Result<(), Errno> {
        if self.half_line {
            self.bytes(b"\n")?;
        }
        if self.lost > 0 {
            self.bytes(format!("({} lines of this log were lost here)\n", self.lost).as_bytes())?;
            self.lost = 0;
        }
        self.bytes(line)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let mut rest = bytes;
        while let Some(piece) = rest.get(..PIECE.min(rest.len())).filter(|piece| !piece.is_empty()) {
            self.wait_for_room()?;
            match self.write(piece) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            self.half_line = bytes[..bytes.len() - rest.len()].last().is_some_and(|byte| *byte != b'\n');
        }
        Ok(())
    }

    fn wait_for_room(&mut self) -> Result<(), Errno> {
        if self.has_room(Duration::ZERO)? {
            return Ok(());
        }
        let rests = self.waited.is_some_and(|waited| waited.elapsed() < BETWEEN);
        if !rests {
            let has_room = self.has_room(PATIENCE);
            self.waited = Some(Instant::now());
            if has_room? {
                return Ok(());
            }
        }
        Err(Errno::AGAIN)
    }

    fn has_room(&self, patience: Duration) -> Result<bool, Errno> {
        let patience = Timespec::try_from(patience).ok();
        let mut wanted = [PollFd::new(&self.end, PollFlags::OUT)];
        loop {
            match poll(&mut wanted, patience.as_ref()) {
                Err(Errno::INTR) => {}
                ready => return ready.map(|ready| ready > 0),
            }
        }
    }

    /// Writes some of it, as far as there is room. Between the look and the write another writer of the same pipe may take the room.
    fn write(&mut self, piece: &[u8]) -> Result<usize, Errno> {
        if self.at_once {
            match pwritev2(&self.end, &[io::IoSlice::new(piece)], HERE, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => self.at_once = false,
                written => return written,
            }
        }
        rustix::io::write(&self.end, piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{Read, Write},
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    const LINE: usize = 1 << 10;

    fn line(letter: char) -> Vec<u8> {
        (letter.to_string().repeat(LINE - 1) + "\n").into_bytes()
    }

    #[test]
    fn a_reader_that_sleeps_costs_lines_and_never_time() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let dropped = AtomicU64::new(0);
        let output = Output::new(pipe, || {
            dropped.fetch_add(1, Relaxed);
        });
        let began = Instant::now();
        let mut written = 0;
        while dropped.load(Relaxed) == 0 {
            (&output).write_all(&line('a')).unwrap();
            written += 1;
        }
        (0..5000).for_each(|_| (&output).write_all(&line('b')).unwrap());
        assert!(began.elapsed() < 100 * PATIENCE, "{:?}", began.elapsed()); // and not 5000 times
        assert_eq!(dropped.load(Relaxed), 5001);
        let arrived = written - 1;
        reader.read_exact(&mut vec![0; arrived * LINE]).unwrap();
        (&output).write_all(&line('c')).unwrap();
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            "(5001 lines of this log were lost here)\n".to_owned() + &"c".repeat(LINE - 1) + "\n"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_writes_does_not_wait_where_another_took_the_room() {
        let (_reader, pipe) = io::pipe().unwrap();
        let output = Output::new(pipe, || {});
        let mut stream = output.stream.lock().unwrap();
        stream.write(b"line\n").unwrap();
        if stream.at_once {
            // Linux 6.4 or newer. Nobody looks for room here.
            let last = std::iter::repeat_with(|| stream.write(&[b'a'; PIECE])).find(Result::is_err);
            assert_eq!(last, Some(Err(Errno::AGAIN)));
        }
    }

    #[test]
    fn a_line_that_was_cut_off_stays_alone() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let output = Output::new(pipe, || {});
        // The second piece of the last line has no room.
        (0..15).for_each(|_| (&output).write_all(&[&[b'a'; PIECE - 1][..], b"\n"].concat()).unwrap());
        (&output).write_all(&[&[b'b'; 2 * PIECE][..], b"\n"].concat()).unwrap();
        reader.read_exact(&mut vec![0; 15 * PIECE]).unwrap();
        (&output).write_all(b"c\n").unwrap();
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let cut = "b".repeat(PIECE);
        assert_eq!(text, cut + "\n(1 lines of this log were lost here)\nc\n");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_no_error_of_who_writes() {
        let dropped = AtomicU64::new(0);
        let output = Output::new(File::options().write(true).open("/dev/full").unwrap(), || {
            dropped.fetch_add(1, Relaxed);
        });
        (&output).write_all(b"one\n").unwrap();
        assert_eq!(dropped.load(Relaxed), 1);
    }
}
