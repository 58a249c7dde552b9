//! An Envoy on what `sidle export envoy` makes of manifests.

use crate::void::Void;
use serde_json::{Value, json};
use sidle_test_support::sidle;
use std::{fs, net::SocketAddr, path::Path, process::Command};

/// One with so many workers, whose bootstrap is in `folder`.
///
/// # Errors
/// When the manifests cannot be exported.
pub fn command(
    program: &Path,
    manifests: &Path,
    folder: &Path,
    admin: SocketAddr,
    workers: u16,
) -> Result<Command, Void> {
    let bootstrap = folder.join("envoy.json");
    let exported =
        sidle::command().args(["export", "envoy", "-c"]).arg(manifests).arg("-o").arg(&bootstrap).output()?;
    if !exported.status.success() {
        return Err(Void::because(String::from_utf8_lossy(&exported.stderr)));
    }
    let mut json: Value = serde_json::from_slice(&fs::read(&bootstrap)?)?;
    let (address, port_value) = (admin.ip().to_string(), admin.port());
    json["admin"] = json!({"address": {"socket_address": {"address": address, "port_value": port_value}}});
    fs::write(&bootstrap, json.to_string())?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&bootstrap).args(["--concurrency", &workers.to_string()]);
    command.args(["--disable-hot-restart", "-l", "error"]);
    Ok(command)
}
