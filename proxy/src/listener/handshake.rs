//! TLS handshakes.
//!
//! In:  a stream whose client speaks first.   Out: the session.
//! Invariants: where the mesh's own certificates are shown, a client all of whose protocols are unknown is served, and no protocol is
//! agreed upon, as in Istio's Envoy; elsewhere he is told so (RFC 7301 section 3.2).

use crate::codec::Stream;
use rustls::{ServerConfig, server::Acceptor};
use std::{io, sync::Arc};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};

/// Takes the handshake of a client.
pub async fn accept(
    stream: Stream,
    config: Arc<ServerConfig>,
    of_mesh: bool,
) -> io::Result<TlsStream<Stream>> {
    if !of_mesh || config.alpn_protocols.is_empty() {
        return TlsAcceptor::from(config).accept(stream).await;
    }
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = start.client_hello();
    let known = |offer: &[u8]| config.alpn_protocols.iter().any(|own| own == offer);
    let agrees = hello.alpn().is_none_or(|mut offers| offers.any(known));
    let config = if agrees { config } else { without_protocols(&config) };
    start.into_stream(config).await
}

/// The same certificates, and the same clients.
fn without_protocols(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}
