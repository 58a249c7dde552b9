//! What stands behind the rows: one proxy, its upstreams, its certificates.
//!
//! Invariants: rows that need the same settings share a process, one after the other; a flood has one of its own.
//! Not here: the manifests (`cases/stage.yaml`).

use crate::{
    case::{Case, Door},
    http2_upstream::Http2Upstream,
    priority::{self, Side},
    recorder::{Recorder, Seen},
};
use sidle_test_support::{
    ports,
    sidle::{Sidle, http_request},
    tls::Authority,
};
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

const MANIFESTS: &str = include_str!("cases/stage.yaml");

/// The log that rows can look at: one line a request.
const SETTINGS: &str = "  accessLogFile: /dev/stdout\n  accessLogFormat: 'log %REQ(:METHOD)% %REQ(:PATH)% \
                        %RESPONSE_CODE% %RESPONSE_FLAGS%'\n";

/// What the proxy of a row must have been started with.
#[derive(PartialEq, Eq)]
pub struct Needs {
    proxy: String,
    manifests: String,
    open_files: Option<u32>,
    flood: bool,
}

impl Needs {
    /// What this row needs.
    pub fn of(case: &Case) -> Self {
        Needs {
            proxy: case.proxy.clone(),
            manifests: case.manifests.clone(),
            open_files: case.open_files,
            flood: case.flood,
        }
    }
}

/// A proxy and what is around it.
pub struct Stage {
    /// The process.
    pub sidle: Sidle,
    needs: Needs,
    gateway: SocketAddr,
    tls: SocketAddr,
    authority: Arc<Authority>,
    recorder: Recorder,
    _probed: Recorder,
    http2: Http2Upstream,
}

impl Stage {
    /// Starts it.
    ///
    /// # Panics
    /// When the proxy does not become ready.
    pub fn start(needs: Needs) -> Self {
        let (recorder, http2) = priority::with(Side::Hostile, || (Recorder::start(), Http2Upstream::start()));
        let probed = priority::with(Side::Healthy, Recorder::start);
        let (gateway, tls) = (ports::free(), ports::free());
        let authority = Arc::new(Authority::new());
        let mut builder =
            Sidle::builder().settings(SETTINGS).arguments(&["--workers", "2", "--labels", "app=a"]);
        let folder = builder.folder().to_owned();
        for name in ["one.test", "two.test"] {
            authority.issue(&[name]).write(&folder, name);
        }
        let mut manifests = format!("{MANIFESTS}---\n{}", needs.manifests);
        for (word, by) in [
            ("{http}", recorder.port().to_string()),
            ("{probe}", probed.port().to_string()),
            ("{http2}", http2.port().to_string()),
            ("{gateway}", gateway.port().to_string()),
            ("{tls}", tls.port().to_string()),
            ("{folder}", folder.display().to_string()),
        ] {
            manifests = manifests.replace(word, &by);
        }
        for line in needs.proxy.lines() {
            builder = builder.settings(&format!("  {line}\n"));
        }
        if let Some(limit) = needs.open_files {
            builder = builder.open_files(limit);
        }
        let start = || builder.file("stage.yaml", &manifests).start();
        let sidle = if needs.flood { priority::with(Side::Proxy, start) } else { start() };
        Stage { sidle, needs, gateway, tls, authority, recorder, _probed: probed, http2 }
    }

    /// Whether a row can run here.
    pub fn serves(&mut self, needs: &Needs) -> bool {
        self.needs == *needs && self.sidle.exit_status().is_none()
    }

    /// Where a row's bytes go.
    pub fn address(&self, case: &Case) -> SocketAddr {
        match case.to {
            Door::Outbound => self.sidle.ports.outbound,
            Door::Inbound => self.sidle.ports.inbound,
            Door::Gateway => self.gateway,
            Door::Tls => bridge(self.authority.clone(), self.tls, case.sni.clone().unwrap_or_default()),
            Door::Admin => self.sidle.ports.admin,
        }
    }

    /// Where the healthy client of a row goes. All doors have the same workers; behind the inbound one is only the application that
    /// the row floods, so its client goes out.
    pub fn probe_address(&self, case: &Case) -> SocketAddr {
        match case.to {
            Door::Gateway | Door::Tls => self.gateway,
            Door::Inbound | Door::Outbound | Door::Admin => self.sidle.ports.outbound,
        }
    }

    /// Begins a row: the upstreams forget, and take its script.
    pub fn begin(&self, case: &Case) {
        self.recorder.shared.begin(case.upstream.clone());
        self.http2.shared.begin(case.upstream.clone());
    }

    /// What the upstream that was asked has seen.
    pub fn seen(&self) -> Seen {
        let http2 = self.http2.shared.seen().clone();
        if http2.requests > 0 || http2.connections > 0 { http2 } else { self.recorder.shared.seen().clone() }
    }

    /// What does not answer: admin, health.
    pub fn silent_surfaces(&self) -> Vec<String> {
        let ports = self.sidle.ports;
        [("admin", ports.admin, "/ready"), ("health", ports.health, "/healthz/ready")]
            .into_iter()
            .filter_map(|(name, address, path)| match http_request(address, "GET", path, &[]) {
                Ok(answer) if answer.status == 200 => None,
                Ok(answer) => Some(format!("{name} answers {}", answer.status)),
                Err(error) => Some(format!("{name} does not answer: {error}")),
            })
            .collect()
    }
}

/// A plain door to a TLS one: what is sent there for one connection goes on inside TLS.
fn bridge(authority: Arc<Authority>, address: SocketAddr, name: String) -> SocketAddr {
    let listener: TcpListener = ports::listen();
    let door = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (plain, _) = listener.accept().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            plain.set_nonblocking(true).unwrap();
            let mut plain = tokio::net::TcpStream::from_std(plain).unwrap();
            if let Ok(mut tls) = authority.connect(address, &name, &[]).await {
                let _ = tokio::io::copy_bidirectional(&mut plain, &mut tls).await;
            }
        });
    });
    door
}
