//! The roots that the system trusts, read once and shared by all.

use crate::{TlsError, files::Bundle};
use rustls::RootCertStore;
use rustls_native_certs::CertificateResult;
use std::sync::{Arc, OnceLock};

/// The roots that the system trusts. A failure is not remembered: the next configuration looks again.
pub(crate) fn system() -> Result<Arc<Bundle>, TlsError> {
    static SYSTEM: OnceLock<Arc<Bundle>> = OnceLock::new();
    if let Some(roots) = SYSTEM.get() {
        return Ok(roots.clone());
    }
    let roots = Arc::new(usable(rustls_native_certs::load_native_certs())?);
    Ok(SYSTEM.get_or_init(|| Arc::new(Bundle { certificates: Vec::new(), roots, lists: None })).clone())
}

/// What webpki can use of it. Systems carry roots that it cannot, and the others must not suffer from them.
fn usable(found: CertificateResult) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(TlsError::SystemRoots { reason });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn some_roots_are_enough_and_none_are_an_error() {
        let key = KeyPair::generate().expect("a key");
        let root = CertificateParams::default().self_signed(&key).expect("a certificate");
        let mut found = CertificateResult::default();
        found.certs = vec![b"rubbish".to_vec().into()];
        assert!(matches!(usable(found), Err(TlsError::SystemRoots { .. })));
        let mut found = CertificateResult::default();
        found.certs = vec![b"rubbish".to_vec().into(), root.der().clone()];
        assert_eq!(usable(found).expect("roots").len(), 1);
    }
}
