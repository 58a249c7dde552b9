//! No core files: a crash must not write private keys to a disk.
//!
//! Invariant: only the soft limit changes, so that whoever looks for a defect can raise it again (`prlimit --core=…`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Forbids them to this process, and to what it starts from now on.
pub fn forbid() {
    let limit = getrlimit(Resource::Core);
    // Cannot fail: it is lowered, and to what everybody may have.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum });
}
