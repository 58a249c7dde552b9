//! Requests by chance, made from the routes of an export so that they are hit, nearly hit and missed.

use super::{
    configuration::{EXPRESSIONS, PATHS, USERS},
    random::Random,
};
use serde_json::Value;
use sidle_test_support::{
    client::{Answer, Client, collect, request},
    echo::full,
};
use std::{fmt, net::SocketAddr};

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Found again in the access log.
    pub id: String,
    /// The listener's port in the configuration.
    pub port: u16,
    /// Whether the listener only carries bytes, and so writes no log line that tells requests apart.
    pub tcp: bool,
    pub http2: bool,
    /// Whether it names its whole target, as clients of an HTTP proxy do.
    pub absolute: bool,
    pub method: String,
    pub authority: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: &'static str,
}

/// A place to send to: a listener's port, and the virtual hosts behind it; none behind one that only carries bytes.
pub struct Target<'a> {
    pub port: u16,
    pub hosts: Vec<&'a Value>,
}

impl Ask {
    /// A request to one of `targets`, or to `upstream` itself.
    pub fn random(random: &mut Random, id: String, targets: &[Target<'_>], upstream: SocketAddr) -> Self {
        let target = &targets[random.below(targets.len())];
        let mut ask = Ask {
            id,
            port: target.port,
            tcp: target.hosts.is_empty(),
            http2: random.percent(25),
            absolute: false,
            method: "GET".into(),
            authority: "bytes.test".into(),
            path: random.pick(&PATHS).into(),
            headers: Vec::new(),
            body: "",
        };
        if ask.tcp {
            return ask;
        }
        let host = random_host(random, &target.hosts);
        ask.authority = authority(random, host, upstream);
        ask.absolute = !ask.http2 && random.percent(10);
        let requests = |route: &&Value| route["match"]["connect_matcher"].is_null();
        let routes: Vec<&Value> = host["routes"].as_array().into_iter().flatten().filter(requests).collect();
        if !routes.is_empty() {
            let route = random_route(random, &routes);
            ask.satisfy(random, &route["match"]);
            ask.provoke(random, route);
        }
        ask.disturb(random);
        ask.wish(random);
        ask
    }

    /// Mostly brings one of these tokens, as it is or broken.
    pub fn bring_token(&mut self, random: &mut Random, tokens: &[&str]) {
        if self.tcp || random.percent(20) {
            return;
        }
        let token = random.pick(tokens).to_string();
        let token = match random.below(6) {
            0 => token + ".x",
            1 => token.replacen("eyJ", "eyX", 1),
            2 => token.split('.').next().unwrap_or_default().to_owned(),
            _ => token,
        };
        match random.percent(30) {
            true => self.add_query(&format!("access_token={token}")),
            false => self.headers.push(("authorization".into(), format!("Bearer {token}"))),
        }
    }

    /// Does what most of the conditions of `matches` want.
    fn satisfy(&mut self, random: &mut Random, matches: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(path) = text(&matches["path"]) {
            self.path = path;
        } else if let Some(prefix) = text(&matches["prefix"]).filter(|prefix| prefix != "/") {
            self.path = prefix + random.pick(&["", "/more", "more", "1"]);
        } else if let Some(regex) = text(&matches["safe_regex"]["regex"]) {
            self.path = sample(&regex).filter(|sample| sample.starts_with('/')).unwrap_or("/").to_owned();
        }
        for header in matches["headers"].as_array().into_iter().flatten() {
            let Some(value) = wanted(random, header) else { continue };
            match header["name"].as_str().unwrap() {
                ":method" => self.method = value,
                ":authority" | ":scheme" => {}
                name if header["invert_match"] != true || random.percent(30) => {
                    self.headers.push((name.to_owned(), value));
                }
                _ => {}
            }
        }
        for parameter in matches["query_parameters"].as_array().into_iter().flatten() {
            let value = wanted(random, parameter).unwrap_or_default();
            self.add_query(&format!("{}={value}", parameter["name"].as_str().unwrap()));
        }
    }

    /// Asks for what `route` has a policy for: a timeout, retries, another origin.
    fn provoke(&mut self, random: &mut Random, route: &Value) {
        let action = &route["route"];
        if action["timeout"].as_str().is_some_and(|timeout| timeout != "0s") && random.percent(50) {
            self.add_query("delay=1400ms");
        }
        let retries = action["retry_policy"]["retry_on"].as_str().unwrap_or_default();
        if retries.contains('5') || retries.contains("gateway-error") {
            self.add_query(random.pick(&["fail=1", "fail=2", "status=503", "status=418", "reset", "v=0"]));
        }
        if !route["typed_per_filter_config"]["envoy.filters.http.cors"].is_null() && random.percent(70) {
            self.headers.push(("origin".into(), origin(random).into()));
            if random.percent(50) {
                self.method = "OPTIONS".into();
                self.headers.push(("access-control-request-method".into(), "GET".into()));
            }
        }
    }

    /// Changes a thing or two, so that conditions nearly hold.
    fn disturb(&mut self, random: &mut Random) {
        match random.below(14) {
            0 => self.path = swap_case(&self.path),
            1 => self.path = self.path.replacen('/', "//", 1),
            2 => self.path = format!("/x/..{}", self.path),
            3 => self.method = random.pick(&["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]).into(),
            4 => self.headers.push(("x-user".into(), random.pick(&USERS).into())),
            5 => {
                self.headers.push(("x-other".into(), random.pick(&USERS).into()));
                self.headers.push(("x-other".into(), random.pick(&USERS).into()));
            }
            6 => self.add_query(random.pick(&["v=1", "v=", "v", "v=123", "v=1234", "v=2&v=1", "w=%31"])),
            7 => self.authority = self.authority.to_ascii_uppercase(),
            _ => {}
        }
        match random.below(12) {
            0 if !self.headers.iter().any(|(name, _)| name == "origin") => {
                self.headers.push(("origin".into(), origin(random).into()));
            }
            1 => {
                self.method = "POST".into();
                self.headers.push(("content-type".into(), "application/grpc".into()));
                self.headers.push(("te".into(), "trailers".into()));
                self.http2 = true;
                self.absolute = false;
            }
            _ => {}
        }
        if matches!(&*self.method, "POST" | "PUT" | "PATCH") {
            self.body = random.pick(&["", "body"]);
        }
    }

    /// Asks the upstream for something unusual; see the echo upstream's replies.
    fn wish(&mut self, random: &mut Random) {
        match random.below(32) {
            0 | 1 => self.add_query("status=503"),
            2 => self.add_query("status=418"),
            3 => self.add_query("fail=1"),
            4 => self.add_query("fail=2"),
            5 => self.add_query("delay=1400ms"),
            6 => self.add_query("reset"),
            _ => {}
        }
    }

    fn add_query(&mut self, pair: &str) {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(pair);
    }

    /// Sends it to `address` on a connection of its own.
    ///
    /// # Errors
    /// Says how the answer broke off.
    pub async fn send(&self, address: SocketAddr) -> Result<Answer, String> {
        let mut client = match self.http2 {
            true => Client::http2(address).await,
            false => Client::http1(address).await,
        };
        let mut builder = request(&self.method, &self.authority, &self.path).header("x-oracle", &self.id);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let request = builder.body(full(self.body)).unwrap();
        if !self.absolute {
            return client.try_exchange(request).await.map_err(|error| error.to_string());
        }
        let mut request = request;
        request.headers_mut().insert("host", self.authority.parse().unwrap());
        let response = client.send_as_it_is(request).await.map_err(|error| error.to_string())?;
        collect(response).await.map_err(|error| error.to_string())
    }
}

/// The command that repeats it.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.http2 { "--http2-prior-knowledge" } else { "--http1.1" };
        let method = if self.method == "HEAD" { "--head".into() } else { format!("-X {}", self.method) };
        write!(f, "curl -i {version} --path-as-is {method} -H 'Host: {}'", self.authority)?;
        for (name, value) in &self.headers {
            // curl drops a header without a value, unless a semicolon ends it.
            if value.is_empty() { write!(f, " -H '{name};'")? } else { write!(f, " -H '{name}: {value}'")? }
        }
        if !self.body.is_empty() {
            write!(f, " -d '{}'", self.body)?;
        }
        match self.absolute {
            true => write!(f, " -x http://127.0.0.1:{} 'http://{}{}'", self.port, self.authority, self.path),
            false => write!(f, " 'http://127.0.0.1:{}{}'", self.port, self.path),
        }
    }
}

/// Named hosts more often than the one that answers to every name.
fn random_host<'a>(random: &mut Random, hosts: &[&'a Value]) -> &'a Value {
    let host = hosts[random.below(hosts.len())];
    match host["domains"][0] == "*" && random.percent(75) {
        true => hosts[random.below(hosts.len())],
        false => host,
    }
}

/// Earlier routes a little more often: the last one is hit by all that misses.
fn random_route<'a>(random: &mut Random, routes: &[&'a Value]) -> &'a Value {
    let first = random.below(routes.len());
    let second = random.below(routes.len());
    routes[first.min(second)]
}

/// A host that the virtual host answers to.
fn authority(random: &mut Random, host: &Value, upstream: SocketAddr) -> String {
    let domains = host["domains"].as_array().unwrap();
    let domain = domains[random.below(domains.len())].as_str().unwrap();
    if host["name"] == "allow_any" {
        return upstream.to_string();
    }
    if domain == "*" {
        return random.pick(&["any.test", "any.test:8080"]).into();
    }
    domain.replacen('*', "sub", 1)
}

/// A value that a header or query condition holds for.
fn wanted(random: &mut Random, condition: &Value) -> Option<String> {
    let matcher = &condition["string_match"];
    if let Some(exact) = matcher["exact"].as_str() {
        return Some(exact.to_owned());
    }
    if let Some(prefix) = matcher["prefix"].as_str() {
        return Some(format!("{prefix}{}", random.pick(&["", "x"])));
    }
    match matcher["safe_regex"]["regex"].as_str() {
        Some(regex) => Some(sample(regex).unwrap_or("x").to_owned()),
        None => Some(random.pick(&["x", ""]).to_owned()),
    }
}

/// A text that `regex` matches, where one is known.
fn sample(regex: &str) -> Option<&'static str> {
    EXPRESSIONS.iter().find(|(expression, _)| *expression == regex).map(|(_, sample)| *sample)
}

fn origin(random: &mut Random) -> &'static str {
    random.pick(&["https://good.test", "https://evil.example", "null", "https://goodness.test"])
}

fn swap_case(text: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(swap).collect()
}
