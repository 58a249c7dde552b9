//! Each rule from YAML to facts of the IR.
//!
//! Facts are short lines (see [`route_line`]), so that a table of expectations can be read.

mod authentication;
mod authorization;
mod gateways;
mod ingress_tls;
mod listeners;
mod localities;
mod mtls;
mod names;
mod policies;
mod properties;
mod routing;
mod services;

use super::{Lowered, lower};
use crate::{
    diagnostic::Diagnostic,
    ir::{
        Cluster, Discovery, FilterChain, Forward, HeaderMatch, Ir, Listener, NetworkFilter, Node, PathMatch,
        PathRewrite, Route, RouteAction, RouteConfiguration, StringMatch, VirtualHost,
    },
    manifest::Manifests,
    source::Text,
};
use std::fmt::Write as _;

/// Lowers manifests for a node of namespace `default` without labels.
fn lowered(yaml: &str) -> Lowered {
    lowered_for(&Node::default(), yaml)
}

/// Lowers manifests for a node.
fn lowered_for(node: &Node, yaml: &str) -> Lowered {
    let text = Text { name: "a.yaml".into(), content: yaml.into() };
    let Manifests { config, diagnostics, .. } = Manifests::of(&text, &node.namespace);
    let errors: Vec<_> = diagnostics.iter().filter(|d| d.is_error()).map(Diagnostic::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let lowered = lower(&config, node);
    properties::assert_sound(&lowered.ir);
    lowered
}

/// A node with labels `key=value,…`.
fn node(namespace: &str, labels: &str) -> Node {
    let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Node { namespace: namespace.into(), labels, ..Default::default() }
}

/// A Service with ports `name:number`, in namespace `namespace`, without a selector; endpoints by DNS.
fn service(namespace: &str, name: &str, ports: &[(&str, u16)]) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  ports:\n"
    );
    for (name, number) in ports {
        _ = writeln!(text, "  - {{name: {name}, port: {number}}}");
    }
    text
}

/// An Istio manifest of which `spec` is written as YAML with two spaces before each line.
fn istio(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    let head = "---\napiVersion: networking.istio.io/v1\nkind:";
    format!("{head} {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}\n")
}

fn table<'i>(ir: &'i Ir, name: &str) -> &'i RouteConfiguration {
    let found = ir.route_configurations.iter().find(|table| &*table.name == name);
    found.unwrap_or_else(|| panic!("no table {name} in {:?}", table_names(ir)))
}

fn table_names(ir: &Ir) -> Vec<&str> {
    ir.route_configurations.iter().map(|table| &*table.name).collect()
}

/// The virtual host of exactly this domain.
fn host<'i>(ir: &'i Ir, table_name: &str, domain: &str) -> Option<&'i VirtualHost> {
    let has = |host: &&std::sync::Arc<VirtualHost>| host.domains.iter().any(|d| d.to_string() == domain);
    table(ir, table_name).virtual_hosts.iter().find(has).map(|host| &**host)
}

fn domains(host: &VirtualHost) -> Vec<String> {
    host.domains.iter().map(ToString::to_string).collect()
}

/// The routes of a domain, each as a line.
fn routes(ir: &Ir, table_name: &str, domain: &str) -> Vec<String> {
    let host =
        host(ir, table_name, domain).unwrap_or_else(|| panic!("no {domain} in {:#?}", table(ir, table_name)));
    host.routes.iter().map(|route| route_line(route)).collect()
}

/// As [`routes`], CONNECT left out.
fn http_routes(ir: &Ir, table_name: &str, domain: &str) -> Vec<String> {
    routes(ir, table_name, domain).into_iter().filter(|line| !line.starts_with("CONNECT")).collect()
}

fn text_match(value: &StringMatch) -> String {
    match value {
        StringMatch::Exact(text) => format!("={text}"),
        StringMatch::Prefix(text) => format!("={text}*"),
        StringMatch::Regex(pattern) => format!("~{}", pattern.as_str()),
        StringMatch::Present => "?".into(),
    }
}

/// `prefix /a method=GET x-b=1 -> 90 outbound|80|v1|h, 10 outbound|80|v2|h`.
fn route_line(route: &Route) -> String {
    let mut line = match &route.matches.path {
        PathMatch::Any => "any".to_owned(),
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(path) => format!("prefix {path}"),
        PathMatch::Regex(pattern) => format!("regex {}", pattern.as_str()),
        PathMatch::Connect => "CONNECT".into(),
    };
    if route.matches.ignore_case {
        line.push_str(" (any case)");
    }
    let fields = [
        ("method", &route.matches.method),
        ("scheme", &route.matches.scheme),
        ("authority", &route.matches.authority),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            _ = write!(line, " {name}{}", text_match(value));
        }
    }
    for HeaderMatch { name, value, invert } in &route.matches.headers {
        _ = write!(line, " {}{name}{}", if *invert { "!" } else { "" }, text_match(value));
    }
    for query in &route.matches.query {
        _ = write!(line, " ?{}{}", query.name, text_match(&query.value));
    }
    line.push_str(" -> ");
    match &route.action {
        RouteAction::Forward(forward) => line.push_str(&forward_text(forward)),
        RouteAction::Redirect(to) => {
            _ = write!(
                line,
                "redirect {} {:?} {:?} {:?}",
                to.status.as_u16(),
                to.scheme,
                to.authority,
                to.port
            );
            line.push_str(&rewrite_text(to.path.as_ref()));
        }
        RouteAction::Direct(response) => {
            _ = write!(
                line,
                "direct {} {:?}",
                response.status.as_u16(),
                String::from_utf8_lossy(&response.body)
            );
        }
    }
    line
}

fn forward_text(forward: &Forward) -> String {
    let split = forward.clusters.iter().map(|split| match &forward.clusters[..] {
        [only] => only.cluster.to_string(),
        _ => format!("{} {}", split.weight, split.cluster),
    });
    let mut text = split.collect::<Vec<_>>().join(", ");
    text.push_str(&rewrite_text(forward.path_rewrite.as_ref()));
    if let Some(authority) = &forward.authority_rewrite {
        _ = write!(text, " authority {authority}");
    }
    text
}

fn rewrite_text(rewrite: Option<&PathRewrite>) -> String {
    match rewrite {
        None => String::new(),
        Some(PathRewrite::Prefix(path)) => format!(" prefix-> {path}"),
        Some(PathRewrite::Full(path)) => format!(" path-> {path}"),
        Some(PathRewrite::Regex { pattern, substitution }) => {
            format!(" s/{}/{substitution}/", pattern.as_str())
        }
    }
}

fn cluster<'i>(ir: &'i Ir, name: &str) -> &'i Cluster {
    let found = ir.clusters.iter().find(|cluster| &*cluster.name == name);
    found.unwrap_or_else(|| panic!("no cluster {name} in {:#?}", cluster_names(ir)))
}

fn cluster_names(ir: &Ir) -> Vec<&str> {
    ir.clusters.iter().map(|cluster| &*cluster.name).collect()
}

/// `static 10.0.0.1:80 10.0.0.2:80`, `dns a:80`, …
fn endpoints(ir: &Ir, name: &str) -> String {
    let list = |kind: &str, endpoints: &[crate::ir::Endpoint]| {
        endpoints.iter().fold(kind.to_owned(), |text, endpoint| format!("{text} {}", endpoint.address))
    };
    match &cluster(ir, name).discovery {
        Discovery::Static(endpoints) => list("static", endpoints),
        Discovery::StrictDns(endpoints) => list("dns", endpoints),
        Discovery::LogicalDns(endpoint) => list("logical", std::slice::from_ref(endpoint)),
        Discovery::OriginalDestination => "original".into(),
        Discovery::DynamicForwardProxy => "forward".into(),
        Discovery::None => "none".into(),
    }
}

fn listener<'i>(ir: &'i Ir, name: &str) -> &'i Listener {
    let found = ir.listeners.iter().find(|listener| &*listener.name == name);
    let names = || ir.listeners.iter().map(|listener| &listener.name).collect::<Vec<_>>();
    found.unwrap_or_else(|| panic!("no listener {name} in {:?}", names()))
}

/// `9080 [10.0.0.1/32] sni=a tls http1 -> http TABLE`, one line a filter chain, the default last; not those of captured connections
/// to other ports.
fn chains(ir: &Ir, name: &str) -> Vec<String> {
    let listener = listener(ir, name);
    let default = listener.default_filter_chain.iter().map(|chain| ("default".to_owned(), chain));
    let chains = listener.filter_chains.iter().filter(|chain| !chain.matches.captured).map(|chain| {
        let matches = &chain.matches;
        let mut text = matches.destination_port.map_or_else(|| "*".to_owned(), |port| port.to_string());
        if !matches.destinations.is_empty() {
            _ = write!(text, " {:?}", matches.destinations);
        }
        for name in &matches.server_names {
            _ = write!(text, " sni={name}");
        }
        if let Some(transport) = matches.transport {
            _ = write!(text, " {transport:?}");
        }
        if !matches.application_protocols.is_empty() {
            text.push_str(" detected");
        }
        (text, chain)
    });
    let line = |(text, chain): (String, &crate::ir::FilterChain)| {
        let opened = if chain.tls.is_some() { " opened" } else { "" };
        match &chain.filter {
            NetworkFilter::Http(http) => format!("{text}{opened} -> http {}", http.route_configuration),
            NetworkFilter::Tcp(tcp) => {
                let split: Vec<_> =
                    tcp.clusters.iter().map(|c| format!("{} {}", c.weight, c.cluster)).collect();
                format!("{text}{opened} -> tcp {}", split.join(", "))
            }
        }
    };
    chains.chain(default).map(line).collect()
}

/// `LINE CODE message` of every diagnostic.
fn notes(lowered: &Lowered) -> Vec<String> {
    let line = |d: &Diagnostic| format!("{} {} {}", d.span.map_or(0, |span| span.line), d.code, d.message);
    lowered.diagnostics.iter().map(line).collect()
}

/// Asserts that exactly one diagnostic has this code, and that its text holds `part`.
#[track_caller]
fn assert_note(lowered: &Lowered, code: &str, part: &str) {
    let all = notes(lowered);
    let found: Vec<_> = all.iter().filter(|note| note.contains(code) && note.contains(part)).collect();
    assert_eq!(found.len(), 1, "{code} with `{part}` in {all:#?}");
}
