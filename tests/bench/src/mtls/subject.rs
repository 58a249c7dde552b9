//! A proxy that terminates mutual TLS: Sidle, or Envoy on what Sidle exports of the same files.

use crate::{cores::Cores, envoy, usage::CpuTime, void::Void};
use sidle_test_support::{
    peers, ports,
    process::Process,
    sidle::{Ports, command, http_get},
    tls::{Authority, Identity},
};
use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The host of every request.
pub const HOST: &str = "bench.test";

const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy.
pub struct Subject {
    /// For the table.
    pub name: &'static str,
    /// Where mutual TLS is spoken.
    pub secure: SocketAddr,
    /// Where the same is served in the clear.
    pub clear: SocketAddr,
    /// Whom both ends believe.
    pub authority: Authority,
    /// What clients show.
    pub client: Identity,
    process: Process,
    _folder: TempDir,
}

/// What a proxy is made of.
struct Files {
    folder: TempDir,
    ports: Ports,
    secure: SocketAddr,
    clear: SocketAddr,
    authority: Authority,
    client: Identity,
}

impl Files {
    fn write(upstream: u16) -> Result<Self, Void> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new();
        let client = authority.issue(&["client.test"]);
        fs::write(folder.path().join("ca.pem"), authority.pem())?;
        authority.issue(&[HOST]).write(folder.path(), "server");
        let (secure, clear, proxy) = (ports::free(), ports::free(), Ports::free());
        let at = folder.path().display();
        let manifests = format!(
            "{}---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: edge }}\nspec:\n  servers:\n    \
             - port: {{ number: {}, name: https, protocol: HTTPS }}\n      bind: 127.0.0.1\n      hosts: [{HOST}]\n      \
             tls: {{ mode: MUTUAL, serverCertificate: {at}/server.pem, privateKey: {at}/server.key, caCertificates: {at}/ca.pem }}\n    \
             - port: {{ number: {}, name: http, protocol: HTTP }}\n      bind: 127.0.0.1\n      hosts: [{HOST}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: bench }}\nspec:\n  hosts: [{HOST}]\n  \
             gateways: [edge]\n  http: [{{ route: [{{ destination: {{ host: upstream.test }} }}] }}]\n---\n{}",
            proxy.document("  concurrency: 1\n"),
            secure.port(),
            clear.port(),
            sidle_test_support::manifest::service("upstream", "upstream.test", "HTTP", &[("v1", upstream)]),
        );
        fs::write(folder.path().join("bench.yaml"), manifests)?;
        Ok(Files { folder, ports: proxy, secure, clear, authority, client })
    }

    async fn run(self, name: &'static str, command: Command, cores: Option<Cores>) -> Result<Subject, Void> {
        let mut process = match cores {
            Some(cores) => cores.on_proxy_core(|| Process::start(command))?,
            None => Process::start(command),
        };
        let begin = Instant::now();
        while !http_get(self.ports.admin, "/ready").is_ok_and(|answer| answer.status == 200) {
            if process.exit_status().is_some() || begin.elapsed() > PATIENCE {
                return Err(Void::because(format!("{name} is not ready:\n{}", process.output())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let Files { folder, secure, clear, authority, client, .. } = self;
        Ok(Subject { name, secure, clear, authority, client, process, _folder: folder })
    }
}

impl Subject {
    /// Sidle in front of `upstream`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn sidle(upstream: u16, cores: Option<Cores>) -> Result<Self, Void> {
        let files = Files::write(upstream)?;
        let mut command = command();
        command.arg("run").arg("-c").arg(files.folder.path().join("bench.yaml"));
        files.run("Sidle", command, cores).await
    }

    /// Envoy in front of `upstream`; `None` if it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn envoy(upstream: u16, cores: Option<Cores>) -> Result<Option<Self>, Void> {
        let Some(program) = peers::find("envoy") else { return Ok(None) };
        let files = Files::write(upstream)?;
        let manifests = files.folder.path().join("bench.yaml");
        let command = envoy::command(&program, &manifests, files.folder.path(), files.ports.admin, 1)?;
        files.run("Envoy", command, cores).await.map(Some)
    }

    /// Microseconds of CPU for each of `count` parts of a load.
    ///
    /// # Errors
    /// When an answer is wrong.
    pub async fn cost(&self, count: u32, load: impl Future<Output = Result<(), Void>>) -> Result<f64, Void> {
        let before = CpuTime::of(self.process.id())?;
        load.await?;
        let nanoseconds = CpuTime::of(self.process.id())?.since(&before);
        Ok(nanoseconds as f64 / 1e3 / f64::from(count))
    }
}
