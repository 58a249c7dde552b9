//! The demo's clients: real requests through the proxy's outbound listener.
//!
//! In:  its address.   Out: [`Counts`]: how many, how many failed, which version answered.
//! Invariants: every request is counted once; one that gets no whole, right answer is a failure, whatever the cause.
//! Not here: what the counts should be (`story`).

use super::echo::{Protocol, VERSION};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{net::TcpStream, task::JoinHandle};

/// Longer than any request of the demo should take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// One gRPC message: not compressed, five bytes long.
const GRPC_MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

/// What one kind of client has seen.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Requests, failed ones included.
    pub requests: u64,
    /// Those without a whole, right answer.
    pub failed: u64,
    /// Right answers by version.
    pub versions: BTreeMap<String, u64>,
    /// Why the last one failed.
    pub last_failure: Option<String>,
}

impl Counts {
    /// What came after `earlier`.
    pub fn since(&self, earlier: &Counts) -> Counts {
        let versions = self.versions.iter().map(|(version, count)| {
            (version.clone(), count - earlier.versions.get(version).copied().unwrap_or_default())
        });
        Counts {
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            versions: versions.collect(),
            last_failure: self.last_failure.clone(),
        }
    }

    fn count(&mut self, outcome: Result<String, BoxError>) {
        self.requests += 1;
        match outcome {
            Ok(version) => *self.versions.entry(version).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                self.last_failure = Some(error.to_string());
            }
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client of one service. Dropping it closes its connection.
#[derive(Debug)]
pub struct Client {
    protocol: Protocol,
    counts: Rc<RefCell<Counts>>,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts to ask `host` through `proxy`, again `pause` after each answer.
    pub fn start(protocol: Protocol, host: &'static str, proxy: SocketAddr, pause: Duration) -> Client {
        let counts = Rc::new(RefCell::new(Counts::default()));
        let shared = counts.clone();
        let task = tokio::task::spawn_local(async move {
            let mut connection = None;
            loop {
                let request = send(&mut connection, protocol, host, proxy);
                let outcome = match tokio::time::timeout(TIMEOUT, request).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(format!("no answer within {TIMEOUT:?}").into()),
                };
                if outcome.is_err() {
                    connection = None;
                }
                shared.borrow_mut().count(outcome);
                tokio::time::sleep(pause).await;
            }
        });
        Client { protocol, counts, task }
    }

    /// Its protocol, for people.
    pub fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Grpc => "gRPC",
        }
    }

    /// What it has seen until now.
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Connection {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Http2(h2::client::SendRequest<Bytes>),
}

async fn connect(protocol: Protocol, proxy: SocketAddr) -> Result<Connection, BoxError> {
    let stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    Ok(match protocol {
        Protocol::Http1 => {
            let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::task::spawn_local(connection);
            Connection::Http1(send)
        }
        Protocol::Http2 | Protocol::Grpc => {
            let (send, connection) = h2::client::handshake(stream).await?;
            tokio::task::spawn_local(connection);
            Connection::Http2(send)
        }
    })
}

/// Sends one request over the kept connection, or over a new one; gives the version that answered.
async fn send(
    kept: &mut Option<Connection>,
    protocol: Protocol,
    host: &str,
    proxy: SocketAddr,
) -> Result<String, BoxError> {
    if kept.is_none() {
        *kept = Some(connect(protocol, proxy).await?);
    }
    match kept {
        Some(Connection::Http1(send)) => http1(send, host).await,
        Some(Connection::Http2(send)) => http2(send, host, protocol == Protocol::Grpc).await,
        None => Err("no connection".into()),
    }
}

async fn http1(
    send: &mut hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
    host: &str,
) -> Result<String, BoxError> {
    send.ready().await?;
    let request = Request::get("/hello").header(header::HOST, host).body(Empty::new())?;
    let response = send.send_request(request).await?;
    let version = version(response.status(), response.headers())?;
    response.into_body().collect().await?;
    Ok(version)
}

async fn http2(send: &h2::client::SendRequest<Bytes>, host: &str, grpc: bool) -> Result<String, BoxError> {
    let mut send = send.clone().ready().await?;
    let path = if grpc { "/demo.Echo/Say" } else { "/hello" };
    let mut request = Request::builder().method(if grpc { "POST" } else { "GET" });
    request = request.uri(format!("http://{host}{path}"));
    if grpc {
        request = request.header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
    }
    let (response, mut body) = send.send_request(request.body(())?, !grpc)?;
    if grpc {
        body.send_data(Bytes::from_static(GRPC_MESSAGE), true)?;
    }
    let response = response.await?;
    let version = version(response.status(), response.headers())?;
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    if grpc {
        let trailers = body.trailers().await?.unwrap_or_default();
        match trailers.get("grpc-status") {
            Some(status) if status == "0" && message == GRPC_MESSAGE => {}
            status => return Err(format!("grpc-status {status:?} after {} bytes", message.len()).into()),
        }
    }
    Ok(version)
}

fn version(status: StatusCode, headers: &HeaderMap) -> Result<String, BoxError> {
    match headers.get(VERSION).and_then(|version| version.to_str().ok()) {
        Some(version) if status == StatusCode::OK => Ok(version.to_owned()),
        _ => Err(format!("status {status}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::echo;
    use super::*;
    use tokio::{net::TcpListener, task::LocalSet};

    async fn counts_of(protocol: Protocol, answers: Protocol) -> Counts {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(echo::serve(listener, answers, "v7"));
        let client = Client::start(protocol, "echo.test", address, Duration::from_millis(1));
        while client.counts().requests < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.counts()
    }

    #[tokio::test]
    async fn each_client_gets_whole_answers_from_its_service() {
        for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Grpc] {
            let counts = LocalSet::new().run_until(counts_of(protocol, protocol)).await;
            assert_eq!(counts.failed, 0, "{protocol:?}: {:?}", counts.last_failure);
            assert_eq!(counts.versions.get("v7"), Some(&counts.requests), "{protocol:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_grpc_status_is_a_failure() {
        let counts = LocalSet::new().run_until(counts_of(Protocol::Grpc, Protocol::Http2)).await;
        assert_eq!(counts.failed, counts.requests);
    }

    #[test]
    fn counts_since_are_differences() {
        let counts =
            |requests, v1| Counts { requests, versions: [("v1".to_owned(), v1)].into(), ..Counts::default() };
        let since = counts(10, 7).since(&counts(4, 2));
        assert_eq!((since.requests, since.versions["v1"]), (6, 5));
    }
}
