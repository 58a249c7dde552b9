//! The proxies: Sidle, nginx, HAProxy and Envoy, each with the same number of lanes, a lane being a port that leads to a
//! recorder of its own. So many conversations are held at once, and what each left at the upstream is known.

use crate::recorder::Recorder;
use serde_json::json;
use sidle_test_support::{manifest, peers, ports, process::Process, sidle::Sidle, wait};
use std::{
    fmt::Write,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

/// How many conversations are held with one proxy at once.
const LANES: usize = 12;

/// A port of a proxy and what stands behind it.
pub struct Lane {
    pub address: SocketAddr,
    pub recorder: Recorder,
}

/// A running proxy.
pub struct Subject {
    pub name: &'static str,
    pub lanes: Vec<Lane>,
    _process: Option<Process>,
    _sidle: Option<Sidle>,
}

fn lanes() -> Vec<Lane> {
    (0..LANES).map(|_| Lane { address: ports::free(), recorder: Recorder::start() }).collect()
}

/// Sidle as a gateway; its log has a line `CLIENT PROXY DETAILS` for each request. Nothing is tried twice, so that each
/// request is at most one at the upstream.
pub fn sidle(log: &Path) -> Subject {
    let lanes = lanes();
    let mut manifests = String::new();
    for (index, lane) in lanes.iter().enumerate() {
        let host = format!("lane{index}.internal");
        manifests +=
            &manifest::service(&format!("lane{index}"), &host, "HTTP", &[("v1", lane.recorder.port())]);
        write!(
            manifests,
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: lane{index} }}\nspec:\n  servers:\n    \
             - port: {{ number: {}, name: http, protocol: HTTP }}\n      hosts: ['*']\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: lane{index} }}\nspec:\n  \
             hosts: ['*']\n  gateways: [lane{index}]\n  http:\n    - retries: {{ attempts: 0 }}\n      \
             route: [{{ destination: {{ host: {host} }} }}]\n---\n",
            lane.address.port()
        )
        .unwrap();
    }
    let settings = format!(
        "  accessLogFile: {}\n  accessLogFormat: \"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %RESPONSE_CODE_DETAILS%\\n\"\n",
        log.display()
    );
    let sidle = Sidle::builder().file("lanes.yaml", &manifests).settings(&settings).start();
    ready(Subject { name: "Sidle", lanes, _process: None, _sidle: Some(sidle) })
}

/// nginx, HAProxy and Envoy; `None`, after a line that says so, when one is not installed.
pub fn others(folder: &Path) -> Option<Vec<Subject>> {
    let programs = (peers::find("nginx")?, peers::find("haproxy")?, peers::find("envoy")?);
    Some(vec![nginx(&programs.0, folder), haproxy(&programs.1, folder), envoy(&programs.2, folder)])
}

fn nginx(program: &Path, folder: &Path) -> Subject {
    let lanes = lanes();
    let folder = folder.join("nginx");
    std::fs::create_dir_all(&folder).unwrap();
    let mut text = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\n\
                    events { worker_connections 1024; }\nhttp {\naccess_log off;\n"
        .to_owned();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "{kind}_temp_path {kind};").unwrap();
    }
    for (index, lane) in lanes.iter().enumerate() {
        let (address, upstream) = (lane.address, lane.recorder.port());
        writeln!(
            text,
            "upstream lane{index} {{ server 127.0.0.1:{upstream} max_fails=0; keepalive 4; }}\n\
             server {{ listen {address}; location / {{ proxy_pass http://lane{index}; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_next_upstream off; }} }}"
        )
        .unwrap();
    }
    let mut command = Command::new(program);
    // The log that it is built with may not be writable: it is told of the other one before it reads its file.
    command.arg("-e").arg("stderr").arg("-p").arg(&folder).arg("-c").arg(file(
        &folder,
        "nginx.conf",
        &(text + "}\n"),
    ));
    ready(Subject { name: "nginx", lanes, _process: Some(Process::start(command)), _sidle: None })
}

fn haproxy(program: &Path, folder: &Path) -> Subject {
    let lanes = lanes();
    let mut text = "global\n  maxconn 1000\ndefaults\n  mode http\n  retries 0\n  timeout connect 5s\n  \
                    timeout client 10s\n  timeout server 10s\n"
        .to_owned();
    for (index, lane) in lanes.iter().enumerate() {
        writeln!(
            text,
            "frontend f{index}\n  bind {}\n  default_backend b{index}\nbackend b{index}\n  server s 127.0.0.1:{}",
            lane.address,
            lane.recorder.port()
        )
        .unwrap();
    }
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file(folder, "haproxy.cfg", &text));
    ready(Subject { name: "HAProxy", lanes, _process: Some(Process::start(command)), _sidle: None })
}

fn envoy(program: &Path, folder: &Path) -> Subject {
    let lanes = lanes();
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let listeners = lanes.iter().enumerate().map(|(index, lane)| {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "lane",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": format!("lane{index}")}}]}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config":
                {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        });
        let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
        json!({"name": format!("lane{index}"), "address": socket(lane.address), "filter_chains": [{"filters": [filter]}]})
    });
    let clusters = lanes.iter().enumerate().map(|(index, lane)| {
        let upstream = socket(SocketAddr::from(([127, 0, 0, 1], lane.recorder.port())));
        let endpoint = json!({"endpoint": {"address": upstream}});
        json!({"name": format!("lane{index}"), "type": "STATIC", "load_assignment":
            {"cluster_name": format!("lane{index}"), "endpoints": [{"lb_endpoints": [endpoint]}]}})
    });
    let resources =
        json!({"listeners": listeners.collect::<Vec<_>>(), "clusters": clusters.collect::<Vec<_>>()});
    let text =
        json!({"admin": {"address": socket(ports::free())}, "static_resources": resources}).to_string();
    let mut command = Command::new(program);
    command.arg("-c").arg(file(folder, "envoy.json", &text));
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
    ready(Subject { name: "Envoy", lanes, _process: Some(Process::start(command)), _sidle: None })
}

fn file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Waits until each lane takes connections.
fn ready(subject: Subject) -> Subject {
    for lane in &subject.lanes {
        wait::until(&format!("{} on {}", subject.name, lane.address), || {
            TcpStream::connect(lane.address).ok()
        });
    }
    subject
}
