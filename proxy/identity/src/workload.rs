//! The identity of the workload that this proxy stands beside.
//!
//! In:  what a source delivers.   Out: the newest [`Svid`] and roots, for every handshake that begins.
//! Invariants: a handle is cheap to clone and never blocks; what is not there yet is an error of the one handshake that needs it;
//! certificate, key and roots change together; what is published was checked: peers with the same roots believe it.
//! Not here: the sources; rustls configurations (`server`, `client`).
//! Source: SPIFFE X.509-SVID, SPIFFE trust domain and bundle.

use crate::{
    Moment, SpiffeId, TlsError,
    chains::{self, Purpose},
    files::{self, Bundle},
    peer,
    provider::provider,
    store::{Files, Reloaded},
};
use arc_swap::ArcSwapOption;
use rustls::{
    pki_types::{CertificateDer, UnixTime},
    sign::CertifiedKey,
};
use sidle_model::ir::CertificateFiles;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Roots by the trust domain that they speak for.
pub type Bundles = BTreeMap<Box<str>, Arc<Bundle>>;

/// Certificate, key and roots at one moment.
#[derive(Debug, Clone)]
pub struct Svid {
    /// Who the workload is.
    pub id: SpiffeId,
    /// Chain and key.
    pub certified: Arc<CertifiedKey>,
    /// What peers must chain to, by their trust domain.
    pub bundles: Bundles,
    /// From when the certificate is valid.
    pub not_before: Moment,
    /// Until when the whole chain is.
    pub not_after: Moment,
}

impl Svid {
    /// Takes a chain with its key, and the roots of its own trust domain.
    ///
    /// # Errors
    /// When it is no workload's, is over, or would not be believed by peers with the same roots.
    pub fn new(certified: Arc<CertifiedKey>, own: Arc<Bundle>) -> Result<Self, TlsError> {
        let (leaf, rest) = certified.cert.split_first().ok_or(TlsError::NothingToServe)?;
        let id = peer::spiffe_id(leaf)
            .ok_or(TlsError::NoSvid("its only URI has to be a SPIFFE id, spiffe://TRUST_DOMAIN/PATH"))?;
        let (not_before, not_after) =
            validity(&certified.cert).ok_or(TlsError::NoSvid("a certificate of its chain cannot be read"))?;
        let now = Moment::now();
        if not_after <= now {
            return Err(TlsError::IdentityExpired(not_after));
        }
        let algorithms = provider().signature_verification_algorithms;
        // One that is to be valid soon is taken: its source may run a little ahead of our clock.
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now.max(not_before).0));
        for purpose in [Purpose::Client, Purpose::Server] {
            chains::verify((leaf, rest), &own.roots, &[], algorithms, at, purpose)
                .map_err(TlsError::Untrusted)?;
        }
        let bundles = BTreeMap::from([(id.trust_domain().into(), own)]);
        Ok(Svid { id, certified, bundles, not_before, not_after })
    }

    /// Reads PEM files.
    ///
    /// # Errors
    /// As [`Self::new`], and when a file cannot be used.
    pub fn read(pair: &CertificateFiles, roots: &Path) -> Result<Self, TlsError> {
        Svid::new(Arc::new(files::certified_key(pair)?), Arc::new(Bundle::read(roots)?))
    }

    /// Believes peers of trust domains that are other names of its own.
    #[must_use]
    pub fn with_aliases<S: AsRef<str>>(mut self, aliases: &[S]) -> Self {
        if let Some(own) = self.bundles.get(self.id.trust_domain()).cloned() {
            for alias in aliases {
                self.bundles.insert(alias.as_ref().into(), own.clone());
            }
        }
        self
    }

    /// Believes peers of other trust domains, by roots of theirs.
    #[must_use]
    pub fn with_federated(mut self, federated: Bundles) -> Self {
        for (domain, bundle) in federated {
            self.bundles.entry(domain).or_insert(bundle);
        }
        self
    }

    /// Whether peers would believe it now.
    ///
    /// # Errors
    /// [`TlsError::IdentityExpired`], [`TlsError::IdentityNotYet`].
    pub fn check_time(&self) -> Result<(), TlsError> {
        if self.not_after <= Moment::now() {
            Err(TlsError::IdentityExpired(self.not_after))
        } else if self.not_before.is_ahead() {
            Err(TlsError::IdentityNotYet(self.not_before))
        } else {
            Ok(())
        }
    }

    /// The roots of its own trust domain.
    pub fn own_roots(&self) -> &[CertificateDer<'static>] {
        self.bundles.get(self.id.trust_domain()).map_or(&[], |bundle| &bundle.certificates)
    }

    /// When the first of those runs out.
    pub fn roots_end(&self) -> Option<Moment> {
        validity(self.own_roots()).map(|(_, end)| end)
    }

    fn same(&self, other: &Svid) -> bool {
        let mut pairs = self.bundles.iter().zip(&other.bundles);
        self.certified.cert == other.certified.cert
            && self.bundles.len() == other.bundles.len()
            && pairs.all(|((domain, one), (name, two))| {
                domain == name && one.certificates == two.certificates && one.lists == two.lists
            })
    }
}

/// From when and until when all certificates are valid.
pub(crate) fn validity(chain: &[CertificateDer<'_>]) -> Option<(Moment, Moment)> {
    let mut bounds = None;
    for certificate in chain {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let seconds = |seconds: i64| Moment(seconds.max(0).unsigned_abs());
        let (from, to) = (
            seconds(parsed.validity().not_before.timestamp()),
            seconds(parsed.validity().not_after.timestamp()),
        );
        bounds = Some(match bounds {
            None => (from, to),
            Some((latest, earliest)) => (from.max(latest), to.min(earliest)),
        });
    }
    bounds
}

/// A handle on what this process can show and whom it believes: the workload's identity, and the certificate files that the
/// configuration names. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    svid: Arc<ArcSwapOption<Svid>>,
    files: Files,
}

impl Workload {
    /// What is valid now; `None` until a source has delivered.
    pub fn current(&self) -> Option<Arc<Svid>> {
        self.svid.load_full()
    }

    /// From now on. Says whether it is another than before.
    pub fn publish(&self, svid: Arc<Svid>) -> bool {
        if self.svid.load().as_ref().is_some_and(|known| known.same(&svid)) {
            return false;
        }
        self.svid.store(Some(svid));
        true
    }

    /// The workload has no identity any more.
    pub fn withdraw(&self) {
        self.svid.store(None);
    }

    /// What can be shown to peers now.
    ///
    /// # Errors
    /// [`TlsError::NoIdentity`], and as [`Svid::check_time`].
    pub fn valid(&self) -> Result<Arc<Svid>, TlsError> {
        let svid = self.current().ok_or(TlsError::NoIdentity)?;
        svid.check_time()?;
        Ok(svid)
    }

    /// The certificate files that TLS configurations were made from.
    pub fn file_paths(&self) -> BTreeSet<PathBuf> {
        self.files.paths()
    }

    /// Reads those files again. Handshakes that begin from now on use what changed.
    pub fn reload_files(&self) -> Vec<Reloaded> {
        self.files.reload()
    }

    /// Those of them whose certificates are not valid now, and are shown because there are no others.
    pub fn files_out_of_time(&self) -> Vec<TlsError> {
        self.files.out_of_time()
    }

    /// Whether one of them was refused when it was read last, so that what was read before is used.
    pub fn has_refused_files(&self) -> bool {
        self.files.have_refused()
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }
}
