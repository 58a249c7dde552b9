//! Why a decision is what it is.
//!
//! In:  the facts of a request.   Out: each policy and rule, in the order in which they count, with the conditions that did not hold.

use crate::{Authorizer, condition::Lean, facts::Facts, subject::View};
use sidle_model::ir::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Clause, Condition, Test};
use sidle_routing::RequestView;
use std::{net::IpAddr, sync::Arc};

/// Why a decision is what it is.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// Every policy, in the order in which they count.
    pub policies: Vec<PolicyReport<'a>>,
}

/// A policy.
#[derive(Debug)]
pub struct PolicyReport<'a> {
    /// As it is.
    pub policy: &'a AuthorizationPolicy,
    /// Its rules.
    pub rules: Vec<RuleReport<'a>>,
}

/// A rule.
#[derive(Debug)]
pub struct RuleReport<'a> {
    /// As it is.
    pub rule: &'a AuthorizationRule,
    /// The conditions because of which it does not hold: one of each alternative. Empty: it holds.
    pub failed: Vec<Failure<'a>>,
}

/// A condition that does not hold.
#[derive(Debug)]
pub struct Failure<'a> {
    /// As it is.
    pub condition: &'a Condition,
    /// `one of a, b`.
    pub wanted: String,
    /// What its values were compared with.
    pub found: Option<String>,
}

/// When a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Somebody is asked.
    Custom,
    /// It is told.
    Audit,
    /// It is refused.
    Deny,
    /// It is let through.
    Allow,
}

impl Stage {
    /// Of a policy.
    pub fn of(policy: &AuthorizationPolicy) -> Self {
        match policy.action {
            AuthorizationAction::Custom(_) => Stage::Custom,
            AuthorizationAction::Audit => Stage::Audit,
            AuthorizationAction::Deny => Stage::Deny,
            AuthorizationAction::Allow => Stage::Allow,
        }
    }
}

impl Authorizer {
    /// Asks every rule.
    pub fn explain(&self, facts: &impl Facts) -> Explanation<'_> {
        let view = View::new(facts);
        let mut policies: Vec<_> = self.policies().iter().collect();
        policies.sort_by_key(|policy| (Stage::of(policy), !policy.root));
        let report = |policy| PolicyReport { policy, rules: rules(policy, &view) };
        Explanation { policies: policies.into_iter().map(report).collect() }
    }
}

fn rules<'a, F: Facts>(policy: &'a AuthorizationPolicy, view: &View<'_, F>) -> Vec<RuleReport<'a>> {
    let lean = match Stage::of(policy) {
        Stage::Allow => Lean::All,
        Stage::Custom | Stage::Audit | Stage::Deny => Lean::Any,
    };
    let report = |rule: &'a Arc<AuthorizationRule>| {
        let failed = failures(rule, view, lean).into_iter().map(|condition| Failure {
            condition,
            wanted: wanted(condition),
            found: found(condition, view),
        });
        RuleReport { rule, failed: failed.collect() }
    };
    policy.rules.iter().map(report).collect()
}

/// The conditions because of which a rule does not hold: the first of each clause of the first part that fails.
fn failures<'r, F: Facts>(rule: &'r AuthorizationRule, view: &View<'_, F>, lean: Lean) -> Vec<&'r Condition> {
    let first = |clause: &'r Clause| {
        clause.iter().find(|given| !crate::condition::Condition::new(given).holds(view, lean))
    };
    for clauses in [&rule.from, &rule.to] {
        let failed: Vec<_> = clauses.iter().filter_map(first).collect();
        if !clauses.is_empty() && failed.len() == clauses.len() {
            return failed;
        }
    }
    first(&rule.when).into_iter().collect()
}

/// What the values of a condition were compared with.
fn found<F: Facts>(condition: &Condition, view: &View<'_, F>) -> Option<String> {
    let facts = view.facts;
    let address = |address: Option<IpAddr>| address.map(|address| address.to_string());
    let list = |texts: &[String]| Some(texts.join(", ")).filter(|text| !text.is_empty());
    match &condition.test {
        Test::Principal(_) | Test::Namespace(_) | Test::ServiceAccount(_) | Test::TrustDomain(_) => {
            facts.principal().map(str::to_owned)
        }
        Test::SourceIp(_) => address(facts.source_ip()),
        Test::RemoteIp(_) => address(facts.remote_ip()),
        Test::DestinationIp(_) => address(facts.destination_ip()),
        Test::Port(_) => facts.port().map(|port| port.to_string()),
        Test::ServerName(_) => facts.server_name().map(str::to_owned),
        Test::RequestPrincipal(_) => {
            view.request_principal().map(|(issuer, subject)| format!("{issuer}/{subject}"))
        }
        Test::Claim(path, _) => {
            let mut texts = Vec::new();
            view.claim(path, |text| texts.push(text.to_owned()));
            list(&texts)
        }
        Test::Host(_) => view.host().map(|host| host.written.clone()),
        Test::Path(_) => view.path().map(|path| String::from_utf8_lossy(path.written()).into_owned()),
        Test::Method(_) => facts.request().map(|request| request.method().to_owned()),
        Test::Header(name, _) => {
            let values = view.header(name);
            list(&values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>())
        }
    }
}

/// What a condition asks for.
fn wanted(condition: &Condition) -> String {
    let values = match &condition.test {
        Test::Principal(patterns)
        | Test::TrustDomain(patterns)
        | Test::ServerName(patterns)
        | Test::Claim(_, patterns)
        | Test::Host(patterns)
        | Test::Method(patterns)
        | Test::Header(_, patterns) => listed(patterns),
        Test::Namespace(globs) => listed(globs.iter().map(|glob| glob.as_str())),
        Test::ServiceAccount(accounts) => listed(accounts),
        Test::SourceIp(networks) | Test::RemoteIp(networks) | Test::DestinationIp(networks) => {
            listed(networks)
        }
        Test::Port(ports) => listed(ports),
        Test::RequestPrincipal(pairs) => {
            listed(pairs.iter().map(|(issuer, subject)| format!("{issuer}/{subject}")))
        }
        Test::Path(patterns) => listed(patterns),
    };
    let one = !values.contains(", ");
    match (condition.negated, one) {
        (false, true) => values,
        (false, false) => format!("one of {values}"),
        (true, true) => format!("not {values}"),
        (true, false) => format!("none of {values}"),
    }
}

/// The first few: a list may have thousands.
fn listed<T: std::fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 8;
    let mut values = values.into_iter();
    let mut texts: Vec<_> = values.by_ref().take(SHOWN).map(|value| value.to_string()).collect();
    let more = values.count();
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    texts.join(", ")
}
