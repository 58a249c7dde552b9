//! Every mode of PeerAuthentication against everything that a client's rule may say: what is expected, and what is seen.

use crate::envoy_oracle::envoy::Envoy;
use crate::mtls::{SHOP, TAKES_MTLS, WEB, server, service_of, told, with_identity};
use sidle_test_support::{
    client::{Client, request},
    echo::Echo,
    peers,
    sidle::{Sidle, command},
    tls::Authority,
};
use std::{fmt::Write, net::SocketAddr, path::Path};

/// A mode and its policy, then what each of [`RULES`] comes to: `m`TLS, `p`lain text, or `-`: nothing gets through.
const MODES: [(&str, &str, &str); 8] = [
    ("none", "", "mppp--m"),
    ("STRICT", "{ mtls: { mode: STRICT } }", "m---m-m"),
    ("PERMISSIVE", "{ mtls: { mode: PERMISSIVE } }", "mppp--m"),
    ("DISABLE", "{ mtls: { mode: DISABLE } }", "-ppp---"),
    (
        "STRICT, its port PERMISSIVE",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: STRICT }, portLevelMtls: { PORT: { mode: PERMISSIVE } } }",
        "mppp--m",
    ),
    (
        "PERMISSIVE, its port STRICT",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: PERMISSIVE }, portLevelMtls: { PORT: { mode: STRICT } } }",
        "m---m-m",
    ),
    (
        "STRICT, its port DISABLE",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: STRICT }, portLevelMtls: { PORT: { mode: DISABLE } } }",
        "-ppp---",
    ),
    (
        "STRICT, another port DISABLE",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: STRICT }, portLevelMtls: { 1: { mode: DISABLE } } }",
        "m---m-m",
    ),
];

/// A rule, whether the endpoint has the label of mTLS, and the `tls` block.
const RULES: [(&str, bool, &str); 7] = [
    ("none, endpoint takes mTLS", true, ""),
    ("none, endpoint does not", false, ""),
    ("DISABLE, endpoint takes mTLS", true, "{ mode: DISABLE }"),
    ("DISABLE", false, "{ mode: DISABLE }"),
    (
        "MUTUAL",
        true,
        "{ mode: MUTUAL, clientCertificate: DIR/tls.crt, privateKey: DIR/tls.key, caCertificates: DIR/ca.crt, subjectAltNames: [\"SHOP\"] }",
    ),
    ("SIMPLE", true, "{ mode: SIMPLE, caCertificates: DIR/ca.crt, subjectAltNames: [\"SHOP\"] }"),
    ("ISTIO_MUTUAL", false, "{ mode: ISTIO_MUTUAL }"),
];

/// A client whose rule for all servers is the same.
fn caller(authority: &Authority, servers: &[SocketAddr], (_, label, rule): (&str, bool, &str)) -> Sidle {
    let builder = with_identity(authority, WEB);
    let folder = builder.folder().join("identity").display().to_string();
    let rule = rule.replace("DIR", &folder).replace("SHOP", SHOP);
    let mut manifests = String::new();
    for (at, server) in servers.iter().enumerate() {
        let label = if label { TAKES_MTLS } else { "" };
        manifests += &service_of(&format!("shop-{at}"), *server, "serviceAccount: shop,", label, &rule);
        manifests += "---\n";
    }
    builder.file("test.yaml", &manifests).start()
}

/// A server for each mode.
fn servers(authority: &Authority, application: &Echo) -> Vec<Sidle> {
    let modes = MODES.iter();
    modes.map(|(_, policy, _)| server(with_identity(authority, SHOP), application, policy)).collect()
}

#[tokio::test]
async fn every_mode_against_every_rule() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let servers = servers(&authority, &application);
    let addresses: Vec<_> = servers.iter().map(|server| server.ports.inbound).collect();
    assert_matrix(&authority, &addresses, None).await;
}

/// The same proxy on Envoy: its own words for the configuration.
fn exported(program: &Path, sidle: &Sidle) -> Envoy {
    let mut export = command();
    export.args(["export", "envoy", "--labels", "app=shop", "-c"]).arg(sidle.folder());
    let export = serde_json::from_slice(&export.output().unwrap().stdout).unwrap();
    Envoy::start(program, export, sidle.folder(), &sidle.folder().join("log"))
}

#[tokio::test]
async fn an_envoy_with_the_exported_configuration_takes_the_same() {
    let Some(program) = peers::find("envoy") else { return };
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let servers = servers(&authority, &application);
    let envoys: Vec<_> = servers.iter().map(|sidle| exported(&program, sidle)).collect();
    let address = |(envoy, sidle): (&Envoy, &Sidle)| envoy.listeners[&sidle.ports.inbound.port()];
    let addresses: Vec<_> = envoys.iter().zip(&servers).map(address).collect();
    assert_matrix(&authority, &addresses, None).await;
}

#[tokio::test]
async fn an_envoy_with_the_exported_configuration_sends_the_same() {
    let Some(program) = peers::find("envoy") else { return };
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let servers = servers(&authority, &application);
    let addresses: Vec<_> = servers.iter().map(|server| server.ports.inbound).collect();
    assert_matrix(&authority, &addresses, Some(&program)).await;
}

/// Asks each server by each rule; `envoy`: by an Envoy with the client's configuration.
async fn assert_matrix(authority: &Authority, servers: &[SocketAddr], envoy: Option<&Path>) {
    let mut seen = vec![String::new(); MODES.len()];
    for rule in RULES {
        let client = caller(authority, servers, rule);
        let envoy = envoy.map(|program| exported(program, &client));
        let outbound = client.outbound();
        let outbound = envoy.as_ref().map_or(outbound, |envoy| envoy.listeners[&outbound.port()]);
        for (at, row) in seen.iter_mut().enumerate() {
            let mut connection = Client::http1(outbound).await;
            let answer = connection.ask(request("GET", &format!("shop-{at}.test"), "/")).await;
            row.push(match (answer.status.as_u16(), told(&answer).is_some()) {
                (200, true) => 'm',
                (200, false) => 'p',
                (503, _) => '-',
                _ => '?',
            });
        }
    }
    let mut table = String::from("| what comes in \\ what goes out |");
    RULES.iter().for_each(|(rule, ..)| _ = write!(table, " {rule} |"));
    for ((mode, _, expected), seen) in MODES.iter().zip(&seen) {
        _ = write!(table, "\n| {mode} |");
        for pair in expected.chars().zip(seen.chars()) {
            let word = |letter| match letter {
                'm' => "mTLS",
                'p' => "plain text",
                _ => "503",
            };
            match pair {
                (expected, seen) if expected == seen => _ = write!(table, " {} |", word(seen)),
                (expected, seen) => _ = write!(table, " **{}, not {}** |", word(seen), word(expected)),
            }
        }
    }
    println!("{table}");
    let expected: Vec<_> = MODES.iter().map(|(.., expected)| *expected).collect();
    assert_eq!(seen, expected, "\n{table}");
}
