//! The upstreams, a process of their own: two clusters for each way to speak.
//!
//! In:  [`Door`]s, a line of JSON on standard input.   Out: what the target asks for (`wire/body.rs`), as the door's cluster.
//! Invariants: they listen on loopback only; they end when standard input does, so that none is left behind.

mod http1;
mod http2;

use super::{
    scenarios::Protocol,
    wire::{body, tls},
};
use crate::void::Void;
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    rc::Rc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    task::{JoinSet, LocalSet},
};
use tokio_rustls::TlsAcceptor;

/// More connections than any subject opens at once.
const BACKLOG: u32 = 4096;
/// The longest answer.
const LONGEST: usize = 16 << 20;

/// One upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Door {
    /// Where it listens, on loopback.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Which cluster it is.
    pub version: u8,
    /// Where the certificates for mutual TLS are, if it speaks that.
    pub certificates: Option<PathBuf>,
}

/// Serves until standard input ends.
///
/// # Errors
/// When a port is taken.
pub fn run() -> Result<(), Void> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let doors: Vec<Door> = serde_json::from_str(&line)?;
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        let mut all = JoinSet::new();
        for door in doors {
            let acceptor = door.certificates.as_deref().map(|folder| tls::server(folder, door.protocol));
            all.spawn_local(serve(listen(door.port)?, door.protocol, door.version, acceptor.transpose()?));
        }
        while all.join_next().await.is_some() {}
        Ok(())
    }))
}

/// A listener on loopback.
///
/// # Errors
/// When the port is taken.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, protocol: Protocol, version: u8, acceptor: Option<TlsAcceptor>) {
    let answers = Rc::new(Answers { version, made: RefCell::default() });
    loop {
        // Out of descriptors: the subject sees that its connections are not taken.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (answers, acceptor) = (answers.clone(), acceptor.clone());
        // A conversation that goes wrong is seen by the client at the other side of the subject.
        tokio::task::spawn_local(async move {
            match acceptor {
                None => converse(stream, protocol, answers).await,
                Some(acceptor) => converse(acceptor.accept(stream).await?, protocol, answers).await,
            }
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    protocol: Protocol,
    answers: Rc<Answers>,
) -> Result<(), Void> {
    match protocol {
        Protocol::Http1 => Ok(http1::converse(stream, answers).await?),
        Protocol::Http2 => http2::converse(stream, answers).await,
    }
}

/// What a cluster answers, made once for each target.
pub struct Answers {
    version: u8,
    made: RefCell<HashMap<Vec<u8>, Rc<[u8]>>>,
}

impl Answers {
    /// The answer to `target`, made by `make` of its content the first time; `None` if nobody asks for that.
    pub fn to(&self, target: &[u8], make: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Option<Rc<[u8]>> {
        if let Some(made) = self.made.borrow().get(target) {
            return Some(made.clone());
        }
        let size: usize = std::str::from_utf8(target).ok()?.strip_prefix("/svc/")?.parse().ok()?;
        let answer: Rc<[u8]> = make(body::content(self.version, (size <= LONGEST).then_some(size)?)).into();
        self.made.borrow_mut().insert(target.to_owned(), answer.clone());
        Some(answer)
    }
}
