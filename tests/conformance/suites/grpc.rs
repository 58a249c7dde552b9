//! gRPC's interoperability cases with grpc-go's client and server: directly, through one proxy in clear and with TLS, through
//! two.

use crate::{
    door::{Door, NAME, run},
    table::{self, Case},
};
use sidle_test_support::{peers, ports, process::Process, wait};
use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

/// Cases that ask Google's cloud for credentials: neither an insecure nor a TLS channel has them.
const CREDENTIALS: &[&str] = &[
    "compute_engine_creds",
    "service_account_creds",
    "jwt_token_creds",
    "per_rpc_creds",
    "oauth2_auth_token",
    "google_default_credentials",
    "compute_engine_channel_credentials",
];
/// Cases that the client has, but does not list.
const UNLISTED: &[&str] = &["rpc_soak", "channel_soak"];
/// The load reports' cases need this balancer of the client's.
const LOAD_REPORTS: &str = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;

#[test]
fn every_case_through_one_proxy_and_two() {
    let (Some(client), Some(server)) =
        (peers::find("grpc-interop-client"), peers::find("grpc-interop-server"))
    else {
        return;
    };
    let port = ports::free();
    let mut command = Command::new(server);
    command.arg("-port").arg(port.port().to_string());
    let _server = Process::start(command);
    wait::until("the gRPC server", || TcpStream::connect(port).ok());
    let near = Door::open("GRPC", port.port());
    let far = Door::open("GRPC", near.clear.port());
    let trust = near.trust.display().to_string();
    let tls = ["-use_tls", "-use_test_ca", "-ca_file", &trust, "-server_host_override", NAME];
    let ways: [(&str, SocketAddr, &[&str]); 3] =
        [("one proxy", near.clear, &[]), ("one proxy, TLS", near.tls, &tls), ("two proxies", far.clear, &[])];
    let mut cases = Vec::new();
    for name in names(&client) {
        let directly = case(&client, &name, port, &[]);
        for (way, address, arguments) in &ways {
            let through = case(&client, &name, *address, arguments);
            cases.push(Case::beside(&format!("{name}, {way}"), directly.clone(), through));
        }
    }
    // All cases of 2025, by three ways.
    table::enter("gRPC interoperability", 54, cases);
}

/// The cases that the client lists, and the others.
fn names(client: &Path) -> Vec<String> {
    let (_, usage) = run(Command::new(client).arg("-help"), b"");
    let (_, list) = usage.split_once("Valid options are:").unwrap_or_else(|| panic!("{usage}"));
    let listed = list.lines().map_while(|line| {
        let line = line.trim();
        // The first line is the rest of the heading.
        (line.is_empty() || line.contains(" : ") || line.contains(": ")).then_some(line)
    });
    let names =
        listed.filter_map(|line| line.split(':').next()).map(str::trim).filter(|name| !name.is_empty());
    let names = names.filter(|name| !CREDENTIALS.contains(name)).chain(UNLISTED.iter().copied());
    names.map(str::to_owned).collect()
}

fn case(client: &Path, name: &str, address: SocketAddr, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.arg("30").arg(client).args(["-server_host", "127.0.0.1", "-server_port"]);
    command.arg(address.port().to_string()).args(["-test_case", name]).args(arguments);
    if name.starts_with("orca") {
        command.args(["-service_config_json", LOAD_REPORTS]);
    }
    if name.ends_with("soak") {
        // Whether calls go well is the case; the machine is at work on other suites.
        command.args(["-soak_per_iteration_max_acceptable_latency_ms", "20000"]);
        command.args(["-soak_overall_timeout_seconds", "25"]);
    }
    let (succeeded, text) = run(&mut command, b"");
    if succeeded {
        Ok(())
    } else {
        Err(text.lines().last().unwrap_or("nothing printed, or no end").to_owned())
    }
}
