//! Which rule takes a request.

use crate::stage::{HOST, Stage, client};
use sidle_test_support::client::request;

/// Method, path, headers; and whether the match takes the request.
type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], bool);

/// Rules whose first match leads to v2; everything else goes to v1.
fn rules(matches: &str) -> String {
    format!(
        "    - match:\n{matches}\n      route: [{{ destination: {{ host: {HOST}, subset: v2 }} }}]\n    \
         - route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]"
    )
}

/// Runs the rules, and asks for each case.
async fn table(matches: &str, cases: &[Case<'_>]) {
    let stage = Stage::new();
    let sidle = stage.route(&rules(matches));
    let mut client = client(&sidle).await;
    for (method, path, headers, taken) in cases {
        let mut ask = request(method, HOST, path);
        for (name, value) in *headers {
            ask = ask.header(*name, *value);
        }
        let wanted = if *taken { "v2" } else { "v1" };
        assert_eq!(client.ask(ask).await.version(), wanted, "{method} {path} {headers:?} with {matches}");
    }
}

#[tokio::test]
async fn uri_prefix_is_a_raw_string_prefix() {
    let cases = [
        ("GET", "/foo", true),
        ("GET", "/foobar", true),
        ("GET", "/foo/bar?x", true),
        ("GET", "/Foo", false),
    ];
    let cases = cases.map(|(method, path, taken)| (method, path, &[][..], taken));
    table("        - uri: { prefix: /foo }", &cases).await;
}

#[tokio::test]
async fn uri_exact_ignores_the_query_and_can_ignore_case() {
    let cases =
        [("GET", "/foo", true), ("GET", "/foo?a=b", true), ("GET", "/foo/", false), ("GET", "/FOO", false)];
    table("        - uri: { exact: /foo }", &cases.map(|(m, path, taken)| (m, path, &[][..], taken))).await;
    let cases = [("GET", "/FOO", true), ("GET", "/fOo?x", true), ("GET", "/bar", false)];
    let matches = "        - uri: { exact: /foo }\n          ignoreUriCase: true";
    table(matches, &cases.map(|(m, path, taken)| (m, path, &[][..], taken))).await;
}

#[tokio::test]
async fn uri_regex_matches_the_whole_path() {
    let cases = [
        ("GET", "/item/42", true),
        ("GET", "/item/42/x", false),
        ("GET", "/x/item/42", false),
        ("GET", "/item/42?q", true),
    ];
    table(
        "        - uri: { regex: '/item/[0-9]+' }",
        &cases.map(|(m, path, taken)| (m, path, &[][..], taken)),
    )
    .await;
}

#[tokio::test]
async fn methods_and_headers_are_anded_and_entries_are_ored() {
    let matches = "        - method: { exact: POST }\n          headers: { x-team: { prefix: blue } }\n        \
                   - headers: { x-force: { regex: '' } }";
    let matches = matches.replace("regex: ''", "exact: 'yes'");
    let cases: [Case<'_>; 5] = [
        ("POST", "/", &[("x-team", "blue-1")], true),
        ("GET", "/", &[("x-team", "blue-1")], false),
        ("POST", "/", &[("x-team", "red")], false),
        ("POST", "/", &[], false),
        ("GET", "/", &[("X-Force", "yes")], true),
    ];
    table(&matches, &cases).await;
}

#[tokio::test]
async fn a_header_match_without_a_value_means_present() {
    let cases: [Case<'_>; 3] = [
        ("GET", "/", &[("x-debug", "")], true),
        ("GET", "/", &[("x-debug", "1")], true),
        ("GET", "/", &[], false),
    ];
    table("        - headers: { x-debug: {} }", &cases).await;
}

#[tokio::test]
async fn without_headers_turns_a_match_round() {
    let cases: [Case<'_>; 3] = [
        ("GET", "/", &[("x-user", "bot")], false),
        ("GET", "/", &[("x-user", "ann")], true),
        ("GET", "/", &[], true),
    ];
    table("        - withoutHeaders: { x-user: { exact: bot } }", &cases).await;
}

#[tokio::test]
async fn query_parameters_match_by_their_first_value() {
    let cases: [Case<'_>; 4] = [
        ("GET", "/?v=2", &[], true),
        ("GET", "/?a=b&v=2", &[], true),
        ("GET", "/?v=1&v=2", &[], false),
        ("GET", "/?vv=2", &[], false),
    ];
    table("        - queryParams: { v: { exact: '2' } }", &cases).await;
}

#[tokio::test]
async fn authority_matches_as_sent() {
    let cases: [Case<'_>; 2] =
        [("GET", "/", &[("host", "echo.test:80")], true), ("GET", "/", &[("host", "echo.test")], false)];
    table("        - authority: { exact: 'echo.test:80' }", &cases).await;
}

#[tokio::test]
async fn source_labels_are_those_of_this_proxy() {
    let stage = Stage::new();
    let http = rules("        - sourceLabels: { app: web, tier: front }");
    let manifests = stage.manifests() + &sidle_test_support::manifest::virtual_service("echo", HOST, &http);
    for (labels, wanted) in [("app=web,tier=front,x=y", "v2"), ("app=web", "v1")] {
        let builder = sidle_test_support::sidle::Sidle::builder().file("test.yaml", &manifests);
        let sidle = builder.arguments(&["--labels", labels]).start();
        assert_eq!(client(&sidle).await.get(HOST, "/").await.version(), wanted, "{labels}");
    }
}

#[tokio::test]
async fn rules_are_tried_in_the_order_of_the_list() {
    let stage = Stage::new();
    let sidle = stage.route(&format!(
        "    - match: [{{ uri: {{ prefix: / }} }}]\n      route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]\n    \
         - match: [{{ uri: {{ prefix: /longer }} }}]\n      route: [{{ destination: {{ host: {HOST}, subset: v2 }} }}]"
    ));
    assert_eq!(client(&sidle).await.get(HOST, "/longer/path").await.version(), "v1");
}

#[tokio::test]
async fn a_request_that_no_rule_takes_is_a_404() {
    let stage = Stage::new();
    let sidle = stage.route(&format!(
        "    - match: [{{ uri: {{ prefix: /only }} }}]\n      route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]"
    ));
    let answer = client(&sidle).await.get(HOST, "/other").await;
    assert_eq!(answer.status, 404);
    assert!(answer.version().is_empty());
}

/// As in Envoy, each value for itself: a value cannot hide behind another, before or after it.
#[tokio::test]
async fn a_header_that_came_twice_is_matched_by_each_value() {
    let twice = [("x-role", "user"), ("x-role", "admin")];
    let exact =
        [("GET", "/", &twice[..], true), ("GET", "/", &twice[..1], false), ("GET", "/", &twice[1..], true)];
    table("        - headers: { x-role: { exact: admin } }", &exact).await;
    let joined = [("GET", "/", &[("x-role", "user,admin")][..], false)];
    table("        - headers: { x-role: { exact: admin } }", &joined).await;
    let without =
        [("GET", "/", &twice[..], false), ("GET", "/", &twice[..1], true), ("GET", "/", &[][..], true)];
    table("        - withoutHeaders: { x-role: { exact: admin } }", &without).await;
}
