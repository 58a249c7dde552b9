//! Upstreams below HTTP.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// A TCP server whose every connection is a function's, on a thread of its own.
pub struct TcpServer {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl TcpServer {
    /// Starts one on a free port; `serve` gets each connection and its number, from 0.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(serve: impl Fn(TcpStream, u64) + Send + Sync + 'static) -> Self {
        let listener = crate::ports::listen();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicU64::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let (count, stop, serve) = (connections.clone(), stopped.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let _ = stream.set_nodelay(true);
                let number = count.fetch_add(1, Ordering::Relaxed);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream, number));
            }
        });
        TcpServer { address, connections, stopped }
    }

    /// Sends back what comes, byte for byte.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn echo() -> Self {
        Self::start(|mut stream, _| {
            let mut copy = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut copy, &mut stream);
            let _ = stream.shutdown(Shutdown::Write);
        })
    }

    /// An HTTP/1.1 server that answers one request on each connection as if it would keep it open, and closes it the moment
    /// that the first bytes of the next request arrive: the worst case of the keep-alive race.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn one_request_a_connection() -> Self {
        Self::start(|mut stream, _| {
            if read_request(&mut stream).is_some() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                let _ = stream.read(&mut [0; 16]);
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections came.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

/// A relay to another address that keeps what clients send.
pub struct Tap {
    server: TcpServer,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Stands in front of `to`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(to: SocketAddr) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = seen.clone();
        let server = TcpServer::start(move |client, _| {
            let Ok(upstream) = TcpStream::connect(to) else { return };
            let (Ok(from), Ok(mut back)) = (upstream.try_clone(), client.try_clone()) else { return };
            let answers = std::thread::spawn(move || {
                let _ = std::io::copy(&mut &from, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
            pass(client, upstream, &keep);
            let _ = answers.join();
        });
        Tap { server, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What all clients sent since this was last asked.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn pass(mut client: TcpStream, mut upstream: TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
        if upstream.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = upstream.shutdown(Shutdown::Write);
}

/// Reads the head of an HTTP/1 request and a body of its `content-length`; `None` when the connection ends first.
pub fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0; 1];
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&text).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap_or(0));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(head)
}
