//! Five endpoints on `127.0.0.1` to `127.0.0.5`, of which one fails and one is slow.

use crate::{http1, upstream::address};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How many there are.
pub const COUNT: u8 = 5;
/// How long one that is well takes.
pub const USUAL: Duration = Duration::from_millis(5);
/// How long the slow one takes: 20 times that.
pub const SLOW: Duration = Duration::from_millis(100);

const FAILS: u8 = 3;
const DAWDLES: u8 = 4;

/// They listen until dropped.
pub struct Endpoints {
    /// Of all of them.
    pub port: u16,
    _tasks: JoinSet<()>,
}

impl Endpoints {
    /// Starts them.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn start() -> io::Result<Self> {
        let port = sidle_test_support::ports::free().port();
        let mut tasks = JoinSet::new();
        for at in 0..COUNT {
            let listener = TcpListener::bind(SocketAddr::from((address(at), port))).await?;
            tasks.spawn(serve(listener, at));
        }
        Ok(Endpoints { port, _tasks: tasks })
    }
}

async fn serve(listener: TcpListener, at: u8) {
    let mut connections = JoinSet::new();
    let count = Arc::new(AtomicU32::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, at, count.clone()));
    }
}

async fn converse(mut stream: TcpStream, at: u8, count: Arc<AtomicU32>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut received = Vec::with_capacity(4096);
    loop {
        while http1::head_end(&received).is_none() {
            if stream.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
        }
        received.clear();
        tokio::time::sleep(if at == DAWDLES { SLOW } else { USUAL }).await;
        let answer: &[u8] = match at == FAILS && is_bad(count.fetch_add(1, Relaxed)) {
            true => b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno",
            false => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        stream.write_all(answer).await.ok()?;
    }
}

/// Half of all, in no order that repeats soon: a hash of the count.
fn is_bad(count: u32) -> bool {
    (count.wrapping_add(1).wrapping_mul(2_654_435_769) ^ count.wrapping_mul(40_503)) >> 16 & 1 == 1
}

#[cfg(test)]
mod tests {
    #[test]
    fn half_of_all_are_bad_and_now_and_then_five_in_a_row() {
        let bad: Vec<bool> = (0..10_000).map(super::is_bad).collect();
        let share = bad.iter().filter(|bad| **bad).count();
        assert!((4_700..5_300).contains(&share), "{share}");
        assert!(bad.windows(5).take(500).any(|row| row.iter().all(|bad| *bad)));
    }
}
