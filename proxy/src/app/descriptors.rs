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

/// Descriptors that downstream connections leave to sockets that listen, files, name look-ups, admin and upstream connections,
/// however low the limit is.
const HELD_BACK: u64 = 64;

/// Downstream connections that leave descriptors for as many upstream ones would be half of the limit; most requests share
/// upstream connections, so four fifths it is.
pub fn max_connections() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, room)
}

fn room(limit: u64) -> usize {
    (limit / 5 * 4).min(limit.saturating_sub(HELD_BACK)).max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::room;

    #[test]
    fn a_low_limit_leaves_room_for_the_rest() {
        assert_eq!([1024, 256, 64, 10].map(room), [816, 192, 1, 1]);
        assert_eq!(room(1_048_576), 838_860);
    }
}
