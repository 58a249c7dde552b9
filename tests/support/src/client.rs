//! HTTP clients: one connection each, HTTP/1.1 or HTTP/2.
//!
//! Invariant: a client never retries or reconnects by itself, so that a test sees what the proxy did.

use crate::{
    echo::{BoxError, ReplyBody, full},
    wait::within,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A client connection.
pub enum Client {
    /// HTTP/1.1.
    Http1(http1::SendRequest<ReplyBody>),
    /// HTTP/2.
    Http2(http2::SendRequest<ReplyBody>),
}

/// Why a request has no response.
#[derive(Debug)]
pub enum Failure {
    /// It was not written: sending it again is safe.
    NotSent(String),
    /// Nobody knows.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NotSent(why) => write!(f, "not sent: {why}"),
            Failure::Broken(why) => f.write_str(why),
        }
    }
}

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// The text of a header, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The echo upstream's description of the request.
    ///
    /// # Panics
    /// When the body is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.text()))
    }

    /// Which version of an echo upstream answered, or empty.
    pub fn version(&self) -> &str {
        self.header("x-version")
    }
}

/// A request to `authority`; its path may hold a query.
///
/// # Panics
/// When they do not make a URI.
pub fn request(method: &str, authority: &str, path: &str) -> request::Builder {
    let uri: Uri = format!("http://{authority}{path}").parse().unwrap();
    Request::builder().method(method).uri(uri)
}

impl Client {
    /// Connects and speaks HTTP/1.1.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn http1(address: SocketAddr) -> Self {
        Self::http1_over(connect(address).await).await
    }

    /// Connects and speaks HTTP/2 with prior knowledge.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn http2(address: SocketAddr) -> Self {
        Self::http2_over(connect(address).await).await
    }

    /// Speaks HTTP/1.1 on a connection.
    ///
    /// # Panics
    /// When the connection has ended.
    pub async fn http1_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Client::Http1(sender)
    }

    /// Speaks HTTP/2 on a connection.
    ///
    /// # Panics
    /// When the connection has ended.
    pub async fn http2_over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Client::Http2(sender)
    }

    /// GETs `path` of `authority`.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn get(&mut self, authority: &str, path: &str) -> Answer {
        self.ask(request("GET", authority, path)).await
    }

    /// Sends a request without a body.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn ask(&mut self, request: request::Builder) -> Answer {
        self.exchange(request.body(full("")).unwrap()).await
    }

    /// Sends a request and reads its response to the end.
    ///
    /// # Panics
    /// When there is none.
    pub async fn exchange(&mut self, request: Request<ReplyBody>) -> Answer {
        match self.try_exchange(request).await {
            Ok(answer) => answer,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Like [`Self::exchange`], for a test that counts failures.
    ///
    /// # Errors
    /// When there is no whole response.
    pub async fn try_exchange(&mut self, request: Request<ReplyBody>) -> Result<Answer, Failure> {
        let response = self.send(request).await?;
        collect(response).await.map_err(|error| Failure::Broken(error.to_string()))
    }

    /// Sends a request; the body of the response can be streamed.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn send(&mut self, mut request: Request<ReplyBody>) -> Result<Response<Incoming>, Failure> {
        match self {
            Client::Http1(sender) => {
                origin_form(&mut request);
                sender.ready().await.map_err(|error| Failure::NotSent(error.to_string()))?;
                let sent = within("a response", sender.try_send_request(request)).await;
                sent.map_err(|mut error| failure(error.take_message().is_some(), &error.into_error()))
            }
            Client::Http2(sender) => {
                sender.ready().await.map_err(|error| Failure::NotSent(error.to_string()))?;
                let sent = within("a response", sender.try_send_request(request)).await;
                sent.map_err(|mut error| failure(error.take_message().is_some(), &error.into_error()))
            }
        }
    }

    /// Sends an HTTP/1 request as it is, for absolute-form and CONNECT.
    ///
    /// # Errors
    /// When there is no response.
    ///
    /// # Panics
    /// On an HTTP/2 connection.
    pub async fn send_as_it_is(
        &mut self,
        request: Request<ReplyBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let Client::Http1(sender) = self else { panic!("HTTP/2 has one form only") };
        sender.ready().await.map_err(|error| Failure::NotSent(error.to_string()))?;
        let sent = within("a response", sender.try_send_request(request)).await;
        sent.map_err(|mut error| failure(error.take_message().is_some(), &error.into_error()))
    }

    /// Whether the connection takes no more requests.
    pub fn is_closed(&self) -> bool {
        match self {
            Client::Http1(sender) => sender.is_closed(),
            Client::Http2(sender) => sender.is_closed(),
        }
    }
}

/// Reads a response to its end.
///
/// # Errors
/// When the body breaks off.
pub async fn collect(response: Response<Incoming>) -> Result<Answer, BoxError> {
    let (head, body) = response.into_parts();
    let collected = within("a response body", body.collect()).await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream =
        TcpStream::connect(address).await.unwrap_or_else(|error| panic!("connect {address}: {error}"));
    stream.set_nodelay(true).unwrap();
    stream
}

fn failure(not_sent: bool, error: &hyper::Error) -> Failure {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    if not_sent { Failure::NotSent(why) } else { Failure::Broken(why) }
}

/// `http://authority/path` becomes `/path` with a Host header, as HTTP/1 clients send it to a server.
fn origin_form(request: &mut Request<ReplyBody>) {
    if *request.method() == Method::CONNECT {
        return;
    }
    let uri = request.uri();
    if let Some(authority) =
        uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()).unwrap())
    {
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse().unwrap();
        request.headers_mut().entry(header::HOST).or_insert(authority);
        *request.uri_mut() = path;
    }
}
