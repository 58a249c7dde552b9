//! gRPC connections to those who issue identities: over a Unix socket, or over TLS.
//!
//! Invariants: a connection that is dead is noticed by keep-alive, also while nothing is asked; every wait has an end.

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sidle_identity::{Workload, client_config};
use sidle_model::ir::{CertificateAuthority, ClientTls, TlsVersion, Trust};
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// To connect, handshake included.
const CONNECT: Duration = Duration::from_secs(10);
/// Between questions whether the other end lives.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// For its answer.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

fn endpoint() -> Endpoint {
    // The name is never looked up: what connects is given.
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .user_agent(concat!("sidle/", env!("CARGO_PKG_VERSION")))
        .unwrap_or_else(|_| Endpoint::from_static("http://localhost"))
}

/// Connects to a Unix socket.
///
/// # Errors
/// Says why not.
pub async fn unix(socket: &Path) -> Result<Channel, String> {
    let path = socket.to_path_buf();
    let connect = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let connected = endpoint().connect_with_connector(connect).await;
    connected.map_err(|error| format!("{}: {}", socket.display(), innermost(&error)))
}

/// Connects to a certificate authority with TLS; its roots are read now.
///
/// # Errors
/// Says why not.
pub async fn tls(authority: &CertificateAuthority) -> Result<Channel, String> {
    let host = authority.address.rsplit_once(':').map_or("", |(host, _)| host);
    let name = authority.server_name.as_deref().unwrap_or(host.trim_matches(['[', ']']));
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is not a host name"))?;
    let tls = ClientTls {
        sni: None,
        ca: Trust::File(authority.roots.clone()),
        crl: None,
        subject_alt_names: Vec::new(),
        certificate: None,
        insecure_skip_verify: false,
        min_version: TlsVersion::V1_2,
    };
    let config = client_config(&tls, &[b"h2"], &Workload::default()).and_then(|live| live.current());
    let config = config.map_err(|error| error.to_string())?;
    let address: Arc<str> = authority.address.as_str().into();
    let connect = service_fn(move |_: Uri| {
        let (address, config, name) = (address.clone(), config.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(&*address).await?;
            stream.set_nodelay(true)?;
            let tls = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
            Ok::<_, io::Error>(TokioIo::new(tls))
        }
    });
    let connected = endpoint().connect_with_connector(connect).await;
    connected.map_err(|error| format!("{}: {}", authority.address, innermost(&error)))
}

/// The reason that says most.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
