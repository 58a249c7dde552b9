//! One fetch of an issuer's keys.
//!
//! Invariants: the address that was judged is the one that is connected to; redirects are not followed; no more than
//! [`MOST_BYTES`] are read, for no longer than the timeout.
//! Source: OpenID Connect Discovery 1.0 section 4.

use super::{Location, Source};
use crate::upstream::dns::Dns;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sidle_identity::Workload;
use sidle_jwt::{KeySet, KeySetError};
use sidle_model::ir::{ClientTls, TlsVersion};
use std::{io, net::IpAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Of an answer's body.
const MOST_BYTES: usize = 1 << 20;

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("`{0}` is not a URL to fetch from")]
    Url(String),
    #[error("the name cannot be looked up")]
    Name,
    #[error(
        "{0} is not asked: `jwks.allowPrivate` or `jwks.allowAddresses` of `kind: Proxy` permits addresses that are not of the internet"
    )]
    NotPermitted(IpAddr),
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] sidle_identity::TlsError),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("the answer has more than {MOST_BYTES} bytes, or broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Keys(#[from] KeySetError),
    #[error("openid-configuration: {0}")]
    Discovery(&'static str),
}

/// Fetches the keys of a place.
pub async fn keys(source: &Source, dns: &Dns) -> Result<KeySet, FetchError> {
    let uri = match &source.location {
        Location::Uri(uri) => uri.to_string(),
        Location::Issuer(issuer) => discover(source, issuer, dns).await?,
    };
    Ok(KeySet::parse(&get_in_time(source, &uri, dns).await?)?)
}

/// Where an issuer says that its keys are.
async fn discover(source: &Source, issuer: &str, dns: &Dns) -> Result<String, FetchError> {
    let uri = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let answer = get_in_time(source, &uri, dns).await?;
    let document: serde_json::Value =
        serde_json::from_slice(&answer).map_err(|_| FetchError::Discovery("not JSON"))?;
    let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(FetchError::Discovery("it is of another issuer"));
    }
    let keys = text("jwks_uri").ok_or(FetchError::Discovery("no `jwks_uri`"))?;
    if issuer.starts_with("https://") && !keys.starts_with("https://") {
        return Err(FetchError::Discovery("its `jwks_uri` is in the clear"));
    }
    Ok(keys.to_owned())
}

async fn get_in_time(source: &Source, uri: &str, dns: &Dns) -> Result<Bytes, FetchError> {
    let answer = tokio::time::timeout(source.timeout, get(source, uri, dns)).await;
    answer.unwrap_or(Err(FetchError::Timeout(source.timeout)))
}

async fn get(source: &Source, text: &str, dns: &Dns) -> Result<Bytes, FetchError> {
    let wrong = || FetchError::Url(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?.to_owned();
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = connect(source, &host, port, dns).await?;
    if !secure {
        return ask(stream, &uri).await;
    }
    let ca = source.fetching.ca.clone();
    // Roots are read from files.
    let config = tokio::task::spawn_blocking(move || {
        sidle_identity::client_config(&settings(ca), &[b"http/1.1"], &Workload::default())?.current()
    });
    let config = config.await.map_err(io::Error::other)??;
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(|_| wrong())?;
    ask(TlsConnector::from(config).connect(name, stream).await?, &uri).await
}

fn settings(ca: sidle_model::ir::Trust) -> ClientTls {
    ClientTls {
        sni: None,
        ca,
        crl: None,
        subject_alt_names: Vec::new(),
        certificate: None,
        insecure_skip_verify: false,
        min_version: TlsVersion::V1_2,
    }
}

/// A name is judged by the addresses that it has now, and only those are connected to.
async fn connect(source: &Source, host: &str, port: u16, dns: &Dns) -> Result<TcpStream, FetchError> {
    let addresses = dns.resolve(host).await.map_err(|_| FetchError::Name)?;
    let mut last = FetchError::Name;
    for address in addresses {
        if !source.fetching.permits(address) {
            last = FetchError::NotPermitted(address);
            continue;
        }
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, uri: &Uri) -> Result<Bytes, FetchError> {
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("sidle/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url(uri.to_string()))?;
    let answer = async {
        let answer = send.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok(body.map_err(FetchError::Body)?.to_bytes())
    };
    // The connection is driven beside its only exchange and dropped with it.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}
