//! A real Envoy on an exported configuration.
//!
//! Invariant: its listeners and its admin stand on free loopback ports; nothing else of the export is changed.

use serde_json::{Value, json};
use sidle_test_support::{ports, process::Process, sidle::http_get, wait};
use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Command};

/// A running Envoy.
pub struct Envoy {
    process: Process,
    /// Where each listener went, by its port in the configuration.
    pub listeners: BTreeMap<u16, SocketAddr>,
    /// Its admin.
    pub admin: SocketAddr,
}

impl Envoy {
    /// Runs `export` from `folder`, its access log in `log`.
    pub fn start(program: &Path, mut export: Value, folder: &Path, log: &Path) -> Self {
        let admin = ports::free();
        export["admin"] = json!({"address": socket(admin)});
        let listeners = relocate(&mut export);
        redirect_logs(&mut export, log);
        let file = folder.join("envoy.json");
        std::fs::write(&file, serde_json::to_string_pretty(&export).unwrap()).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
        command.args(["--file-flush-interval-msec", "20"]);
        let mut envoy = Envoy { process: Process::start(command), listeners, admin };
        wait::until("Envoy's readiness", || {
            if let Some(status) = envoy.process.exit_status() {
                panic!("envoy ended with {status}:\n{}", envoy.process.output());
            }
            http_get(admin, "/ready").ok().filter(|answer| answer.status == 200)
        });
        envoy
    }

    /// The lines about deprecated fields, but for the one that the export cannot do without.
    pub fn complaints(&self) -> Vec<String> {
        let output = self.process.output();
        let lines =
            output.lines().filter(|line| line.contains("eprecated") && !line.contains("max_grpc_timeout"));
        lines.map(str::to_owned).collect()
    }
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn relocate(export: &mut Value) -> BTreeMap<u16, SocketAddr> {
    let listeners = export["static_resources"]["listeners"].as_array_mut().unwrap();
    listeners
        .iter_mut()
        .map(|listener| {
            let port = listener["address"]["socket_address"]["port_value"].as_u64().unwrap();
            let free = ports::free();
            listener["address"] = socket(free);
            (port as u16, free)
        })
        .collect()
}

/// Puts every access log of `value` into `log`: the export names the file that Sidle writes.
fn redirect_logs(value: &mut Value, log: &Path) {
    match value {
        Value::Object(fields) => {
            if fields.get("@type").and_then(Value::as_str).is_some_and(|name| name.ends_with("FileAccessLog"))
            {
                fields.insert("path".into(), log.to_string_lossy().into());
            }
            fields.values_mut().for_each(|field| redirect_logs(field, log));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect_logs(item, log)),
        _ => {}
    }
}
