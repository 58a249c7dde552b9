//! What `sidle explain` found, as data: `-o json` prints it, `print` tells it.
//!
//! In:  the IR, a listener, a request.   Out: a [`Report`].
//! Not here: the choice itself (`sidle-routing`).

use super::{
    authorization::Authorization, connection, outcome::Outcome, own::Asked, place, request::Request,
};
use crate::cli::{
    client::Client,
    received::{self, Admitted, Received},
    tokens::{self, Judged},
};
use serde::Serialize;
use sidle_model::ir::{
    Admission, Direction, Ir, JwtProvider, Listener, LocalRateLimit, NetworkFilter, RateLimit, RateLimitBy,
    RateLimitKey, TokenBucket, Trust,
};
use sidle_routing::{Explanation, RouteTable, Verdict, host::normalise};
use std::convert::Infallible;

/// Why a request goes where it goes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `GET http://reviews:9080/x`.
    pub request: String,
    /// What was assumed.
    pub notes: Vec<String>,
    /// The listener's name.
    pub listener: String,
    /// Its address.
    pub address: String,
    /// What the application's ports take, where the request comes in from the mesh: `port 8080 STRICT  a.yaml:7`.
    pub mtls: Vec<String>,
    /// The filter chain; `None`: the connection is closed.
    pub filter_chain: Option<String>,
    /// What authorization policies make of it; `None`: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Whose tokens are verified; a request with another's is refused, one without any is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenIssuer>,
    /// RateLimitPolicies that hold for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<String>,
    /// The route table; `None`: it is not HTTP.
    pub route_configuration: Option<String>,
    /// The virtual host; `None`: none covers the request's host.
    pub virtual_host: Option<Host>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// What happens to the request.
    pub outcome: Outcome,
}

/// Somebody whose tokens are verified.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenIssuer {
    /// `iss`.
    pub issuer: String,
    /// The RequestAuthentication.
    pub resource: String,
    /// Where the rule is written.
    pub origin: String,
}

/// A virtual host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// What the request's host was looked up as.
    pub host: String,
    /// The domain that covers it best.
    pub domain: String,
    /// Whose domain it is.
    pub name: String,
    /// The resource that made it.
    pub resource: String,
    /// Where that is written.
    pub origin: String,
    /// Less specific domains that cover the host too: `*.shop (name)`.
    pub others: Vec<String>,
}

/// A rule and what became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub origin: String,
    /// What became of it.
    pub verdict: RuleVerdict,
    /// The first condition that did not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RuleVerdict {
    /// The first that matches.
    Wins,
    /// It does not match.
    Differs,
    /// A rule before it won.
    NotReached,
    /// Of a connection: it would hold, too, and another is more specific, wherever that stands.
    LessSpecific,
}

/// A condition that did not hold.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// `headers[x-user]`.
    pub field: String,
    /// `exact "jason"`.
    pub wanted: String,
    /// What the request has.
    pub found: Option<String>,
}

impl TokenIssuer {
    fn of(provider: &JwtProvider) -> Self {
        TokenIssuer {
            issuer: provider.issuer.to_string(),
            resource: provider.origin.resource.to_string(),
            origin: provider.origin.to_string(),
        }
    }
}

impl Report {
    /// Explains what `listener` does with `request` of `client`.
    pub fn new(ir: &Ir, listener: &Listener, request: &Request, client: &Client) -> Report {
        let mut notes = Vec::new();
        let tunnel;
        let request = if listener.direction == Direction::Outbound && request.scheme == "https" {
            notes
                .push("an https client of a proxy asks for a tunnel; what is inside stays unseen".to_owned());
            tunnel = request.tunnel();
            &tunnel
        } else {
            request
        };
        let mut client = client.clone();
        let admitted = ir.settings.identity.as_ref().map(Admitted::by);
        let mut closed = false;
        let by_mtls = match reception(ir, listener, admitted.as_ref(), &client) {
            Received::Proven => listener.direction == Direction::Inbound,
            Received::Assumed => {
                notes.push(received::ASSUMED.to_owned());
                false
            }
            Received::Unproven => {
                if client.has_principal() {
                    notes.push(received::UNPROVEN.to_owned());
                }
                client = client.without_principal();
                false
            }
            Received::Closed(why) => {
                notes.push(why);
                closed = true;
                false
            }
        };
        let chain = place::filter_chain(listener, request, by_mtls, &client).filter(|_| !closed);
        let by_identity = chain.and_then(|chain| chain.tls.as_ref()).is_some_and(|tls| {
            listener.direction == Direction::Gateway && tls.client_ca == Some(Trust::Workload)
        });
        let refused = admitted.filter(|_| by_identity).and_then(|admitted| admitted.refusal(&client));
        let chain = chain.filter(|_| refused.is_none());
        notes.extend(refused);
        if listener.direction == Direction::Gateway
            && client.has_principal()
            && chain.is_some_and(|chain| chain.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none()))
        {
            notes
                .push("this server asks no client for a certificate: nobody's principal is known".to_owned());
            client = client.without_principal();
        }
        let client = &client;
        if request.is_connection() && listener.direction == Direction::Outbound && !request.has_address() {
            notes.push(
                "names are not looked up: for rules of addresses, give tls://ADDRESS:PORT --sni NAME"
                    .to_owned(),
            );
        }
        let mut report = Report {
            request: request.to_string(),
            notes,
            listener: listener.name.to_string(),
            address: listener.address.to_string(),
            mtls: inbound_mtls(ir, listener),
            filter_chain: chain.map(|chain| chain.name.to_string()),
            authorization: None,
            tokens: Vec::new(),
            rate_limits: Vec::new(),
            route_configuration: None,
            virtual_host: None,
            rules: Vec::new(),
            outcome: Outcome::Closed { reason: "no filter chain takes the connection" },
        };
        match chain.map(|chain| &chain.filter) {
            None => {}
            Some(NetworkFilter::Tcp(proxy)) => {
                if request.is_connection() {
                    let connection = place::connection(listener, request, by_mtls, client);
                    report.rules = connection::rules(listener, &connection, chain);
                }
                report.outcome = Outcome::tcp(ir, proxy);
                let client = client.with_claims(None);
                let authorize = |given| Authorization::of_bytes(given, listener, &client);
                report.judge(proxy.authorization.as_ref().map(authorize));
            }
            Some(NetworkFilter::Http(_)) if request.is_connection() => {
                let connection = place::connection(listener, request, by_mtls, client);
                report.rules = connection::rules(listener, &connection, chain);
                let reason = "HTTP is served here: ask for a request, `sidle explain METHOD URL`".to_owned();
                report.outcome = Outcome::Refused { status: 400, reason };
            }
            Some(NetworkFilter::Http(manager)) => {
                report.route_configuration = Some(manager.route_configuration.to_string());
                report.tokens = manager.admission.authentication.iter().map(TokenIssuer::of).collect();
                match request.admitted(&manager.options) {
                    Ok(mut admitted) => {
                        if admitted.path != request.path {
                            report.notes.push(format!("routed as {}", admitted.target()));
                        }
                        let asked_first = client.with_claims(None);
                        let (client, refused) = report.judge_token(&manager.admission, client, &admitted);
                        admitted.claims = client.claims().cloned();
                        report.explain_http(ir, &manager.route_configuration, listener, &admitted);
                        report.name_rate_limits(&manager.admission, &admitted);
                        let clients = (&asked_first, &client);
                        let authorize = |given| {
                            Authorization::of_request(given, listener, clients, &admitted, &report.outcome)
                        };
                        report.judge(manager.admission.authorization.as_ref().map(authorize));
                        if let Some(refused) = refused {
                            report.refuse_token(refused);
                        }
                    }
                    Err(reason) => report.outcome = Outcome::Refused { status: 400, reason },
                }
            }
        }
        Asked { ir, listener, request, client }.keep_from_own(&mut report.outcome, &mut report.notes);
        report.outcome.refuse_black_hole(listener.direction);
        report
    }

    /// The client with what is known of its token, and how that is refused, if it is.
    fn judge_token(
        &mut self,
        admission: &Admission,
        client: &Client,
        request: &Request,
    ) -> (Client, Option<Outcome>) {
        let providers = &admission.authentication;
        if client.claims().is_some() && providers.is_empty() {
            self.notes.push(tokens::UNSEEN.to_owned());
        }
        match tokens::judge(providers, client, request) {
            Judged::Passed(client) => (client, None),
            Judged::Refused { status, reason } => {
                (client.with_claims(None), Some(Outcome::Refused { status, reason }))
            }
        }
    }

    /// Who is asked before tokens are looked at still is; rules are not.
    fn refuse_token(&mut self, refused: Outcome) {
        self.rules.clear();
        if self.authorization.as_ref().is_some_and(|authorization| authorization.provider.is_some()) {
            return;
        }
        self.outcome = refused;
        if let Some(authorization) = &mut self.authorization {
            authorization.unasked();
        }
    }

    /// Those of its host and route.
    fn name_rate_limits(&mut self, admission: &Admission, request: &Request) {
        let Some(route) = self.rules.iter().find(|rule| rule.verdict == RuleVerdict::Wins) else { return };
        let host = normalise(&request.authority, true);
        let limits = admission.rate_limits.iter().filter(|limit| limit.holds_for(&host, &route.name));
        self.rate_limits = limits.map(rate_limit).collect();
    }

    /// What may not be done goes nowhere.
    fn judge(&mut self, authorization: Option<Authorization>) {
        if let Some(refusal) = authorization.as_ref().and_then(Authorization::refusal) {
            self.rules.clear();
            self.outcome = refusal;
        }
        self.authorization = authorization;
    }

    fn explain_http(&mut self, ir: &Ir, table: &str, listener: &Listener, request: &Request) {
        let Some(config) = ir.route_configurations.iter().find(|config| &*config.name == table) else {
            self.outcome = Outcome::no_route();
            return;
        };
        let Ok(table) = RouteTable::build(config, |_| Ok::<_, Infallible>(()));
        let explanation = table.explain(request);
        self.virtual_host = host(&explanation);
        self.rules = explanation.rules.iter().map(rule).collect();
        let port = place::listener_port(listener).unwrap_or_default();
        self.outcome = match explanation.winner {
            Some(winner) => Outcome::of(ir, &winner.route, request, port),
            None => Outcome::no_route(),
        };
    }
}

/// How the client is received: PeerAuthentications hold for the workload's ports alone.
fn reception(ir: &Ir, listener: &Listener, admitted: Option<&Admitted>, client: &Client) -> Received {
    if listener.direction != Direction::Inbound {
        return Received::Proven;
    }
    let own =
        place::listener_port(listener).filter(|port| ir.inbound_mtls.iter().any(|one| one.port == *port));
    let ports = received::at(&ir.inbound_mtls, client.port.or(own));
    received::received(&ports, admitted, client)
}

fn rate_limit(limit: &RateLimit) -> String {
    match &limit.by {
        RateLimitBy::Local(LocalRateLimit { key, bucket, .. }) => {
            let whose = match key {
                RateLimitKey::All => "all together".to_owned(),
                RateLimitKey::Principal => "each principal".to_owned(),
                RateLimitKey::Address => "each address".to_owned(),
                RateLimitKey::Header(name) => format!("each {name}"),
            };
            let TokenBucket { max_tokens, tokens_per_fill, fill_interval } = bucket;
            format!("{}: {tokens_per_fill} each {fill_interval:?}, {max_tokens} at once, {whose}", limit.name)
        }
        RateLimitBy::Service(service) => {
            format!("{}: what {} says in domain {}", limit.name, service.authority, service.domain)
        }
    }
}

fn inbound_mtls(ir: &Ir, listener: &Listener) -> Vec<String> {
    let ports = ir.inbound_mtls.iter().filter(|_| listener.direction == Direction::Inbound);
    ports.map(|port| format!("port {} {}  {}", port.port, port.mode, port.origin)).collect()
}

fn host(explanation: &Explanation<'_, ()>) -> Option<Host> {
    let (chosen, others) = explanation.candidates.split_first()?;
    let others = others.iter().map(|other| format!("{} ({})", other.pattern, other.virtual_host.name));
    Some(Host {
        host: explanation.host.clone(),
        domain: chosen.pattern.to_string(),
        name: chosen.virtual_host.name.to_string(),
        resource: chosen.virtual_host.origin.resource.to_string(),
        origin: chosen.virtual_host.origin.to_string(),
        others: others.collect(),
    })
}

fn rule(rule: &sidle_routing::Rule<'_, ()>) -> Rule {
    let (verdict, difference) = match &rule.verdict {
        Verdict::Wins => (RuleVerdict::Wins, None),
        Verdict::NotReached => (RuleVerdict::NotReached, None),
        Verdict::Differs(sidle_routing::Difference { field, wanted, found }) => {
            let difference =
                Difference { field: field.clone(), wanted: wanted.clone(), found: found.clone() };
            (RuleVerdict::Differs, Some(difference))
        }
    };
    Rule {
        name: rule.route.route.name.to_string(),
        origin: rule.route.route.origin.to_string(),
        verdict,
        difference,
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.method[..] {
            "CONNECT" => write!(f, "CONNECT {}", self.authority),
            "" => write!(f, "{}://{}", self.scheme, self.authority),
            method => write!(f, "{method} {}://{}{}", self.scheme, self.authority, self.target()),
        }
    }
}
