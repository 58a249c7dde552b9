//! Who the other end must be: its chain, by whom we believe, then its name.
//!
//! In:  the peer's chain.   Out: accepted, or the alert's reason.
//! Invariants: a chain is always checked first, names after. A workload of the mesh has exactly one URI, a SPIFFE id, and is
//! believed by the roots of its own trust domain only: no domain can vouch for another. The one verifier that checks
//! nothing says so in its name.

use crate::{
    chains::{self, Purpose, RevocationLists},
    live::{SessionsEnd, Trusted},
    names::AcceptedNames,
    peer,
    provider::provider,
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use sidle_model::ir::CertificatePin;
use std::sync::Arc;

/// Which names count.
#[derive(Debug)]
pub(crate) enum Names {
    /// The chain is enough.
    Any,
    /// The one that was connected to.
    ServerName,
    /// One of these; what was connected to does not matter.
    Listed(AcceptedNames),
}

/// Why a workload's certificate is not believed, beyond what webpki says.
#[derive(Debug, thiserror::Error)]
enum NoWorkload {
    #[error("its only URI has to be a SPIFFE id")]
    NoSpiffeId,
    #[error("nobody vouches for trust domain {0}")]
    UnknownTrustDomain(Box<str>),
}

/// Checks the other end, client or server.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    trust: Trusted,
    names: Names,
    lists: Option<Arc<RevocationLists>>,
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
    pins: Vec<CertificatePin>,
    mandatory: bool,
    sessions: Option<SessionsEnd>,
}

impl PeerVerifier {
    pub fn new(trust: Trusted, names: Names, lists: Option<Arc<RevocationLists>>) -> Self {
        let hints = match &trust {
            Trusted::Roots(bundle) => bundle.roots.subjects(),
            Trusted::Mesh(svid) => svid.bundles.values().flat_map(|bundle| bundle.roots.subjects()).collect(),
        };
        let algorithms = provider().signature_verification_algorithms;
        let (pins, sessions) = (Vec::new(), None);
        PeerVerifier { trust, names, lists, algorithms, hints, pins, mandatory: true, sessions }
    }

    /// Its servers' sessions may be resumed, but not for longer than what it has seen of them is valid.
    pub fn for_sessions(self, sessions: SessionsEnd) -> Self {
        PeerVerifier { sessions: Some(sessions), ..self }
    }

    /// Believes only what fits one of these, unless there are none.
    pub fn pinned(self, pins: &[CertificatePin]) -> Self {
        PeerVerifier { pins: pins.to_vec(), ..self }
    }

    /// Lets clients come without a certificate.
    pub fn optional(self) -> Self {
        PeerVerifier { mandatory: false, ..self }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let bundle = match &self.trust {
            Trusted::Roots(bundle) => bundle,
            Trusted::Mesh(svid) => {
                let id = peer::spiffe_id(leaf).ok_or_else(|| refused(NoWorkload::NoSpiffeId))?;
                let bundle = svid.bundles.get(id.trust_domain());
                let unknown = || refused(NoWorkload::UnknownTrustDomain(id.trust_domain().into()));
                bundle.ok_or_else(unknown)?
            }
        };
        let lists: Vec<_> = self.lists.as_deref().into_iter().chain(&bundle.lists).collect();
        chains::verify((leaf, intermediates), &bundle.roots, &lists, self.algorithms, now, purpose)?;
        if !self.pins.is_empty() && !peer::fits(leaf, &self.pins) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        match &self.names {
            Names::Listed(names) if !names.accept(leaf) => {
                Err(Error::InvalidCertificate(CertificateError::NotValidForName))
            }
            _ => Ok(()),
        }
    }
}

fn refused(why: NoWorkload) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

/// What proves that the other end has the key: the same everywhere but where nothing is checked.
macro_rules! checked_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now, Purpose::Server)?;
        if let Names::ServerName = self.names {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        }
        if let Some(sessions) = &self.sessions {
            std::iter::once(end_entity).chain(intermediates).for_each(|shown| sessions.rest_on(shown));
            if let Some(end) = self.lists.as_ref().and_then(|lists| lists.end) {
                sessions.end_at(end);
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    checked_signatures!();
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now, Purpose::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    checked_signatures!();
}

/// Any server at all: `insecureSkipVerify`. Signatures are not checked either; whom would they prove?
#[derive(Debug)]
pub(crate) struct AnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyServer {
    pub fn new() -> Self {
        AnyServer { algorithms: provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
