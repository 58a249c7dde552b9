//! Authorization policies, asked by listeners.
//!
//! In:  a request's head, or a connection of bytes.   Out: nothing, or the error that refuses it.
//! Invariants: what is counted is what was done; a configuration's policies are compiled once, however many listeners have them.
//! Not here: the decision (`sidle-authz`).
//! Source: Envoy's RBAC filters for status, words and details.

use super::{Verdict, ext_authz::ExtAuthz};
use crate::{
    codec::{Body, RequestHead},
    config::HttpPlan,
    error::ProxyError,
    exchange::{Downstream, Exchange, TcpExchange},
    upstream::Cluster,
};
use sidle_authz::{Authorizer, Custom, Decision, Facts, Verdict as Judgement};
use sidle_identity::SpiffeId;
use sidle_jwt::VerifiedToken;
use sidle_model::ir;
use sidle_telemetry::{Authorized, ExtAuthzOutcome, ListenerMetrics, Telemetry};
use std::{net::IpAddr, sync::Arc};

/// The policies of one listener, compiled.
pub struct Guard {
    authorizer: Arc<Authorizer>,
    providers: Vec<ExtAuthz>,
    /// What `ports` are compared with.
    pub port: ir::WorkloadPort,
    metrics: Arc<ListenerMetrics>,
}

impl Guard {
    /// Asks whom a CUSTOM policy names about a request.
    ///
    /// # Errors
    /// The refusal, where nobody of that name can be asked; or the client's body broke off.
    pub async fn ask(
        &self,
        exchange: &mut Exchange,
        head: &mut RequestHead,
        body: &mut Body,
    ) -> Result<Verdict, ProxyError> {
        let Some(custom) = self.authorizer.custom(&exchange.known(head, &self.port)) else {
            self.providers.iter().for_each(|provider| provider.metrics.request(ExtAuthzOutcome::Disabled));
            return Ok(Verdict::Continue);
        };
        let provider = self.providers.iter().find(|provider| provider.name() == custom.provider);
        let Some(provider) = provider else { return Err(self.nobody(&custom)) };
        // Boxed: most requests need no room for it.
        Box::pin(provider.check(exchange, head, body)).await
    }

    /// Asks whom a CUSTOM policy names about a connection of bytes.
    ///
    /// # Errors
    /// The refusal, also where nobody of that name can be asked about bytes.
    pub async fn ask_of_bytes(&self, exchange: &TcpExchange, facts: &impl Facts) -> Result<(), ProxyError> {
        let Some(custom) = self.authorizer.custom(facts) else {
            self.providers.iter().for_each(|provider| provider.metrics.connection(ExtAuthzOutcome::Disabled));
            return Ok(());
        };
        let asked = |provider: &&ExtAuthz| provider.name() == custom.provider && provider.knows_bytes();
        match self.providers.iter().find(asked) {
            // Boxed: most connections never need it.
            Some(provider) => Box::pin(provider.check_bytes(exchange)).await,
            None => Err(self.nobody(&custom)),
        }
    }

    fn nobody(&self, custom: &Custom<'_>) -> ProxyError {
        self.metrics.authorized(Authorized::Denied);
        let (provider, rule) = (custom.provider, custom.rule);
        tracing::debug!(provider, rule, "refused: there is no such provider");
        let separator = if provider.is_empty() { "" } else { "-" };
        denied(Some(&format!("istio-ext-authz-{provider}{separator}{rule}-deny-due-to-bad-CUSTOM-action")))
    }

    /// Decides.
    ///
    /// # Errors
    /// The refusal.
    pub fn decide(&self, facts: &impl Facts) -> Result<(), ProxyError> {
        let decision = self.authorizer.decide(facts);
        self.tell(&decision);
        match decision.verdict {
            Judgement::Allowed(_) => Ok(()),
            Judgement::Denied(rule) => Err(denied(rule)),
        }
    }

    fn tell(&self, decision: &Decision<'_>) {
        self.metrics.authorized(match decision.verdict {
            Judgement::Allowed(_) => Authorized::Allowed,
            Judgement::Denied(_) => Authorized::Denied,
        });
        if let Some(rule) = decision.audited {
            self.metrics.authorized(Authorized::Audited);
            tracing::debug!(rule, "audited");
        }
        for verdict in [decision.dry_run_deny, decision.dry_run_allow].into_iter().flatten() {
            let (result, rule) = match verdict {
                Judgement::Allowed(rule) => (Authorized::DryRunAllowed, rule),
                Judgement::Denied(rule) => (Authorized::DryRunDenied, rule),
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
    ///
    /// `cluster` finds the clusters of those who are asked.
    ///
    /// # Errors
    /// Those of `cluster`.
    pub fn of<E>(
        &mut self,
        authorization: &ir::Authorization,
        listener: &Arc<str>,
        cluster: impl Fn(&Arc<str>) -> Result<Arc<Cluster>, E>,
    ) -> Result<Guard, E> {
        let known = self.compiled.iter().find(|known| Arc::ptr_eq(known.policies(), &authorization.policies));
        let authorizer = known.cloned().unwrap_or_else(|| {
            let new = Arc::new(Authorizer::new(authorization.policies.clone()));
            self.compiled.push(new.clone());
            new
        });
        let metrics = self.telemetry.listener_metrics(listener);
        let provider = |config: &Arc<ir::ExtAuthz>| {
            let metrics = self.telemetry.ext_authz_metrics(&config.name);
            Ok(ExtAuthz::new(config.clone(), cluster(&config.cluster)?, metrics))
        };
        let providers = authorization.providers.iter().map(provider).collect::<Result<_, E>>()?;
        Ok(Guard { authorizer, providers, port: authorization.port.clone(), metrics })
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
