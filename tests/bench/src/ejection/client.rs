//! The load: requests when they are due, over connections that are kept, each answer read whole.

use super::subject::{HOST, Subject};
use crate::{http1, void::Void};
use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

/// No answer takes longer than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long a proxy may take to notice who is not well.
const FIRST: Duration = Duration::from_secs(3);

/// How much to ask.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Requests in a second.
    pub rate: u32,
    /// For how long.
    pub time: Duration,
}

/// What came of the requests of some time.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Answers other than 200, and none at all.
    pub errors: usize,
    /// Of all.
    pub latencies: Vec<Duration>,
}

impl Seen {
    fn add(&mut self, good: bool, latency: Duration) {
        self.errors += usize::from(!good);
        self.latencies.push(latency);
    }

    /// In percent of all.
    pub fn share_of_errors(&self) -> f64 {
        100.0 * self.errors as f64 / self.latencies.len().max(1) as f64
    }

    /// In milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// What clients saw: at first, and then.
#[derive(Debug, Default, Clone)]
pub struct Figures {
    pub first: Seen,
    pub then: Seen,
}

/// What tasks of one thread share.
#[derive(Default)]
struct Shared {
    idle: RefCell<Vec<TcpStream>>,
    figures: RefCell<Figures>,
}

impl Load {
    /// Asks `subject`.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn run(&self, subject: &Subject) -> Result<Figures, Void> {
        let target = subject.address;
        TcpStream::connect(target).await?;
        let shared = Rc::new(Shared::default());
        let local = LocalSet::new();
        let (load, asked) = (*self, shared.clone());
        local.spawn_local(async move {
            let begin = Instant::now();
            let between = Duration::from_secs(1) / load.rate;
            let mut due = begin;
            while due < begin + load.time {
                tokio::time::sleep_until(due.into()).await;
                let (asked, first) = (asked.clone(), due < begin + FIRST);
                tokio::task::spawn_local(async move {
                    let good = tokio::time::timeout(PATIENCE, ask(target, &asked.idle)).await;
                    let good = matches!(good, Ok(Some(true)));
                    let mut figures = asked.figures.borrow_mut();
                    let seen = if first { &mut figures.first } else { &mut figures.then };
                    seen.add(good, due.elapsed());
                });
                due += between;
            }
        });
        local.await;
        Ok(shared.figures.take())
    }
}

/// Whether the answer is a 200; `None`: there is none.
async fn ask(target: SocketAddr, idle: &RefCell<Vec<TcpStream>>) -> Option<bool> {
    let kept = idle.borrow_mut().pop();
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(target).await.ok()?;
            stream.set_nodelay(true).ok()?;
            stream
        }
    };
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.ok()?;
    let mut received = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
        if http1::is_whole(&received)? {
            break;
        }
    }
    idle.borrow_mut().push(stream);
    Some(received.starts_with(b"HTTP/1.1 200 "))
}
