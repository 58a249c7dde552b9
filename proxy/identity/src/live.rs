//! rustls configurations that follow what they were made from.
//!
//! In:  where certificates, roots and revocation lists come from.   Out: the configuration for the handshake that begins now.
//! Invariants: a configuration is made anew, whole, when one of its parts is another object than before, so that certificate and
//! roots never mix, and tickets and sessions end with the roots that they were given under; connections that stand keep theirs.
//! It is made anew too when a certificate that its sessions rest on runs out, since a resumed session does not show it again.
//! Who asks never waits: making one takes microseconds, and two who make it at the same time make the same.
//! Not here: what is in a configuration (`server`, `client`), reading files (`store`).

use crate::{
    Moment, Svid, TlsError, Workload,
    chains::RevocationLists,
    files::{self, Bundle},
    roots,
    store::File,
    workload,
};
use arc_swap::ArcSwapOption;
use rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use sidle_model::ir::{Certificates, InlineCertificate, Trust};
use std::{
    fmt,
    path::{Path, PathBuf},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A rustls configuration that follows what it was made from.
pub struct Live<C> {
    sources: Sources,
    make: Make<C>,
    made: ArcSwapOption<Made<C>>,
}

type Make<C> = Box<dyn Fn(&Parts) -> Result<C, TlsError> + Send + Sync>;

struct Made<C> {
    parts: Parts,
    config: Arc<C>,
}

impl<C> Live<C> {
    /// Finds out whether one can be made, unless the workload has no identity yet. It is not kept: of a large mesh, few are used.
    pub(crate) fn new(
        sources: Sources,
        make: impl Fn(&Parts) -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsError> {
        let live = Live { sources, make: Box::new(make), made: ArcSwapOption::empty() };
        match live.sources.parts().and_then(|parts| (live.make)(&parts)) {
            Ok(_)
            | Err(TlsError::NoIdentity | TlsError::IdentityExpired(_) | TlsError::IdentityNotYet(_)) => {
                Ok(Arc::new(live))
            }
            Err(error) => Err(error),
        }
    }

    /// For the handshake that begins now.
    ///
    /// # Errors
    /// When the workload's identity is needed, and there is none, or it has run out.
    pub fn current(&self) -> Result<Arc<C>, TlsError> {
        let parts = self.sources.parts()?;
        let holds = |made: &&Arc<Made<C>>| made.parts.are(&parts) && !made.parts.sessions.are_over();
        if let Some(made) = self.made.load().as_ref().filter(holds) {
            return Ok(made.config.clone());
        }
        let config = Arc::new((self.make)(&parts)?);
        self.made.store(Some(Arc::new(Made { parts, config: config.clone() })));
        Ok(config)
    }
}

impl<C> fmt::Debug for Live<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Where the parts of a configuration come from.
pub(crate) struct Sources {
    shown: Shown,
    trust: Believed,
    lists: Option<Arc<File<RevocationLists>>>,
    workload: Workload,
}

enum Shown {
    Nothing,
    Given(Vec<Arc<CertifiedKey>>),
    Files(Vec<Arc<File<CertifiedKey>>>),
    Workload,
}

enum Believed {
    Nobody,
    Roots(Arc<Bundle>),
    File(Arc<File<Bundle>>),
    Workload,
}

impl Sources {
    /// Reads the files, or finds those that others read.
    pub fn new(
        shown: Option<&Certificates>,
        trust: Option<&Trust>,
        lists: Option<&PathBuf>,
        workload: &Workload,
    ) -> Result<Self, TlsError> {
        let store = workload.files();
        let shown = match shown {
            None => Shown::Nothing,
            Some(Certificates::Workload) => Shown::Workload,
            Some(Certificates::Inline(given)) if given.is_empty() => return Err(TlsError::NothingToServe),
            Some(Certificates::Inline(given)) => {
                let parse = |one: &InlineCertificate| {
                    let place = Path::new(&*one.place);
                    files::certified_from_pem(one.chain.as_bytes(), one.key.as_bytes(), place).map(Arc::new)
                };
                Shown::Given(given.iter().map(parse).collect::<Result<_, _>>()?)
            }
            Some(Certificates::Files(pairs)) if pairs.is_empty() => return Err(TlsError::NothingToServe),
            Some(Certificates::Files(pairs)) => {
                Shown::Files(pairs.iter().map(|pair| store.pair(pair)).collect::<Result<_, _>>()?)
            }
        };
        let trust = match trust {
            None => Believed::Nobody,
            Some(Trust::System) => Believed::Roots(roots::system()?),
            Some(Trust::File(path)) => Believed::File(store.bundle(path)?),
            Some(Trust::Inline { place, text }) => {
                Believed::Roots(Arc::new(Bundle::from_pem(text.as_bytes(), Path::new(&**place))?))
            }
            Some(Trust::Workload) => Believed::Workload,
        };
        let lists = lists.map(|path| store.lists(path)).transpose()?;
        Ok(Sources { shown, trust, lists, workload: workload.clone() })
    }

    fn parts(&self) -> Result<Parts, TlsError> {
        let needs = matches!(self.shown, Shown::Workload) || matches!(self.trust, Believed::Workload);
        let svid = if needs { Some(self.workload.valid()?) } else { None };
        let shown = match (&self.shown, &svid) {
            (Shown::Given(given), _) => given.clone(),
            (Shown::Files(files), _) => files.iter().map(|file| file.load()).collect(),
            (Shown::Workload, Some(svid)) => vec![svid.certified.clone()],
            _ => Vec::new(),
        };
        let trust = match (&self.trust, svid) {
            (Believed::Roots(roots), _) => Some(Trusted::Roots(roots.clone())),
            (Believed::File(file), _) => Some(Trusted::Roots(file.load())),
            (Believed::Workload, Some(svid)) => Some(Trusted::Mesh(svid)),
            _ => None,
        };
        let lists = self.lists.as_ref().map(|lists| lists.load());
        Ok(Parts { shown, trust, lists, sessions: SessionsEnd::default() })
    }
}

/// The parts of a configuration at one moment.
pub(crate) struct Parts {
    /// What is shown; the first that the other end understands.
    pub shown: Vec<Arc<CertifiedKey>>,
    /// Who is believed.
    pub trust: Option<Trusted>,
    /// What was revoked.
    pub lists: Option<Arc<RevocationLists>>,
    /// When sessions that were made with them are over.
    pub sessions: SessionsEnd,
}

/// Until when a session may be resumed: as long as all certificates and revocation lists are valid that handshakes looked at.
#[derive(Debug, Clone)]
pub(crate) struct SessionsEnd(Arc<AtomicU64>);

impl Default for SessionsEnd {
    fn default() -> Self {
        SessionsEnd(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl SessionsEnd {
    /// Sessions rest on this certificate.
    pub fn rest_on(&self, certificate: &CertificateDer<'_>) {
        if let Some((_, end)) = workload::validity(slice::from_ref(certificate)) {
            self.end_at(end);
        }
    }

    /// Sessions rest on something that holds until then. What is over already does not count: nobody who looked at it believed by it.
    pub fn end_at(&self, end: Moment) {
        if end >= Moment::now() {
            self.0.fetch_min(end.0, Relaxed);
        }
    }

    fn are_over(&self) -> bool {
        self.0.load(Relaxed) < Moment::now().0
    }
}

/// Who is believed.
#[derive(Debug, Clone)]
pub(crate) enum Trusted {
    /// Whoever chains to these.
    Roots(Arc<Bundle>),
    /// Workloads of the trust domains that ours knows, each by the roots of its own.
    Mesh(Arc<Svid>),
}

impl Parts {
    fn are(&self, others: &Parts) -> bool {
        let trust = match (&self.trust, &others.trust) {
            (None, None) => true,
            (Some(Trusted::Roots(one)), Some(Trusted::Roots(other))) => Arc::ptr_eq(one, other),
            (Some(Trusted::Mesh(one)), Some(Trusted::Mesh(other))) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let lists = match (&self.lists, &others.lists) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        trust
            && lists
            && self.shown.len() == others.shown.len()
            && self.shown.iter().zip(&others.shown).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}
