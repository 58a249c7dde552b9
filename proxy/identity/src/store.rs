//! Files that the configuration names: each read once, shared by all who name it, and read again when it changes.
//!
//! In:  paths.   Out: [`File`]s, whose content is swapped under those who hold them.
//! Invariants: a chain and its key change together or not at all; a file that has become unusable leaves what was read before in
//! use, and so does a certificate that has run out, or is for later, as long as the one before is valid; files that nobody holds any more are forgotten; nobody who reads waits.
//! Not here: noticing that a file changed (whoever calls [`Files::reload`]).

use crate::{
    Moment, TlsError,
    chains::RevocationLists,
    files::{self, Bundle},
    workload::validity,
};
use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use sidle_model::ir::CertificateFiles;
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    path::{Path, PathBuf},
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Files in use. All clones are one store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files(Arc<Mutex<Shelves>>);

#[derive(Debug, Default)]
struct Shelves {
    pairs: Shelf<CertifiedKey>,
    bundles: Shelf<Bundle>,
    lists: Shelf<RevocationLists>,
}

type Shelf<T> = HashMap<<T as Content>::Place, Weak<File<T>>>;

/// What came of reading files again.
#[derive(Debug)]
pub struct Reloaded {
    /// The file, of a pair the chain.
    pub path: PathBuf,
    /// Whether what is in it is used from now on; if not, what was read before stays in use.
    pub outcome: Result<(), TlsError>,
}

/// What one place holds now.
#[derive(Debug)]
pub(crate) struct File<T: Content> {
    place: T::Place,
    now: ArcSwap<T>,
    complaint: Mutex<Option<String>>,
}

/// Something that is read from files.
pub(crate) trait Content: Sized {
    /// Where it is.
    type Place: Clone + Eq + Hash;
    fn read(place: &Self::Place) -> Result<Self, TlsError>;
    fn same(&self, other: &Self) -> bool;
    /// Whether it is of use now.
    fn check_time(&self, _place: &Self::Place) -> Result<(), TlsError> {
        Ok(())
    }
    /// All files, the one to name first.
    fn paths(place: &Self::Place) -> Vec<&Path>;
}

impl Content for CertifiedKey {
    type Place = CertificateFiles;

    fn read(place: &CertificateFiles) -> Result<Self, TlsError> {
        files::certified_key(place)
    }

    /// The key belongs to the chain, so that equal chains have equal keys.
    fn same(&self, other: &Self) -> bool {
        self.cert == other.cert
    }

    /// Of the leaf: what else is in the file may be for others.
    fn check_time(&self, place: &CertificateFiles) -> Result<(), TlsError> {
        let Some((from, until)) = self.cert.first().and_then(|leaf| validity(slice::from_ref(leaf))) else {
            return Ok(());
        };
        let path = || place.certificate.clone();
        match () {
            () if until <= Moment::now() => Err(TlsError::Expired { path: path(), until }),
            () if from.is_ahead() => Err(TlsError::NotYet { path: path(), from }),
            () => Ok(()),
        }
    }

    fn paths(place: &CertificateFiles) -> Vec<&Path> {
        vec![&place.certificate, &place.key]
    }
}

impl Content for Bundle {
    type Place = PathBuf;

    fn read(place: &PathBuf) -> Result<Self, TlsError> {
        Bundle::read(place)
    }

    fn same(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }

    fn paths(place: &PathBuf) -> Vec<&Path> {
        vec![place]
    }
}

impl Content for RevocationLists {
    type Place = PathBuf;

    fn read(place: &PathBuf) -> Result<Self, TlsError> {
        files::revocation_lists(place)
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn paths(place: &PathBuf) -> Vec<&Path> {
        vec![place]
    }
}

impl<T: Content> File<T> {
    /// What it holds now.
    pub fn load(&self) -> Arc<T> {
        self.now.load_full()
    }

    /// Reads it again; `None`: nothing new, not even the reason why it cannot be used.
    fn reload(&self) -> Option<Reloaded> {
        let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let is_timely = |read: &T| match read.check_time(&self.place) {
            Err(error) if self.now.load().check_time(&self.place).is_ok() => Err(error),
            _ => Ok(()),
        };
        let read = T::read(&self.place).and_then(|read| is_timely(&read).map(|()| read));
        let outcome = match read {
            Ok(read) => {
                let mended = complaint.take().is_some();
                let same = self.now.load().same(&read);
                if same && !mended {
                    return None;
                }
                if !same {
                    self.now.store(Arc::new(read));
                }
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                if complaint.replace(text.clone()) == Some(text) {
                    return None;
                }
                Err(error)
            }
        };
        let path = T::paths(&self.place).first().map(|path| path.to_path_buf()).unwrap_or_default();
        Some(Reloaded { path, outcome })
    }
}

impl Files {
    /// A chain and its key.
    pub fn pair(&self, place: &CertificateFiles) -> Result<Arc<File<CertifiedKey>>, TlsError> {
        take(&mut self.lock().pairs, place)
    }

    /// A bundle of roots.
    pub fn bundle(&self, place: &PathBuf) -> Result<Arc<File<Bundle>>, TlsError> {
        take(&mut self.lock().bundles, place)
    }

    /// Revocation lists.
    pub fn lists(&self, place: &PathBuf) -> Result<Arc<File<RevocationLists>>, TlsError> {
        take(&mut self.lock().lists, place)
    }

    /// Those that are not valid now.
    pub fn out_of_time(&self) -> Vec<TlsError> {
        let pairs = held(&mut self.lock().pairs);
        pairs.iter().filter_map(|file| file.now.load().check_time(&file.place).err()).collect()
    }

    /// Whether one could not be used when it was read last.
    pub fn have_refused(&self) -> bool {
        let shelves = &mut *self.lock();
        refused(&mut shelves.pairs) || refused(&mut shelves.bundles) || refused(&mut shelves.lists)
    }

    /// All files that are in use.
    pub fn paths(&self) -> BTreeSet<PathBuf> {
        let shelves = self.lock();
        let mut paths = BTreeSet::new();
        note(&shelves.pairs, &mut paths);
        note(&shelves.bundles, &mut paths);
        note(&shelves.lists, &mut paths);
        paths
    }

    /// Reads all files that are in use again, and tells of what changed.
    pub fn reload(&self) -> Vec<Reloaded> {
        // Read without the lock: a build must not wait for a slow disk twice.
        let (pairs, bundles, lists) = {
            let mut shelves = self.lock();
            (held(&mut shelves.pairs), held(&mut shelves.bundles), held(&mut shelves.lists))
        };
        let pairs = pairs.iter().filter_map(|file| file.reload());
        let bundles = bundles.iter().filter_map(|file| file.reload());
        pairs.chain(bundles).chain(lists.iter().filter_map(|file| file.reload())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file at `place`, as others hold it already or read now.
fn take<T: Content>(shelf: &mut Shelf<T>, place: &T::Place) -> Result<Arc<File<T>>, TlsError> {
    if let Some(file) = shelf.get(place).and_then(Weak::upgrade) {
        return Ok(file);
    }
    let now = ArcSwap::from_pointee(T::read(place)?);
    let file = Arc::new(File { place: place.clone(), now, complaint: Mutex::default() });
    shelf.retain(|_, file| file.strong_count() > 0);
    shelf.insert(place.clone(), Arc::downgrade(&file));
    Ok(file)
}

fn held<T: Content>(shelf: &mut Shelf<T>) -> Vec<Arc<File<T>>> {
    shelf.retain(|_, file| file.strong_count() > 0);
    shelf.values().filter_map(Weak::upgrade).collect()
}

fn refused<T: Content>(shelf: &mut Shelf<T>) -> bool {
    let complains =
        |file: &Arc<File<T>>| file.complaint.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    held(shelf).iter().any(complains)
}

fn note<T: Content>(shelf: &Shelf<T>, paths: &mut BTreeSet<PathBuf>) {
    let held = shelf.iter().filter(|(_, file)| file.strong_count() > 0);
    paths.extend(held.flat_map(|(place, _)| T::paths(place)).map(Path::to_path_buf));
}
