//! Who is compared: Sidle, other proxies, a relay.
//!
//! In:  a [`Setup`].   Out: the command that runs a subject on it, or why there is none.
//! Invariants: all do equal work: the prefix `/svc/` leads to two clusters by 90 to 10, connections to upstreams are kept, one worker, and no
//! log unless the scenario has one. Beyond that each has its own defaults.

mod envoy;
mod haproxy;
mod nghttpx;
mod nginx;
mod own;
mod relay;
mod sidle;

use super::stage::Setup;
use crate::void::Void;
pub use own::Own;
use sidle_test_support::peers;
use std::{path::PathBuf, process::Command};

/// A subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The one whose house this is.
    Sidle,
    /// A relay of bytes.
    Relay,
    /// Envoy.
    Envoy,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// nghttpx.
    Nghttpx,
    /// One that the user brings.
    Own(Own),
}

/// Why there is no command.
#[derive(Debug)]
pub enum Reason {
    /// The subject is not there, or cannot do this.
    Skip(String),
    /// Something else went wrong.
    Void(Void),
}

impl<E: Into<Void>> From<E> for Reason {
    fn from(error: E) -> Self {
        Reason::Void(error.into())
    }
}

/// Proxies of others.
pub const PEERS: [Subject; 4] = [Subject::Envoy, Subject::Haproxy, Subject::Nginx, Subject::Nghttpx];

impl Subject {
    /// On the command line and in tables.
    pub fn name(&self) -> &str {
        match self {
            Subject::Sidle => "sidle",
            Subject::Relay => "relay",
            Subject::Envoy => "envoy",
            Subject::Haproxy => "haproxy",
            Subject::Nginx => "nginx",
            Subject::Nghttpx => "nghttpx",
            Subject::Own(own) => &own.name,
        }
    }

    /// Whether it shares requests out between the clusters.
    pub fn splits(&self) -> bool {
        !matches!(self, Subject::Relay | Subject::Own(_))
    }

    /// What runs it on a setup.
    ///
    /// # Errors
    /// When it cannot.
    pub fn command(&self, setup: &Setup<'_>) -> Result<Command, Reason> {
        match self {
            Subject::Sidle => sidle::command(setup),
            Subject::Relay => relay::command(setup),
            Subject::Envoy => envoy::command(setup),
            Subject::Haproxy => haproxy::command(setup),
            Subject::Nginx => nginx::command(setup),
            Subject::Nghttpx => nghttpx::command(setup),
            Subject::Own(own) => own.command(setup),
        }
    }

    /// Its version; `None` if it is not there, or does not say.
    pub fn version(&self) -> Option<String> {
        let (mut command, argument) = match self {
            Subject::Sidle => (sidle_test_support::sidle::command(), "version"),
            Subject::Relay | Subject::Own(_) => return None,
            Subject::Haproxy | Subject::Nginx => (Command::new(peers::look(self.name())?), "-v"),
            Subject::Envoy | Subject::Nghttpx => (Command::new(peers::look(self.name())?), "--version"),
        };
        let said = command.arg(argument).output().ok()?;
        let said = [said.stdout, said.stderr].concat();
        version(&String::from_utf8_lossy(&said))
    }
}

/// The first word that looks like a version, with how it was built as Sidle says it: `0.1.0 (release)`.
fn version(text: &str) -> Option<String> {
    let words = text.split(|character: char| character.is_whitespace() || character == '/');
    let mut versions = words.filter(|word| {
        let numbers = word.split(['.', '-', '+', '~']).take(2);
        word.contains('.')
            && numbers.clone().count() == 2
            && numbers.into_iter().all(|part| part.parse::<u32>().is_ok())
    });
    let version = versions.next()?.trim_end_matches(',');
    let build = text.strip_prefix("sidle ").and_then(|rest| rest.split_once('(')?.1.split(',').next());
    Some(build.map_or_else(|| version.to_owned(), |build| format!("{version} ({build})")))
}

/// The program of a peer.
fn program(name: &str) -> Result<PathBuf, Reason> {
    peers::look(name).ok_or_else(|| Reason::Skip("not installed; `tests/run peers` installs it".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, expected) in [
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("nghttpx nghttp2/1.52.0", "1.52.0"),
            (
                "\n/a/b3.11/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL",
                "1.40.0",
            ),
            ("sidle 0.1.0 (profile-guided release, x86_64-linux)\n", "0.1.0 (profile-guided release)"),
        ] {
            assert_eq!(version(said).as_deref(), Some(expected), "{said}");
        }
        assert_eq!(version("no such thing"), None);
    }

    #[test]
    fn who_is_not_there_is_skipped_with_how_to_get_it() {
        let Err(Reason::Skip(told)) = program("no-such-proxy") else { panic!("it is not there") };
        assert!(told.contains("`tests/run peers` installs it"), "{told}");
    }
}
