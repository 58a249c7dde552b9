//! Room for connections: the soft limit of open files is raised to the hard one, as every server does.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit; says so if it cannot.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}

/// Downstream connections that leave descriptors for as many upstream ones would be half of the limit; most requests share
/// upstream connections, so four fifths it is.
pub fn max_connections() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| (limit / 5 * 4) as usize)
}
