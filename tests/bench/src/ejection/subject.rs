//! A proxy before the endpoints: Sidle, or Envoy on what Sidle exports of the same files.

use super::{Setting, endpoints::COUNT};
use crate::{envoy, upstream, void::Void};
use sidle_test_support::{
    peers, ports,
    process::Process,
    sidle::{Ports, command, http_get},
};
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::PathBuf,
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
    /// Where it takes requests.
    pub address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

struct Files {
    folder: TempDir,
    manifests: PathBuf,
    ports: Ports,
    address: SocketAddr,
}

impl Files {
    fn write(port: u16, setting: Setting) -> Result<Self, Void> {
        let (folder, address, ports) = (tempfile::tempdir()?, ports::free(), Ports::free());
        let mut text = ports.document("  concurrency: 1\n");
        // A `String` takes every write.
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: edge }}\nspec:\n  servers:\n    \
             - port: {{ number: {}, name: http, protocol: HTTP }}\n      bind: 127.0.0.1\n      hosts: [{HOST}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: bench }}\nspec:\n  hosts: [{HOST}]\n  \
             gateways: [edge]\n  http: [{{ retries: {{ attempts: 0 }}, route: [{{ destination: {{ host: upstream.test }} }}] }}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: upstream }}\nspec:\n  \
             hosts: [upstream.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {port} }}]\n  endpoints:\n",
            address.port()
        );
        for at in 0..COUNT {
            let _ = writeln!(text, "    - {{ address: {} }}", upstream::address(at));
        }
        if setting != Setting::Off {
            text += "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: upstream }\nspec:\n  \
                     host: upstream.test\n  trafficPolicy:\n    outlierDetection:\n      consecutive5xxErrors: 5\n      \
                     interval: 1s\n      baseEjectionTime: 30s\n      maxEjectionPercent: 50\n";
        }
        if setting == Setting::Latency {
            text += "---\napiVersion: sidle.dev/v1\nkind: HealthPolicy\nmetadata: { name: upstream }\nspec:\n  \
                     host: upstream.test\n  latency: { factor: 4, minimum: 20ms, requestVolume: 10 }\n";
        }
        let manifests = folder.path().join("bench.yaml");
        fs::write(&manifests, text)?;
        Ok(Files { folder, manifests, ports, address })
    }

    async fn run(self, name: &'static str, command: Command) -> Result<Subject, Void> {
        let mut process = Process::start(command);
        let begin = Instant::now();
        while !http_get(self.ports.admin, "/ready").is_ok_and(|answer| answer.status == 200) {
            if process.exit_status().is_some() || begin.elapsed() > PATIENCE {
                return Err(Void::because(format!("{name} is not ready:\n{}", process.output())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Subject { name, address: self.address, _process: process, _folder: self.folder })
    }
}

impl Subject {
    /// Sidle before the endpoints on `port`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn sidle(port: u16, setting: Setting) -> Result<Self, Void> {
        let files = Files::write(port, setting)?;
        let mut command = command();
        command.arg("run").arg("-c").arg(&files.manifests);
        files.run("Sidle", command).await
    }

    /// Envoy before them; `None` if it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn envoy(port: u16, setting: Setting) -> Result<Option<Self>, Void> {
        let Some(program) = peers::find("envoy") else { return Ok(None) };
        let files = Files::write(port, setting)?;
        let command = envoy::command(&program, &files.manifests, files.folder.path(), files.ports.admin, 1)?;
        files.run("Envoy", command).await.map(Some)
    }
}
