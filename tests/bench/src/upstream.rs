//! The upstreams: every endpoint of the one service that is really there.
//!
//! In:  requests without a body.   Out: 1 KiB that begins with the endpoint's version and the target that arrived, so that the
//! client can tell that the proxy chose and rewrote as it should.

use crate::http1;
use rustix::net::sockopt::set_socket_incoming_cpu;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

const BODY: usize = 1024;
const BACKLOG: u32 = 1024;

/// Versions of the service; endpoints have them in turn.
pub const VERSIONS: [&str; 2] = ["v1", "v2"];

/// Endpoints that listen on `127.0.0.1`, `127.0.0.2` and so on, all on one port, until dropped.
pub struct Upstream {
    /// Their port.
    pub port: u16,
    _endpoints: JoinSet<()>,
}

impl Upstream {
    /// So many endpoints, at most 254.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn start(count: u8) -> io::Result<Self> {
        let port = sidle_test_support::ports::free().port();
        let mut endpoints = JoinSet::new();
        for at in 0..count {
            let listener = TcpListener::bind(SocketAddr::from((address(at), port))).await?;
            endpoints.spawn(serve(listener, VERSIONS[usize::from(at) % VERSIONS.len()]));
        }
        Ok(Upstream { port, _endpoints: endpoints })
    }
}

/// A socket of endpoint 0 on a port that has others on other cores: it gets what is sent on `core`, if all of them are made so (Linux 6.2).
///
/// # Errors
/// When the port is taken.
pub fn listen_on(core: usize, port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    set_socket_incoming_cpu(&socket, core as u32)?;
    socket.bind(SocketAddr::from((address(0), port)))?;
    socket.listen(BACKLOG)
}

/// The address of endpoint `at`, the first is 0.
pub fn address(at: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, at + 1)
}

/// What an endpoint of `version` answers to `target`.
pub fn body(version: &str, target: &str) -> Vec<u8> {
    let mut body = format!("{version} {target} ").into_bytes();
    body.resize(BODY, b'.');
    body
}

/// Answers as an endpoint of `version`.
pub async fn serve(listener: TcpListener, version: &'static str) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::from(version)));
    }
}

/// Answers until the other end closes, or says what this end does not understand.
async fn converse(mut stream: TcpStream, version: Arc<str>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut received = Vec::with_capacity(4096);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n");
    loop {
        while http1::head_end(&received).is_none() {
            if stream.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
        }
        let target = std::str::from_utf8(http1::target(&received)?).ok()?;
        let answer = [head.as_bytes(), &body(&version, target)].concat();
        received.clear();
        stream.write_all(&answer).await.ok()?;
    }
}
