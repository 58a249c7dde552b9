//! One connection of a client to a proxy: the bytes go out, and what happens is awaited on both sides of the proxy.

use crate::recorder::{Recorded, Recorder};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long both sides of a proxy must say nothing until it is taken to wait for more. Time is what this is about: that
/// nothing more comes cannot be seen otherwise.
pub const QUIET: Duration = Duration::from_millis(200);
/// The same for a machine that is busy with other things.
pub const VERY_QUIET: Duration = Duration::from_millis(1500);
const STEP: Duration = Duration::from_millis(10);
const AT_MOST: Duration = Duration::from_secs(5);

/// What came of one sequence of bytes at one proxy.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The statuses of its answers, without the interim ones.
    pub statuses: Vec<u16>,
    /// The addresses of the client and of the proxy.
    pub connection: String,
    /// What the upstream saw.
    pub upstream: Recorded,
}

/// Sends `bytes` to `proxy`, whose upstream is `recorder`.
pub fn hold(proxy: SocketAddr, recorder: &Recorder, bytes: &[u8], quiet: Duration) -> Outcome {
    let mut stream = TcpStream::connect(proxy).unwrap_or_else(|error| panic!("{proxy}: {error}"));
    stream.set_read_timeout(Some(STEP)).unwrap();
    stream.set_write_timeout(Some(AT_MOST)).unwrap();
    let connection = format!("{} {proxy}", stream.local_addr().unwrap());
    // A proxy may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if !listen(&mut stream, recorder, quiet, &mut answer) {
        let _ = stream.shutdown(Shutdown::Write);
        listen(&mut stream, recorder, quiet / 2, &mut answer);
    }
    drop(stream);
    settle(recorder, quiet / 2);
    Outcome { statuses: statuses(&answer), connection, upstream: recorder.take() }
}

/// Collects the answer until the proxy closes (true), or nothing happens any more on both sides.
fn listen(stream: &mut TcpStream, recorder: &Recorder, quiet: Duration, answer: &mut Vec<u8>) -> bool {
    let begin = Instant::now();
    let mut last = begin;
    let mut buffer = [0; 16 << 10];
    while begin.elapsed() < AT_MOST {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(read) => {
                answer.extend_from_slice(&buffer[..read]);
                last = Instant::now();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if last.max(recorder.last()).elapsed() > quiet {
                    return false;
                }
            }
            Err(_) => return true,
        }
    }
    false
}

/// Lets the proxy finish with the upstream after the client has gone.
fn settle(recorder: &Recorder, quiet: Duration) {
    let begin = Instant::now();
    while begin.max(recorder.last()).elapsed() < quiet && begin.elapsed() < AT_MOST {
        std::thread::sleep(STEP);
    }
}

fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let codes = text.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5)?.parse().ok());
    codes.filter(|&code| code >= 200).collect()
}

#[test]
fn statuses_are_those_of_final_answers() {
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.0 400 Bad\r\n\r\n";
    assert_eq!(statuses(answer), [200, 400]);
}
