//! Whether a certificate's chain leads to a root, now, for this use, and nothing on it was revoked.
//!
//! In:  a leaf, what came with it, roots, revocation lists.   Out: yes, or the alert's reason.
//! Invariants: webpki decides, with its bounds on length and work. Where there are revocation lists, each certificate below
//! the root must be covered by one that has not run out, as in Envoy: a list that is missing or stale must not let in whom it names.
//! Not here: names (`names`, `verifier`).

use crate::Moment;
use rustls::{
    CertificateError, Error, OtherError, RootCertStore,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
};
use std::sync::Arc;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// Revocation lists that came together, at least one.
#[derive(Debug)]
pub(crate) struct RevocationLists {
    parsed: Vec<CertRevocationList<'static>>,
    text: Vec<CertificateRevocationListDer<'static>>,
    depth: RevocationCheckDepth,
    /// When the first of them has to be followed by another.
    pub end: Option<Moment>,
}

impl RevocationLists {
    /// Parses them; `None`: there are none, or one is broken.
    pub fn new(text: Vec<CertificateRevocationListDer<'static>>) -> Option<Self> {
        let parsed = text.iter().map(|list| OwnedCertRevocationList::from_der(list).map(Into::into));
        let parsed = parsed.collect::<Result<Vec<_>, _>>().ok()?;
        let depth = RevocationCheckDepth::Chain;
        let end = text.iter().filter_map(next_update).min();
        (!parsed.is_empty()).then_some(RevocationLists { parsed, text, depth, end })
    }

    /// Looks for leaves only, and asks for no list of authorities.
    pub fn of_leaves(self) -> Self {
        RevocationLists { depth: RevocationCheckDepth::EndEntity, ..self }
    }
}

impl PartialEq for RevocationLists {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.depth == other.depth
    }
}

fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<Moment> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    Some(Moment(list.next_update()?.timestamp().max(0).unsigned_abs()))
}

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Client,
    Server,
}

/// Checks a chain.
pub(crate) fn verify(
    (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    roots: &RootCertStore,
    lists: &[&RevocationLists],
    algorithms: WebPkiSupportedAlgorithms,
    now: UnixTime,
    purpose: Purpose,
) -> Result<(), Error> {
    let leaf = EndEntityCert::try_from(leaf).map_err(reason)?;
    let whole = lists.iter().any(|lists| lists.depth == RevocationCheckDepth::Chain);
    let depth = if whole { RevocationCheckDepth::Chain } else { RevocationCheckDepth::EndEntity };
    let lists: Vec<_> = lists.iter().flat_map(|lists| &lists.parsed).collect();
    // Without lists there is nothing to ask.
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|revocation| {
        revocation.with_depth(depth).with_expiration_policy(ExpirationPolicy::Enforce).build()
    });
    let usage = match purpose {
        Purpose::Client => KeyUsage::client_auth(),
        Purpose::Server => KeyUsage::server_auth(),
    };
    leaf.verify_for_usage(algorithms.all, &roots.roots, intermediates, now, usage, revocation, None)
        .map(drop)
        .map_err(reason)
}

/// The error that makes rustls send the right alert.
fn reason(error: webpki::Error) -> Error {
    use webpki::Error::*;
    let reason = match error {
        BadDer | BadDerTime | TrailingData(_) => CertificateError::BadEncoding,
        CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        InvalidCertValidity => CertificateError::Expired,
        UnknownIssuer => CertificateError::UnknownIssuer,
        CertRevoked => CertificateError::Revoked,
        UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        InvalidSignatureForPublicKey => CertificateError::BadSignature,
        RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(reason)
}
