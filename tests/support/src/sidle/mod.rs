//! The real `sidle` program, run as users run it.
//!
//! In:  manifests and options.   Out: a process that is ready, with its own ports, configuration folder and admin client.
//! Invariants: every process has a `kind: Proxy` document of its own that puts all its listeners on free loopback ports.
//! Read: `mod.rs` (start) -> `admin.rs` (asking it) -> `binary.rs` (which program).

mod admin;
mod binary;

pub use admin::{Answered, http_get, http_request};
pub use binary::{build, command, command_started_by, command_with_limit, path};

use crate::{metrics::Metrics, ports, process::Process, wait};
use std::{
    fmt::Write,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Where one proxy listens.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// From the application.
    pub outbound: SocketAddr,
    /// To the application.
    pub inbound: SocketAddr,
    /// Admin.
    pub admin: SocketAddr,
    /// `/stats/prometheus`.
    pub metrics: SocketAddr,
    /// `/healthz/ready`.
    pub health: SocketAddr,
}

impl Ports {
    /// Free ones.
    pub fn free() -> Self {
        Ports {
            outbound: ports::free(),
            inbound: ports::free(),
            admin: ports::free(),
            metrics: ports::free(),
            health: ports::free(),
        }
    }

    /// The `kind: Proxy` document with these addresses; `settings` are further lines of its `spec`, indented by two.
    pub fn document(&self, settings: &str) -> String {
        let mut text =
            String::from("apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: { name: test }\nspec:\n");
        for (field, address) in [
            ("outbound", self.outbound),
            ("inbound", self.inbound),
            ("admin", self.admin),
            ("metrics", self.metrics),
            ("health", self.health),
        ] {
            writeln!(text, "  {field}: \"{address}\"").unwrap();
        }
        text + settings
    }
}

/// How a proxy is started.
pub struct Builder {
    folder: TempDir,
    ports: Ports,
    settings: String,
    paths: Vec<PathBuf>,
    arguments: Vec<String>,
    application: Vec<String>,
    environment: Vec<(String, String)>,
    limit: Option<(char, u32)>,
    starter: Vec<String>,
}

/// A proxy that runs.
pub struct Sidle {
    process: Process,
    /// Where it listens.
    pub ports: Ports,
    folder: TempDir,
}

impl Builder {
    /// Writes a file into the configuration folder.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    /// Reads another path too.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Lines of the `spec` of its `kind: Proxy`, each indented by two.
    #[must_use]
    pub fn settings(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self
    }

    /// Arguments of `sidle run`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many files it may have open.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.limit = Some(('n', limit));
        self
    }

    /// How large its core files may be.
    #[must_use]
    pub fn core_files(mut self, limit: u32) -> Self {
        self.limit = Some(('c', limit));
        self
    }

    /// How far its files may grow, in units of the shell's `ulimit`: half a KiB or a whole one.
    #[must_use]
    pub fn file_size(mut self, limit: u32) -> Self {
        self.limit = Some(('f', limit));
        self
    }

    /// A command that becomes the proxy, whose command line follows its own arguments: `nsenter …`, `sh -c 'exec "$0" "$@"'`.
    #[must_use]
    pub fn started_by(mut self, command: &[&str]) -> Self {
        self.starter = command.iter().map(ToString::to_string).collect();
        self
    }

    /// The command after `--`.
    #[must_use]
    pub fn application(mut self, command: &[&str]) -> Self {
        self.application.extend(command.iter().map(ToString::to_string));
        self
    }

    /// In place of its own ports.
    #[must_use]
    pub fn on(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    /// Its ports, known before it runs.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Its configuration folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, and does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(self) -> Sidle {
        let own = self.folder.path().join("00-proxy.yaml");
        std::fs::write(own, self.ports.document(&self.settings)).unwrap();
        let mut command = match (self.limit, &self.starter[..]) {
            (Some((which, limit)), _) => command_with_limit(which, limit),
            (None, [starter, arguments @ ..]) => command_started_by(starter, arguments),
            (None, []) => command(),
        };
        command.arg("run").arg("-c").arg(self.folder.path());
        for path in &self.paths {
            command.arg("-c").arg(path);
        }
        command.args(&self.arguments).envs(self.environment);
        if !self.application.is_empty() {
            command.arg("--").args(&self.application);
        }
        Sidle { process: Process::start(command), ports: self.ports, folder: self.folder }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time; with what it printed.
    pub fn start(self) -> Sidle {
        let mut sidle = self.spawn();
        sidle.wait_ready();
        sidle
    }
}

impl Sidle {
    /// A proxy to be started, with a configuration folder that holds only its ports.
    ///
    /// # Panics
    /// When there is no room for a folder.
    pub fn builder() -> Builder {
        Builder {
            folder: tempfile::Builder::new().prefix("sidle-test-").tempdir().unwrap(),
            ports: Ports::free(),
            settings: String::new(),
            paths: Vec::new(),
            arguments: Vec::new(),
            application: Vec::new(),
            environment: Vec::new(),
            limit: None,
            starter: Vec::new(),
        }
    }

    /// A proxy that runs on these manifests.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn run(manifests: &str) -> Self {
        Self::builder().file("test.yaml", manifests).start()
    }

    /// Its outbound listener.
    pub fn outbound(&self) -> SocketAddr {
        self.ports.outbound
    }

    /// Its configuration folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `/ready` says so.
    ///
    /// # Panics
    /// When the process ends first, or time is up.
    pub fn wait_ready(&mut self) {
        let admin = self.ports.admin;
        wait::until("readiness", || {
            if let Some(status) = self.process.exit_status() {
                panic!("sidle ended with {status}:\n{}", self.process.output());
            }
            http_get(admin, "/ready").ok().filter(|answer| answer.status == 200)
        });
    }

    /// Asks admin.
    ///
    /// # Panics
    /// When admin does not answer.
    pub fn admin(&self, path: &str) -> Answered {
        http_get(self.ports.admin, path).unwrap()
    }

    /// Posts to admin.
    ///
    /// # Panics
    /// When admin does not answer.
    pub fn admin_post(&self, path: &str) -> Answered {
        http_request(self.ports.admin, "POST", path, &[]).unwrap()
    }

    /// Scrapes `/stats/prometheus`.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn metrics(&self) -> Metrics {
        let answer = http_get(self.ports.metrics, "/stats/prometheus").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body)
    }

    /// Writes a file of the configuration, as an editor that saves in place does.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Puts a file in the place of one of the configuration's, in one step.
    ///
    /// # Panics
    /// When it cannot.
    pub fn replace(&self, name: &str, content: &str) {
        let hidden = self.folder.path().join(format!(".{name}.new"));
        std::fs::write(&hidden, content).unwrap();
        std::fs::rename(hidden, self.folder.path().join(name)).unwrap();
    }
}

impl Deref for Sidle {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Sidle {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
