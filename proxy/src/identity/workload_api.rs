//! The SPIFFE Workload API: a stream of identities, each with the roots of all trust domains.
//!
//! Invariants: each message is whole, and replaces the one before; the bytes of keys are wiped, also of those that are not used.
//! Source: SPIFFE Workload API and Workload Endpoint specifications.

use super::{
    Delivered, channel,
    messages::spiffe::{X509SvidRequest, X509SvidResponse, fetch_x509_svid},
    retry::Backoff,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sidle_identity::{Bundle, Bundles, Svid, certified_from_der, split_der};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc::Sender;
use tonic::{Request, metadata::MetadataValue};
use tonic_prost::ProstCodec;

/// Names the socket for programs that are not told otherwise.
const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// Follows the socket until nobody listens to what it says.
pub(super) async fn follow(socket: Option<&Path>, hint: Option<&str>, deliver: Sender<Delivered>) {
    let mut backoff = Backoff::default();
    loop {
        let why = match endpoint(socket) {
            Ok(socket) => stream(&socket, hint, &deliver, &mut backoff).await,
            Err(why) => why,
        };
        if deliver.send(Err(why)).await.is_err() {
            return;
        }
        backoff.wait().await;
    }
}

/// The socket that is configured, or that the environment names.
fn endpoint(socket: Option<&Path>) -> Result<PathBuf, String> {
    match socket {
        Some(socket) => parse(&socket.to_string_lossy()),
        None => {
            let variable = std::env::var(VARIABLE).map_err(|_| format!("{VARIABLE} is not set"))?;
            parse(&variable)
        }
    }
}

/// `unix:/path`, `unix:///path` or the path.
fn parse(text: &str) -> Result<PathBuf, String> {
    if text.starts_with("tcp:") {
        return Err(format!("`{text}`: only Unix sockets are used, since keys come over them"));
    }
    let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).unwrap_or(text);
    if path.starts_with('/') { Ok(path.into()) } else { Err(format!("`{text}` is not an absolute path")) }
}

/// One connection, to its end; says why it ended.
async fn stream(
    socket: &Path,
    hint: Option<&str>,
    deliver: &Sender<Delivered>,
    backoff: &mut Backoff,
) -> String {
    let channel = match channel::unix(socket).await {
        Ok(channel) => channel,
        Err(why) => return why,
    };
    let said = |status: tonic::Status| format!("{}: {}", socket.display(), status.message());
    let mut client = tonic::client::Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return format!("{}: {}", socket.display(), channel::innermost(&error));
    }
    let mut request = Request::new(X509SvidRequest {});
    // Without it, a proxy that was talked into asking could be used to read keys.
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let codec = ProstCodec::<X509SvidRequest, X509SvidResponse>::default();
    let mut responses = match client.server_streaming(request, fetch_x509_svid(), codec).await {
        Ok(response) => response.into_inner(),
        Err(status) => return said(status),
    };
    loop {
        match responses.message().await {
            Ok(Some(response)) => {
                let svid = read(response, hint, socket);
                if svid.is_ok() {
                    backoff.reset();
                }
                if deliver.send(svid).await.is_err() {
                    return String::new();
                }
            }
            Ok(None) => return format!("{}: the stream has ended", socket.display()),
            Err(status) => return said(status),
        }
    }
}

fn read(response: X509SvidResponse, hint: Option<&str>, place: &Path) -> Delivered {
    let X509SvidResponse { mut svids, federated_bundles } = response;
    let chosen = match hint {
        None => (!svids.is_empty()).then_some(0),
        Some(hint) => svids.iter().position(|svid| svid.hint == hint),
    };
    let Some(chosen) = chosen.and_then(|chosen| svids.get_mut(chosen)) else {
        return Err(format!("{}: no identity for this workload", place.display()));
    };
    let broken = |what: &str| format!("{}: {what} is not DER", place.display());
    let certificates = |der: &[u8], what| split_der(der).ok_or_else(|| broken(what));
    let chain = certificates(&chosen.x509_svid, "the chain")?;
    let key = PrivatePkcs8KeyDer::from(std::mem::take(&mut chosen.x509_svid_key));
    let certified = certified_from_der(chain, PrivateKeyDer::Pkcs8(key), place);
    let certified = certified.map_err(|error| error.to_string())?;
    let bundle = |der: &[u8]| {
        Bundle::new(certificates(der, "a bundle")?, place).map(Arc::new).map_err(|error| error.to_string())
    };
    let own = bundle(&chosen.bundle)?;
    let mut federated = Bundles::new();
    for (domain, der) in &federated_bundles {
        federated.insert(domain.strip_prefix("spiffe://").unwrap_or(domain).into(), bundle(der)?);
    }
    let svid = Svid::new(Arc::new(certified), own).map_err(|error| error.to_string())?;
    Ok(svid.with_federated(federated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        for good in ["/run/spire/agent.sock", "unix:/run/spire/agent.sock", "unix:///run/spire/agent.sock"] {
            assert_eq!(parse(good), Ok("/run/spire/agent.sock".into()));
        }
        for bad in ["tcp://127.0.0.1:8000", "agent.sock", "unix:agent.sock", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
