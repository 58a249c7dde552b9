//! The new process: asks for the sockets, and says when it is ready.

use super::{
    Options,
    door::{default_path, is_ours},
    give::{READY_WITHIN, WORD_WITHIN},
    wire::{Channel, PROTOCOL, Use, Word},
};
use crate::listener::Inherited;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};
use tokio::net::UnixStream;

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Nobody says where.
    #[error(
        "--takeover needs --takeover-socket: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR says where sockets may be"
    )]
    NoPath,
    /// The socket is another user's.
    #[error("cannot take over: {0} is served by another user's process")]
    Foreign(PathBuf),
    /// The running process does not want to.
    #[error("cannot take over: {0}")]
    Refused(String),
    /// The conversation broke.
    #[error("cannot take over at {0}: {1}")]
    Broken(PathBuf, io::Error),
}

/// What a running process has given, but for its listeners.
pub struct Taken {
    channel: Channel,
    /// Servers of the process' own, by name.
    servers: Vec<(String, TcpListener)>,
    /// For the next takeover.
    pub door: Option<OwnedFd>,
    path: PathBuf,
}

/// Where the door is.
pub fn path(options: &Options, admin: SocketAddr) -> Option<PathBuf> {
    options.socket.clone().or_else(|| default_path(admin, |name| std::env::var_os(name)))
}

/// Asks the process behind `path` for its sockets. `None`: there is none.
///
/// # Errors
/// There is one, and it does not give them.
pub async fn ask(path: &Path) -> Result<Option<(Taken, Vec<Inherited>)>, TakeoverError> {
    let broken = |error| TakeoverError::Broken(path.to_owned(), error);
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(error) => return Err(broken(error)),
    };
    if !is_ours(&stream).map_err(broken)? {
        return Err(TakeoverError::Foreign(path.to_owned()));
    }
    let mut taken =
        Taken { channel: Channel::new(stream), servers: Vec::new(), door: None, path: path.to_owned() };
    let listeners = tokio::time::timeout(WORD_WITHIN, taken.receive())
        .await
        .unwrap_or_else(|_| Err(broken(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"))))?;
    Ok(Some((taken, listeners)))
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

impl Taken {
    async fn receive(&mut self) -> Result<Vec<Inherited>, TakeoverError> {
        let path = self.path.clone();
        let broken = |error| TakeoverError::Broken(path.clone(), error);
        let nonsense = || broken(io::Error::new(io::ErrorKind::InvalidData, "it says what it should not"));
        // One that refuses may not have waited for a word.
        let hello = self.channel.say(&Word::Hello { protocol: PROTOCOL }, &[]).await;
        let mut listeners = Vec::new();
        loop {
            let heard = match self.channel.hear().await {
                Ok(word) => word,
                Err(error) => return Err(broken(hello.err().unwrap_or(error))),
            };
            let (uses, last) = match heard {
                Word::Sockets { uses, last } => (uses, last),
                Word::Refused { why } => return Err(TakeoverError::Refused(why)),
                _ => return Err(nonsense()),
            };
            for of in uses {
                let socket = self.channel.descriptor().ok_or_else(nonsense)?;
                match of {
                    Use::Listener => listeners.push(Inherited::new(socket).map_err(broken)?),
                    Use::Server(name) => self.servers.push((name, socket.into())),
                    Use::Takeover => self.door = Some(socket),
                }
            }
            if last {
                return Ok(listeners);
            }
        }
    }

    /// The socket of the server of this name, if it has one of these addresses.
    pub fn server(&mut self, name: &str, addresses: &[SocketAddr]) -> Option<TcpListener> {
        let fits = |(of, socket): &(String, TcpListener)| {
            of == name && socket.local_addr().is_ok_and(|bound| addresses.contains(&bound))
        };
        let at = self.servers.iter().position(fits)?;
        Some(self.servers.swap_remove(at).1)
    }

    /// Tells the old process that this one serves.
    ///
    /// # Errors
    /// It has given up waiting.
    pub async fn ready(mut self) -> Result<(), TakeoverError> {
        let spoken = async {
            self.channel.say(&Word::Ready, &[]).await?;
            match self.channel.hear().await? {
                Word::Done => Ok(()),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it says what it should not")),
            }
        };
        let spoken = tokio::time::timeout(READY_WITHIN, spoken).await;
        let spoken = spoken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        spoken.map_err(|error| TakeoverError::Broken(self.path, error))
    }

    /// Waits until the old process has given up waiting, or has gone.
    pub async fn given_up(&mut self) {
        // It has nothing to say until this one is ready.
        let _ = self.channel.hear().await;
    }
}
