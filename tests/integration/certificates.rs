//! Certificates that change under a proxy that runs: files of Gateways, and the workload's own.

use serde_json::Value;
use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::service,
    ports,
    sidle::{Builder, Sidle},
    tls::Authority,
    wait,
};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

const NAME: &str = "www.shop.example";

/// A gateway that shows the files `www.pem` and `www.key`.
fn gateway(builder: Builder, port: SocketAddr, echo: &Echo) -> Sidle {
    let folder = builder.folder().display().to_string();
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - port: {{ number: {port}, name: https, protocol: HTTPS }}\n      hosts: ['{NAME}']\n      tls: {{ mode: SIMPLE, \
         serverCertificate: {folder}/www.pem, privateKey: {folder}/www.key }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['{NAME}']\n  \
         gateways: [door]\n  http:\n    - route: [{{ destination: {{ host: shop.internal }} }}]\n---\n",
        port = port.port(),
    );
    builder
        .file("test.yaml", &(manifests + &service("shop", "shop.internal", "HTTP", &[("v1", echo.port())])))
        .start()
}

/// The serial number of the certificate that the gateway shows.
async fn shown(authority: &Authority, port: SocketAddr) -> Option<Vec<u8>> {
    let tls = authority.connect(port, NAME, &[b"http/1.1"]).await.ok()?;
    tls.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec())
}

#[tokio::test]
async fn a_gateways_certificate_is_replaced_under_load_and_no_request_fails() {
    let (authority, echo, port) = (Arc::new(Authority::new()), Echo::start("v1"), ports::free());
    let builder = Sidle::builder();
    authority.issue(&[NAME]).write(builder.folder(), "www");
    let sidle = gateway(builder, port, &echo);
    // Of before, and to the end.
    let old = authority.connect(port, NAME, &[b"http/1.1"]).await.unwrap();
    let mut old = Client::http1_over(old).await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (authority, stop, asked) = (authority.clone(), stop.clone(), asked.clone());
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    let tls = authority.connect(port, NAME, &[b"http/1.1"]).await.unwrap();
                    assert_eq!(Client::http1_over(tls).await.get(NAME, "/").await.status, 200);
                    asked.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let before = shown(&authority, port).await.unwrap();
        // One file after the other: between the two, the pair does not fit together.
        authority.issue(&[NAME]).write(sidle.folder(), "www");
        let asked_before = asked.load(SeqCst);
        wait::eventually("the new certificate", || async {
            let now = shown(&authority, port).await.unwrap();
            (now != before && asked.load(SeqCst) > asked_before).then_some(())
        })
        .await;
        assert_eq!(old.get(NAME, "/").await.status, 200, "a connection of before");
    }
    stop.store(true, SeqCst);
    for one in load {
        one.await.unwrap();
    }
    let metrics = sidle.metrics();
    assert!(metrics.sum("sidle_tls_files_reloads_total", &[("result", "applied")]) >= 3.0);
    assert_eq!(metrics.sum("sidle_listener_tls_handshake_failures_total", &[]), 0.0);
}

#[tokio::test]
async fn a_file_that_has_become_useless_is_told_and_what_was_read_before_is_shown() {
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let builder = Sidle::builder();
    authority.issue(&[NAME]).write(builder.folder(), "www");
    let sidle = gateway(builder, port, &echo);
    let before = shown(&authority, port).await.unwrap();
    let secret = authority.issue(&["other.example"]).key_pem();
    std::fs::write(sidle.folder().join("www.key"), &secret).unwrap();
    wait::until("the log", || {
        sidle.output().contains("the key is not that of the certificate").then_some(())
    });
    assert_eq!(shown(&authority, port).await.unwrap(), before);
    assert_eq!(sidle.metrics().sum("sidle_tls_files_reloads_total", &[("result", "rejected")]), 1.0);
    let line = secret.lines().nth(1).unwrap();
    assert!(!sidle.output().contains(&line[..16]), "no key in the log");
}

/// The workload's own certificate, as `/certs` shows it.
fn own(sidle: &Sidle) -> Value {
    let certs: Value = serde_json::from_str(&sidle.admin("/certs").body).unwrap();
    certs["certificates"][0].clone()
}

fn write_identity(folder: &Path, authority: &Authority, id: &str) -> String {
    let identity = authority.issue_workload(id);
    // The key last, and in place: what is read in between does not fit together.
    std::fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    std::fs::write(folder.join("tls.crt"), &identity.certificate_pem).unwrap();
    std::fs::write(folder.join("tls.key"), identity.key_pem()).unwrap();
    identity.key_pem()
}

#[test]
fn a_workload_is_ready_when_it_has_its_identity_and_follows_its_files() {
    let authority = Authority::new();
    let secrets = tempfile::tempdir().unwrap();
    let settings = format!("  identity: {{ directory: {} }}\n", secrets.path().display());
    let mut sidle = Sidle::builder().settings(&settings).spawn();
    wait::until("the log", || sidle.output().contains("no workload identity").then_some(()));
    wait::until("admin", || {
        let ready = sidle_test_support::sidle::http_get(sidle.ports.admin, "/ready").ok()?;
        (ready.status == 503 && ready.body.contains("there is no workload certificate")).then_some(())
    });
    assert_eq!(sidle.metrics().sum("sidle_ready", &[]), 0.0);
    let mut keys = vec![write_identity(secrets.path(), &authority, "spiffe://cluster.local/ns/default/sa/a")];
    sidle.wait_ready();
    assert_eq!(sidle.metrics().sum("sidle_ready", &[]), 1.0);
    let shown = own(&sidle);
    assert_eq!(
        shown["cert_chain"][0]["subject_alt_names"][0]["uri"],
        "spiffe://cluster.local/ns/default/sa/a"
    );
    assert!(shown["ca_cert"][0]["days_until_expiration"].as_str().is_some(), "{shown}");
    assert!(sidle.metrics().sum("istio_agent_cert_expiry_seconds", &[("resource_name", "default")]) > 0.0);

    keys.push(write_identity(secrets.path(), &authority, "spiffe://cluster.local/ns/default/sa/b"));
    wait::until("the new identity", || {
        (own(&sidle)["cert_chain"][0]["subject_alt_names"][0]["uri"]
            == "spiffe://cluster.local/ns/default/sa/b")
            .then_some(())
    });
    std::fs::write(secrets.path().join("ca.crt"), Authority::new().pem()).unwrap();
    wait::until("a refusal", || sidle.output().contains("does not lead to its roots").then_some(()));
    assert_eq!(
        own(&sidle)["cert_chain"][0]["subject_alt_names"][0]["uri"],
        "spiffe://cluster.local/ns/default/sa/b"
    );
    let everything = sidle.output()
        + &sidle.admin("/config_dump").body
        + &sidle.admin("/certs").body
        + &sidle.admin("/config/status").body;
    for key in keys {
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!everything.contains(line), "a key is shown");
        }
    }
}

#[test]
fn a_crash_would_write_no_key_and_the_application_has_limits_of_its_own() {
    let script = "grep 'Max core file size' /proc/self/limits; exec sleep 60";
    let sidle = Sidle::builder().core_files(100).application(&["sh", "-c", script]).start();
    let soft = |limits: &str| {
        let line = limits.lines().find(|line| line.starts_with("Max core file size"))?;
        line.split_whitespace().nth(4).map(str::to_owned)
    };
    wait::until("no core files", || {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", sidle.id())).unwrap();
        (soft(&limits)? == "0").then_some(())
    });
    wait::until("the application", || soft(&sidle.output()).filter(|limit| limit != "0"));
}

#[test]
fn the_source_may_change_and_go_while_the_proxy_runs() {
    let (authority, there) = (Authority::new(), Authority::new());
    let secrets = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = secrets.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        write_identity(&folder, &authority, &format!("spiffe://cluster.local/ns/default/sa/{name}"));
        folder.display().to_string()
    };
    let (a, b) = (folder("a"), folder("b"));
    let bundle = secrets.path().join("there.pem");
    std::fs::write(&bundle, there.pem()).unwrap();
    let sidle = Sidle::builder().settings(&format!("  identity: {{ directory: {a} }}\n")).start();
    let domains = || -> Vec<String> {
        let roots = own(&sidle)["ca_cert"].as_array().cloned().unwrap_or_default();
        roots.iter().map(|root| root["path"].as_str().unwrap().to_owned()).collect()
    };
    let home = "workload, roots of cluster.local";
    assert_eq!(domains(), [home]);
    // Other settings of the process' own document stay.
    let settings = |identity: &str| sidle.replace("00-proxy.yaml", &sidle.ports.document(identity));
    settings(&format!(
        "  trustDomainAliases: [old.example]\n  identity:\n    directory: {b}\n    trustBundles:\n    \
         - trustDomain: there.example\n      rootCertificates: {}\n",
        bundle.display()
    ));
    wait::until("the other source", || {
        let uri = own(&sidle)["cert_chain"][0]["subject_alt_names"][0]["uri"].clone();
        (uri == "spiffe://cluster.local/ns/default/sa/b").then_some(())
    });
    assert_eq!(domains(), [home, "workload, roots of old.example", "workload, roots of there.example"]);
    std::fs::write(&bundle, there.pem() + &Authority::new().pem()).unwrap();
    wait::until("the other domain's new root", || (domains().len() == 4).then_some(()));
    std::fs::write(&bundle, "rubbish").unwrap();
    wait::until("the log", || sidle.output().contains("no roots of another trust domain").then_some(()));
    assert_eq!(domains().len(), 4, "the last good ones stay");
    settings("");
    wait::until("no identity", || own(&sidle).is_null().then_some(()));
    assert_eq!(sidle.admin("/ready").status, 200);
}
