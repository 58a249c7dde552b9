//! A new key, and the request to certify it.
//!
//! In:  who the workload is.   Out: a PEM request; later, with the chain that came back, a certified key.
//! Invariants: the key is made here, leaves only into the signer, and is wiped.
//! Not here: sending the request.

use crate::{SpiffeId, TlsError, files};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::{
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use sidle_model::ir::CertificateFiles;
use std::path::Path;
use zeroize::Zeroize;

/// A new ECDSA P-256 key, and the request to certify it.
pub struct KeyRequest {
    key: KeyPair,
    /// PKCS#10, PEM.
    pub pem: String,
}

impl KeyRequest {
    /// For the workload `id`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(id: &SpiffeId) -> Result<Self, TlsError> {
        let failed = |error: rcgen::Error| TlsError::Issue(error.to_string());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().map_err(failed)?)];
        let key = KeyPair::generate().map_err(failed)?;
        let pem = params.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)?;
        Ok(KeyRequest { key, pem })
    }

    /// The key with the chain that was issued for it, PEM, leaf first. `place` names the issuer in errors.
    ///
    /// # Errors
    /// When the chain cannot be used, or is for another key.
    pub fn certified(self, chain: &[u8], place: &Path) -> Result<CertifiedKey, TlsError> {
        let chain = files::certificates_in(chain, place)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let names = CertificateFiles { certificate: place.into(), key: place.into() };
        files::pair(chain, files::usable(key, place)?, &names)
    }
}

impl Drop for KeyRequest {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRequest").finish_non_exhaustive()
    }
}
