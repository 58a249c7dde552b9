//! Authorization: who may do what, from AuthorizationPolicies.
//!
//! Invariants: principals hold every alias of their trust domain; host patterns are lower-case; a condition has a value; rules of bytes
//! ask for nothing that only HTTP has.
//! Not here: what decides (`sidle-authz`), which policies hold for whom (`crate::lower`).

use super::{ExtAuthz, Glob, HeaderField, Origin, PathPattern, TextPattern};
use ipnet::IpNet;
use std::{collections::BTreeMap, sync::Arc};

/// What a listener asks before it serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorization {
    /// All that hold for the workload, those of the root namespace first.
    pub policies: Arc<Vec<AuthorizationPolicy>>,
    /// Whom CUSTOM policies name, as far as they are known and can be asked here.
    pub providers: Vec<Arc<ExtAuthz>>,
    /// What `ports` are compared with.
    pub port: WorkloadPort,
}

/// The port of the workload that something is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadPort {
    /// Where the connection was meant to go.
    OfConnection,
    /// This one: connections come without capture, and all are for it.
    Fixed(u16),
    /// Connections come without capture, and the route's cluster tells.
    OfCluster(BTreeMap<Arc<str>, u16>),
}

/// One policy.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationPolicy {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Whether it stands in the root namespace, and is looked at before others.
    pub root: bool,
    /// What follows when a rule holds.
    pub action: AuthorizationAction,
    /// Whether its result is only told.
    pub dry_run: bool,
    /// Any of them; none: never.
    pub rules: Vec<Arc<AuthorizationRule>>,
    /// The policy.
    pub origin: Origin,
}

/// What follows when a rule holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationAction {
    /// This provider is asked.
    Custom(Arc<str>),
    /// Refused.
    Deny,
    /// Let through; where there is such a policy, nothing else is.
    Allow,
    /// Only told.
    Audit,
}

/// One rule: any of `from`, any of `to`, all of `when`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationRule {
    /// `ns[NAMESPACE]-policy[NAME]-rule[0]`.
    pub id: Arc<str>,
    /// Sources; empty: any.
    pub from: Vec<Clause>,
    /// Operations; empty: any.
    pub to: Vec<Clause>,
    /// More conditions.
    pub when: Clause,
    /// The rule.
    pub origin: Origin,
}

/// Conditions that must all hold.
pub type Clause = Vec<Condition>;

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As written: `from[0].source.notPrincipals`, `when[1].values`.
    pub field: Arc<str>,
    /// Whether it holds when the test does not.
    pub negated: bool,
    /// Any of its values.
    pub test: Test,
    /// Its values.
    pub origin: Origin,
}

/// What is compared with what.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The peer's principal, `td/ns/NAMESPACE/sa/ACCOUNT`.
    Principal(Vec<TextPattern>),
    /// The namespace of the peer's principal.
    Namespace(Vec<Glob>),
    /// The service account of the peer's principal: `NAMESPACE/ACCOUNT`.
    ServiceAccount(Vec<Box<str>>),
    /// The trust domain of the peer's principal.
    TrustDomain(Vec<TextPattern>),
    /// The other end of the socket.
    SourceIp(Vec<IpNet>),
    /// The client, as far as those in front are believed.
    RemoteIp(Vec<IpNet>),
    /// Where the connection was meant to go.
    DestinationIp(Vec<IpNet>),
    /// See [`WorkloadPort`].
    Port(Vec<u16>),
    /// SNI.
    ServerName(Vec<TextPattern>),
    /// Issuer and subject of the token.
    RequestPrincipal(Vec<(TextPattern, TextPattern)>),
    /// A claim of the token, by its path.
    Claim(Vec<Box<str>>, Vec<TextPattern>),
    /// The authority, in whatever case; lower-case here.
    Host(Vec<TextPattern>),
    /// The normalised path.
    Path(Vec<PathPattern>),
    /// The method.
    Method(Vec<TextPattern>),
    /// A header.
    Header(HeaderField, Vec<TextPattern>),
}

impl Test {
    /// Whether only HTTP has what is compared.
    pub fn is_http_only(&self) -> bool {
        match self {
            Test::Principal(_)
            | Test::Namespace(_)
            | Test::ServiceAccount(_)
            | Test::TrustDomain(_)
            | Test::SourceIp(_)
            | Test::RemoteIp(_)
            | Test::DestinationIp(_)
            | Test::Port(_)
            | Test::ServerName(_) => false,
            Test::RequestPrincipal(_)
            | Test::Claim(..)
            | Test::Host(_)
            | Test::Path(_)
            | Test::Method(_)
            | Test::Header(..) => true,
        }
    }
}
