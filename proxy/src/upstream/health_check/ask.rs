//! One health check: a connection of its own, a question, an answer.
//!
//! Invariants: it takes no longer than its timeout; no more than [`MOST_BYTES`] of an answer are read.
//! Source: gRPC Health Checking Protocol; Envoy's "Health checking".

use super::Cluster;
use crate::{
    codec::Stream,
    upstream::{Connector, Target},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use sidle_balance::{Endpoint, EndpointAddr};
use sidle_model::ir::{HealthAsk, HealthCheck, UpstreamProtocol};
use std::{fmt, future::Future, net::SocketAddr, pin::pin};

/// Of an answer's body. What gRPC says of a health has a few.
const MOST_BYTES: usize = 16 << 10;
const AGENT: &str = concat!("sidle/", env!("CARGO_PKG_VERSION"), " health check");
/// `SERVING` of `grpc.health.v1.HealthCheckResponse`: field 1, the number 1.
const SERVING: &[u8] = &[0x08, 0x01];

/// Why an endpoint did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Its answer says so.
    Answer(String),
    /// There was no answer.
    Network(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Answer(why) | Failure::Network(why) => f.write_str(why),
        }
    }
}

fn network(why: impl fmt::Display) -> Failure {
    Failure::Network(why.to_string())
}

/// Checks an endpoint once.
///
/// # Errors
/// Why it did not pass.
pub async fn ask(cluster: &Cluster, endpoint: &Endpoint, settings: &HealthCheck) -> Result<(), Failure> {
    let asking = put(&cluster.connector, endpoint, settings);
    match tokio::time::timeout(settings.timeout, asking).await {
        Ok(result) => result,
        Err(_) => Err(network(format_args!("no answer within {:?}", settings.timeout))),
    }
}

async fn put(connector: &Connector, endpoint: &Endpoint, settings: &HealthCheck) -> Result<(), Failure> {
    let elsewhere = settings.port.and_then(|port| on_port(endpoint, port));
    let endpoint = elsewhere.as_ref().unwrap_or(endpoint);
    match &settings.ask {
        HealthAsk::Tcp => connect(connector, endpoint, "", Target::Bytes).await.map(drop),
        HealthAsk::Http { path, host, expected_statuses } => {
            let status = match connector.protocol {
                UpstreamProtocol::Http2 => {
                    let stream = connect(connector, endpoint, host, Target::Http2).await?;
                    let scheme = if connector.is_https(endpoint) { "https" } else { "http" };
                    let request = Request::get(format!("{scheme}://{host}{path}"));
                    let request = request.header(header::USER_AGENT, AGENT).body(()).map_err(network)?;
                    http2(stream, request, None).await?.0.status()
                }
                UpstreamProtocol::Http1 | UpstreamProtocol::AsDownstream => {
                    let stream = connect(connector, endpoint, host, Target::Http1).await?;
                    http1(stream, host, path).await?
                }
            };
            let code = status.as_u16();
            match expected_statuses.iter().any(|(first, last)| (*first..=*last).contains(&code)) {
                true => Ok(()),
                false => Err(Failure::Answer(format!("answered {code}"))),
            }
        }
        HealthAsk::Grpc { service, authority } => {
            let stream = connect(connector, endpoint, authority, Target::Http2).await?;
            grpc(stream, authority, service).await
        }
    }
}

async fn connect(
    connector: &Connector,
    endpoint: &Endpoint,
    host: &str,
    target: Target,
) -> Result<Stream, Failure> {
    // Of a connection of bytes nobody names a host: the endpoint's own is as good as any.
    let own = || match &endpoint.address {
        _ if !endpoint.hostname.is_empty() => endpoint.hostname.to_string(),
        EndpointAddr::Socket(address) => address.ip().to_string(),
        EndpointAddr::Unix(_) => String::new(),
    };
    let host = if host.is_empty() { own() } else { sidle_routing::host::split_host_port(host).0.to_owned() };
    connector.connect(endpoint, &host, target, None).await.map_err(network)
}

/// The same endpoint at another port; `None` where there are no ports.
fn on_port(endpoint: &Endpoint, port: u16) -> Option<Endpoint> {
    let EndpointAddr::Socket(address) = &endpoint.address else { return None };
    Some(Endpoint {
        address: SocketAddr::new(address.ip(), port).into(),
        hostname: endpoint.hostname.clone(),
        weight: endpoint.weight,
        workload: endpoint.workload.clone(),
        locality: endpoint.locality.clone(),
        priority: endpoint.priority,
        mtls: endpoint.mtls,
        state: endpoint.state.clone(),
    })
}

async fn http1(stream: Stream, host: &str, path: &str) -> Result<http::StatusCode, Failure> {
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(network)?;
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(network)?;
    let answer = async { send.send_request(request).await.map(|answer| answer.status()).map_err(network) };
    over(connection, answer).await
}

/// What comes of an exchange on a connection, which has to be driven meanwhile. It may end with the answer's last byte.
async fn over<T, E: fmt::Display>(
    connection: impl Future<Output = Result<(), E>>,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        ended = connection => exchange.now_or_never().unwrap_or_else(|| {
            Err(match ended {
                Ok(()) => network("the connection ended before the answer"),
                Err(error) => network(error),
            })
        }),
    }
}

/// Head, content and trailers of the answer to one request on a connection of its own.
async fn http2(
    stream: Stream,
    request: Request<()>,
    content: Option<Bytes>,
) -> Result<(Response<()>, Bytes, HeaderMap), Failure> {
    let (send, connection) = h2::client::handshake(stream).await.map_err(network)?;
    let exchange = async {
        let mut send = send.ready().await.map_err(network)?;
        let (answer, mut sending) = send.send_request(request, content.is_none()).map_err(network)?;
        if let Some(content) = content {
            sending.send_data(content, true).map_err(network)?;
        }
        let (head, mut body) = answer.await.map_err(network)?.into_parts();
        let mut whole = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(network)?;
            let _ = body.flow_control().release_capacity(chunk.len());
            whole.put(chunk);
            if whole.len() > MOST_BYTES {
                break; // the head has said it
            }
        }
        let trailers = match whole.len() > MOST_BYTES {
            true => None,
            false => body.trailers().await.map_err(network)?,
        };
        Ok((Response::from_parts(head, ()), whole.freeze(), trailers.unwrap_or_default()))
    };
    over(connection, exchange).await
}

/// `grpc.health.v1.Health/Check`.
async fn grpc(stream: Stream, authority: &str, service: &str) -> Result<(), Failure> {
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, AGENT)
        .body(())
        .map_err(network)?;
    let (head, content, trailers) = http2(stream, request, Some(question(service))).await?;
    if head.status() != http::StatusCode::OK {
        return Err(Failure::Answer(format!("answered {}", head.status().as_u16())));
    }
    let status = trailers.get("grpc-status").or_else(|| head.headers().get("grpc-status"));
    match status.map(|status| status.as_bytes()) {
        Some(b"0") => {}
        Some(status) => {
            let status = String::from_utf8_lossy(status);
            return Err(Failure::Answer(format!("answered grpc-status {status}")));
        }
        None => return Err(Failure::Answer("answered without a grpc-status".into())),
    }
    // Behind the five bytes of the message's frame.
    match content.get(5..) {
        Some(SERVING) => Ok(()),
        _ => Err(Failure::Answer("answered that it does not serve".into())),
    }
}

/// The message that asks for the health of a service, in its frame.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a); // field 1, a string
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0); // not compressed
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_protobuf_in_a_frame() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }
}
