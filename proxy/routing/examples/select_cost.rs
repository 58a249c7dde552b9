//! What it costs to select a route: `cargo run --release -p sidle-routing --example select_cost`.
//!
//! Prints the time of one `select` in tables of growing size. Nothing is asserted: the figures are for whoever changes the
//! index, on an otherwise idle machine.

use http::HeaderName;
use sidle_model::ir;
use sidle_routing::{RequestView, RouteTable};
use std::{convert::Infallible, hint::black_box, sync::Arc, time::Instant};

struct Get {
    authority: String,
    path: String,
}

impl RequestView for Get {
    fn method(&self) -> &str {
        "GET"
    }
    fn scheme(&self) -> &str {
        "http"
    }
    fn authority(&self) -> &str {
        &self.authority
    }
    fn path(&self) -> &str {
        &self.path
    }
    fn query(&self) -> Option<&str> {
        None
    }
    fn header<'a>(&'a self, _: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }
}

/// The path of a route; every tenth route is a regular expression, the last takes everything.
fn path(kind: usize, at: usize, count: usize) -> ir::PathMatch {
    let text = format!("/api/v1/service-{at}");
    match kind {
        _ if at + 1 == count => ir::PathMatch::Any,
        0 => ir::PathMatch::Exact(text.into()),
        1 => ir::PathMatch::Prefix(text.into()),
        _ => ir::PathMatch::Regex(ir::Pattern::new(&format!("{text}/[0-9]+")).expect("a regular expression")),
    }
}

fn route(path: ir::PathMatch) -> Arc<ir::Route> {
    let matches = ir::RouteMatch {
        path,
        ignore_case: false,
        scheme: None,
        method: None,
        authority: None,
        headers: Vec::new(),
        query: Vec::new(),
        claims: Vec::new(),
    };
    Arc::new(ir::Route {
        name: "default".into(),
        matches,
        action: ir::RouteAction::Direct(ir::DirectResponse {
            status: http::StatusCode::OK,
            body: Arc::from(&b""[..]),
        }),
        request_headers: Default::default(),
        response_headers: Default::default(),
        fault: None,
        cors: None,
        origin: ir::Origin::built_in(),
    })
}

fn table(hosts: usize, routes: usize, kind: usize) -> RouteTable<()> {
    let routes: Vec<_> = (0..routes).map(|at| route(path(kind, at, routes))).collect();
    let virtual_hosts = (0..hosts).map(|at| {
        let name = format!("service-{at}.default.svc.cluster.local");
        let pattern = if at % 10 == 9 { format!("*.{name}") } else { name.clone() };
        Arc::new(ir::VirtualHost {
            name: name.into(),
            domains: ir::HostPattern::new(&pattern).into_iter().collect(),
            routes: if at < 10 { routes.clone() } else { vec![route(ir::PathMatch::Any)] },
            origin: ir::Origin::built_in(),
        })
    });
    let virtual_hosts = virtual_hosts.collect();
    let config = ir::RouteConfiguration { name: "80".into(), virtual_hosts, ignore_port_in_host: true };
    RouteTable::build(&config, |_| Ok::<_, Infallible>(())).unwrap_or_else(|never| match never {})
}

/// Nanoseconds of one `select`, averaged over requests that hit everywhere; the best of several rounds, as the machine does
/// other things too.
fn measure(table: &RouteTable<()>, requests: &[Get]) -> f64 {
    let round = || {
        let begin = Instant::now();
        for request in requests {
            black_box(table.select(black_box(request)));
        }
        begin.elapsed().as_nanos() as f64 / requests.len() as f64
    };
    (0..200).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("{:>7} {:>7} {:>7} {:>10}", "hosts", "routes", "kind", "ns/select");
    for (kind, name) in ["exact", "prefix", "regex"].into_iter().enumerate() {
        for (hosts, routes) in [(10, 10), (10_000, 10), (10, 1_000), (10_000, 1_000)] {
            let table = table(hosts, routes, kind);
            let requests: Vec<_> = (0..1_000)
                .map(|at| Get {
                    authority: format!("service-{}.default.svc.cluster.local:8080", at % 9),
                    path: format!("/api/v1/service-{}{}", (at * 7919) % routes, ["", "", "/12"][kind]),
                })
                .collect();
            println!("{hosts:>7} {routes:>7} {name:>7} {:>10.0}", measure(&table, &requests));
        }
    }
}
