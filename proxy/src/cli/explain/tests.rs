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
    let expected = (paths(&["a", "b"]), "GET".to_owned(), "http://x/".to_owned());
    assert_eq!(split(paths(&["a", "b", "GET", "http://x/"]), vec![]).unwrap(), expected);
    assert_eq!(split(paths(&["a", "b"]), words(&["GET", "http://x/"])).unwrap(), expected);
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
    assert!(matches!(plain.outcome, Outcome::Closed), "plain text is not taken");
    let why = format!("mTLS is demanded (STRICT, a.yaml:{line}), and the client has no principal");
    assert_eq!(plain.notes, [why]);
    assert!(matches!(explain("inbound", "https://own/").outcome, Outcome::Closed), "no certificate is shown");
    for url in ["http://own/", "https://own/"] {
        let by_mtls = explain_to("inbound", url, Some("cluster.local/ns/shop/sa/web"));
        assert!(by_mtls.outcome.is_taken() && by_mtls.notes.is_empty(), "{url} {:?}", by_mtls.notes);
    }
    let told = super::print::text(&explain("outbound", "http://other.shop/"), Terminal::default());
    let wanted = "mTLS as outbound_.80_._.other.shop to 1 of 2 endpoints, automatically";
    assert!(told.contains(wanted), "{told}");
}
