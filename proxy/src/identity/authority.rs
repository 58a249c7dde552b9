//! A certificate authority that speaks Istio's certificate service: a new key for each certificate, renewed at half its life.
//!
//! Invariants: keys are made here and never leave; the token is read for each request, since who mounts it renews it; times are the
//! wall clock's; after a failure the next attempt comes soon, and what is had stays in use.
//! Source: Istio's `security/v1alpha1/ca.proto`, and its agent.

use super::{
    Delivered, channel,
    messages::istio::{CertificateRequest, CertificateResponse, create_certificate},
    retry::{self, Backoff},
};
use sidle_identity::{Bundle, KeyRequest, Moment, SpiffeId, Svid};
use sidle_model::ir::CertificateAuthority;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::mpsc::Sender;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

/// For one certificate, from the connection to the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A token is some kilobytes.
const LONGEST_TOKEN: usize = 64 << 10;

/// Asks again and again until nobody listens.
pub(super) async fn follow(authority: &CertificateAuthority, deliver: Sender<Delivered>) {
    let mut backoff = Backoff::default();
    loop {
        let issued = tokio::time::timeout(TIMEOUT, issue(authority)).await;
        let issued = issued.unwrap_or_else(|_| Err(format!("{}: no answer in time", authority.address)));
        let renew = issued.as_ref().ok().map(|svid| renewal(svid, fastrand::f64()));
        if deliver.send(issued).await.is_err() {
            return;
        }
        match renew {
            Some(moment) => {
                backoff.reset();
                retry::until(moment).await;
            }
            None => backoff.wait().await,
        }
    }
}

/// At half of its life, or up to a tenth of its life earlier: not all proxies of a mesh at once. `random` is below 1.
fn renewal(svid: &Svid, random: f64) -> Moment {
    let life = svid.not_after.0.saturating_sub(svid.not_before.0) as f64;
    let after = (life * (0.5 - random / 10.0)) as u64;
    // Not at once again, however short the life and however far the authority's clock.
    Moment((svid.not_before.0 + after).max(Moment::now().0 + 1))
}

async fn issue(authority: &CertificateAuthority) -> Delivered {
    let id =
        SpiffeId::parse(&authority.id).ok_or_else(|| format!("`{}` is not a SPIFFE id", authority.id))?;
    let key = KeyRequest::new(&id).map_err(|error| error.to_string())?;
    let mut client = tonic::client::Grpc::new(channel::tls(authority).await?);
    client.ready().await.map_err(|error| channel::innermost(&error))?;
    let validity_duration = i64::try_from(authority.ttl.as_secs()).unwrap_or(i64::MAX);
    let mut request = Request::new(CertificateRequest { csr: key.pem.clone(), validity_duration });
    request.metadata_mut().insert("authorization", bearer(&authority.token).await?);
    if let Ok(cluster) = authority.cluster.parse() {
        request.metadata_mut().insert("clusterid", cluster);
    }
    let codec = ProstCodec::<CertificateRequest, CertificateResponse>::default();
    let response = client.unary(request, create_certificate(), codec).await;
    let response = response
        .map_err(|status| format!("{}: {:?}: {}", authority.address, status.code(), status.message()))?;
    read(key, &response.into_inner().cert_chain, Path::new(&authority.address))
}

/// The token, marked so that no log shows it.
async fn bearer(file: &Path) -> Result<MetadataValue<Ascii>, String> {
    let text = tokio::fs::read(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
    let text = Zeroizing::new(text);
    let token = std::str::from_utf8(&text).ok().map(str::trim).filter(|token| token.len() <= LONGEST_TOKEN);
    let value = token.and_then(|token| Zeroizing::new(format!("Bearer {token}")).parse().ok());
    let mut value: MetadataValue<Ascii> =
        value.ok_or_else(|| format!("{}: it holds no token", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The last of the answer's certificates are the roots, the others the chain.
fn read(key: KeyRequest, answer: &[String], place: &Path) -> Delivered {
    let (roots, chain) = match answer {
        [chain @ .., roots] if !chain.is_empty() => (roots, chain),
        _ => return Err(format!("{}: the answer lacks a chain or its root", place.display())),
    };
    let chain: String = chain.iter().flat_map(|one| [one.trim_end(), "\n"]).collect();
    let certified = key.certified(chain.as_bytes(), place).map_err(|error| error.to_string())?;
    let own = Bundle::from_pem(roots.as_bytes(), place).map_err(|error| error.to_string())?;
    Svid::new(Arc::new(certified), Arc::new(own)).map_err(|error| error.to_string())
}
