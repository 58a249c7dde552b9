//! Authorization: which policies hold for the node, and what they say.
//!
//! In:  AuthorizationPolicies of the root namespace and of the node's own.   Out: [`Authorization`] on every chain of inbound
//! and gateway listeners.
//! Invariants: policies add up, none replaces another. Where bytes are served, an ALLOW rule that asks for anything of HTTP's is left
//! out, and other rules keep what does not: the first lets less through, the others refuse more.
//! Not here: values that are none (`crate::check`), what decides (`sidle-authz`).
//! Source: R10, R13.
//! Read: [`apply`] -> `attribute` -> `trust_domain`.

pub(crate) mod attribute;
mod trust_domain;

use super::{Plan, attachment, extension_providers, notes::Notes, routes::Routes};
use crate::{
    config::{Config, Resource, Step},
    diagnostic::codes,
    ir::{
        self, Authorization, AuthorizationPolicy, AuthorizationRule, Clause, Condition, Direction, ExtAuthz,
        ExtAuthzTransport, FilterChain, Listener, NetworkFilter, Node, WorkloadPort,
    },
    istio::{self, AuthorizationAction},
    sidle::{ExtensionProvider, Proxy},
};
use attribute::Attribute;
use std::{collections::BTreeSet, sync::Arc};
use trust_domain::TrustDomains;

type Source = Resource<istio::AuthorizationPolicy>;

/// The policies of one node.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Where HTTP is served.
    pub of_http: Arc<Vec<AuthorizationPolicy>>,
    /// Where bytes are.
    pub of_bytes: Arc<Vec<AuthorizationPolicy>>,
    /// Whom CUSTOM policies name, if he can be asked about requests.
    pub asked_of_http: Option<Arc<str>>,
    /// Whom they name, if he can be asked about connections of bytes.
    pub asked_of_bytes: Option<Arc<str>>,
}

/// The policies that hold for a node.
pub(super) fn of_node(config: &Config, node: &Node, proxy: Option<&Proxy>) -> Policies {
    lowered(node, proxy, &holding(config, node, &mut Notes::default()))
}

/// Whom CUSTOM policies name, each once. Of several none is asked (R10).
fn named<'a>(holding: &[&'a Source]) -> BTreeSet<&'a str> {
    let custom = holding.iter().filter(|policy| policy.spec.action == AuthorizationAction::Custom);
    custom.map(|policy| provider_name(policy)).collect()
}

/// The only one of them.
fn only<'a>(named: &BTreeSet<&'a str>) -> Option<&'a str> {
    named.first().copied().filter(|_| named.len() == 1)
}

/// Those that hold, in the order in which they are asked.
fn holding<'a>(config: &'a Config, node: &Node, notes: &mut Notes) -> Vec<&'a Source> {
    let mut holds = |policy: &Source| attachment::holds(node, policy, policy.spec.attachment(), notes);
    let mut holding: Vec<_> = config.authorization_policies.iter().filter(|policy| holds(policy)).collect();
    holding.sort_by_cached_key(|policy| {
        let metadata = &policy.metadata;
        (metadata.namespace != node.root_namespace, metadata.namespace.clone(), metadata.name.clone())
    });
    holding
}

fn lowered(node: &Node, proxy: Option<&Proxy>, holding: &[&Source]) -> Policies {
    let domains = TrustDomains::of(proxy);
    let of_http: Vec<_> = holding.iter().map(|policy| lower(node, policy, &domains)).collect();
    let of_bytes = Arc::new(of_http.iter().map(for_bytes).collect());
    let asked = only(&named(holding)).and_then(|name| extension_providers::find(proxy?, name));
    let name = |provider: &ExtensionProvider| Arc::from(&*provider.name);
    Policies {
        of_http: Arc::new(of_http),
        of_bytes,
        asked_of_http: asked.map(name),
        asked_of_bytes: asked.filter(|provider| provider.envoy_ext_authz_grpc.is_some()).map(name),
    }
}

/// Puts what holds for the node on its listeners.
pub(super) fn apply(routes: &mut Routes<'_>, plan: &mut Plan) {
    let mesh = routes.mesh;
    let holding = holding(mesh.config, &mesh.node, &mut routes.notes);
    if holding.is_empty() {
        return;
    }
    let Policies { of_http, of_bytes, .. } =
        lowered(&mesh.node, mesh.proxy.map(|proxy| &*proxy.spec), &holding);
    let ports = &plan.inbound_ports;
    let providers = Providers::of(routes, &holding);
    let mut bytes_served = false;
    for listener in plan.listeners.iter_mut().filter(|listener| listener.direction != Direction::Outbound) {
        let uncaptured = &*listener.name == super::inbound::LISTENER;
        for chain in chains(listener) {
            let uncaptured =
                uncaptured && chain.matches.destination_port.is_none() && !chain.matches.captured;
            let with = |policies: &Arc<_>, providers: &[Arc<ExtAuthz>], port| {
                Some(Authorization { policies: Arc::clone(policies), providers: providers.to_vec(), port })
            };
            match &mut chain.filter {
                NetworkFilter::Http(http) => {
                    let port = match (uncaptured, ports.len()) {
                        (false, _) => WorkloadPort::OfConnection,
                        (true, 1) => ports
                            .values()
                            .copied()
                            .next()
                            .map_or(WorkloadPort::OfConnection, WorkloadPort::Fixed),
                        (true, _) => WorkloadPort::OfCluster(ports.clone()),
                    };
                    http.admission.authorization = with(&of_http, &providers.of_http, port);
                }
                NetworkFilter::Tcp(tcp) => {
                    bytes_served = true;
                    let port =
                        tcp.clusters.first().and_then(|only| ports.get(&only.cluster)).filter(|_| uncaptured);
                    let port = port.map_or(WorkloadPort::OfConnection, |port| WorkloadPort::Fixed(*port));
                    tcp.authorization = with(&of_bytes, &providers.of_bytes, port);
                }
            }
        }
    }
    for policy in holding {
        note_custom(mesh.config, policy, &providers, bytes_served, &mut routes.notes);
        if bytes_served {
            note_bytes(policy, &mut routes.notes);
        }
    }
}

/// Whom CUSTOM policies name, as far as they can be asked.
struct Providers<'a> {
    named: BTreeSet<&'a str>,
    of_http: Vec<Arc<ExtAuthz>>,
    of_bytes: Vec<Arc<ExtAuthz>>,
}

impl<'a> Providers<'a> {
    fn of(routes: &mut Routes<'_>, holding: &[&'a Source]) -> Self {
        let named = named(holding);
        let asked = only(&named).and_then(|name| extension_providers::ext_authz(&mut routes.clusters, name));
        let of_http: Vec<_> = asked.into_iter().map(Arc::new).collect();
        let speak_of_bytes = |provider: &&Arc<ExtAuthz>| provider.transport == ExtAuthzTransport::Grpc;
        let of_bytes = of_http.iter().filter(speak_of_bytes).cloned().collect();
        Providers { named, of_http, of_bytes }
    }
}

fn provider_name(policy: &Source) -> &str {
    policy.spec.provider.as_ref().map_or("", |provider| &provider.name)
}

fn chains(listener: &mut Listener) -> impl Iterator<Item = &mut FilterChain> {
    listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain)
}

fn lower(node: &Node, policy: &Source, domains: &TrustDomains) -> AuthorizationPolicy {
    let title: Arc<str> = policy.title().into();
    let metadata = &policy.metadata;
    let action = match policy.spec.action {
        AuthorizationAction::Allow => ir::AuthorizationAction::Allow,
        AuthorizationAction::Deny => ir::AuthorizationAction::Deny,
        AuthorizationAction::Audit => ir::AuthorizationAction::Audit,
        AuthorizationAction::Custom => ir::AuthorizationAction::Custom(provider_name(policy).into()),
    };
    let lowering = Lowering { policy, title: &title, domains };
    AuthorizationPolicy {
        namespace: metadata.namespace.as_str().into(),
        name: metadata.name.as_str().into(),
        root: metadata.namespace == node.root_namespace,
        action,
        dry_run: is_dry_run(policy),
        rules: (0..policy.spec.rules.len()).map(|at| Arc::new(lowering.rule(at))).collect(),
        origin: policy.origin_titled(title.clone(), &[]),
    }
}

/// As Go's `strconv.ParseBool`; `check` refuses other texts.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The annotation that makes a policy's result only told.
pub(crate) const DRY_RUN: &str = "istio.io/dry-run";

fn is_dry_run(policy: &Source) -> bool {
    policy.metadata.annotations.get(DRY_RUN).and_then(|text| parse_bool(text)).unwrap_or(false)
}

struct Lowering<'a> {
    policy: &'a Source,
    title: &'a Arc<str>,
    domains: &'a TrustDomains,
}

impl Lowering<'_> {
    fn rule(&self, at: usize) -> AuthorizationRule {
        let spec = &self.policy.spec.rules[at];
        let metadata = &self.policy.metadata;
        let from = spec.from.iter().enumerate().map(|(place, from)| {
            let source = from.source.as_ref();
            let lists = source.into_iter().flat_map(|source| source.lists());
            self.clause(at, [Step::Key("from"), Step::Index(place), Step::Key("source")], lists)
        });
        let to = spec.to.iter().enumerate().map(|(place, to)| {
            let operation = to.operation.as_ref();
            let lists = operation.into_iter().flat_map(|operation| operation.lists());
            self.clause(at, [Step::Key("to"), Step::Index(place), Step::Key("operation")], lists)
        });
        AuthorizationRule {
            id: format!("ns[{}]-policy[{}]-rule[{at}]", metadata.namespace, metadata.name).into(),
            from: from.collect(),
            to: to.collect(),
            when: self.when(at),
            origin: self.origin(at, &[]),
        }
    }

    fn when(&self, at: usize) -> Clause {
        let conditions = self.policy.spec.rules[at].when.iter().enumerate();
        let mut clause = Clause::new();
        for (place, condition) in conditions {
            let Ok(attribute) = Attribute::of_key(&condition.key) else { continue }; // `check` refuses it
            for (list, values, negated) in
                [("values", &condition.values, false), ("notValues", &condition.not_values, true)]
            {
                if !values.is_empty() {
                    let path = [Step::Key("when"), Step::Index(place), Step::Key(list)];
                    let field = format!("when[{place}].{list} of {}", condition.key);
                    clause.push(self.condition(at, &path, field, negated, &attribute, values));
                }
            }
        }
        clause
    }

    fn clause<'l>(
        &self,
        at: usize,
        [kind, place, part]: [Step<'_>; 3],
        lists: impl Iterator<Item = (&'static str, &'l [String], bool)>,
    ) -> Clause {
        let filled = lists.filter(|(_, values, _)| !values.is_empty());
        let conditions = filled.filter_map(|(list, values, negated)| {
            let attribute = Attribute::of_list(list)?;
            let path = [kind, place, part, Step::Key(list)];
            let (Step::Key(kind), Step::Index(place), Step::Key(part)) = (kind, place, part) else {
                return None;
            };
            let field = format!("{kind}[{place}].{part}.{list}");
            Some(self.condition(at, &path, field, negated, &attribute, values))
        });
        conditions.collect()
    }

    fn condition(
        &self,
        at: usize,
        path: &[Step<'_>],
        field: String,
        negated: bool,
        attribute: &Attribute,
        values: &[String],
    ) -> Condition {
        let test = attribute.test(values, &self.policy.metadata.namespace, self.domains);
        Condition { field: field.into(), negated, test, origin: self.origin(at, path) }
    }

    fn origin(&self, at: usize, path: &[Step<'_>]) -> ir::Origin {
        let path: Vec<_> =
            [Step::Key("rules"), Step::Index(at)].into_iter().chain(path.iter().copied()).collect();
        self.policy.origin_titled(self.title.clone(), &path)
    }
}

/// What is left of a policy where bytes are served.
fn for_bytes(policy: &AuthorizationPolicy) -> AuthorizationPolicy {
    let narrows = policy.action == ir::AuthorizationAction::Allow;
    let rules = policy.rules.iter().filter(|rule| !narrows || !asks_for_http(rule));
    AuthorizationPolicy { rules: rules.map(|rule| Arc::new(without_http(rule))).collect(), ..policy.clone() }
}

fn conditions(rule: &AuthorizationRule) -> impl Iterator<Item = &Condition> {
    rule.from.iter().chain(&rule.to).flatten().chain(&rule.when)
}

fn asks_for_http(rule: &AuthorizationRule) -> bool {
    conditions(rule).any(|condition| condition.test.is_http_only())
}

fn without_http(rule: &AuthorizationRule) -> AuthorizationRule {
    let keep = |clause: &Clause| -> Clause {
        clause.iter().filter(|condition| !condition.test.is_http_only()).cloned().collect()
    };
    AuthorizationRule {
        id: rule.id.clone(),
        from: rule.from.iter().map(keep).collect(),
        to: rule.to.iter().map(keep).collect(),
        when: keep(&rule.when),
        origin: rule.origin.clone(),
    }
}

fn note_custom(
    config: &Config,
    policy: &Source,
    providers: &Providers<'_>,
    bytes_served: bool,
    notes: &mut Notes,
) {
    if policy.spec.action != AuthorizationAction::Custom {
        return;
    }
    let name = provider_name(policy);
    let message = match () {
        () if providers.named.len() > 1 => {
            let names = providers.named.iter().copied().collect::<Vec<_>>().join("`, `");
            format!(
                "this workload's policies name several providers, `{names}`: none is asked, and what the rules match is refused"
            )
        }
        () if providers.of_http.is_empty() => {
            let defined =
                config.proxies.iter().any(|proxy| proxy.spec.provider_names().any(|one| one == name));
            if !defined {
                return; // `check` has said so
            }
            format!("provider `{name}` is another proxy's: what the rules match is refused")
        }
        () if bytes_served && providers.of_bytes.is_empty() => format!(
            "provider `{name}` is asked by HTTP, which has no words for connections of bytes: there, what the rules match is refused"
        ),
        () => return,
    };
    notes.warn(policy, codes::NOT_APPLIED, &[Step::Key("provider")], message);
}

/// Tells what becomes of rules where bytes are served (R10).
fn note_bytes(policy: &Source, notes: &mut Notes) {
    for (at, rule) in policy.spec.rules.iter().enumerate() {
        let lists = rule.from.iter().flat_map(|from| &from.source).flat_map(istio::Source::lists);
        let lists =
            lists.chain(rule.to.iter().flat_map(|to| &to.operation).flat_map(istio::Operation::lists));
        let of_lists = lists
            .filter(|(_, values, _)| !values.is_empty())
            .filter_map(|(list, ..)| Attribute::of_list(list));
        let of_keys = rule.when.iter().filter_map(|condition| Attribute::of_key(&condition.key).ok());
        if !of_lists.chain(of_keys).any(|attribute| attribute.is_http_only()) {
            continue;
        }
        let message = match policy.spec.action {
            AuthorizationAction::Allow => {
                "where bytes are served, this rule lets nobody through: it asks for what only HTTP has"
            }
            AuthorizationAction::Deny => {
                "where bytes are served, what this rule asks of HTTP is left out: it refuses more. Say `ports` to keep it to HTTP"
            }
            AuthorizationAction::Audit | AuthorizationAction::Custom => {
                "where bytes are served, what this rule asks of HTTP is left out: it holds for more"
            }
        };
        notes.warn(policy, codes::WIDENED, &[Step::Key("rules"), Step::Index(at)], message);
    }
}
