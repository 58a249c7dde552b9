//! What authorization policies make of a request, as data.
//!
//! In:  the policies of a filter chain, a client, a request.   Out: an [`Authorization`].
//! Not here: the decision (`sidle-authz`).

use super::{outcome::Outcome, place, request::Request};
use crate::cli::client::{Asking, Client};
use serde::Serialize;
use sidle_authz::{Authorizer, Facts, PolicyReport, RuleReport, Verdict};
use sidle_model::ir::{self, AuthorizationAction, Listener, WorkloadPort};

/// What authorization policies make of a request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// Whether it may.
    pub allowed: bool,
    /// The rule that decides; `None`: no ALLOW rule holds, or there are no rules to ask.
    pub rule: Option<String>,
    /// The provider that would have to be asked, and cannot be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider that is asked before all else, and has to allow it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// Every policy, in the order in which they count.
    pub policies: Vec<Policy>,
}

/// A policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// `default/allow-web`.
    pub name: String,
    /// `ALLOW`, …
    pub action: &'static str,
    /// Whether its result is only told.
    pub dry_run: bool,
    /// Where it is written.
    pub origin: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its place in the policy.
    pub id: String,
    /// Where it is written.
    pub origin: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why it does not: one condition of each alternative.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Condition>,
}

/// A condition that does not hold.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `from[0].source.principals`.
    pub field: String,
    /// Where it is written.
    pub origin: String,
    /// `one of a, b`.
    pub wanted: String,
    /// What there is.
    pub found: Option<String>,
}

impl Authorization {
    /// Of a connection of bytes.
    pub fn of_bytes(given: &ir::Authorization, listener: &Listener, client: &Client) -> Self {
        let asking = with_port(client.asking(None), given, listener, None);
        Self::new(given, &asking, &asking)
    }

    /// Of a request, which would come to `outcome`; of the client as it is when a provider is asked, and when its token is known.
    pub fn of_request(
        given: &ir::Authorization,
        listener: &Listener,
        (first, client): (&Client, &Client),
        request: &Request,
        outcome: &Outcome,
    ) -> Self {
        let cluster = match outcome {
            Outcome::Forward(forwarded) => forwarded.destinations.first().map(|one| &*one.cluster),
            _ => None,
        };
        let asking = |client| with_port(Client::asking(client, Some(request)), given, listener, cluster);
        Self::new(given, &asking(first), &asking(client))
    }

    fn new(given: &ir::Authorization, first: &Asking<'_>, asking: &Asking<'_>) -> Self {
        let authorizer = Authorizer::new(given.policies.clone());
        let custom = authorizer.custom(first);
        let is_known = |name: &str| given.providers.iter().any(|provider| *provider.name == *name);
        let (asked, custom) = match custom {
            Some(custom) if is_known(custom.provider) => (Some(custom), None),
            custom => (None, custom),
        };
        let (allowed, rule) = match (&custom, authorizer.decide(asking).verdict) {
            (Some(custom), _) => (false, Some(custom.rule)),
            (None, Verdict::Allowed(rule)) => (true, rule),
            (None, Verdict::Denied(rule)) => (false, rule),
        };
        let policies = authorizer.explain(asking).policies;
        Authorization {
            allowed,
            rule: rule.map(str::to_owned),
            provider: custom.map(|custom| custom.provider.to_owned()),
            asks: asked.map(|custom| custom.provider.to_owned()),
            policies: policies.iter().map(policy).collect(),
        }
    }

    /// No rule is asked, because the request ends before.
    pub fn unasked(&mut self) {
        (self.allowed, self.rule) = (false, None);
        self.policies.retain(|policy| policy.action == "CUSTOM");
    }

    /// What becomes of a request that may not pass.
    pub fn refusal(&self) -> Option<Outcome> {
        let why = match (&self.provider, &self.rule) {
            (Some(provider), Some(rule)) => format!("{rule}: provider `{provider}` cannot be asked"),
            (_, Some(rule)) => rule.clone(),
            (_, None) => "no ALLOW rule holds".to_owned(),
        };
        let first = self.asks.as_ref().map(|provider| {
            format!("; provider `{provider}` is asked before, and what it refuses gets its answer")
        });
        let reason = format!("RBAC: access denied ({why}){}", first.unwrap_or_default());
        (!self.allowed).then_some(Outcome::Refused { status: 403, reason })
    }
}

fn with_port<'a>(
    mut asking: Asking<'a>,
    given: &ir::Authorization,
    listener: &Listener,
    cluster: Option<&str>,
) -> Asking<'a> {
    asking.port = match &given.port {
        WorkloadPort::OfConnection => asking.port().or_else(|| place::listener_port(listener)),
        WorkloadPort::Fixed(port) => Some(*port),
        WorkloadPort::OfCluster(ports) => cluster.and_then(|cluster| ports.get(cluster)).copied(),
    };
    asking
}

fn policy(report: &PolicyReport<'_>) -> Policy {
    let policy = report.policy;
    Policy {
        name: format!("{}/{}", policy.namespace, policy.name),
        action: match policy.action {
            AuthorizationAction::Custom(_) => "CUSTOM",
            AuthorizationAction::Deny => "DENY",
            AuthorizationAction::Allow => "ALLOW",
            AuthorizationAction::Audit => "AUDIT",
        },
        dry_run: policy.dry_run,
        origin: policy.origin.to_string(),
        rules: report.rules.iter().map(rule).collect(),
    }
}

fn rule(report: &RuleReport<'_>) -> Rule {
    let failed = report.failed.iter().map(|failure| Condition {
        field: failure.condition.field.to_string(),
        origin: failure.condition.origin.to_string(),
        wanted: failure.wanted.clone(),
        found: failure.found.clone(),
    });
    Rule {
        id: report.rule.id.to_string(),
        origin: report.rule.origin.to_string(),
        holds: report.failed.is_empty(),
        failed: failed.collect(),
    }
}
