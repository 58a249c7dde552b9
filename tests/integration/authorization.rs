//! AuthorizationPolicies at the inbound side: who is let through, what the others are told.

use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{Echo, full},
    sidle::Sidle,
    tcp::TcpServer,
    wait,
    websocket::WebSocket,
};
use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A workload that `shop` selects, with an HTTP port.
fn service(port: u16, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: {name}, port: 80, targetPort: {port} }}]\n---\n"
    )
}

/// A policy; `spec` is in YAML's flow style, without its braces.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: {name} }}\nspec: {{ {spec} }}\n---\n"
    )
}

fn start(application: &Echo, policies: &str) -> Sidle {
    let builder = Sidle::builder().file("service.yaml", &service(application.port(), "http"));
    let settings = format!("  accessLogFile: {}\n", builder.folder().join("log").display());
    let builder = builder.file("policies.yaml", policies).settings(&settings);
    builder.arguments(&["--labels", "app=shop"]).start()
}

/// `METHOD PATH`, then headers.
async fn ask(client: &mut Client, line: &str, headers: &[(&str, &[u8])]) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut builder = request(method, "shop", path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    client.exchange(builder.body(full("")).unwrap()).await
}

type Asked = (&'static str, &'static [(&'static str, &'static [u8])], u16);

/// Policies, and what comes of requests.
const TABLE: &[(&[&str], &[Asked])] = &[
    (&[], &[("GET /", &[], 200)]),
    // Nothing in it: nothing passes.
    (&[""], &[("GET /", &[], 403)]),
    (&["rules: [{}]"], &[("GET /", &[], 200)]),
    (&["action: DENY, rules: [{}]"], &[("GET /", &[], 403)]),
    // Operations.
    (
        &[
            "rules: [{to: [{operation: {methods: [GET], paths: [/public*]}}, {operation: {methods: ['P*'], paths: ['/items/{*}']}}]}]",
        ],
        &[
            ("GET /public/x?q=/admin", &[], 200),
            ("POST /public/x", &[], 403),
            ("PUT /items/1", &[], 200),
            ("PUT /items/1/2", &[], 403),
            ("GET /?/public", &[], 403),
        ],
    ),
    // DENY goes before ALLOW.
    (
        &[
            "rules: [{to: [{operation: {paths: ['/*']}}]}]",
            "action: DENY, rules: [{to: [{operation: {notMethods: [GET, HEAD]}}]}]",
        ],
        &[("GET /", &[], 200), ("DELETE /", &[], 403)],
    ),
    // Sources: all clients here are 127.0.0.1 in the clear.
    (&["rules: [{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}]"], &[("GET /", &[], 200)]),
    (&["rules: [{from: [{source: {notIpBlocks: [127.0.0.0/8]}}]}]"], &[("GET /", &[], 403)]),
    (
        &["rules: [{from: [{source: {remoteIpBlocks: [10.1.0.0/16]}}]}]"],
        &[
            ("GET /", &[], 403),
            ("GET /", &[("x-forwarded-for", b"1.1.1.1, 10.1.2.3")], 200),
            ("GET /", &[("x-forwarded-for", b"10.1.2.3, 1.1.1.1")], 403),
        ],
    ),
    // A peer in the clear is nobody: no name is his, every negative one holds.
    (&["rules: [{from: [{source: {principals: ['*']}}]}]"], &[("GET /", &[], 403)]),
    (&["rules: [{from: [{source: {namespaces: [default]}}]}]"], &[("GET /", &[], 403)]),
    (&["action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}]}]"], &[("GET /", &[], 403)]),
    (&["action: DENY, rules: [{from: [{source: {notNamespaces: [default]}}]}]"], &[("GET /", &[], 403)]),
    (&["action: DENY, rules: [{from: [{source: {notServiceAccounts: [a]}}]}]"], &[("GET /", &[], 403)]),
    (&["action: DENY, rules: [{from: [{source: {notTrustDomains: ['*']}}]}]"], &[("GET /", &[], 403)]),
    (&["action: DENY, rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]"], &[("GET /", &[], 403)]),
    // Headers: several lines, any bytes.
    (
        &["action: DENY, rules: [{when: [{key: 'request.headers[X-Role]', values: [admin, 'a,b']}]}]"],
        &[
            ("GET /", &[("x-role", b"user")], 200),
            ("GET /", &[("x-role", b"user"), ("x-role", b"admin")], 403),
            ("GET /", &[("x-role", b"admin"), ("x-role", b"user")], 403),
            ("GET /", &[("x-role", b"a"), ("x-role", b"b")], 403),
            ("GET /", &[("x-role", b"ADMIN")], 200),
            ("GET /", &[("x-role", b"admin\xff")], 200),
        ],
    ),
    (
        &["action: DENY, rules: [{when: [{key: 'request.headers[x-role]', values: ['*admin']}]}]"],
        &[("GET /", &[("x-role", b"\xff\xfeadmin")], 403), ("GET /", &[("x-role", b"\x80")], 200)],
    ),
    (
        &["action: DENY, rules: [{when: [{key: 'request.headers[x-role]', notValues: [user]}]}]"],
        &[
            ("GET /", &[], 403),
            ("GET /", &[("x-role", b"\xff")], 403),
            ("GET /", &[("x-role", b"user")], 200),
            ("GET /", &[("x-role", b"user"), ("x-role", b"admin")], 403),
        ],
    ),
    (
        &["rules: [{when: [{key: 'request.headers[x-role]', values: [admin]}]}]"],
        &[
            ("GET /", &[("x-role", b"admin")], 200),
            ("GET /", &[("x-role", b"user"), ("x-role", b"admin")], 403),
        ],
    ),
    // Hosts: whatever the case, the port and a dot.
    (&["rules: [{to: [{operation: {hosts: [SHOP]}}]}]"], &[("GET /", &[], 200)]),
    (&["action: DENY, rules: [{to: [{operation: {hosts: [Sho*]}}]}]"], &[("GET /", &[], 403)]),
    // The port is the application's, although the connection came to the proxy's.
    (&["action: DENY, rules: [{to: [{operation: {ports: ['PORT']}}]}]"], &[("GET /", &[], 403)]),
    (&["action: DENY, rules: [{to: [{operation: {notPorts: ['PORT']}}]}]"], &[("GET /", &[], 200)]),
    // Only told.
    (&["action: AUDIT, rules: [{}]"], &[("GET /", &[], 200)]),
    // Nobody is known who could be asked.
    (
        &["action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/ask]}}]}]"],
        &[("GET /", &[], 200), ("GET /ask", &[], 403)],
    ),
];

#[tokio::test]
async fn policies_let_through_and_refuse() {
    let application = Echo::start("application");
    let mut wrong = String::new();
    for (specs, asked) in TABLE {
        let specs = specs.iter().map(|spec| spec.replace("PORT", &application.port().to_string()));
        let policies: String = specs.enumerate().map(|(at, spec)| policy(&format!("p{at}"), &spec)).collect();
        let sidle = start(&application, &policies);
        let mut client = Client::http1(sidle.ports.inbound).await;
        for (line, headers, expected) in *asked {
            let answer = ask(&mut client, line, headers).await;
            let told = expected != &403 || answer.text() == "RBAC: access denied";
            if answer.status.as_u16() != *expected || !told {
                writeln!(wrong, "{policies}{line} {headers:?}: {} {:?}", answer.status, answer.text())
                    .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn a_refusal_says_its_rule_to_the_client_when_asked_to() {
    let application = Echo::start("application");
    let service = service(application.port(), "http");
    let deny = policy("no", "action: DENY, rules: [{}]");
    for (setting, expected) in [
        ("", ""),
        (
            "  authorizationHeader: true\n",
            "rbac_access_denied_matched_policy[ns[default]-policy[no]-rule[0]]",
        ),
    ] {
        let builder = Sidle::builder().file("s.yaml", &service).file("p.yaml", &deny).settings(setting);
        let sidle = builder.arguments(&["--labels", "app=shop"]).start();
        let answer = Client::http1(sidle.ports.inbound).await.get("shop", "/").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-sidle-authorization")), (403, expected));
    }
}

async fn log(sidle: &Sidle, lines: usize) -> Vec<String> {
    let path = sidle.folder().join("log");
    wait::eventually("the log", || async {
        let text = std::fs::read_to_string(&path).ok()?;
        let found: Vec<_> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
        (found.len() >= lines).then(|| found.into_iter().map(|line| line.trim_end().to_owned()).collect())
    })
    .await
}

#[tokio::test]
async fn a_refusal_names_its_rule() {
    let application = Echo::start("application");
    let policies = policy(
        "no-posts",
        "action: DENY, rules: [{to: [{operation: {paths: [/x]}}]}, {to: [{operation: {methods: [POST]}}]}]",
    ) + &policy("some", "rules: [{to: [{operation: {paths: [/a]}}]}]")
        + &policy(
            "opa",
            "action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/ask]}}]}]",
        );
    let sidle = start(&application, &policies);
    let mut client = Client::http1(sidle.ports.inbound).await;
    for (line, status) in [("POST /a", 403), ("GET /b", 403), ("GET /ask", 403), ("GET /a", 200)] {
        assert_eq!(ask(&mut client, line, &[]).await.status, status, "{line}");
    }
    let grpc = ask(&mut client, "POST /a.B/C", &[("content-type", b"application/grpc")]).await;
    let words = (grpc.header("grpc-status"), grpc.header("grpc-message"));
    assert_eq!((grpc.status.as_u16(), words), (200, ("7", "RBAC: access denied")));
    let lines = log(&sidle, 5).await;
    for (line, details) in lines.iter().zip([
        "403 - rbac_access_denied_matched_policy[ns[default]-policy[no-posts]-rule[1]] - ",
        "403 - rbac_access_denied_matched_policy[none] - ",
        "403 - rbac_access_denied_matched_policy[istio-ext-authz-opa-ns[default]-policy[opa]-rule[0]-deny-due-to-bad-CUSTOM-action] - ",
        "200 - via_upstream - ",
        "200 - rbac_access_denied_matched_policy[ns[default]-policy[no-posts]-rule[1]] - ",
    ]) {
        assert!(line.contains(details), "{details}\n{line}");
    }
    let metrics = sidle.metrics();
    let count = |result| {
        metrics.sum("sidle_authorizations_total", &[("listener", "virtualInbound"), ("result", result)])
    };
    assert_eq!((count("denied"), count("allowed")), (4.0, 1.0), "{}", metrics.text);
}

#[tokio::test]
async fn policies_that_are_only_tried_are_told() {
    let application = Echo::start("application");
    let tried = |name: &str, spec: &str| {
        policy(name, spec).replace("metadata: { ", "metadata: { annotations: { istio.io/dry-run: 'true' }, ")
    };
    let policies = tried("deny", "action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]")
        + &tried("allow", "rules: [{to: [{operation: {paths: [/a]}}]}]")
        + &policy("audit", "action: AUDIT, rules: [{to: [{operation: {paths: [/a]}}]}]");
    let sidle = start(&application, &policies);
    let mut client = Client::http1(sidle.ports.inbound).await;
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.get("shop", path).await.status, 200);
    }
    let metrics = sidle.metrics();
    let count = |result| metrics.sum("sidle_authorizations_total", &[("result", result)]);
    let counts = ["allowed", "denied", "audited", "dry_run_denied", "dry_run_allowed"].map(count);
    assert_eq!(counts, [3.0, 0.0, 1.0, 3.0, 3.0], "{}", metrics.text);
}

#[tokio::test]
async fn bytes_are_judged_by_what_they_have() {
    let application = TcpServer::echo();
    let manifests = service(application.port(), "tcp");
    let denied = "rbac_access_denied_matched_policy[";
    for (spec, passes, details) in [
        ("rules: [{from: [{source: {ipBlocks: [127.0.0.1]}}]}]", true, "- - -"),
        ("rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]", false, "none]"),
        // An ALLOW rule about HTTP is none here; of a DENY rule the rest is left.
        ("rules: [{to: [{operation: {methods: [GET]}}]}]", false, "none]"),
        (
            "action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]",
            false,
            "ns[default]-policy[p]-rule[0]]",
        ),
        ("action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['1']}}]}]", true, "- - -"),
        (
            "action: DENY, rules: [{to: [{operation: {ports: ['PORT']}}]}]",
            false,
            "ns[default]-policy[p]-rule[0]]",
        ),
    ] {
        let spec = spec.replace("PORT", &application.port().to_string());
        let builder = Sidle::builder().file("service.yaml", &manifests).file("p.yaml", &policy("p", &spec));
        let settings = format!("  accessLogFile: {}\n", builder.folder().join("log").display());
        let sidle = builder.settings(&settings).arguments(&["--labels", "app=shop"]).start();
        let mut stream = tokio::net::TcpStream::connect(sidle.ports.inbound).await.unwrap();
        let _ = stream.write_all(b"hello").await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer == b"hello", passes, "{spec}");
        let expected = if passes { details.to_owned() } else { format!("- - {denied}{details}") };
        let line = log(&sidle, 1).await.remove(0);
        assert!(line.contains(&expected), "{expected}\n{line}");
    }
}

#[tokio::test]
async fn upgrades_and_tunnels_are_judged_like_requests() {
    let application = Echo::start("application");
    let allow = policy("chat", "rules: [{to: [{operation: {paths: [/chat]}}]}]");
    let sidle = start(&application, &allow);
    let mut open = WebSocket::open(sidle.ports.inbound, "shop", "/chat").await.unwrap();
    assert_eq!(open.exchange("hello").await.unwrap(), "hello");
    let refused = WebSocket::open(sidle.ports.inbound, "shop", "/other").await.err().unwrap();
    assert!(refused.contains("403"), "{refused}");
    let mut client = Client::http2(sidle.ports.inbound).await;
    let refused = WebSocket::open_stream(&mut client, "shop", "/other").await.err().unwrap();
    assert!(refused.contains("403"), "{refused}");
    // A tunnel has no path, so that no rule about paths lets it through.
    let mut stream = tokio::net::TcpStream::connect(sidle.ports.inbound).await.unwrap();
    stream.write_all(b"CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 403");
    // What is open stays so when a policy changes; what comes next is judged by the new one.
    sidle.replace("policies.yaml", &policy("chat", "action: DENY, rules: [{}]"));
    wait::eventually("the new policy", || async {
        let refused = WebSocket::open(sidle.ports.inbound, "shop", "/chat").await.err()?;
        refused.contains("403").then_some(())
    })
    .await;
    assert_eq!(open.exchange("still").await.unwrap(), "still");
}

/// Two policies that change together: `wanted` passes, the other path is denied, and all else is not allowed.
fn version(wanted: &str, denied: &str) -> String {
    policy("allow", &format!("rules: [{{to: [{{operation: {{paths: [{wanted}]}}}}]}}]"))
        + &policy("deny", &format!("action: DENY, rules: [{{to: [{{operation: {{paths: [{denied}]}}}}]}}]"))
}

#[tokio::test]
async fn every_request_is_judged_by_one_whole_version() {
    const SWAPS: f64 = 40.0;
    let application = Echo::start("application");
    let sidle = start(&application, &version("/a", "/b"));
    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..3).map(|_| {
        let (over, address) = (over.clone(), sidle.ports.inbound);
        tokio::spawn(async move {
            let mut client = Client::http1(address).await;
            while !over.load(Ordering::Relaxed) {
                for path in ["/a", "/b", "/c"] {
                    client.get("shop", path).await;
                }
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut turn = false;
    let applied = || sidle.metrics().sum("sidle_config_reloads_total", &[("result", "applied")]);
    while applied() < SWAPS {
        turn = !turn;
        let (wanted, denied) = if turn { ("/b", "/a") } else { ("/a", "/b") };
        let before = applied();
        sidle.replace("policies.yaml", &version(wanted, denied));
        wait::eventually("a reload", || async { (applied() > before).then_some(()) }).await;
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let count = sidle.metrics().sum("sidle_authorizations_total", &[]) as usize;
    let mut passed = 0;
    for line in log(&sidle, count).await {
        let path = line.split('"').nth(1).unwrap().split(' ').nth(1).unwrap().to_owned();
        let denied =
            line.contains("403 - rbac_access_denied_matched_policy[ns[default]-policy[deny]-rule[0]]");
        let not_allowed = line.contains("403 - rbac_access_denied_matched_policy[none]");
        let allowed = line.contains("200 - via_upstream");
        passed += usize::from(allowed);
        assert!(if path == "/c" { not_allowed } else { allowed || denied }, "{line}");
    }
    assert!(passed > 20, "{passed} of {count}");
}
