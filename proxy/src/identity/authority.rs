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
use tokio::{io::AsyncReadExt, sync::mpsc::Sender};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

/// For one certificate, from the connection to the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A token is some kilobytes.
const LONGEST_TOKEN: u64 = 64 << 10;

/// Asks again and again until nobody listens.
pub(super) async fn follow(authority: &CertificateAuthority, deliver: Sender<Delivered>) {
    let mut backoff = Backoff::default();
    loop {
        let issued = tokio::time::timeout(TIMEOUT, issue(authority)).await;
        let issued = issued.unwrap_or_else(|_| Err(format!("{}: no answer in time", authority.address)));
        let validity = issued.as_ref().ok().map(|svid| (svid.not_before, svid.not_after));
        let renew = validity.map(|validity| renewal(validity, Moment::now(), fastrand::f64()));
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
fn renewal((not_before, not_after): (Moment, Moment), now: Moment, random: f64) -> Moment {
    let life = not_after.0.saturating_sub(not_before.0) as f64;
    let after = (life * (0.5 - random / 10.0)) as u64;
    // Not at once again, however short the life and however far the authority's clock.
    Moment((not_before.0 + after).max(now.0 + 1))
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
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST_TOKEN as usize));
    let read = async {
        let file = tokio::fs::File::open(file).await?;
        file.take(LONGEST_TOKEN).read_to_end(&mut text).await
    };
    read.await.map_err(|error| format!("{}: {error}", file.display()))?;
    let token = std::str::from_utf8(&text).ok().map(str::trim).filter(|token| !token.is_empty());
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

#[cfg(test)]
mod tests {
    use super::*;
    use sidle_identity::DevelopmentAuthority;

    #[test]
    fn renewal_is_between_two_fifths_and_a_half_of_the_life() {
        let at = |life: (u64, u64), now: u64, random: f64| {
            renewal((Moment(life.0), Moment(life.1)), Moment(now), random).0
        };
        assert_eq!((at((100, 1100), 100, 0.0), at((100, 1100), 100, 1.0)), (600, 500));
        assert_eq!(at((100, 1100), 900, 0.0), 901, "what comes late is renewed soon");
        assert_eq!(at((100, 100), 100, 0.0), 101, "and what has no life not at once");
    }

    #[tokio::test]
    async fn a_token_is_trimmed_bounded_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "a.b.c\n").unwrap();
        let value = bearer(&file).await.unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer a.b.c");
        assert!(value.is_sensitive() && !format!("{value:?}").contains("a.b.c"));
        for bad in ["", " \n", "a\nb", "\u{1}"] {
            std::fs::write(&file, bad).unwrap();
            assert!(bearer(&file).await.is_err(), "{bad:?}");
        }
        assert!(bearer(&folder.path().join("none")).await.unwrap_err().contains("none"));
        assert!(bearer(Path::new("/dev/zero")).await.is_err());
    }

    #[test]
    fn answers_that_are_no_identity_are_refused() {
        let authority = DevelopmentAuthority::new("td").unwrap();
        let id = SpiffeId::parse("spiffe://td/a").unwrap();
        let mine = || KeyRequest::new(&id).unwrap();
        let foreign = authority.issue(&id, &[]).unwrap().certificate;
        let ca = authority.certificate.clone();
        for (answer, why) in [
            (vec![], "lacks a chain or its root"),
            (vec![ca.clone()], "lacks a chain or its root"),
            (vec!["rubbish".into(), ca.clone()], "no PEM certificate"),
            (vec![foreign, ca.clone()], "the key is not that of the certificate"),
        ] {
            let error = read(mine(), &answer, Path::new("ca")).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
