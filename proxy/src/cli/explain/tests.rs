//! From manifests to what is told.

use super::{
    outcome::Outcome,
    report::{Report, RuleVerdict},
    request::Request,
    *,
};
use crate::cli::client::Client;
use sidle_model::{ir::Ir, ir::Node, load_texts, sidle::AuthorizationCase, source::Text};

const SHOP: &str = r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: reviews }
spec:
  hosts: [reviews.shop]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints:
    - { address: 127.0.0.1, ports: { http: 18081 }, labels: { version: v1 } }
    - { address: 127.0.0.1, ports: { http: 18082 }, labels: { version: v2 } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews }
spec:
  host: reviews.shop
  subsets:
    - { name: v1, labels: { version: v1 } }
    - { name: v2, labels: { version: v2 } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews }
spec:
  hosts: [reviews.shop]
  http:
    - name: jason
      match: [{ headers: { end-user: { exact: jason } } }]
      route: [{ destination: { host: reviews.shop, subset: v2 } }]
    - name: old
      match: [{ uri: { prefix: /old } }]
      redirect: { uri: /new, redirectCode: 308 }
    - name: teapot
      match: [{ uri: { exact: /teapot } }]
      directResponse: { status: 418, body: { string: short } }
    - name: api
      match: [{ uri: { prefix: /api/ } }]
      rewrite: { uri: /v1/, authority: api.internal }
      timeout: 2s
      retries: { attempts: 3, retryOn: "5xx,reset" }
      headers: { request: { set: { x-a: "1" } }, response: { remove: [server] } }
      fault: { delay: { fixedDelay: 1s, percentage: { value: 50 } } }
      route:
        - { destination: { host: reviews.shop, subset: v1 }, weight: 90 }
        - { destination: { host: reviews.shop, subset: v2 }, weight: 10 }
    - name: never
      match: [{ uri: { exact: /never } }]
      route: [{ destination: { host: reviews.shop } }]
"#;

fn ir(text: &str) -> Ir {
    let loaded = load_texts(vec![Text { name: "shop.yaml".into(), content: text.into() }], &Node::default());
    loaded.ir.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

fn explain(line: &str, headers: &[&str]) -> Report {
    let ir = ir(SHOP);
    let (method, url) = line.split_once(' ').unwrap();
    let headers: Vec<String> = headers.iter().map(|header| header.to_string()).collect();
    let request = Request::parse(method, url, &headers).unwrap();
    Report::new(&ir, place::listener(&ir, "outbound", &request).unwrap(), &request, &Default::default())
}

fn text(report: &Report) -> String {
    print::text(report, Terminal::default())
}

#[test]
fn each_rule_says_what_did_not_match_until_one_wins() {
    let report = explain("GET http://reviews.shop/api/x?q=1", &["end-user: bob"]);
    let verdicts: Vec<_> = report.rules.iter().map(|rule| rule.verdict).collect();
    use RuleVerdict::{Differs, NotReached, Wins};
    assert_eq!(verdicts[..5], [Differs, Differs, Differs, Wins, NotReached]);
    let difference = report.rules[0].difference.as_ref().unwrap();
    assert_eq!(difference.field, "headers[end-user]");
    assert_eq!(difference.wanted, "exact \"jason\"");
    assert_eq!(difference.found.as_deref(), Some("bob"));
    let line = SHOP.lines().position(|line| line.contains("end-user")).unwrap() + 1;
    assert_eq!(report.rules[0].origin, format!("shop.yaml:{line}"));
}

#[test]
fn a_forwarded_request_is_told_with_all_that_happens_to_it() {
    let report = explain("GET http://reviews.shop/api/x?q=1", &[]);
    let Outcome::Forward(forwarded) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((&forwarded.path[..], &forwarded.authority[..]), ("/v1/x?q=1", "api.internal"));
    let shares: Vec<_> = forwarded.destinations.iter().map(|one| (one.percent, &one.subset[..])).collect();
    assert_eq!(shares, [(90.0, "v1"), (10.0, "v2")]);
    assert_eq!(forwarded.destinations[0].endpoints, ["127.0.0.1:18081 v1"]);
    assert_eq!(forwarded.timeout.as_deref(), Some("2s"));
    assert!(forwarded.retries.as_deref().unwrap().starts_with("3 more on 5xx, reset"));
    assert_eq!(forwarded.headers, ["request set x-a: 1", "response remove server"]);
    assert_eq!(forwarded.faults, ["50 % waits 1s"]);
    let text = text(&report);
    for part in
        ["yes", "headers[end-user]: wanted exact \"jason\", found nothing", "api.internal/v1/x?q=1", "90 %"]
    {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn answers_of_the_proxy_itself() {
    let Outcome::Redirect { status, location, .. } =
        explain("GET http://reviews.shop/old/x?q=1", &[]).outcome
    else {
        panic!()
    };
    assert_eq!((status, &location[..]), (308, "http://reviews.shop/new?q=1"));
    let Outcome::Direct { status, body, .. } = explain("GET http://reviews.shop/teapot", &[]).outcome else {
        panic!()
    };
    assert_eq!((status, &body[..]), (418, "short"));
}

#[test]
fn nobody_takes_a_request_without_a_rule() {
    let report = explain("GET http://reviews.shop/", &[]);
    assert!(matches!(report.outcome, Outcome::NoRoute { status: 404, .. }));
    assert!(!report.outcome.is_taken());
    assert!(text(&report).contains("no rule takes it: 404, flag NR"));
}

#[test]
fn what_nobody_has_is_refused_where_only_the_registry_counts() {
    let closed = "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: { name: p }\n\
                  spec: { outboundTrafficPolicy: { mode: REGISTRY_ONLY } }\n---\n";
    let ir = ir(&(closed.to_owned() + SHOP));
    let get = Request::parse("GET", "http://other.example/", &[]).unwrap();
    let bytes = Request::connection("tcp://10.0.0.5:3306").unwrap();
    let told = "no service has this address, and outboundTrafficPolicy is REGISTRY_ONLY";
    for (request, told) in [(get, format!("refused: 502, {told}")), (bytes, format!("{told}: it is closed"))]
    {
        let listener = place::listener(&ir, "outbound", &request).unwrap();
        let report = Report::new(&ir, listener, &request, &Client::default());
        assert!(!report.outcome.is_taken());
        assert!(text(&report).contains(&told), "{}", text(&report));
    }
}

#[test]
fn a_port_whose_tls_cannot_be_served_is_told_as_closed() {
    let ingress = "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: { name: s }\nspec:\n  ingress:\n    \
                   - port: { number: 9443, name: https, protocol: HTTPS }\n      defaultEndpoint: 127.0.0.1:8080\n      \
                   tls: { mode: SIMPLE, credentialName: nowhere }\n";
    let ir = ir(&(SHOP.to_owned() + ingress));
    let bytes = Request::connection("tcp://10.0.0.5:9443").unwrap();
    let listener = place::listener(&ir, "inbound", &bytes).unwrap();
    let told = text(&Report::new(&ir, listener, &bytes, &Client::default()));
    assert!(told.contains("the port stays closed: its TLS cannot be served"), "{told}");
}

#[test]
fn the_path_is_judged_in_the_form_that_the_proxy_gives_it() {
    let report = explain("GET http://reviews.shop/x/..//teapot", &[]);
    assert!(matches!(report.outcome, Outcome::NoRoute { .. }), "{:?}", report.outcome);
    assert_eq!(report.notes, ["routed as //teapot"]);
    let merging = "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: { name: p }\nspec:\n  \
                   pathNormalization: { normalization: MERGE_SLASHES }\n---\n";
    let ir = ir(&format!("{merging}{SHOP}"));
    let request = Request::parse("GET", "http://reviews.shop/x/..//teapot?a//b", &[]).unwrap();
    let report =
        Report::new(&ir, place::listener(&ir, "outbound", &request).unwrap(), &request, &Default::default());
    assert!(matches!(report.outcome, Outcome::Direct { status: 418, .. }), "{:?}", report.outcome);
    assert_eq!(report.notes, ["routed as /teapot?a//b"]);
}

#[test]
fn what_the_proxy_refuses_is_refused() {
    for (line, headers, why) in [
        ("GET http://reviews.shop/teapot%00", &[][..], "%00 in the path"),
        ("GET /teapot", &["host: a..b"][..], "`a..b` is not a host with an optional port"),
        ("CONNECT reviews.shop", &[][..], "CONNECT needs a port"),
    ] {
        let report = explain(line, headers);
        assert!(!report.outcome.is_taken(), "{line}");
        assert!(text(&report).contains(&format!("refused: 400, {why}")), "{}", text(&report));
    }
}

#[test]
fn https_through_the_outbound_listener_is_a_tunnel() {
    let report = explain("GET https://example.com/x", &[]);
    assert_eq!(report.request, "CONNECT example.com:443");
    assert_eq!(report.notes.len(), 1);
    assert!(report.outcome.is_taken(), "{:?}", report.outcome);
}

#[test]
fn an_unknown_listener_is_told_with_those_there_are() {
    let ir = ir(SHOP);
    let request = Request::parse("GET", "http://a/", &[]).unwrap();
    let error = place::listener(&ir, "nope", &request).unwrap_err();
    assert!(matches!(&error, CliError::Usage(text) if text.contains("virtualOutbound")), "{error}");
}

#[test]
fn a_gateway_is_found_by_name_and_port() {
    let gateway = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: front, namespace: edge }
spec:
  servers:
    - { port: { number: 8080, name: http, protocol: HTTP }, hosts: ["*"] }
    - { port: { number: 8081, name: http-b, protocol: HTTP }, hosts: ["*"] }
"#;
    let ir = ir(gateway);
    for name in ["front", "edge/front"] {
        let request = Request::parse("GET", "http://a:8081/", &[]).unwrap();
        let listener = place::listener(&ir, name, &request).unwrap();
        assert_eq!(place::listener_port(listener), Some(8081), "{name}");
    }
}

#[test]
fn the_request_may_stand_after_the_paths() {
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    let words = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let expected = (paths(&["a", "b"]), words(&["GET", "http://x/"]));
    assert_eq!(split(paths(&["a", "b", "GET", "http://x/"]), vec![]).unwrap(), expected);
    assert_eq!(split(paths(&["a", "b"]), words(&["GET", "http://x/"])).unwrap(), expected);
    let expected = (paths(&["a", "b"]), words(&["tcp://10.0.0.5:1"]));
    assert_eq!(split(paths(&["a", "b", "tcp://10.0.0.5:1"]), vec![]).unwrap(), expected);
    assert_eq!(split(paths(&["a", "b"]), words(&["tcp://10.0.0.5:1"])).unwrap(), expected);
    assert!(matches!(split(paths(&["a"]), vec![]), Err(CliError::Usage(_))));
}

#[test]
fn mtls_is_told_with_who_says_so() {
    let text = r#"
apiVersion: sidle.dev/v1
kind: Proxy
metadata: { name: p }
spec: { identity: { directory: /etc/certs } }
---
apiVersion: v1
kind: Service
metadata: { name: own }
spec: { selector: { app: own }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: own }
spec: { mtls: { mode: STRICT } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: other }
spec:
  hosts: [other.shop]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints:
    - { address: 127.0.0.1, labels: { security.istio.io/tlsMode: istio } }
    - { address: 127.0.0.2 }
"#;
    let node = Node { labels: [("app".to_owned(), "own".to_owned())].into(), ..Node::default() };
    let loaded = load_texts(vec![Text { name: "a.yaml".into(), content: text.into() }], &node);
    let ir = loaded.ir.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let explain_to = |listener: &str, url: &str, principal: Option<&str>| {
        let request = Request::parse("GET", url, &[]).unwrap();
        let case = AuthorizationCase { principal: principal.map(str::to_owned), ..Default::default() };
        let client = Client::of(&case).unwrap();
        Report::new(&ir, place::listener(&ir, listener, &request).unwrap(), &request, &client)
    };
    let explain = |listener: &str, url: &str| explain_to(listener, url, None);
    let plain = explain("inbound", "http://own/");
    let line = text.lines().position(|line| line.contains("STRICT")).unwrap() + 1;
    assert_eq!(plain.mtls, [format!("port 8080 STRICT  a.yaml:{line}")]);
    assert!(matches!(plain.outcome, Outcome::Closed { .. }), "plain text is not taken");
    let why = format!("mTLS is demanded (STRICT, a.yaml:{line}), and the client has no principal");
    assert_eq!(plain.notes, [why]);
    assert!(
        matches!(explain("inbound", "https://own/").outcome, Outcome::Closed { .. }),
        "no certificate is shown"
    );
    for url in ["http://own/", "https://own/"] {
        let by_mtls = explain_to("inbound", url, Some("cluster.local/ns/shop/sa/web"));
        assert!(by_mtls.outcome.is_taken() && by_mtls.notes.is_empty(), "{url} {:?}", by_mtls.notes);
    }
    let told = super::print::text(&explain("outbound", "http://other.shop/"), Terminal::default());
    let wanted = "mTLS as outbound_.80_._.other.shop to 1 of 2 endpoints, automatically";
    assert!(told.contains(wanted), "{told}");
}

const BYTES: &str = r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: db }
spec:
  hosts: [db.shop]
  addresses: [10.9.0.1]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 3306, name: tcp, protocol: TCP }, { number: 443, name: tls, protocol: TLS }]
  endpoints: [{ address: 127.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: vault }
spec:
  hosts: [a.vault.shop, b.vault.shop]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 8443, name: tls, protocol: TLS }]
  endpoints: [{ address: 127.0.0.2 }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: vault }
spec:
  hosts: [a.vault.shop, b.vault.shop]
  tls:
    - match: [{ port: 8443, sniHosts: [a.vault.shop] }]
      route: [{ destination: { host: a.vault.shop } }]
    - match: [{ port: 8443, sniHosts: [b.vault.shop] }]
      route: [{ destination: { host: b.vault.shop } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: db }
spec:
  hosts: [db.shop]
  tcp:
    - match: [{ port: 3306, destinationSubnets: [10.9.0.0/16] }]
      route: [{ destination: { host: db.shop, port: { number: 443 } } }]
    - route: [{ destination: { host: db.shop } }]
"#;

/// Each rule as `verdict origin why`, and where the bytes go.
fn bytes(url: &str) -> (Vec<String>, Vec<String>, Report) {
    let ir = ir(BYTES);
    let request = Request::connection(url).unwrap();
    let report =
        Report::new(&ir, place::listener(&ir, "outbound", &request).unwrap(), &request, &Default::default());
    let line = |rule: &super::report::Rule| {
        let why =
            rule.difference.as_ref().map(|one| format!(" {} {} {:?}", one.field, one.wanted, one.found));
        format!("{:?} {}{}", rule.verdict, rule.origin, why.unwrap_or_default())
    };
    let rules = report.rules.iter().map(line).collect();
    let to = match &report.outcome {
        Outcome::Tcp { destinations } => destinations.iter().map(|one| one.cluster.clone()).collect(),
        _ => Vec::new(),
    };
    (rules, to, report)
}

/// The place of the line that holds `part`, `column` in front of it.
fn line_of(part: &str) -> String {
    format!("shop.yaml:{}", BYTES.lines().position(|line| line.contains(part)).unwrap() + 1)
}

#[test]
fn a_connection_of_bytes_is_told_by_its_destination() {
    let subnets = line_of("destinationSubnets");
    let (rules, to, report) = bytes("tcp://10.9.0.2:3306");
    assert_eq!(to, ["outbound|443||db.shop"], "{rules:#?}");
    assert!(rules.contains(&format!("Wins {subnets}")), "{rules:#?}");
    let text = text(&report);
    assert!(text.starts_with("tcp://10.9.0.2:3306\n") && text.contains("bytes to"), "{text}");

    // The service's own address says more than a range, as in Envoy.
    let (rules, to, _) = bytes("tcp://10.9.0.1:3306");
    assert_eq!(to, ["outbound|3306||db.shop"], "{rules:#?}");
    assert!(rules.contains(&format!("LessSpecific {subnets}")), "{rules:#?}");

    let (rules, to, _) = bytes("tcp://10.8.0.1:3306");
    assert_eq!(to, ["PassthroughCluster"], "{rules:#?}");
    let differs = format!("Differs {subnets} destination 10.9.0.0/16 Some(\"10.8.0.1\")");
    assert!(rules.contains(&differs), "{differs} in {rules:#?}");
}

#[test]
fn a_tls_connection_is_told_by_its_server_name() {
    let (rules, to, report) = bytes("tls://b.vault.shop:8443");
    assert_eq!(to, ["outbound|8443||b.vault.shop"], "{rules:#?}");
    let other = line_of("sniHosts: [a.vault.shop]");
    let differs = format!("Differs {other} sniHosts a.vault.shop Some(\"b.vault.shop\")");
    assert!(rules.contains(&differs), "{differs} in {rules:#?}");
    assert!(rules.contains(&format!("Wins {}", line_of("sniHosts: [b.vault.shop]"))), "{rules:#?}");
    assert!(report.notes[0].contains("names are not looked up"));
    let (rules, to, _) = bytes("tcp://10.1.1.1:8443");
    assert_eq!(
        to,
        ["outbound|8443||a.vault.shop"],
        "what is no TLS goes to the port's first service: {rules:#?}"
    );
    assert!(rules[0].ends_with("transport TLS Some(\"no TLS\")"), "{rules:#?}");
}

#[test]
fn bytes_to_a_port_of_http_are_refused_with_what_to_ask() {
    let ir = ir(SHOP);
    let request = Request::connection("tcp://10.0.0.1:80").unwrap();
    let report =
        Report::new(&ir, place::listener(&ir, "outbound", &request).unwrap(), &request, &Default::default());
    assert!(text(&report).contains("HTTP is served here"), "{}", text(&report));
    for wrong in ["tcp://10.0.0.1", "tls://", "tcp://a b:1", "tcp://a:99999"] {
        let error = Request::connection(wrong).unwrap_err();
        assert!(matches!(&error, CliError::Usage(text) if text.contains("tcp://10.0.0.5:3306")), "{error}");
    }
}

#[test]
fn a_mirror_whose_answers_are_compared_is_told() {
    let policy = "---\napiVersion: sidle.dev/v1\nkind: UpstreamPolicy\nmetadata: { name: reviews }\nspec: { host: reviews.shop, mirrorComparison: {} }\n";
    let mirror = "    - name: never\n      mirror: { host: reviews.shop, subset: v2 }\n";
    let manifests = SHOP.replace("    - name: never\n", mirror) + policy;
    let told = |manifests: &str| {
        let ir = ir(manifests);
        let request = Request::parse("GET", "http://reviews.shop/never", &[]).unwrap();
        let listener = place::listener(&ir, "outbound", &request).unwrap();
        text(&Report::new(&ir, listener, &request, &Default::default()))
    };
    let line = "100 % to outbound|80|v2|reviews.shop";
    assert!(
        told(&manifests).contains(&format!("{line}, whose answers are compared")),
        "{}",
        told(&manifests)
    );
    let plain = told(manifests.trim_end_matches(policy));
    assert!(plain.contains(line) && !plain.contains("compared"), "{plain}");
}

/// What becomes of `asked` with `config`: the refusal, and the notes.
fn kept_from_own(config: &str, listener: &str, asked: &str) -> (Option<String>, Vec<String>) {
    let node = Node { labels: [("app".to_owned(), "shop".to_owned())].into(), ..Node::default() };
    let loaded = load_texts(vec![Text { name: "a.yaml".into(), content: config.into() }], &node);
    let ir = loaded.ir.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let request = match asked.split_once(' ') {
        Some((method, url)) => Request::parse(method, url, &[]).unwrap(),
        None => Request::connection(asked).unwrap(),
    };
    let report =
        Report::new(&ir, place::listener(&ir, listener, &request).unwrap(), &request, &Client::default());
    let refused = match report.outcome {
        Outcome::Refused { status, reason } => Some(format!("{status} {reason}")),
        _ => None,
    };
    (refused, report.notes)
}

#[test]
fn nobody_is_led_to_the_proxy_itself() {
    let admin = "403 destination is this proxy's admin server (flag NR, destination_is_admin)";
    let again = "508 destination is this proxy itself (loop_detected)";
    let moved =
        "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {admin: '0.0.0.0:15999'}\n";
    for (config, asked, refused) in [
        ("", "GET http://127.0.0.1:15000/config_dump", Some(admin)),
        ("", "CONNECT [::ffff:127.0.0.1]:15000", Some(admin)),
        ("", "GET https://0.0.0.0:15000/", Some(admin)),
        ("", "tcp://127.0.0.1:15000", Some(admin)),
        ("", "GET http://127.0.0.1:15001/", Some(again)),
        ("", "tcp://127.0.0.1:15006", Some(again)),
        ("", "GET http://10.0.0.5:15000/", None),
        ("", "tcp://10.0.0.5:15000", None),
        ("", "GET http://127.0.0.1:15090/stats/prometheus", None),
        (moved, "GET http://127.0.0.1:15000/", None),
        (moved, "GET http://127.0.0.9:15999/", Some(admin)),
    ] {
        let (told, notes) = kept_from_own(config, "outbound", asked);
        assert_eq!(told.as_deref(), refused, "{asked}: {notes:?}");
    }
    let (told, notes) = kept_from_own("", "outbound", "GET http://localhost:15000/");
    let note = format!("names are not looked up: if localhost is this machine, {}", &admin[4..]);
    assert!(told.is_none() && notes.contains(&note), "{told:?} {notes:?}");
    assert_eq!(kept_from_own("", "outbound", "GET http://localhost:8080/").1, [""; 0]);
    for (protocol, port, asked, refused) in [
        ("http", 15000, "GET http://shop/", Some(admin)),
        ("tcp", 15000, "tcp://127.0.0.1:15000", Some(admin)),
        ("http", 15006, "GET http://shop/", Some(again)),
        ("http", 8080, "GET http://shop/", None),
    ] {
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: shop}}\nspec:\n  selector: {{app: shop}}\n  \
             ports: [{{name: {protocol}, port: 80, targetPort: {port}}}]\n"
        );
        let (told, notes) = kept_from_own(&service, "inbound", asked);
        assert_eq!(told.as_deref(), refused, "{protocol} {port}: {notes:?}");
    }
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.test], resolution: STATIC, \
                 ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 127.0.0.1, ports: {http: 15000}}]}\n";
    assert_eq!(kept_from_own(entry, "outbound", "GET http://a.test/").0, None, "the application may");
}
