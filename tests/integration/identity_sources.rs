//! Where a workload's identity comes from: SDS, the SPIFFE Workload API and Istio's certificate service, served in another language.

use crate::mtls::{SHOP, TAKES_MTLS, gets_through, gets_through_to, server, service_of, with_identity};
use serde_json::Value;
use sidle_test_support::{
    client::Client,
    echo::Echo,
    peers, ports,
    process::Process,
    sidle::{Sidle, http_get},
    tls::Authority,
    wait,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const ID: &str = "spiffe://cluster.local/ns/default/sa/web";

/// A peer that issues identities from a folder.
struct Issuer {
    process: Process,
    folder: TempDir,
    keys: Vec<String>,
}

impl Issuer {
    fn folder() -> TempDir {
        tempfile::Builder::new().prefix("sidle-issuer-").tempdir().unwrap()
    }

    fn start(folder: TempDir, mode: &str, place: &str) -> Option<Self> {
        let mut command = Command::new(peers::find("python")?);
        command.arg(peers::root().join("tests/peers/identity_peer.py"));
        command.arg(mode).arg(place).arg(folder.path());
        let process = Process::start(command);
        let issuer = Issuer { process, folder, keys: Vec::new() };
        wait::until("the issuer", || issuer.process.output().contains("serving").then_some(()));
        Some(issuer)
    }

    fn socket(folder: &Path) -> PathBuf {
        folder.join("socket")
    }

    /// Serves another identity from now on.
    fn serve(&mut self, id: &str, authority: &Authority, roots: &str) {
        let identity = authority.issue_workload(id);
        self.keys.push(identity.key_pem());
        write_identity(self.folder.path(), &identity.certificate_pem, &identity.key_pem(), roots);
        self.write("version", &self.keys.len().to_string());
    }

    /// In one step.
    fn write(&self, name: &str, text: &str) {
        let hidden = self.folder.path().join(".new");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, self.folder.path().join(name)).unwrap();
    }

    fn says(&self, what: &str) {
        wait::until(what, || self.process.output().contains(what).then_some(()));
    }
}

fn write_identity(folder: &Path, chain: &str, key: &str, roots: &str) {
    for (name, text) in [("chain.pem", chain), ("key.pem", key), ("roots.pem", roots)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn run(identity: &str) -> Sidle {
    Sidle::builder().settings(&format!("  identity: {identity}\n")).spawn()
}

/// The chain and the roots that the proxy uses; `None`: it has no identity.
fn own(sidle: &Sidle) -> Option<(Value, Value)> {
    let answer = http_get(sidle.ports.admin, "/certs").ok()?;
    let certs: Value = serde_json::from_str(&answer.body).ok()?;
    let own = certs["certificates"].get(0)?;
    Some((own["cert_chain"].clone(), own["ca_cert"].clone()))
}

fn is(sidle: &Sidle, id: &str) {
    wait::until(id, || {
        own(sidle).filter(|(chain, _)| chain[0]["subject_alt_names"][0]["uri"] == id).map(drop)
    });
}

/// No line of a key is in what the proxy says.
fn shows_no_key(sidle: &Sidle, keys: &[String]) {
    let everything = sidle.output() + &sidle.admin("/config_dump").body + &sidle.admin("/certs").body;
    assert!(!keys.is_empty());
    for line in keys.iter().flat_map(|key| key.lines()).filter(|line| !line.starts_with('-')) {
        assert!(!everything.contains(line), "a key is shown");
    }
}

#[test]
fn envoys_secret_discovery_service_is_followed() {
    let (authority, next) = (Authority::new(), Authority::new());
    let folder = Issuer::folder();
    let socket = Issuer::socket(folder.path());
    let identity = authority.issue_workload(ID);
    write_identity(folder.path(), &identity.certificate_pem, &identity.key_pem(), &authority.pem());
    std::fs::write(folder.path().join("version"), "0").unwrap();
    let mut sidle = run(&format!("{{ sds: {{ socket: {} }} }}", socket.display()));
    // The proxy was there first.
    wait::until("the log", || sidle.output().contains("no workload identity").then_some(()));
    let Some(mut issuer) = Issuer::start(folder, "sds", &socket.display().to_string()) else { return };
    issuer.keys.push(identity.key_pem());
    sidle.wait_ready();
    is(&sidle, ID);
    for line in ["subscribed default as sidle", "subscribed ROOTCA as sidle", "taken default 0 nonce-0"] {
        issuer.says(line);
    }
    let new = "spiffe://cluster.local/ns/default/sa/new";
    issuer.serve(new, &next, &(authority.pem() + &next.pem()));
    is(&sidle, new);
    wait::until("both roots", || {
        own(&sidle).filter(|(_, roots)| roots.as_array().unwrap().len() == 2).map(drop)
    });
    issuer.write("chain.pem", "rubbish");
    issuer.write("version", "9");
    issuer.says("refused default 2 nonce-9");
    is(&sidle, new);
    shows_no_key(&sidle, &issuer.keys);
}

#[test]
fn secrets_may_be_named_and_hold_the_roots_of_several_domains() {
    let (authority, there) = (Authority::new(), Authority::new());
    let folder = Issuer::folder();
    let socket = Issuer::socket(folder.path());
    std::fs::create_dir(folder.path().join("federated")).unwrap();
    std::fs::write(folder.path().join("federated/there.example.pem"), there.pem()).unwrap();
    let identity = authority.issue_workload(ID);
    write_identity(folder.path(), &identity.certificate_pem, &identity.key_pem(), &authority.pem());
    std::fs::write(folder.path().join("version"), "0").unwrap();
    let Some(mut issuer) = Issuer::start(folder, "sds", &socket.display().to_string()) else { return };
    let mut sidle = run(&format!(
        "{{ sds: {{ socket: {}, certificateName: '{ID}', validationContextName: ALL }} }}",
        socket.display()
    ));
    sidle.wait_ready();
    issuer.says(&format!("subscribed {ID}"));
    let (_, roots) = own(&sidle).unwrap();
    assert_eq!(roots[0]["path"], "workload, roots of cluster.local");
    assert_eq!(roots[1]["path"], "workload, roots of there.example");
    issuer.says("taken ALL 0 nonce-0");
    let new = "spiffe://cluster.local/ns/default/sa/new";
    issuer.serve(new, &authority, &authority.pem());
    is(&sidle, new);
    issuer.says("taken ALL 1 nonce-1");
}

#[test]
fn the_spiffe_workload_api_is_followed() {
    let (authority, there) = (Authority::new(), Authority::new());
    let folder = Issuer::folder();
    let socket = Issuer::socket(folder.path());
    let identity = authority.issue_workload(ID);
    write_identity(folder.path(), &identity.certificate_pem, &identity.key_pem(), &authority.pem());
    std::fs::create_dir(folder.path().join("federated")).unwrap();
    std::fs::write(folder.path().join("federated/there.example.pem"), there.pem()).unwrap();
    std::fs::write(folder.path().join("version"), "0").unwrap();
    let Some(mut issuer) = Issuer::start(folder, "workload-api", &socket.display().to_string()) else {
        return;
    };
    let mut sidle = Sidle::builder()
        .environment("SPIFFE_ENDPOINT_SOCKET", &format!("unix://{}", socket.display()))
        .settings("  identity: { workloadApi: { hint: internal } }\n")
        .spawn();
    issuer.keys.push(identity.key_pem());
    sidle.wait_ready();
    is(&sidle, ID);
    let (_, roots) = own(&sidle).unwrap();
    assert_eq!(roots[1]["path"], "workload, roots of there.example");
    issuer.serve("spiffe://cluster.local/ns/default/sa/new", &authority, &authority.pem());
    is(&sidle, "spiffe://cluster.local/ns/default/sa/new");
    // The agent withdraws: what was had stays in use, and the log says why no new one comes.
    issuer.write("denied", "");
    issuer.write("version", "9");
    wait::until("the log", || sidle.output().contains("no identity issued").then_some(()));
    is(&sidle, "spiffe://cluster.local/ns/default/sa/new");
    assert_eq!(sidle.admin("/ready").status, 200);
    shows_no_key(&sidle, &issuer.keys);
}

/// The certificate lives for four seconds: it is renewed at two, outlives an authority that is down, and when that was down
/// for too long the proxy is not ready, and neither makes nor takes connections of the mesh, until it is back.
#[tokio::test]
async fn istios_certificate_service_is_asked_again_at_half_of_the_life() {
    let (authority, application, other) = (Authority::new(), Echo::start("web"), Echo::start("shop"));
    let shop = server(with_identity(&authority, SHOP), &other, "{ mtls: { mode: STRICT } }");
    let manifests = service_of("shop", shop.ports.inbound, "serviceAccount: shop,", TAKES_MTLS, "")
        + &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: once }}\nspec:\n  host: shop.test\n  \
             trafficPolicy: {{ connectionPool: {{ http: {{ maxRequestsPerConnection: 1 }} }} }}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{ name: web }}\nspec:\n  selector: {{ app: web }}\n  \
             ports: [{{ name: http, port: 80, targetPort: {} }}]\n---\n\
             apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: web }}\nspec: {{ mtls: {{ mode: STRICT }} }}\n",
            application.port()
        );
    let folder = Issuer::folder();
    let path = folder.path().to_owned();
    let port = ports::free().port();
    authority.issue(&["localhost"]).write(&path, "server");
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("ca.key", authority.key_pem()),
        ("token", "a-token-of-mine".to_owned()),
        ("id", ID.to_owned()),
        ("life", "4".to_owned()),
    ] {
        std::fs::write(path.join(name), text).unwrap();
    }
    std::fs::write(path.join("mine"), "an-old-token").unwrap();
    let Some(issuer) = Issuer::start(folder, "authority", &port.to_string()) else { return };
    let settings = format!(
        "  identity: {{ certificateAuthority: {{ address: 'localhost:{port}', rootCertificates: {path}/ca.pem, tokenFile: {path}/mine, \
         serviceAccount: web, secretTtl: 1h }} }}\n",
        path = path.display()
    );
    let builder = Sidle::builder().settings(&settings).file("test.yaml", &manifests);
    let mut sidle = builder.arguments(&["--labels", "app=web"]).spawn();
    issuer.says("unauthenticated");
    wait::until("the log", || sidle.output().contains("request authenticate failure").then_some(()));
    issuer.write("mine", "a-token-of-mine\n");
    sidle.wait_ready();
    is(&sidle, ID);
    issuer.says(&format!("asked {ID} 3600 Kubernetes"));
    // A new connection out, a new connection in.
    let peer = authority.issue_workload(SHOP);
    let handshakes = async || {
        let out = Client::http1(sidle.outbound()).await.get("shop.test", "/").await.status.as_u16();
        let tls = authority.connect_as(Some(&peer), sidle.ports.inbound, &[b"istio"]).await;
        (out, gets_through_to("web", tls).await)
    };
    assert_eq!(handshakes().await, (200, true));
    let serial = || own(&sidle).unwrap().0[0]["serial_number"].clone();
    let (first, metric) = (serial(), "sidle_identity_rotations_total");
    wait::until("a renewal", || (serial() != first).then_some(()));
    wait::until("its count", || (sidle.metrics().sum(metric, &[]) >= 2.0).then_some(()));
    assert_eq!(sidle.admin("/ready").status, 200);
    assert_eq!(handshakes().await, (200, true));

    issuer.write("down", "");
    let ready = |status| {
        wait::until("readiness", || (sidle.admin("/ready").status == status).then_some(()));
    };
    ready(503);
    assert!(sidle.admin("/ready").body.contains("the workload certificate expired at"));
    wait::until("the log", || sidle.output().contains("new mTLS connections fail").then_some(()));
    assert!(sidle.metrics().sum("istio_agent_cert_expiry_seconds", &[("resource_name", "default")]) <= 0.0);
    let before = (other.requests(), application.requests());
    assert_eq!(handshakes().await, (503, false));
    assert_eq!((other.requests(), application.requests()), before, "nothing went in the clear");
    std::fs::remove_file(path.join("down")).unwrap();
    ready(200);
    assert_eq!(handshakes().await, (200, true), "without a restart");
    assert!(!sidle.output().contains("a-token-of-mine"), "no token in the log");
}

#[tokio::test]
async fn whom_a_list_of_sds_names_comes_in_no_more() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let folder = Issuer::folder();
    let socket = Issuer::socket(folder.path());
    let identity = authority.issue_workload(SHOP);
    write_identity(folder.path(), &identity.certificate_pem, &identity.key_pem(), &authority.pem());
    std::fs::write(folder.path().join("version"), "0").unwrap();
    let Some(issuer) = Issuer::start(folder, "sds", &socket.display().to_string()) else { return };
    let settings = format!("  identity: {{ sds: {{ socket: {} }} }}\n", socket.display());
    let sidle = server(Sidle::builder().settings(&settings), &application, "{ mtls: { mode: STRICT } }");
    let clients = [(); 2].map(|()| authority.issue_workload(ID));
    let come_in = async || {
        let mut passed = Vec::new();
        for client in &clients {
            passed.push(
                gets_through(authority.connect_as(Some(client), sidle.ports.inbound, &[b"istio"]).await)
                    .await,
            );
        }
        passed
    };
    assert_eq!(come_in().await, [true, true]);
    let lists = [
        authority.revoke(&[&clients[0]]),
        authority.revoke(&[]),
        "rubbish".into(),
        authority.revoke(&[&clients[1]]),
    ];
    for (version, (list, expected)) in
        lists.iter().zip([[false, true], [true, true], [true, true], [true, false]]).enumerate()
    {
        issuer.write("crl.pem", list);
        issuer.write("version", &format!("{}", version + 1));
        issuer.says(&format!("ROOTCA {} nonce-{}", if version == 2 { 2 } else { version + 1 }, version + 1));
        wait::eventually("the list", || async { (come_in().await == expected).then_some(()) }).await;
    }
}
