//! Descriptors that are kept for the process' own servers.
//!
//! In:  how many.   Out: one at a time, freed just before an accept that needs it.
//! Invariants: when connections have used descriptors up, the reserve is still there. What was lent comes back with the connection
//! that it went to, and is free at no time in between; who takes one before the server can, gives it back; what comes free
//! is the reserve's before it is a client's.
//! Not here: how many connections clients may have (`listener/admission`), how many one server may be lent (`admin/server`).

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// Open files that only hold their descriptors.
#[derive(Debug, Default)]
pub struct Reserve {
    files: Mutex<Vec<File>>,
    size: usize,
    /// Whether one is lent, or was taken; written while the files are locked.
    lacks: AtomicBool,
}

impl Reserve {
    /// Keeps so many, or as many as there are.
    pub fn new(count: usize) -> Self {
        let Ok(first) = File::open("/dev/null") else { return Reserve::default() };
        let files = (0..count).map_while(|_| first.try_clone().ok());
        let mut files: Vec<_> = files.collect();
        files.insert(0, first); // never lent: the others are copies of it
        Reserve { size: files.len(), files: files.into(), lacks: false.into() }
    }

    /// Frees a descriptor; `false`: there is none.
    pub fn lend(&self) -> bool {
        let mut files = self.files();
        if files.len() < 2 {
            return false;
        }
        self.lacks.store(true, SeqCst); // before it is free: whoever takes it can know
        files.pop().is_some()
    }

    /// Takes what is missing, as far as there is any; says whether nothing is missing any more. One load while nothing is.
    pub fn fill(&self) -> bool {
        if !self.lacks.load(SeqCst) {
            return true;
        }
        let mut files = self.files();
        while files.len() < self.size
            && let Some(Ok(file)) = files.first().map(File::try_clone)
        {
            files.push(file);
        }
        self.count(&files)
    }

    /// Closes what has this descriptor, and takes the descriptor if one is missing.
    pub fn take_back(&self, mut descriptor: OwnedFd) {
        if !self.lacks.load(SeqCst) {
            return;
        }
        let mut files = self.files();
        if files.len() < self.size
            && let Some(file) = files.first()
            && rustix::io::dup2(file, &mut descriptor).is_ok()
        {
            // Were it not set, an application that is started now would only have `/dev/null` open once more.
            let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
            files.push(descriptor.into());
        }
        self.count(&files);
    }

    fn count(&self, files: &[File]) -> bool {
        let whole = files.len() >= self.size;
        self.lacks.store(!whole, SeqCst);
        whole
    }

    fn files(&self) -> MutexGuard<'_, Vec<File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_was_lent_is_taken_again() {
        let reserve = Reserve::new(4);
        assert!(reserve.fill(), "nothing is missing");
        assert_eq!((0..9).filter(|_| reserve.lend()).count(), 4);
        assert!(reserve.fill() && reserve.lend());
    }

    #[test]
    fn a_descriptor_that_comes_back_is_free_at_no_time() {
        let reserve = Reserve::new(1);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(reserve.lend());
        let number = ours.as_raw_fd();
        reserve.take_back(ours.into());
        let kept: Vec<_> = reserve.files().iter().map(AsRawFd::as_raw_fd).collect();
        assert!(kept.contains(&number), "{number} among {kept:?}");
        assert_eq!(std::io::Read::read(&mut &theirs, &mut [0]).unwrap(), 0, "the connection has ended");
        reserve.take_back(theirs.into());
        assert_eq!(reserve.files().len(), 2, "no more than are missing");
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_to_be() {
        let reserve = Reserve::default();
        assert!(reserve.fill() && !reserve.lend());
    }
}
