//! What is told of several resources together, for a proxy with labels.

use crate::{ir::Node, source::Text};

fn told_for(content: &str, labels: &[(&str, &str)]) -> Vec<String> {
    let texts = [Text { name: "f.yaml".into(), content: content.into() }];
    let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let loaded = crate::load_texts(texts.into(), &Node { labels, ..Node::default() });
    loaded
        .diagnostics
        .iter()
        .map(|d| format!("{} {} {}", d.span.unwrap().line, d.code.trim_start_matches("SDL"), d.message))
        .collect()
}

fn assert_told(found: &[String], expected: &[&str]) {
    let same = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.starts_with(b));
    assert!(same, "{found:#?} {expected:?}");
}

#[test]
fn of_several_that_pick_one_workload_the_oldest_holds() {
    let one = |kind: &str, name: &str, spec: &str| {
        let api = if kind == "Proxy" { "sidle.dev/v1" } else { "networking.istio.io/v1" };
        format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
    };
    let sidecar = |name: &str, selector: &str| {
        one("Sidecar", name, &format!("{{{selector} egress: [{{hosts: ['*/*']}}]}}"))
    };
    let web = "workloadSelector: {labels: {app: web}},";
    let v1 = "workloadSelector: {labels: {version: v1}},";
    let sidecars =
        [sidecar("a", ""), sidecar("b", ""), sidecar("c", web), sidecar("d", v1), sidecar("e", web)].concat();
    assert_told(&told_for(&sidecars, &[]), &["9 0602 Sidecar default/a", "24 0602 Sidecar default/c"]);
    let both = [("app", "web"), ("version", "v1")];
    assert_told(
        &told_for(&sidecars, &both),
        &["9 0602 Sidecar default/a", "19 0602 Sidecar default/c", "24 0602 Sidecar default/c"],
    );
    let proxies = [one("Proxy", "a", "{}"), one("Proxy", "b", "{concurrency: 2}")].concat();
    assert_told(&told_for(&proxies, &[]), &["9 0602 Proxy default/a (f.yaml:4) picks the same workloads"]);
}

#[test]
fn gateways_of_other_proxies_are_noted() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  selector: {istio: ingress}\n  \
        servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n";
    assert_told(&told_for(gateway, &[]), &[]);
    assert_told(&told_for(gateway, &[("app", "web")]), &["5 0306 this proxy has not all"]);
    assert_told(&told_for(gateway, &[("istio", "ingress")]), &[]);
}

#[test]
fn ports_of_the_proxy_are_taken() {
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec:\n  ingress:\n  \
        - port: {number: 15006, protocol: HTTP}\n  \
        - port: {number: 8080, protocol: HTTP}\n  \
        - {port: {number: 15021, protocol: HTTP}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:80'}\n  \
        - {port: {number: 9999, protocol: HTTP}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:80'}\n  \
        egress:\n  - {port: {number: 15001, protocol: HTTP}, captureMode: NONE, hosts: ['*/*']}\n  \
        - {port: {number: 9999, protocol: HTTP}, bind: 127.0.0.2, hosts: ['*/*']}\n  - hosts: ['*/*']\n";
    let taken =
        |text| told_for(text, &[]).into_iter().filter(|told| told.contains("taken")).collect::<Vec<_>>();
    assert_told(
        &taken(sidecar),
        &[
            "6 0602 the workload cannot listen on port 15006: it is taken by the proxy's own listener virtualInbound",
            "8 0602 127.0.0.1:15021 cannot be opened: it is taken by the proxy's own health server",
            "11 0602 127.0.0.1:15001 cannot be opened: it is taken by the proxy's own listener virtualOutbound",
        ],
    );
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  \
        servers: [{port: {number: 15090, name: http, protocol: HTTP}, hosts: ['*']}]\n";
    assert_told(&taken(gateway), &["5 0602 0.0.0.0:15090 cannot be opened"]);
}

#[test]
fn a_port_that_is_the_proxys_own_leads_nowhere() {
    let told = |content: &str| {
        let told = told_for(content, &[("app", "shop")]);
        told.into_iter().filter(|told| told.contains("the proxy's own")).collect::<Vec<_>>()
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec:\n  selector: {app: shop}\n  \
        ports: [{name: http, port: 80, targetPort: 15000}, {name: tcp, port: 90, targetPort: 8090}]\n";
    let refused = "0602 127.0.0.1:15000 is the proxy's own admin server: what comes in for it is refused";
    assert_told(&told(service), &[&format!("5 {refused}")]);
    let moved =
        "---\napiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {admin: '127.0.0.1:15999'}\n";
    assert_told(&told(&format!("{service}{moved}")), &[]);
    let wide = moved.replace("127.0.0.1:15999", "0.0.0.0:15000");
    assert_told(
        &told(&format!("{service}{wide}")),
        &[&format!("5 {}", refused.replace("127.0.0.1", "0.0.0.0"))],
    );
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec:\n  ingress:\n  \
        - {port: {number: 80, protocol: HTTP}, defaultEndpoint: '127.0.0.1:15000'}\n";
    assert_told(&told(sidecar), &[&format!("6 {refused}")]);
    for (port, own) in [
        (15006, "0.0.0.0:15006 is the proxy's own inbound"),
        (15001, "127.0.0.1:15001 is the proxy's own outbound"),
    ] {
        let service = service.replace("15000", &port.to_string());
        assert_told(&told(&service), &[&format!("5 0602 {own} listener: what comes in for it is refused")]);
    }
}
