//! PEM files: certificates, keys, bundles of roots.
//!
//! In:  paths.   Out: parsed values, or the file's error.
//! Invariants: nothing read from a key file outlives its use in memory, and none of it is in an error.

use crate::TlsError;
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::{CertifiedKey, SigningKey},
};
use sidle_model::ir::CertificateFiles;
use std::{fs::File, io::Read, path::Path, sync::Arc};
use zeroize::{Zeroize, Zeroizing};

/// More than any bundle of roots holds.
const LARGEST_FILE: u64 = 16 << 20;

/// A chain and its key, found to belong together.
pub(crate) fn certified_key(files: &CertificateFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let certified = CertifiedKey::new(certificates(&files.certificate)?, signing_key(&files.key)?);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() })
        }
        Err(source) => Err(TlsError::Certificate { path: files.certificate.clone(), source }),
    }
}

/// The roots in a bundle.
pub(crate) fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Certificate { path: path.into(), source })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match certificates.map_err(|error| broken(path, &error))? {
        none if none.is_empty() => Err(TlsError::NoCertificate { path: path.into() }),
        certificates => Ok(certificates),
    }
}

/// The first key of a file, which may hold certificates too.
fn signing_key(path: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    let text = Zeroizing::new(read(path)?);
    let mut key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.into() },
        error => broken(path, &error),
    })?;
    let signing = any_supported_type(&key);
    key.zeroize();
    // The library's reason says nothing that helps, and is left out lest it ever quotes.
    signing.map_err(|_| TlsError::Key { path: path.into() })
}

/// The whole file, so long as it is of a sane size.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let error = |source| TlsError::Read { path: path.into(), source };
    let file = File::open(path).map_err(error)?;
    // One buffer from the start: growing would leave copies of a key behind.
    let size = file.metadata().map_err(error)?.len().min(LARGEST_FILE);
    let mut text = Vec::with_capacity(size as usize + 1);
    file.take(LARGEST_FILE + 1).read_to_end(&mut text).map_err(error)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(TlsError::TooLarge { path: path.into(), limit: LARGEST_FILE });
    }
    Ok(text)
}

/// The library's own message quotes lines.
fn broken(path: &Path, error: &pem::Error) -> TlsError {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is broken",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be parsed",
    };
    TlsError::Pem { path: path.into(), what }
}
