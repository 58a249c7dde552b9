//! Authorization: RBAC filters, as Istio writes them.
//!
//! In:  [`Authorization`].   Out: one filter an action: AUDIT, DENY of the root namespace, DENY, ALLOW. Policies that are only tried are the
//! filters' shadow rules.
//! Not here: CUSTOM (`ext_authz`); the second reading of what was sent, which Envoy has not, see the README.

use crate::value::{Object, extension};
use serde_json::{Map, Value, json};
use sidle_model::ir::{
    Authorization, AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Clause, Condition,
    HeaderField, PathPattern, Test, TextPattern, WorkloadPort,
};

/// The filters for HTTP, or for bytes.
pub(crate) struct Kind {
    /// The filter's name, under which its results are found too.
    pub name: &'static str,
    message: &'static str,
    stat_prefix: Option<&'static str>,
}

/// In a connection manager.
pub(crate) const HTTP: Kind = Kind {
    name: "envoy.filters.http.rbac",
    message: "extensions.filters.http.rbac.v3.RBAC",
    stat_prefix: None,
};
/// Before a TCP proxy.
pub(crate) const NETWORK: Kind = Kind {
    name: "envoy.filters.network.rbac",
    message: "extensions.filters.network.rbac.v3.RBAC",
    stat_prefix: Some("tcp."),
};

impl Kind {
    /// The configuration of a filter without rules.
    pub(crate) fn config(&self) -> Object {
        Object::typed(self.message).with_some("stat_prefix", self.stat_prefix)
    }

    pub(crate) fn filter(&self, config: Object) -> Value {
        extension(self.name, config)
    }
}

/// Which policies a filter is of.
type Wanted<'a> = &'a dyn Fn(&AuthorizationPolicy) -> bool;

/// The filters, in Istio's order.
pub(crate) fn filters(authorization: Option<&Authorization>, kind: &Kind) -> Vec<Value> {
    let Some(authorization) = authorization else { return Vec::new() };
    use AuthorizationAction::{Allow, Audit, Deny};
    let stages: [(&str, Wanted<'_>); 4] = [
        ("LOG", &|policy| policy.action == Audit),
        ("DENY", &|policy| policy.action == Deny && policy.root),
        ("DENY", &|policy| policy.action == Deny && !policy.root),
        ("ALLOW", &|policy| policy.action == Allow),
    ];
    let filter = |(action, wanted): (&str, Wanted<'_>)| {
        let of = |tried: bool| {
            let chosen = authorization.policies.iter();
            let chosen: Vec<_> = chosen.filter(|policy| wanted(policy) && policy.dry_run == tried).collect();
            (!chosen.is_empty()).then(|| rules(action, &chosen, &authorization.port, ""))
        };
        let (enforced, tried) = (of(false), of(true));
        let any = enforced.is_some() || tried.is_some();
        any.then(|| kind.filter(kind.config().with_some("rules", enforced).with_some("shadow_rules", tried)))
    };
    stages.into_iter().filter_map(filter).collect()
}

/// What Istio calls a rule of a CUSTOM policy.
pub(crate) fn custom_name(provider: &str, rule: &str) -> String {
    format!("istio-ext-authz-{provider}-{rule}")
}

/// Rules of these policies; `suffix` ends the names of those of CUSTOM policies.
pub(crate) fn rules(
    action: &str,
    policies: &[&AuthorizationPolicy],
    port: &WorkloadPort,
    suffix: &str,
) -> Value {
    let mut named = Map::new();
    for policy in policies {
        let name = |rule: &str| match &policy.action {
            AuthorizationAction::Custom(provider) => custom_name(provider, rule) + suffix,
            _ => rule.to_owned(),
        };
        for rule in &policy.rules {
            named.insert(name(&rule.id), self::policy(rule, port));
        }
        if policy.rules.is_empty() {
            let id = format!("ns[{}]-policy[{}]-rule[0]", policy.namespace, policy.name);
            let never = json!({"permissions": [{"not_rule": {"any": true}}], "principals": [{"not_id": {"any": true}}]});
            named.insert(name(&id), never);
        }
    }
    json!({"action": action, "policies": named})
}

/// What Envoy asks of the request is a permission, what it asks of the client a principal.
fn policy(rule: &AuthorizationRule, port: &WorkloadPort) -> Value {
    let permissions =
        alternatives(&rule.to, &rule.when, |condition| permission(condition, port), &PERMISSION);
    let principals = alternatives(&rule.from, &rule.when, principal, &PRINCIPAL);
    json!({"permissions": permissions, "principals": principals})
}

/// Names of the words that join permissions, or principals.
struct Words {
    and: (&'static str, &'static str),
    or: (&'static str, &'static str),
    not: &'static str,
}

const PERMISSION: Words = Words { and: ("and_rules", "rules"), or: ("or_rules", "rules"), not: "not_rule" };
const PRINCIPAL: Words = Words { and: ("and_ids", "ids"), or: ("or_ids", "ids"), not: "not_id" };

fn alternatives(
    clauses: &[Clause],
    when: &Clause,
    values: impl Fn(&Condition) -> Option<Vec<Value>>,
    words: &Words,
) -> Vec<Value> {
    let condition = |condition: &Condition| {
        let any = json!({words.or.0: {words.or.1: values(condition)?}});
        Some(if condition.negated { json!({words.not: any}) } else { any })
    };
    let clause = |clause: &Clause| {
        let all: Vec<_> = clause.iter().chain(when).filter_map(condition).collect();
        let all = if all.is_empty() { vec![json!({"any": true})] } else { all };
        json!({words.and.0: {words.and.1: all}})
    };
    match clauses {
        [] => vec![clause(&Clause::new())],
        several => several.iter().map(clause).collect(),
    }
}

/// The values of a condition on the request; `None`: it is one on the client.
fn permission(condition: &Condition, port: &WorkloadPort) -> Option<Vec<Value>> {
    Some(match &condition.test {
        Test::Host(patterns) => {
            let matcher = |pattern| header(":authority", pattern, true);
            patterns.iter().map(|pattern| json!({"header": matcher(pattern)})).collect()
        }
        Test::Method(patterns) => {
            patterns.iter().map(|pattern| json!({"header": header(":method", pattern, false)})).collect()
        }
        Test::Path(patterns) => patterns.iter().map(path).collect(),
        Test::Port(ports) => ports.iter().map(|wanted| destination_port(*wanted, port)).collect(),
        Test::DestinationIp(networks) => {
            networks.iter().map(|network| json!({"destination_ip": range(network)})).collect()
        }
        Test::ServerName(patterns) => {
            patterns.iter().map(|pattern| json!({"requested_server_name": text(pattern, "")})).collect()
        }
        _ => return None,
    })
}

fn path(pattern: &PathPattern) -> Value {
    match pattern {
        PathPattern::Text(pattern) => json!({"url_path": {"path": text(pattern, "")}}),
        PathPattern::Template(template) => {
            let operators = template.as_str().replace("{**}", "**").replace("{*}", "*");
            let config = Object::typed("extensions.path.match.uri_template.v3.UriTemplateMatchConfig")
                .with("path_template", operators);
            json!({"uri_template": extension("envoy.path.match.uri_template.uri_template_matcher", config)})
        }
    }
}

/// Where all connections are for one port, that is known now.
fn destination_port(wanted: u16, port: &WorkloadPort) -> Value {
    match port {
        WorkloadPort::Fixed(port) if *port == wanted => json!({"any": true}),
        WorkloadPort::Fixed(_) => json!({"not_rule": {"any": true}}),
        WorkloadPort::OfConnection | WorkloadPort::OfCluster(_) => json!({"destination_port": wanted}),
    }
}

/// The values of a condition on the client; `None`: it is one on the request.
fn principal(condition: &Condition) -> Option<Vec<Value>> {
    let named = |matcher: Value| json!({"authenticated": {"principal_name": matcher}});
    let by = |expression: String| named(json!({"safe_regex": {"regex": expression}}));
    Some(match &condition.test {
        Test::Principal(patterns) => {
            patterns.iter().map(|pattern| named(text(pattern, "spiffe://"))).collect()
        }
        Test::Namespace(globs) => {
            let expression = |text: &str| format!(".*/ns/{}/.*", escape(text).replace("\\*", ".*"));
            globs.iter().map(|glob| by(expression(glob.as_str()))).collect()
        }
        Test::ServiceAccount(accounts) => {
            let expression = |account: &str| {
                let (namespace, name) = account.split_once('/').unwrap_or(("", account));
                format!("spiffe://.+/ns/{}/(.+/|)sa/{}(/.+)?", escape(namespace), escape(name))
            };
            accounts.iter().map(|account| by(expression(account))).collect()
        }
        Test::TrustDomain(patterns) => {
            let expression = |pattern: &TextPattern| {
                let pattern = pattern.to_string();
                format!("spiffe://{}/.*", escape(&pattern).replace("\\*", "[^/]*"))
            };
            patterns.iter().map(|pattern| by(expression(pattern))).collect()
        }
        Test::SourceIp(networks) => {
            networks.iter().map(|network| json!({"direct_remote_ip": range(network)})).collect()
        }
        Test::RemoteIp(networks) => {
            networks.iter().map(|network| json!({"remote_ip": range(network)})).collect()
        }
        Test::Header(name, patterns) => patterns
            .iter()
            .map(|pattern| json!({"header": header(header_name(name), pattern, false)}))
            .collect(),
        Test::RequestPrincipal(pairs) => {
            let both = |(issuer, subject): &(TextPattern, TextPattern)| json!({"and_ids": {"ids": [claim(&["iss"], issuer), claim(&["sub"], subject)]}});
            pairs.iter().map(both).collect()
        }
        Test::Claim(path, patterns) => {
            let path: Vec<&str> = path.iter().map(|name| &**name).collect();
            patterns.iter().map(|pattern| claim(&path, pattern)).collect()
        }
        _ => return None,
    })
}

/// A claim, or an item of it if it is a list.
fn claim(path: &[&str], pattern: &TextPattern) -> Value {
    let keys: Vec<_> = ["payload"].iter().chain(path).map(|key| json!({"key": key})).collect();
    let one = json!({"string_match": text(pattern, "")});
    let either = json!({"or_match": {"value_matchers": [&one, {"list_match": {"one_of": &one}}]}});
    let matcher = json!({"filter": "envoy.filters.http.jwt_authn", "path": keys, "value": either});
    json!({"sourced_metadata": {"metadata_matcher": matcher, "metadata_source": "DYNAMIC"}})
}

fn header_name(name: &HeaderField) -> &str {
    match name {
        HeaderField::Method => ":method",
        HeaderField::Path => ":path",
        HeaderField::Authority => ":authority",
        HeaderField::Scheme => ":scheme",
        HeaderField::Status => ":status",
        HeaderField::Named(name) => name.as_str(),
    }
}

fn header(name: &str, pattern: &TextPattern, ignore_case: bool) -> Value {
    if *pattern == TextPattern::Present {
        return json!({"name": name, "present_match": true});
    }
    let mut matcher = text(pattern, "");
    if ignore_case {
        matcher["ignore_case"] = true.into();
    }
    json!({"name": name, "string_match": matcher})
}

/// A `StringMatcher`, for texts that begin with `scheme`.
fn text(pattern: &TextPattern, scheme: &str) -> Value {
    match pattern {
        TextPattern::Exact(text) => json!({"exact": format!("{scheme}{text}")}),
        TextPattern::Prefix(text) => json!({"prefix": format!("{scheme}{text}")}),
        TextPattern::Suffix(text) if scheme.is_empty() => json!({"suffix": &**text}),
        TextPattern::Suffix(text) => json!({"safe_regex": {"regex": format!("{scheme}.*{}", escape(text))}}),
        TextPattern::Present => json!({"safe_regex": {"regex": ".+"}}),
    }
}

fn range(network: &ipnet::IpNet) -> Value {
    json!({"address_prefix": network.addr().to_string(), "prefix_len": network.prefix_len()})
}

/// Text that stands for itself in an expression.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
