//! Random policies as users write them, and random requests: of few words, so that they meet often.

use http::HeaderName;
use serde_json::{Map, Value, json};
use sidle_authz::Facts;
use sidle_routing::{
    RequestView,
    path::{Normalization, normalise},
};
use std::net::IpAddr;

/// Manifests of one namespace's proxy.
pub struct Set {
    /// AuthorizationPolicies.
    pub policies: Vec<Value>,
    /// The mesh's own trust domain, then its aliases.
    pub domains: Vec<&'static str>,
}

impl Set {
    /// All of it, as one manifest.
    pub fn list(&self) -> Value {
        let proxy = json!({"apiVersion": "sidle.dev/v1", "kind": "Proxy", "metadata": {"name": "p"},
            "spec": {"trustDomain": self.domains[0], "trustDomainAliases": self.domains[1..]}});
        let items: Vec<_> = self.policies.iter().cloned().chain([proxy]).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    }
}

const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/a/sa/x",
    "td/ns/a/sa/x",
    "old/ns/b/sa/y",
    "td/ns/b/*",
    "*/sa/x",
    "*",
    "*d/ns/a/sa/x",
    "cluster.local/ns/b/*",
    "*/ns/a/sa/x",
    "other/ns/a/sa/x",
];
const NAMESPACES: &[&str] = &["a", "b", "a*", "*b", "*", "istio-system"];
const ACCOUNTS: &[&str] = &["x", "a/x", "b/y", "y", "cert-manager.io", "a/cert-manager.io", "v", "a/v"];
const DOMAINS: &[&str] = &["td", "old", "cluster.local", "t*", "*r", "*"];
const NETWORKS: &[&str] =
    &["10.0.0.0/8", "10.1.2.3", "192.168.0.0/16", "2001:db8::/32", "0.0.0.0/0", "::/0", "::1"];
const HOSTS: &[&str] = &["a.com", "A.com:80", "*.com", "a.*", "*", "b.net", "*:80"];
const PORTS: &[&str] = &["80", "8080", "443"];
const METHODS: &[&str] = &["GET", "POST", "P*", "*T", "*"];
const PATHS: &[&str] = &[
    "/a", "/a/*", "/a*", "*.js", "/a/{*}", "/a/{**}", "/{*}/b", "/{**}/b", "/a;v=1", "/a%2fb", "/a%2fb*",
    "*", "/", "/A", "/a/{*}/",
];
const VALUES: &[&str] = &["x", "y", "x*", "*y", "*", "x,y"];
const NAMES: &[&str] = &["a.com", "*.com", "b*", "*"];
const TOKENS: &[&str] = &["i/s", "i/*", "*/s", "*", "*s", "i*", "https://i/x/s", "i/s*"];

const KEYS: &[(&str, &[&str])] = &[
    ("request.headers[x-a]", VALUES),
    ("request.headers[X-B]", VALUES),
    ("request.headers[:method]", METHODS),
    ("request.headers[host]", HOSTS),
    ("source.ip", NETWORKS),
    ("remote.ip", NETWORKS),
    ("destination.ip", NETWORKS),
    ("destination.port", PORTS),
    ("connection.sni", NAMES),
    ("source.namespace", NAMESPACES),
    ("source.principal", PRINCIPALS),
    ("source.serviceAccount", ACCOUNTS),
    ("source.trustDomain", DOMAINS),
    ("request.auth.principal", TOKENS),
    ("request.auth.audiences", VALUES),
    ("request.auth.presenter", VALUES),
    ("request.auth.claims[g]", VALUES),
    ("request.auth.claims[scope]", VALUES),
    ("request.auth.claims[n][m]", VALUES),
];

pub struct Generator(fastrand::Rng);

impl Generator {
    pub fn new(seed: u64) -> Self {
        Generator(fastrand::Rng::with_seed(seed))
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.0.usize(..count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.usize(..from.len())]
    }

    /// One to three values; now and then so many that they are looked up.
    fn some(&mut self, from: &[&str]) -> Vec<Value> {
        let count = if self.one_in(12) { 9 } else { 1 + self.0.usize(..3) };
        (0..count).map(|_| self.pick(from).into()).collect()
    }

    pub fn policies(&mut self) -> Set {
        let count = if self.one_in(4) { 1 } else { 1 + self.0.usize(..8) };
        let policies = (0..count).map(|at| self.policy(at)).collect();
        let domains =
            self.pick(&[&["cluster.local"][..], &["td"], &["td", "old"], &["new", "td", "old"]]).to_vec();
        Set { policies, domains }
    }

    fn policy(&mut self, at: usize) -> Value {
        let namespace = self.pick(&["a", "a", "a", "istio-system", "b"]);
        let action = self.pick(&["ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT", "CUSTOM"]);
        let rules: Vec<_> = (0..1 + self.0.usize(..3)).map(|_| self.rule(action == "CUSTOM")).collect();
        let mut policy = json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": format!("p{at}"), "namespace": namespace},
            "spec": {"action": action, "rules": rules},
        });
        if action == "CUSTOM" {
            policy["spec"]["provider"] = json!({"name": format!("provider-{at}")});
        } else if self.one_in(5) {
            policy["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
        }
        if action == "ALLOW" && self.one_in(15) {
            policy["spec"] = json!({});
        }
        policy
    }

    fn rule(&mut self, custom: bool) -> Value {
        let mut rule = Map::new();
        if !self.one_in(3) {
            let from: Vec<_> =
                (0..1 + self.0.usize(..2)).map(|_| json!({"source": self.source(custom)})).collect();
            rule.insert("from".into(), from.into());
        }
        if !self.one_in(3) {
            let to: Vec<_> =
                (0..1 + self.0.usize(..2)).map(|_| json!({"operation": self.operation()})).collect();
            rule.insert("to".into(), to.into());
        }
        if self.one_in(3) {
            let when: Vec<_> = (0..1 + self.0.usize(..2)).map(|_| self.condition(custom)).collect();
            rule.insert("when".into(), when.into());
        }
        rule.into()
    }

    fn source(&mut self, custom: bool) -> Value {
        let of_peer: &[(&str, &str, &[&str])] = match self.one_in(2) {
            true => &[
                ("serviceAccounts", "notServiceAccounts", ACCOUNTS),
                ("trustDomains", "notTrustDomains", DOMAINS),
            ],
            false => {
                &[("principals", "notPrincipals", PRINCIPALS), ("namespaces", "notNamespaces", NAMESPACES)]
            }
        };
        let others: &[(&str, &str, &[&str])] =
            &[("ipBlocks", "notIpBlocks", NETWORKS), ("remoteIpBlocks", "notRemoteIpBlocks", NETWORKS)];
        let token: &[(&str, &str, &[&str])] = &[("requestPrincipals", "notRequestPrincipals", TOKENS)];
        let lists = if custom { others.to_vec() } else { [of_peer, others, token].concat() };
        self.lists(&lists)
    }

    fn operation(&mut self) -> Value {
        self.lists(&[
            ("hosts", "notHosts", HOSTS),
            ("ports", "notPorts", PORTS),
            ("methods", "notMethods", METHODS),
            ("paths", "notPaths", PATHS),
        ])
    }

    /// At least one of the lists.
    fn lists(&mut self, lists: &[(&str, &str, &[&str])]) -> Value {
        let mut object = Map::new();
        while object.is_empty() {
            for (positive, negative, values) in lists {
                if self.one_in(4) {
                    object.insert((*positive).into(), self.some(values).into());
                }
                if self.one_in(8) {
                    object.insert((*negative).into(), self.some(values).into());
                }
            }
        }
        object.into()
    }

    fn condition(&mut self, custom: bool) -> Value {
        let of_peer =
            |key: &str| key.starts_with("request.auth") || (key.starts_with("source.") && key != "source.ip");
        let (key, values) = loop {
            let (key, values) = self.pick(KEYS);
            if !custom || !of_peer(key) {
                break (key, values);
            }
        };
        let mut condition = json!({"key": key});
        let negative = self.one_in(3);
        if !negative || self.one_in(4) {
            condition["values"] = self.some(values).into();
        }
        if negative {
            condition["notValues"] = self.some(values).into();
        }
        condition
    }

    pub fn request(&mut self, bytes: bool) -> Request {
        let paths = [
            "/a",
            "/a/",
            "/a/b",
            "/a/b/",
            "/a;x",
            "//a",
            "/a%2fb",
            "/a%2Fb",
            "/a%3bx",
            "/x.js",
            "/x.js;y",
            "/a;v=1",
            "/A",
            "/",
            "/a//b",
            "/a%5cb",
            "/c/..;/a",
            "/a/%20",
            "/c%2f..%2fa",
            "/a/..%2fc",
            "/a/..%5c..%2fx.js",
            "/b/;/a",
            "/c/../a",
            "/./a",
            "/a/..",
            "/a/../c",
            "/c//../a",
            "/a/c//../b",
            "/c/%2e%2e/a",
            "/a/.;x/b",
            "/c/d/../../x.js",
            "/a%2fb/../c",
            "/../a;v=1",
            "/a/..//a",
        ];
        let how = self.pick(&[Normalization::None, Normalization::Base]);
        let path = normalise(self.pick(&paths), how).unwrap().into_owned();
        let http = Http {
            method: self.pick(&["GET", "POST", "PUT", "CONNECT"]),
            authority: self.pick(&[
                "a.com",
                "A.COM",
                "a.com:80",
                "a.com.",
                "a.com.:80",
                "b.net",
                "x.com:8080",
            ]),
            path,
            headers: self.headers(),
        };
        let addresses =
            ["10.1.2.3", "10.9.9.9", "192.168.1.1", "::ffff:10.1.2.3", "2001:db8::1", "::1", "1.1.1.1"];
        let mut address =
            || self.0.choice(addresses).map(|text| text.parse().unwrap()).filter(|_| self.0.u8(..8) > 0);
        let (source, remote, destination) = (address(), address(), address());
        Request {
            http: (!bytes).then_some(http),
            source,
            remote,
            destination,
            port: self.pick(&[Some(80), Some(8080), Some(9), None]),
            principal: self.pick(&[
                None,
                Some("cluster.local/ns/a/sa/x"),
                Some("td/ns/a/sa/x"),
                Some("old/ns/b/sa/y"),
                Some("other/ns/a/sa/x"),
                Some("td/ns/a/sa/cert-managerXio"),
                Some("td/ns/a/sa/cert-manager.io"),
                Some("td/ns/a/k/v/sa/x/more"),
                Some("td/ns/ab/sa/xy"),
                Some("td"),
            ]),
            server_name: self.pick(&[None, Some("a.com"), Some("b.net")]),
            claims: self.claims().filter(|_| !bytes),
        }
    }

    fn headers(&mut self) -> Vec<(HeaderName, &'static [u8])> {
        let values: &[&[u8]] = &[b"x", b"y", b"x1", b"zy", b"\xff", b"x\x80", b"", b"x,y", b"q, y", b", z"];
        let count = self.0.usize(..4);
        (0..count)
            .map(|_| (HeaderName::from_static(self.pick(&["x-a", "x-a", "x-b"])), self.pick(values)))
            .collect()
    }

    fn claims(&mut self) -> Option<Map<String, Value>> {
        if self.one_in(3) {
            return None;
        }
        let values = [
            json!("x"),
            json!("y x"),
            json!(["x", "z"]),
            json!(["q"]),
            json!([]),
            json!("x,y"),
            json!({"a": "x"}),
        ];
        let mut claims = Map::new();
        let issuer = self.pick(&["i", "https://i/x", "j"]);
        claims.insert("iss".into(), issuer.into());
        if !self.one_in(5) {
            claims.insert("sub".into(), self.pick(&["s", "t"]).into());
        }
        for name in ["aud", "azp", "g", "scope"] {
            if !self.one_in(3) {
                claims.insert(name.into(), values[self.0.usize(..values.len())].clone());
            }
        }
        if self.one_in(2) {
            claims.insert("n".into(), json!({"m": values[self.0.usize(..values.len())].clone()}));
        }
        Some(claims)
    }
}

/// A request, or a connection.
#[derive(Debug)]
pub struct Request {
    pub http: Option<Http>,
    pub source: Option<IpAddr>,
    pub remote: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    pub port: Option<u16>,
    pub principal: Option<&'static str>,
    pub server_name: Option<&'static str>,
    pub claims: Option<Map<String, Value>>,
}

#[derive(Debug)]
pub struct Http {
    pub method: &'static str,
    pub authority: &'static str,
    pub path: String,
    pub headers: Vec<(HeaderName, &'static [u8])>,
}

impl RequestView for Http {
    fn method(&self) -> &str {
        self.method
    }

    fn scheme(&self) -> &str {
        "http"
    }

    fn authority(&self) -> &str {
        self.authority
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        None
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let name = name.clone();
        self.headers.iter().filter(move |(key, _)| *key == name).map(|(_, value)| *value)
    }
}

impl Facts for Request {
    type Request = Http;

    fn request(&self) -> Option<&Http> {
        self.http.as_ref()
    }

    fn principal(&self) -> Option<&str> {
        self.principal
    }

    fn source_ip(&self) -> Option<IpAddr> {
        self.source
    }

    fn remote_ip(&self) -> Option<IpAddr> {
        self.remote
    }

    fn destination_ip(&self) -> Option<IpAddr> {
        self.destination
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn server_name(&self) -> Option<&str> {
        self.server_name
    }

    fn claims(&self) -> Option<&Map<String, Value>> {
        self.claims.as_ref()
    }
}
