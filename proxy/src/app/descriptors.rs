//! Room for connections: the soft limit of open files is raised to the hard one, as every server does, and the kernel's table of them
//! is large before anybody waits for it.

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

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

/// Open files that the table has room for from the beginning: 128 KiB of the kernel's memory.
const ROOM: u64 = 16 << 10;

/// Makes the kernel's table of open files large. It doubles when it is full, and in a process with several threads whoever
/// needs room then waits for all processors to have looked elsewhere: some 10 ms on busy ones, in which a worker serves nobody.
/// To be called while there is one thread.
pub fn make_room() {
    let last = getrlimit(Resource::Nofile).current.unwrap_or(ROOM).min(ROOM).saturating_sub(1);
    // A table that stays small grows as it is used.
    let _ = fcntl_dupfd_cloexec(std::io::stdin(), last as i32);
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
