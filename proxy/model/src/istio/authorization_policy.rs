//! `AuthorizationPolicy`: who may do what.
//!
//! Source: Istio's `security/v1/authorization_policy.proto`.

use super::{Attachment, MatchLabels, PolicyTargetReference};
use schemars::JsonSchema;
use serde::Deserialize;

/// Who may do what.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizationPolicy {
    /// The workloads; absent: all of the namespace, or of the mesh in the root namespace.
    pub selector: Option<MatchLabels>,
    /// Deprecated form of `targetRefs`.
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways and Services; sidecars pass over a policy that has any.
    pub target_refs: Vec<PolicyTargetReference>,
    /// Any of them; none: never.
    pub rules: Vec<AuthorizationRule>,
    /// What follows when a rule holds.
    pub action: AuthorizationAction,
    /// Who is asked; `CUSTOM` only.
    pub provider: Option<ExtensionProvider>,
}

/// What follows when a rule holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthorizationAction {
    /// Let through; where there is such a policy, nothing else is.
    #[default]
    Allow,
    /// Refused.
    Deny,
    /// Only told.
    Audit,
    /// The provider is asked.
    Custom,
}

/// Who is asked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtensionProvider {
    /// As in the mesh configuration.
    pub name: String,
}

/// Any of `from`, any of `to`, all of `when`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizationRule {
    /// Sources; absent: any.
    pub from: Vec<RuleFrom>,
    /// Operations; absent: any.
    pub to: Vec<RuleTo>,
    /// More conditions.
    pub when: Vec<RuleCondition>,
}

/// A source.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RuleFrom {
    /// What it is.
    pub source: Option<Source>,
}

/// Who asks: all fields, any value of each.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Source {
    /// `td/ns/NAMESPACE/sa/ACCOUNT`.
    pub principals: Vec<String>,
    /// None of these.
    pub not_principals: Vec<String>,
    /// `ISSUER/SUBJECT` of the token.
    pub request_principals: Vec<String>,
    /// None of these.
    pub not_request_principals: Vec<String>,
    /// Of the peer.
    pub namespaces: Vec<String>,
    /// None of these.
    pub not_namespaces: Vec<String>,
    /// `NAMESPACE/ACCOUNT`, or `ACCOUNT` of the policy's namespace.
    pub service_accounts: Vec<String>,
    /// None of these.
    pub not_service_accounts: Vec<String>,
    /// Trust domains of the peer.
    pub trust_domains: Vec<String>,
    /// None of these.
    pub not_trust_domains: Vec<String>,
    /// Addresses and ranges of the peer.
    pub ip_blocks: Vec<String>,
    /// None of these.
    pub not_ip_blocks: Vec<String>,
    /// Addresses and ranges of the client.
    pub remote_ip_blocks: Vec<String>,
    /// None of these.
    pub not_remote_ip_blocks: Vec<String>,
}

/// An operation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RuleTo {
    /// What it is.
    pub operation: Option<Operation>,
}

/// What is asked for: all fields, any value of each.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Operation {
    /// With the port, if the client sends one.
    pub hosts: Vec<String>,
    /// None of these.
    pub not_hosts: Vec<String>,
    /// Of the workload, as texts.
    pub ports: Vec<String>,
    /// None of these.
    pub not_ports: Vec<String>,
    /// `GET`, …
    pub methods: Vec<String>,
    /// None of these.
    pub not_methods: Vec<String>,
    /// Without the query; `{*}` and `{**}` are templates.
    pub paths: Vec<String>,
    /// None of these.
    pub not_paths: Vec<String>,
}

/// A condition.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["key"]))]
pub struct RuleCondition {
    /// `request.headers[NAME]`, `source.ip`, …
    pub key: String,
    /// Any of these.
    pub values: Vec<String>,
    /// None of these.
    pub not_values: Vec<String>,
}

impl Source {
    /// Every list with its name in files, and whether it says what must not be.
    pub fn lists(&self) -> [(&'static str, &[String], bool); 14] {
        [
            ("principals", &self.principals, false),
            ("notPrincipals", &self.not_principals, true),
            ("requestPrincipals", &self.request_principals, false),
            ("notRequestPrincipals", &self.not_request_principals, true),
            ("namespaces", &self.namespaces, false),
            ("notNamespaces", &self.not_namespaces, true),
            ("serviceAccounts", &self.service_accounts, false),
            ("notServiceAccounts", &self.not_service_accounts, true),
            ("trustDomains", &self.trust_domains, false),
            ("notTrustDomains", &self.not_trust_domains, true),
            ("ipBlocks", &self.ip_blocks, false),
            ("notIpBlocks", &self.not_ip_blocks, true),
            ("remoteIpBlocks", &self.remote_ip_blocks, false),
            ("notRemoteIpBlocks", &self.not_remote_ip_blocks, true),
        ]
    }
}

impl Operation {
    /// Every list with its name in files, and whether it says what must not be.
    pub fn lists(&self) -> [(&'static str, &[String], bool); 8] {
        [
            ("hosts", &self.hosts, false),
            ("notHosts", &self.not_hosts, true),
            ("ports", &self.ports, false),
            ("notPorts", &self.not_ports, true),
            ("methods", &self.methods, false),
            ("notMethods", &self.not_methods, true),
            ("paths", &self.paths, false),
            ("notPaths", &self.not_paths, true),
        ]
    }
}

impl AuthorizationPolicy {
    /// Which workloads it is for.
    pub fn attachment(&self) -> Attachment<'_> {
        Attachment {
            selector: self.selector.as_ref(),
            target_ref: self.target_ref.as_ref(),
            target_refs: &self.target_refs,
        }
    }
}
