//! What a comparison stands on: certificates, ports, and the upstreams.

use super::{
    keep::Keep,
    scenarios::{HOST, Protocol, Scenario},
    upstream::Door,
    wire::body::VERSIONS,
};
use crate::void::Void;
use sidle_test_support::{ports, tls::Authority};
use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Certificates and upstreams; gone when dropped.
pub struct Stage {
    folder: TempDir,
    keep: Keep,
    doors: Vec<Door>,
    upstream: Child,
    /// The upstreams end when it closes.
    _input: Option<ChildStdin>,
}

impl Stage {
    /// Makes the certificates, starts the upstreams on this thread's core.
    ///
    /// # Errors
    /// When they do not start.
    pub fn set() -> Result<Self, Void> {
        let folder = tempfile::Builder::new().prefix("sidle-bench-").tempdir()?;
        let authority = Authority::new();
        fs::write(folder.path().join("ca.pem"), authority.pem())?;
        for name in ["server", "client"] {
            let identity = authority.issue(&[HOST]);
            identity.write(folder.path(), name);
            // Some want both in one file.
            let both = identity.certificate_pem.clone() + &identity.key_pem();
            fs::write(folder.path().join(format!("{name}.both")), both)?;
        }
        let certificates = folder.path().to_owned();
        let kinds = [(Protocol::Http1, None), (Protocol::Http2, None), (Protocol::Http2, Some(certificates))];
        let doors: Vec<_> = kinds
            .into_iter()
            .flat_map(|(protocol, certificates)| {
                let door = move |version| Door {
                    port: ports::free().port(),
                    protocol,
                    version,
                    certificates: certificates.clone(),
                };
                VERSIONS.map(door)
            })
            .collect();
        let mut upstream = Command::new(std::env::current_exe()?)
            .arg("upstream")
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()?;
        let mut input = upstream.stdin.take();
        if let Some(input) = &mut input {
            writeln!(input, "{}", serde_json::to_string(&doors)?)?;
        }
        let mut stage = Stage { folder, keep: Keep::default(), doors, upstream, _input: input };
        for port in stage.doors.iter().map(|door| door.port).collect::<Vec<_>>() {
            let begin = Instant::now();
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                let ended = stage.upstream.try_wait()?;
                if ended.is_some() || begin.elapsed() > PATIENCE {
                    return Err(Void::because("the upstreams do not start"));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(stage)
    }

    /// The same, where it is left what subjects are started with.
    pub fn keeping(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Where `ca.pem`, `server.pem`, `server.key`, `client.pem` and so on are.
    pub fn certificates(&self) -> &Path {
        self.folder.path()
    }

    /// The process of the upstreams.
    pub fn upstream(&self) -> u32 {
        self.upstream.id()
    }

    /// What a subject needs to know of a scenario; with a folder of its own.
    ///
    /// # Errors
    /// When there is no room.
    pub fn setup<'a>(&'a self, scenario: &'a Scenario) -> Result<Setup<'a>, Void> {
        let ports = VERSIONS.map(|version| {
            let door = self.doors.iter().find(|door| {
                (door.protocol, door.version) == (scenario.upstream, version)
                    && door.certificates.is_some() == scenario.upstream_tls
            });
            door.map_or(0, |door| door.port)
        });
        Ok(Setup {
            scenario,
            address: ports::free(),
            upstreams: ports,
            certificates: self.certificates(),
            keep: &self.keep,
            folder: tempfile::Builder::new().prefix("subject-").tempdir_in(self.folder.path())?,
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.upstream.kill();
        let _ = self.upstream.wait();
    }
}

/// What a subject needs to know.
pub struct Setup<'a> {
    /// What is compared.
    pub scenario: &'a Scenario,
    /// Where it is to listen.
    pub address: SocketAddr,
    /// The ports of the two clusters, which get 90 and 10 of 100 requests.
    pub upstreams: [u16; 2],
    /// See [`Stage::certificates`].
    pub certificates: &'a Path,
    keep: &'a Keep,
    folder: TempDir,
}

impl Setup<'_> {
    /// The subject's own folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where requests are logged, if they are.
    pub fn log(&self) -> PathBuf {
        self.folder().join("access.log")
    }

    /// Leaves what is in it, and the command that is about to run, where that is wanted.
    ///
    /// # Errors
    /// When there is no room.
    pub fn keep(&self, subject: &str, command: &Command) -> Result<(), Void> {
        self.keep.leave(self.scenario.name, subject, self.folder(), command)
    }

    /// Writes a file into it.
    ///
    /// # Errors
    /// When there is no room.
    pub fn file(&self, name: &str, content: &str) -> Result<PathBuf, Void> {
        let path = self.folder().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}
