//! An upstream that answers with what it received, and remembers it.
//!
//! One port speaks HTTP/1.1, HTTP/2 with prior knowledge, gRPC, WebSocket and, to whatever begins like none of them, TCP.
//! What it answers can be asked for in the query (`reply.rs`) or set by the test ([`Echo::answer`]).
//!
//! In:  requests.   Out: [`Received`], kept in order.
//! Invariants: it runs on a thread and a runtime of its own, so that a busy test does not slow it; it ends when dropped.
//! Read: `mod.rs` (life) -> `serve.rs` (bytes) -> `reply.rs` (what is answered).

mod body;
mod reply;
mod serve;

pub use body::{BoxError, ReplyBody, full, zeros};
pub use reply::Answer;

use crate::{ports, tls};
use http::{HeaderMap, Method, Version};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use tokio::{net::TcpListener, sync::oneshot};

/// A request as an upstream saw it.
#[derive(Debug, Clone)]
pub struct Received {
    /// What was spoken.
    pub protocol: Version,
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// `Host`, or `:authority`.
    pub authority: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most the first 64 KiB; empty for a body that was streamed.
    pub body: Vec<u8>,
    /// The client's end of the connection that it came on.
    pub peer: SocketAddr,
}

impl Received {
    /// The text of a header, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Rule = Arc<dyn Fn(&Received) -> Option<Answer> + Send + Sync>;

/// What the connections of one upstream share.
#[derive(Default)]
pub(crate) struct State {
    version: String,
    print: bool,
    received: Mutex<Vec<Received>>,
    rule: Mutex<Option<Rule>>,
    requests: AtomicU64,
    cancelled: AtomicU64,
    connections: AtomicU64,
    open_connections: AtomicU64,
}

/// A running upstream.
pub struct Echo {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How an upstream is started.
pub struct Options {
    /// Its name: `v1`.
    pub version: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, when it speaks TLS.
    pub tls: Option<tls::Identity>,
    /// Whether it prints each request.
    pub print: bool,
}

impl Echo {
    /// An upstream named `version` on a free port.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(version: &str) -> Self {
        Self::on(ports::listen(), version, None, false)
    }

    /// An upstream at a given address.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn at(version: &str, address: SocketAddr) -> Self {
        Self::with(Options { version: version.to_owned(), address, tls: None, print: false })
    }

    /// An upstream that speaks TLS with ALPN `h2` and `http/1.1`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_tls(version: &str, identity: tls::Identity) -> Self {
        Self::on(ports::listen(), version, Some(identity), false)
    }

    /// An upstream with all options.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn with(options: Options) -> Self {
        let listener = std::net::TcpListener::bind(options.address)
            .unwrap_or_else(|error| panic!("cannot listen on {}: {error}", options.address));
        Self::on(listener, &options.version, options.tls, options.print)
    }

    fn on(listener: std::net::TcpListener, version: &str, tls: Option<tls::Identity>, print: bool) -> Self {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { version: version.to_owned(), print, ..State::default() });
        let (stop, stopped) = oneshot::channel();
        let shared = state.clone();
        let acceptor = tls.map(|identity| identity.acceptor());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve::accept(listener, acceptor, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Echo { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far, in the order of their arrival; at most the first 10,000.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// The last request.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self) -> Received {
        self.state.received.lock().unwrap().last().cloned().expect("a request at the upstream")
    }

    /// How many requests came.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// How many requests their client gave up before the answer had ended.
    pub fn cancelled(&self) -> u64 {
        self.state.cancelled.load(Ordering::Relaxed)
    }

    /// How many connections came.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> u64 {
        self.state.open_connections.load(Ordering::Relaxed)
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.state.received.lock().unwrap().clear();
        self.state.requests.store(0, Ordering::Relaxed);
    }

    /// Answers by `rule` from now on; `None` from it is the usual answer.
    pub fn answer(&self, rule: impl Fn(&Received) -> Option<Answer> + Send + Sync + 'static) {
        *self.state.rule.lock().unwrap() = Some(Arc::new(rule));
    }

    /// Serves until the process ends.
    pub fn forever(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
