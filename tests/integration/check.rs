//! `sidle check`: mistakes are found before they run.

use sidle_test_support::{
    peers::root,
    sidle::{Sidle, command, http_get},
    tls::{Authority, Name},
    wait,
};
use std::{
    collections::BTreeSet,
    process::Output,
    time::{Duration, SystemTime},
};

const MISTAKES: &str = "tests/integration/fixtures/mistakes";

fn check(arguments: &[&str]) -> Output {
    command().current_dir(root()).arg("check").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_examples_are_clean() {
    let output = check(&["config-examples"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("error[") && !said.contains("warning["), "{said}");
}

#[test]
fn which_limits_nobody_wrote_is_said() {
    let all = text(&check(&["config-examples/retry"]).stdout);
    assert!(all.contains("1024 connections, 1024 waiting requests and 1024 requests at once"), "{all}");
    let written = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("config-examples/retry/retry.yaml"), written.path().join("a.yaml")).unwrap();
    let pool = "{ tcp: { maxConnections: 7 }, http: { http1MaxPendingRequests: 8, http2MaxRequests: 9 } }";
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: pools }}\nspec:\n  host: payment.shop\n  \
         trafficPolicy: {{ connectionPool: {pool} }}\n"
    );
    std::fs::write(written.path().join("b.yaml"), rule).unwrap();
    let folder = written.path().to_str().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&check(&["-o", "json", folder]).stdout).unwrap();
    let [defaults, all] = [0, 1].map(|at| json["defaultLimits"][at].as_u64().unwrap());
    assert!(defaults < all, "{json}");
    let explained =
        command().args(["explain", "-c", folder, "GET", "http://payment.shop/"]).output().unwrap();
    let explained = text(&explained.stdout);
    assert!(explained.contains("at most 7 connections, 8 waiting, 9 requests"), "{explained}");
}

/// Also where the policy is another workload's than the one that is checked.
#[test]
fn a_provider_that_nobody_defines_is_named_beside_the_one_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: { name: p }\nspec:\n  extensionProviders:\n  \
        - { name: judge, envoyExtAuthzGrpc: { service: judge.test, port: 9000 } }\n---\n\
        apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: a }\nspec:\n  action: CUSTOM\n  \
        selector: { matchLabels: { app: elsewhere } }\n  provider: { name: juge }\n  rules: [{}]\n";
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, manifests).unwrap();
    let output = check(&["--labels", "app=here", path.to_str().unwrap()]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "Istio goes on, too: {said}");
    let place = format!("{}:14:21: warning[SDL0313]: no Proxy defines the provider `juge`", path.display());
    assert!(said.contains(&place) && said.contains("did you mean `judge`?"), "{said}");
}

#[test]
fn json_may_write_a_character_as_two_escapes() {
    let folder = tempfile::tempdir().unwrap();
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"mood": "\ud83d\ude00"}},
        "spec": {"containers": [{"name": "a", "image": "a"}]}}"#;
    let path = folder.path().join("a.json");
    std::fs::write(&path, pod).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [&["check", path][..], &["inject", "-f", path]] {
        let output = command().args(arguments).output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    }
}

#[test]
fn twenty_mistakes_are_twenty_positioned_diagnostics() {
    let output = check(&[MISTAKES]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    // FILE:LINE:COLUMN: SEVERITY[CODE]: MESSAGE
    let heads: Vec<_> = said.lines().filter(|line| line.contains("[SDL")).collect();
    assert_eq!(heads.len(), 20, "{said}");
    let mut files = BTreeSet::new();
    for head in heads {
        let parts: Vec<_> = head.splitn(4, ':').collect();
        assert!(parts[0].starts_with(MISTAKES), "{head}");
        let place: Vec<u32> = parts[1..3].iter().filter_map(|number| number.parse().ok()).collect();
        assert!(place.len() == 2 && place[0] > 0 && place[1] > 0, "{head}");
        let content = std::fs::read_to_string(root().join(parts[0])).unwrap();
        let line = content.lines().nth(place[0] as usize - 1).unwrap();
        assert!(said.contains(line.trim()), "the line of {head} is not shown");
        files.insert(parts[0].to_owned());
    }
    assert_eq!(files.len(), 20, "one for each file");
}

#[test]
fn json_carries_the_same_positions() {
    let output = check(&["-o", "json", MISTAKES]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = json["diagnostics"].as_array().unwrap();
    assert_eq!(all.len(), 20);
    assert!(all.iter().all(|diagnostic| diagnostic["span"]["line"].as_u64().is_some_and(|line| line > 0)));
}

#[test]
fn standard_input_is_read_and_usage_errors_are_2() {
    use std::{io::Write, process::Stdio};
    let mut child = command()
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hots: [a]}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!((text(&output.stdout) + &text(&output.stderr)).contains("hosts"), "did you mean");
    assert_eq!(check(&["--no-such-flag"]).status.code(), Some(2));
}

/// `line code` of everything that is said of `manifests` for a proxy with these labels.
fn said_of(manifests: &str, labels: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), manifests).unwrap();
    let output = command()
        .current_dir(folder.path())
        .args(["check", "-o", "json", "--labels", labels, "a.yaml"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = json["diagnostics"].as_array().unwrap();
    all.iter().map(|d| format!("{} {}", d["span"]["line"], d["code"].as_str().unwrap_or_default())).collect()
}

/// What `run` used to refuse without a place, and what was dropped, passed over or left closed without a word.
#[test]
fn what_would_not_work_is_told_before_it_runs() {
    let manifests = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public}
spec:
  selector: {istio: ingress}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example]
    tls: {mode: SIMPLE, serverCertificate: tls/cert.pem, privateKey: a.yaml}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example, other.example]
  gateways: [public]
  http:
  - match: [{method: {exact: get}}]
    rewrite: {authority: 'http://b'}
    headers: {request: {set: {content-length: '0'}}}
    directResponse: {status: 200}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  ports: [{port: 80, name: http}]
  selectors: {app: reviews}
";
    let expected = [
        "5 SDL0306",
        "9 SDL0308",
        "15 SDL0601",
        "18 SDL0403",
        "19 SDL0107",
        "19 SDL0201",
        "20 SDL0501",
        "28 SDL0101",
    ];
    assert_eq!(said_of(manifests, "app=web"), expected);
    assert_eq!(said_of(manifests, "istio=ingress"), expected[1..], "the Gateway is for this proxy");
}

/// Whatever file `run` would refuse, `check` finds, and both point at the field that names it.
#[test]
fn what_run_refuses_of_files_is_found_at_the_field_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    for name in ["a", "b"] {
        authority.issue(&["shop.example"]).write(folder.path(), name);
    }
    std::fs::write(folder.path().join("empty.pem"), "nothing\n").unwrap();
    let secret = |file: &str| {
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        text.replace('\n', "\n    ")
    };
    let server = |fields: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: door}}\nspec:\n  servers:\n  - port: \
             {{number: 443, name: https, protocol: HTTPS}}\n    hosts: ['*']\n    tls: {{mode: SIMPLE, {fields}}}\n"
        )
    };
    let rule = |fields: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: x}}\nspec:\n  hosts: [x.test]\n  \
             resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints: [{{address: 127.0.0.1}}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x}}\nspec:\n  host: x.test\n  \
             trafficPolicy:\n    tls: {{{fields}}}\n"
        )
    };
    let in_secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: shop}}\nstringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n---\n{}",
        secret("a.pem"),
        secret("b.key"),
        server("credentialName: shop")
    );
    let proxy =
        "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {accessLogFile: nowhere/log}\n";
    let no_key = "not-there.key";
    for (manifests, field, severity, code) in [
        // The key of another certificate; a key beside two, of which it fits one.
        (server("serverCertificate: a.pem, privateKey: b.key"), "b.key", "error", "SDL0312"),
        (
            server(
                "serverCertificate: a.pem, privateKey: a.key, tlsCertificates: [{serverCertificate: b.pem, privateKey: ./a.key}]",
            ),
            "./a.key",
            "error",
            "SDL0312",
        ),
        (server("serverCertificate: empty.pem, privateKey: a.key"), "empty.pem", "error", "SDL0312"),
        (rule("mode: SIMPLE, caCertificates: a.key"), "a.key", "error", "SDL0312"),
        (rule("mode: MUTUAL, clientCertificate: b.pem, privateKey: a.key"), "a.key", "error", "SDL0312"),
        (rule("mode: SIMPLE, caCertificates: a.pem, caCrl: empty.pem"), "empty.pem", "error", "SDL0312"),
        (in_secret, "stringData", "error", "SDL0312"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {tls.crt: AAAA, tls.key: 'QUJD!!RA=='}\n".to_owned(), "'QUJD", "error", "SDL0312"),
        // Not there: it may be on the machine that runs the proxy.
        (server(&format!("serverCertificate: a.pem, privateKey: {no_key}")), no_key, "warning", "SDL0308"),
        (proxy.to_owned(), "nowhere/log", "warning", "SDL0308"),
    ] {
        std::fs::write(folder.path().join("m.yaml"), &manifests).unwrap();
        let run = |arguments: &[&str]| {
            let output = command().current_dir(folder.path()).args(arguments).output().unwrap();
            (output.status.code(), text(&output.stdout) + &text(&output.stderr))
        };
        let line = manifests.lines().position(|line| line.contains(field)).unwrap();
        let column = manifests.lines().nth(line).unwrap().find(field).unwrap();
        let place = format!("m.yaml:{}:{}: ", line + 1, column + 1);
        let (code_of_check, said) = run(&["check", "m.yaml"]);
        assert!(said.contains(&format!("{place}{severity}[{code}]: ")), "{place}\n{said}");
        assert_eq!(code_of_check, Some(i32::from(severity == "error")), "{said}");
        let (code_of_run, said) = run(&["run", "-c", "m.yaml"]);
        assert!(said.contains(&format!("{place}error[{code}]: ")), "{place}\n{said}");
        assert_eq!(code_of_run, Some(1), "{said}");
        assert!(!said.contains("BEGIN"), "{said}");
    }
}

/// An identity is waited for: `run` starts without, and is not ready.
#[test]
fn an_identity_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    for name in ["a", "b"] {
        authority.issue(&["shop.example"]).write(folder.path(), name);
    }
    for (identity, field) in [
        ("certificateChain: a.pem, privateKey: b.key, rootCertificates: a.pem", "b.key"),
        ("certificateChain: a.pem, privateKey: a.key, rootCertificates: a.pem", "a.pem"),
        ("directory: nowhere", "nowhere"),
        ("certificateAuthority: {rootCertificates: a.key, tokenFile: b.key}", "a.key"),
        (
            "workloadApi: {socket: /s}, trustBundles: [{trustDomain: other.test, rootCertificates: b.key}]",
            "b.key",
        ),
    ] {
        let manifests = format!(
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec:\n  identity: {{{identity}}}\n"
        );
        std::fs::write(folder.path().join("m.yaml"), &manifests).unwrap();
        let output = command().current_dir(folder.path()).args(["check", "m.yaml"]).output().unwrap();
        let column = manifests.lines().nth(4).unwrap().find(field).unwrap() + 1;
        let said = text(&output.stdout);
        assert!(said.contains(&format!("m.yaml:5:{column}: warning[SDL0312]: ")), "{said}");
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
}

/// Shown all the same, for want of another: whether peers mind is theirs to say. A workload's own is no identity.
#[test]
fn a_certificate_that_is_not_valid_now_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    for (name, from, until) in [("past", now - 2 * day, now - day), ("later", now + day, now + 2 * day)] {
        authority.issue_between(&[Name::Dns("shop.example")], from, until).write(folder.path(), name);
    }
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let id = Name::Uri("spiffe://cluster.local/ns/default/sa/shop");
    authority.issue_between(&[id], now + day, now + 2 * day).write(folder.path(), "own");
    let server = |name: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: door}}\nspec:\n  servers:\n  - port: \
             {{number: 443, name: https, protocol: HTTPS}}\n    hosts: ['*']\n    \
             tls: {{mode: SIMPLE, serverCertificate: {name}.pem, privateKey: {name}.key}}\n"
        )
    };
    let rule = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec:\n  hosts: [x.test]\n  \
         resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: 127.0.0.1}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x}\nspec:\n  host: x.test\n  \
         trafficPolicy:\n    tls: {mode: MUTUAL, clientCertificate: past.pem, privateKey: past.key, caCertificates: ca.pem}\n";
    let own = "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec:\n  \
         identity: {certificateChain: own.pem, privateKey: own.key, rootCertificates: ca.pem}\n";
    for (manifests, field, why) in [
        (server("past"), "past.pem", "the certificate expired at"),
        (server("later"), "later.pem", "the certificate is not valid before"),
        (rule.to_owned(), "past.pem", "the certificate expired at"),
        (own.to_owned(), "own.pem", "the workload certificate is not valid before"),
    ] {
        std::fs::write(folder.path().join("m.yaml"), &manifests).unwrap();
        let output = command().current_dir(folder.path()).args(["check", "m.yaml"]).output().unwrap();
        let said = text(&output.stdout);
        let line = manifests.lines().position(|line| line.contains(field)).unwrap();
        let column = manifests.lines().nth(line).unwrap().find(field).unwrap();
        let place = format!("m.yaml:{}:{}: warning[SDL0312]: ", line + 1, column + 1);
        assert!(said.contains(&place) && said.contains(why), "{said}");
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
}

/// What is in use stays while it is valid and what came is not.
#[tokio::test]
async fn run_tells_of_a_certificate_that_is_not_valid_now() {
    let authority = Authority::new();
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    let builder = Sidle::builder();
    let folder = builder.folder().to_path_buf();
    let id = Name::Uri("spiffe://cluster.local/ns/default/sa/shop");
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    authority.issue_between(&[id], now + day, now + 2 * day).write(&folder, "own");
    authority.issue_between(&[Name::Dns("a.test")], now - 2 * day, now - day).write(&folder, "past");
    let path = |name: &str| folder.join(name).display().to_string();
    let port = sidle_test_support::ports::free();
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: door}}\nspec:\n  servers:\n  - port: \
         {{number: {}, name: https, protocol: HTTPS}}\n    bind: 127.0.0.1\n    hosts: ['*']\n    \
         tls: {{mode: SIMPLE, serverCertificate: {}, privateKey: {}}}\n",
        port.port(),
        path("past.pem"),
        path("past.key"),
    );
    let settings = format!(
        "  identity: {{ certificateChain: {}, privateKey: {}, rootCertificates: {} }}\n",
        path("own.pem"),
        path("own.key"),
        path("ca.pem"),
    );
    let sidle = builder.file("test.yaml", &gateway).settings(&settings).spawn();
    wait::until("readiness", || {
        let ready = http_get(sidle.ports.admin, "/ready").ok()?;
        (ready.status == 503 && ready.body.contains("the workload certificate is not valid before"))
            .then_some(())
    });
    wait::until("the log", || {
        let said = sidle.output();
        (said.contains("a certificate that is not valid now is shown") && said.contains("past.pem"))
            .then_some(())
    });
}
