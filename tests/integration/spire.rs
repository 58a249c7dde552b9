//! A real SPIRE: server and agent, a join token, the agent's attestation of processes by their user. It gives identities to two
//! proxies, by Envoy's SDS and by the Workload API, and replaces certificates and its own authority under them.

use crate::mtls::{TAKES_MTLS, server, service_of};
use serde_json::Value;
use sidle_test_support::{
    client::Client,
    echo::Echo,
    peers, ports,
    process::Process,
    sidle::{Builder, Sidle, http_get},
    wait,
};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const ID: &str = "spiffe://cluster.local/ns/default/sa/shop";
const AGENT: &str = "spiffe://cluster.local/agent";
/// Of a workload's certificate, in seconds: renewed at half of it.
const LIFE: &str = "12";

struct Spire {
    program: PathBuf,
    folder: TempDir,
    processes: Vec<Process>,
}

impl Spire {
    /// A server and an agent that is to serve this process' user.
    fn start() -> Option<Self> {
        let (server, agent) = (peers::find("spire-server")?, peers::find("spire-agent")?);
        let folder = tempfile::Builder::new().prefix("sidle-spire-").tempdir().unwrap();
        let mut spire = Spire { program: server.clone(), folder, processes: Vec::new() };
        let (path, port) = (spire.folder.path().display().to_string(), ports::free().port());
        spire.run(
            &server,
            "server.conf",
            &format!(
                "server {{ bind_address = \"127.0.0.1\" bind_port = \"{port}\" socket_path = \"{path}/server.sock\" \
                 trust_domain = \"cluster.local\" data_dir = \"{path}/server\" log_level = \"INFO\" }}\n\
                 plugins {{\n  DataStore \"sql\" {{ plugin_data {{ database_type = \"sqlite3\" connection_string = \"{path}/server.sqlite\" }} }}\n  \
                 NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n  KeyManager \"memory\" {{ plugin_data {{}} }}\n}}\n"
            ),
        );
        wait::until("the server", || spire.ask(&["healthcheck"]).ok());
        let roots = spire.ask(&["bundle", "show"]).unwrap();
        std::fs::write(spire.folder.path().join("roots.pem"), roots).unwrap();
        let token = spire.ask(&["token", "generate", "-spiffeID", AGENT]).unwrap();
        let token = token.trim().trim_start_matches("Token: ");
        let user = format!("unix:uid:{}", std::fs::metadata("/proc/self").unwrap().uid());
        let entry = ["-parentID", AGENT, "-spiffeID", ID, "-selector", &user, "-x509SVIDTTL", LIFE];
        spire.ask(&[&["entry", "create"][..], &entry].concat()).unwrap();
        spire.run(
            &agent,
            "agent.conf",
            &format!(
                "agent {{ data_dir = \"{path}/agent\" log_level = \"INFO\" server_address = \"127.0.0.1\" server_port = \"{port}\" \
                 socket_path = \"{path}/agent.sock\" trust_bundle_path = \"{path}/roots.pem\" trust_domain = \"cluster.local\" \
                 join_token = \"{token}\" experimental {{ sync_interval = \"1s\" }} }}\n\
                 plugins {{\n  NodeAttestor \"join_token\" {{ plugin_data {{}} }}\n  KeyManager \"memory\" {{ plugin_data {{}} }}\n  \
                 WorkloadAttestor \"unix\" {{ plugin_data {{}} }}\n}}\n"
            ),
        );
        wait::until("the agent's socket", || spire.agent().exists().then_some(()));
        Some(spire)
    }

    fn run(&mut self, program: &Path, file: &str, text: &str) {
        let file = self.folder.path().join(file);
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        command.arg("run").arg("-config").arg(file);
        self.processes.push(Process::start(command));
    }

    /// What the server's command line answers.
    fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("-socketPath").arg(self.folder.path().join("server.sock"));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn agent(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// A step in the life of the server's authority; tells which.
    fn authority(&self, step: &str, id: &str) -> String {
        let mut words = vec!["localauthority", "x509", step, "-output", "json"];
        if !id.is_empty() {
            words.extend(["-authorityID", id]);
        }
        let answer: Value = serde_json::from_str(&self.ask(&words).unwrap()).unwrap();
        let named = |field: &str| answer[field]["authority_id"].as_str().map(str::to_owned);
        ["prepared_authority", "activated_authority", "tainted_authority", "revoked_authority", "active"]
            .into_iter()
            .find_map(named)
            .unwrap_or_else(|| panic!("{step}: {answer}"))
    }
}

/// Who a proxy is, its certificate's number, and how many roots it believes.
fn own(sidle: &Sidle) -> Option<(String, String, Vec<String>)> {
    let answer = http_get(sidle.ports.admin, "/certs").ok()?;
    let certs: Value = serde_json::from_str(&answer.body).ok()?;
    let own = certs["certificates"].get(0)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (leaf, roots) = (&own["cert_chain"][0], own["ca_cert"].as_array()?);
    let roots = roots.iter().map(|root| text(&root["serial_number"])).collect();
    Some((text(&leaf["subject_alt_names"][0]["uri"]), text(&leaf["serial_number"]), roots))
}

fn builder(identity: &str) -> Builder {
    Sidle::builder().settings(&format!("  identity: {identity}\n"))
}

#[tokio::test]
async fn a_real_agent_gives_identities_and_replaces_them() {
    let Some(spire) = Spire::start() else { return };
    let (socket, application) = (spire.agent().display().to_string(), Echo::start("shop"));
    let by_sds = builder(&format!("{{ sds: {{ socket: {socket} }} }}"));
    let shop = server(by_sds, &application, "{ mtls: { mode: STRICT } }");
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: once }\nspec:\n  host: shop.test\n  \
                trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } }\n";
    let service = service_of("shop", shop.ports.inbound, "serviceAccount: shop,", TAKES_MTLS, "") + rule;
    let by_workload_api = builder("{ workloadApi: {} }")
        .environment("SPIFFE_ENDPOINT_SOCKET", &format!("unix://{socket}"))
        .file("test.yaml", &service);
    let web = by_workload_api.start();
    let both = [&shop, &web];
    let all = || both.map(|sidle| own(sidle).unwrap());
    for (id, _, roots) in all() {
        assert_eq!((id.as_str(), roots.len()), (ID, 1));
    }
    let first_root = all()[0].2[0].clone();
    let ask = async |when: &str| {
        let answer = Client::http1(web.outbound()).await.get("shop.test", "/").await;
        assert_eq!(answer.status, 200, "{when}: {}", answer.text());
        let told = application.last().header("x-forwarded-client-cert").to_owned();
        assert!(told.ends_with(&format!("URI={ID}")), "{when}: {told}");
    };
    ask("at first").await;

    // Twice, so that the second certificate is one that came over a stream that stands.
    for round in ["the first renewal", "the second renewal"] {
        let before = all();
        wait::eventually(round, || async {
            ask(round).await;
            all().iter().zip(&before).all(|(now, before)| now.1 != before.1).then_some(())
        })
        .await;
    }

    // Another authority, and the first one goes.
    let old = spire.authority("show", "");
    let new = spire.authority("prepare", "");
    wait::eventually("both roots", || async { all().iter().all(|own| own.2.len() == 2).then_some(()) }).await;
    ask("with both roots").await;
    spire.authority("activate", &new);
    spire.authority("taint", &old);
    let before = all();
    wait::eventually("certificates of the new authority", || async {
        ask("while the authority changes").await;
        all().iter().zip(&before).all(|(now, before)| now.1 != before.1).then_some(())
    })
    .await;
    spire.authority("revoke", &old);
    wait::eventually("the end of the old root", || async {
        ask("while the old root goes").await;
        all().iter().all(|own| own.2.len() == 1 && own.2[0] != first_root).then_some(())
    })
    .await;
    ask("at last").await;
    let failures = |sidle: &Sidle| sidle.metrics().sum("sidle_listener_tls_handshake_failures_total", &[]);
    assert_eq!((failures(&shop), application.requests() > 10), (0.0, true));
}
