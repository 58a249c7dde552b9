//! Where the old process and the new one meet: a Unix socket for nobody else.

use std::{
    ffi::OsString,
    fs::{File, Permissions},
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::FileTypeExt, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// Processes that may wait to be heard.
const BACKLOG: i32 = 16;

/// The bound socket.
pub struct Door {
    /// Where new processes knock.
    pub listener: UnixListener,
}

impl Door {
    /// Binds it, readable and writable by the owner alone from the first moment on. The file of a process that has gone is replaced.
    ///
    /// # Errors
    /// The system's; somebody is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
            && std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(path)?;
        }
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        // The file gets the mode of the socket that is bound to it.
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(0o600))?;
        let socket = socket2::Socket::from(OwnedFd::from(file));
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        Self::adopt(socket.into())
    }

    /// The one that another process has bound.
    ///
    /// # Errors
    /// It is no such socket.
    pub fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Door { listener: UnixListener::from_std(listener)? })
    }
}

/// Where the door is when nobody says: beside other files of run time that only this user may write. `None`: there is no such
/// place. A unit's folder is its own; in a user's, the proxies are told apart by their admin address.
pub fn default_path(admin: SocketAddr, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folders) = folder("RUNTIME_DIRECTORY") {
        let first = folders.to_string_lossy().split(':').next().map(PathBuf::from)?;
        return Some(first.join("takeover.sock"));
    }
    // Port 0 is a different one each time.
    (admin.port() != 0).then(|| folder("XDG_RUNTIME_DIR"))?.map(|at| at.join(format!("sidle-{admin}.sock")))
}

/// Whether who is at the other end is this user, or root, who may do anything anyhow.
pub fn is_ours(stream: &UnixStream) -> io::Result<bool> {
    let uid = stream.peer_cred()?.uid();
    Ok(uid == 0 || uid == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_the_owners_alone_and_one_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let door = Door::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Door::open(&path).is_err(), "somebody is there");
        drop(door);
        Door::open(&path).unwrap();
        let other = folder.path().join("f");
        std::fs::write(&other, "x").unwrap();
        assert!(Door::open(&other).is_err());
        assert_eq!(std::fs::read(&other).unwrap(), b"x");
    }

    #[test]
    fn it_is_beside_other_files_of_run_time_or_nowhere() {
        let at = |variables: &[(&str, &str)], admin: &str| {
            let variables: Vec<_> =
                variables.iter().map(|(k, v)| (k.to_string(), OsString::from(v))).collect();
            default_path(admin.parse().unwrap(), |name| {
                variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
            })
        };
        let user = ("XDG_RUNTIME_DIR", "/run/user/7");
        let unit = ("RUNTIME_DIRECTORY", "/run/sidle:/run/other");
        assert_eq!(at(&[], "127.0.0.1:15000"), None);
        assert_eq!(at(&[user], "127.0.0.1:0"), None);
        assert_eq!(at(&[user], "127.0.0.1:1"), Some("/run/user/7/sidle-127.0.0.1:1.sock".into()));
        assert_eq!(at(&[user, unit], "127.0.0.1:0"), Some("/run/sidle/takeover.sock".into()));
    }
}
