//! What it costs to decide: `cargo run --release -p sidle-authz --example decide_cost`.
//!
//! Prints the time of one decision with policy sets of growing size. Nothing is asserted: the figures are for whoever changes the
//! index, on an otherwise idle machine.

use http::HeaderName;
use serde_json::{Map, Value};
use sidle_authz::{Authorizer, Facts};
use sidle_model::ir::{
    AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, Origin, PathPattern, Test,
    TextPattern,
};
use sidle_routing::RequestView;
use std::{hint::black_box, net::IpAddr, sync::Arc, time::Instant};

struct Get(String);

impl RequestView for Get {
    fn method(&self) -> &str {
        "GET"
    }
    fn scheme(&self) -> &str {
        "http"
    }
    fn authority(&self) -> &str {
        "shop.default.svc.cluster.local"
    }
    fn path(&self) -> &str {
        &self.0
    }
    fn query(&self) -> Option<&str> {
        None
    }
    fn header<'a>(&'a self, _: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }
}

impl Facts for Get {
    type Request = Get;
    fn request(&self) -> Option<&Get> {
        Some(self)
    }
    fn principal(&self) -> Option<&str> {
        Some("cluster.local/ns/shop/sa/web-7")
    }
    fn source_ip(&self) -> Option<IpAddr> {
        Some([10, 1, 2, 3].into())
    }
    fn remote_ip(&self) -> Option<IpAddr> {
        self.source_ip()
    }
    fn destination_ip(&self) -> Option<IpAddr> {
        None
    }
    fn port(&self) -> Option<u16> {
        Some(8080)
    }
    fn server_name(&self) -> Option<&str> {
        None
    }
    fn claims(&self) -> Option<&Map<String, Value>> {
        None
    }
}

fn condition(test: Test) -> Condition {
    Condition { field: "field".into(), negated: false, test, origin: Origin::built_in() }
}

/// One rule: a principal, a method, and a path by which it can be found.
fn rule(at: usize) -> Arc<AuthorizationRule> {
    let text = |text: String| TextPattern::parse(&text);
    let source = Test::Principal(vec![text(format!("cluster.local/ns/shop/sa/web-{}", at % 10))]);
    let path =
        if at.is_multiple_of(2) { format!("/api/v1/item-{at}") } else { format!("/api/v1/item-{at}/*") };
    let path = Test::Path(vec![PathPattern::Text(text(path))]);
    let method = Test::Method(vec![text("GET".into()), text("POST".into())]);
    Arc::new(AuthorizationRule {
        id: format!("ns[shop]-policy[p]-rule[{at}]").into(),
        from: vec![vec![condition(source)]],
        to: vec![vec![condition(path), condition(method)]],
        when: Vec::new(),
        origin: Origin::built_in(),
    })
}

fn main() {
    const ROUNDS: u32 = 200_000;
    for count in [0, 1, 10, 100, 1_000, 10_000] {
        let policy = |action| AuthorizationPolicy {
            namespace: "shop".into(),
            name: "p".into(),
            root: false,
            action,
            dry_run: false,
            rules: (0..count).map(rule).collect(),
            origin: Origin::built_in(),
        };
        let policies = match count {
            0 => Vec::new(),
            _ => vec![policy(AuthorizationAction::Deny), policy(AuthorizationAction::Allow)],
        };
        let authorizer = Authorizer::new(Arc::new(policies));
        let request = Get("/public/index.html".into());
        let began = Instant::now();
        for _ in 0..ROUNDS {
            black_box(authorizer.decide(black_box(&request)));
        }
        let each = began.elapsed() / ROUNDS;
        println!("{count:>6} DENY and as many ALLOW rules: {each:?} a decision");
    }
}
