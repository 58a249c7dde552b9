//! The healthy client beside every flood: a keep-alive connection of its own, 200 requests a second at most.
//!
//! In:  an address.   Out: [`Health`].
//! Invariants: an answer that is late, wrong or missing is an error; after one it connects anew.

use crate::{
    priority::{self, Side},
    wire,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const PACE: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n";

/// How the client fared.
#[derive(Debug, Default, Clone)]
pub struct Health {
    times: Vec<Duration>,
    /// What went wrong.
    pub errors: Vec<String>,
}

impl Health {
    /// The time that `percent` of the requests did not take longer than.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times
            .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    /// How many answers it got.
    pub fn answers(&self) -> usize {
        self.times.len()
    }
}

/// A client that runs.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Health>,
}

impl Probe {
    /// Starts one, when its connection stands.
    pub fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let first = ask_once(address, &mut None).err();
        let ask = move || {
            let mut health = Health::default();
            health.errors.extend(first);
            let mut connection = None;
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                match ask_once(address, &mut connection) {
                    Ok(()) => health.times.push(begin.elapsed()),
                    Err(error) => {
                        connection = None;
                        if health.errors.len() < 100 {
                            health.errors.push(error);
                        }
                    }
                }
                std::thread::sleep(PACE.saturating_sub(begin.elapsed()));
            }
            health
        };
        let thread = priority::with(Side::Healthy, || std::thread::spawn(ask));
        Probe { stop, thread }
    }

    /// Runs one for a while.
    pub fn run(address: SocketAddr, time: Duration) -> Health {
        let probe = Self::start(address);
        std::thread::sleep(time);
        probe.finish()
    }

    /// Ends it.
    pub fn finish(self) -> Health {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// One request on `connection`, which is made if there is none.
pub fn ask_once(address: SocketAddr, connection: &mut Option<TcpStream>) -> Result<(), String> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream =
                TcpStream::connect_timeout(&address, LATE).map_err(|error| format!("connect: {error}"))?;
            stream.set_read_timeout(Some(LATE)).map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            connection.insert(stream)
        }
    };
    stream.write_all(REQUEST).map_err(|error| format!("write: {error}"))?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).map_err(|error| format!("read: {error}"))?;
        if read == 0 {
            return Err("closed".to_owned());
        }
        bytes.extend_from_slice(&buffer[..read]);
        if wire::head_end(&bytes).is_some() && bytes.ends_with(b"/probe") {
            break;
        }
        if wire::head_end(&bytes).is_some() && !bytes.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned());
        }
    }
    Ok(())
}
