//! The services behind the demo: they answer with their version.
//!
//! In:  a bound socket and a version.   Out: answers with `x-echo-version`; gRPC answers with the message it got.
//! Not here: what the proxy does with them.

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The header that says which version answered.
pub const VERSION: &str = "x-echo-version";

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC, any method.
    Grpc,
}

/// Serves `listener` until dropped.
pub async fn serve(listener: TcpListener, protocol: Protocol, version: &'static str) {
    // Dropped, and with it every connection, when the demo ends.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                match protocol {
                    Protocol::Http1 => connections.spawn_local(http1(stream, version)),
                    Protocol::Http2 | Protocol::Grpc => connections.spawn_local(http2(stream, protocol, version)),
                };
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn http1(stream: TcpStream, version: &'static str) {
    let answer = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| async move {
        let body = format!("{version} answers {} {}\n", request.method(), request.uri().path());
        let mut response = Response::new(Full::new(Bytes::from(body)));
        response.headers_mut().insert(VERSION, HeaderValue::from_static(version));
        Ok::<_, Infallible>(response)
    });
    // A connection that breaks is the client's to notice.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn http2(stream: TcpStream, protocol: Protocol, version: &'static str) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn_local(async move {
            // As above: a stream that breaks is the client's to notice.
            let _ = http2_stream(request.into_body(), respond, protocol, version).await;
        });
        while streams.try_join_next().is_some() {}
    }
}

async fn http2_stream(
    mut body: RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    protocol: Protocol,
    version: &'static str,
) -> Result<(), h2::Error> {
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let mut response = Response::new(());
    response.headers_mut().insert(VERSION, HeaderValue::from_static(version));
    if protocol == Protocol::Http2 {
        let mut send = respond.send_response(response, false)?;
        return send.send_data(Bytes::from(format!("{version} answers\n")), true);
    }
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(response, false)?;
    send.send_data(message.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}
