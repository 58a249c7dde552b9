//! PEM: certificates, keys, bundles of roots, revocation lists.
//!
//! In:  paths, or text from elsewhere with a name for errors.   Out: parsed values, or the file's error.
//! Invariants: nothing read from a key file outlives its use in memory, and none of it is in an error.

use crate::{TlsError, chains::RevocationLists};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::{CertifiedKey, SigningKey},
};
use sidle_model::ir::CertificateFiles;
use std::{fs::File, io::Read, path::Path, sync::Arc};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::{Zeroize, Zeroizing};

/// More than any bundle of roots holds.
const LARGEST_FILE: u64 = 16 << 20;

/// Roots, and the certificates that they were made from.
#[derive(Debug)]
pub struct Bundle {
    /// As they were read; empty for the system's.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What chains may end at.
    pub roots: Arc<RootCertStore>,
    /// What came with them, for all that chain to them.
    pub(crate) lists: Option<RevocationLists>,
}

impl Bundle {
    /// Takes certificates, of which each has to be usable. `path` names them in errors.
    ///
    /// # Errors
    /// [`TlsError::Certificate`].
    pub fn new(certificates: Vec<CertificateDer<'static>>, path: &Path) -> Result<Self, TlsError> {
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { path: path.into() });
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(|source| TlsError::Certificate { path: path.into(), source })?;
        }
        Ok(Bundle { certificates, roots: Arc::new(roots), lists: None })
    }

    /// Believes none that these PEM revocation lists name, nor any that they do not cover. `leaves`: only the leaves of chains are
    /// looked for. `path` names the text in errors.
    ///
    /// # Errors
    /// [`TlsError`], when they are none.
    pub fn with_revocation_lists(self, text: &[u8], leaves: bool, path: &Path) -> Result<Self, TlsError> {
        let lists = revocation_lists_in(text, path)?;
        Ok(Bundle { lists: Some(if leaves { lists.of_leaves() } else { lists }), ..self })
    }

    /// Takes the text of a PEM bundle. `path` names it in errors.
    ///
    /// # Errors
    /// [`TlsError`], when it is not one.
    pub fn from_pem(text: &[u8], path: &Path) -> Result<Self, TlsError> {
        Bundle::new(certificates_in(text, path)?, path)
    }

    /// Reads a PEM bundle.
    ///
    /// # Errors
    /// [`TlsError`], when it cannot be used.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        Bundle::from_pem(&read(path)?, path)
    }
}

/// A chain and its key, found to belong together.
pub(crate) fn certified_key(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let chain = certificates_in(&read(&files.certificate)?, &files.certificate)?;
    pair(chain, signing_key(&files.key)?, files)
}

/// A chain and its key from PEM text. `place` names them in errors.
///
/// # Errors
/// When they cannot be used, or do not belong together.
pub fn certified_from_pem(chain: &[u8], key: &[u8], place: &Path) -> Result<CertifiedKey, TlsError> {
    let names = CertificateFiles { certificate: place.into(), key: place.into() };
    pair(certificates_in(chain, place)?, signing_key_in(key, place)?, &names)
}

/// A chain and its key from DER; the bytes of the key are wiped. `place` names them in errors.
///
/// # Errors
/// When they cannot be used, or do not belong together.
pub fn certified_from_der(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    place: &Path,
) -> Result<CertifiedKey, TlsError> {
    let names = CertificateFiles { certificate: place.into(), key: place.into() };
    pair(chain, usable(key, place)?, &names)
}

/// The certificates of DER text that holds one after the other; `None`: it holds something else.
pub fn split_der(mut text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut certificates = Vec::new();
    while !text.is_empty() {
        let (rest, _) = X509Certificate::from_der(text).ok()?;
        let length = text.len() - rest.len();
        certificates.push(CertificateDer::from(text[..length].to_vec()));
        text = rest;
    }
    Some(certificates)
}

/// A chain and a key, if they belong together. `files` names them in errors.
pub(crate) fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
    files: &CertificateFiles,
) -> Result<CertifiedKey, TlsError> {
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() })
        }
        Err(source) => Err(TlsError::Certificate { path: files.certificate.clone(), source }),
    }
}

/// The revocation lists in a file.
pub(crate) fn revocation_lists(path: &Path) -> Result<RevocationLists, TlsError> {
    revocation_lists_in(&read(path)?, path)
}

fn revocation_lists_in(text: &[u8], path: &Path) -> Result<RevocationLists, TlsError> {
    let lists = CertificateRevocationListDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let lists = lists.map_err(|error| broken(path, &error))?;
    RevocationLists::new(lists).ok_or_else(|| TlsError::RevocationList { path: path.into() })
}

/// The certificates of a PEM text, at least one.
pub(crate) fn certificates_in(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match certificates.map_err(|error| broken(path, &error))? {
        none if none.is_empty() => Err(TlsError::NoCertificate { path: path.into() }),
        certificates => Ok(certificates),
    }
}

/// The first key of a file, which may hold certificates too.
pub(crate) fn signing_key(path: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    signing_key_in(&Zeroizing::new(read(path)?), path)
}

/// The first key of a PEM text.
pub(crate) fn signing_key_in(text: &[u8], path: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.into() },
        error => broken(path, &error),
    })?;
    usable(key, path)
}

/// A key to sign with. The bytes that it came in are wiped.
pub(crate) fn usable(mut key: PrivateKeyDer<'static>, path: &Path) -> Result<Arc<dyn SigningKey>, TlsError> {
    let signing = any_supported_type(&key);
    key.zeroize();
    // The library's reason says nothing that helps, and is left out lest it ever quotes.
    signing.map_err(|_| TlsError::Key { path: path.into() })
}

/// The whole file, so long as it is of a sane size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
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
