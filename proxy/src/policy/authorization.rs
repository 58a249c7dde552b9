//! Authorization policies, asked by listeners.
//!
//! In:  a request's head, or a connection of bytes.   Out: nothing, or the error that refuses it.
//! Invariants: what is counted is what was done; a configuration's policies are compiled once, however many listeners have them.
//! Not here: the decision (`sidle-authz`).
//! Source: Envoy's RBAC filters for status, words and details.

use crate::{codec::RequestHead, config::HttpPlan, error::ProxyError, exchange::Downstream};
use sidle_authz::{Authorizer, Decision, Facts, Verdict};
use sidle_identity::SpiffeId;
use sidle_jwt::VerifiedToken;
use sidle_model::ir;
use sidle_telemetry::{Authorized, ListenerMetrics, Telemetry};
use std::{net::IpAddr, sync::Arc};

/// The policies of one listener, compiled.
pub struct Guard {
    authorizer: Arc<Authorizer>,
    /// What `ports` are compared with.
    pub port: ir::WorkloadPort,
    metrics: Arc<ListenerMetrics>,
}

impl Guard {
    /// Refuses what somebody would have to be asked about: nobody is known who could be.
    ///
    /// # Errors
    /// The refusal.
    pub fn ask(&self, facts: &impl Facts) -> Result<(), ProxyError> {
        let Some(custom) = self.authorizer.custom(facts) else { return Ok(()) };
        self.metrics.authorized(Authorized::Denied);
        let (provider, rule) = (custom.provider, custom.rule);
        tracing::debug!(provider, rule, "refused: there is no such provider");
        let separator = if provider.is_empty() { "" } else { "-" };
        Err(denied(Some(&format!(
            "istio-ext-authz-{provider}{separator}{rule}-deny-due-to-bad-CUSTOM-action"
        ))))
    }

    /// Decides.
    ///
    /// # Errors
    /// The refusal.
    pub fn decide(&self, facts: &impl Facts) -> Result<(), ProxyError> {
        let decision = self.authorizer.decide(facts);
        self.tell(&decision);
        match decision.verdict {
            Verdict::Allowed(_) => Ok(()),
            Verdict::Denied(rule) => Err(denied(rule)),
        }
    }

    fn tell(&self, decision: &Decision<'_>) {
        self.metrics.authorized(match decision.verdict {
            Verdict::Allowed(_) => Authorized::Allowed,
            Verdict::Denied(_) => Authorized::Denied,
        });
        if let Some(rule) = decision.audited {
            self.metrics.authorized(Authorized::Audited);
            tracing::debug!(rule, "audited");
        }
        for verdict in [decision.dry_run_deny, decision.dry_run_allow].into_iter().flatten() {
            let (result, rule) = match verdict {
                Verdict::Allowed(rule) => (Authorized::DryRunAllowed, rule),
                Verdict::Denied(rule) => (Authorized::DryRunDenied, rule),
            };
            self.metrics.authorized(result);
            tracing::debug!(result = result.as_str(), rule = rule.unwrap_or("none"), "dry run");
        }
    }
}

/// The refusal, with Envoy's details: white space would break access logs.
fn denied(rule: Option<&str>) -> ProxyError {
    let rule = rule.unwrap_or("none");
    let rule: String = rule.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
    ProxyError::Forbidden(format!("rbac_access_denied_matched_policy[{rule}]").into())
}

/// Guards of one configuration.
pub struct Guards<'a> {
    telemetry: &'a Telemetry,
    compiled: Vec<Arc<Authorizer>>,
}

impl<'a> Guards<'a> {
    /// None yet.
    pub fn new(telemetry: &'a Telemetry) -> Self {
        Guards { telemetry, compiled: Vec::new() }
    }

    /// The guard of `listener`.
    pub fn of(&mut self, authorization: &ir::Authorization, listener: &Arc<str>) -> Guard {
        let known = self.compiled.iter().find(|known| Arc::ptr_eq(known.policies(), &authorization.policies));
        let authorizer = known.cloned().unwrap_or_else(|| {
            let new = Arc::new(Authorizer::new(authorization.policies.clone()));
            self.compiled.push(new.clone());
            new
        });
        let metrics = self.telemetry.listener_metrics(listener);
        Guard { authorizer, port: authorization.port.clone(), metrics }
    }
}

/// What is known of a request, or of a connection.
pub struct Known<'a> {
    /// The connection.
    pub downstream: &'a Downstream,
    /// The client, as far as those in front are believed.
    pub client: Option<IpAddr>,
    /// The request, and how it will be routed.
    pub request: Option<(&'a RequestHead, &'a HttpPlan)>,
    /// The token that it brought, if it is believed.
    pub token: Option<&'a VerifiedToken>,
    /// What `ports` are compared with.
    pub port: &'a ir::WorkloadPort,
}

impl Facts for Known<'_> {
    type Request = RequestHead;

    fn request(&self) -> Option<&RequestHead> {
        self.request.map(|(head, _)| head)
    }

    fn principal(&self) -> Option<&str> {
        self.downstream.identity.as_ref()?.spiffe_id.as_ref().map(SpiffeId::principal)
    }

    fn source_ip(&self) -> Option<IpAddr> {
        self.downstream.direct.map(|address| address.ip())
    }

    fn remote_ip(&self) -> Option<IpAddr> {
        self.client
    }

    fn destination_ip(&self) -> Option<IpAddr> {
        self.downstream.local.map(|address| address.ip())
    }

    fn port(&self) -> Option<u16> {
        match self.port {
            ir::WorkloadPort::OfConnection => self.downstream.local.map(|address| address.port()),
            ir::WorkloadPort::Fixed(port) => Some(*port),
            ir::WorkloadPort::OfCluster(ports) => {
                let (head, plan) = self.request?;
                let cluster = plan.routes.select(head)?.action.clusters().next()?;
                ports.get(&cluster.config.name).copied()
            }
        }
    }

    fn server_name(&self) -> Option<&str> {
        self.downstream.server_name.as_deref()
    }

    fn claims(&self) -> Option<&serde_json::Map<String, serde_json::Value>> {
        self.token.map(|token| &token.claims)
    }
}
