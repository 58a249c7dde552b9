//! A request and what AuthorizationPolicies should make of it: a row of what `sidle authz simulate` reads.

use super::super::istio::non_empty;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A request, or a connection of bytes, and what should come of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizationCase {
    /// For people.
    pub name: String,
    /// `GET` unless said.
    #[serde(deserialize_with = "non_empty")]
    pub method: Option<String>,
    /// `http://host/path`; absent: a connection of bytes.
    #[serde(deserialize_with = "non_empty")]
    pub url: Option<String>,
    /// `name: value`, as often as wanted.
    pub headers: Vec<String>,
    /// Who the client proved to be: `td/ns/NAMESPACE/sa/ACCOUNT`; absent: he comes in the clear.
    #[serde(deserialize_with = "non_empty")]
    pub principal: Option<String>,
    /// The other end of the socket.
    #[serde(deserialize_with = "non_empty")]
    pub source_ip: Option<String>,
    /// The client, behind those in front; absent: `sourceIp`.
    #[serde(deserialize_with = "non_empty")]
    pub remote_ip: Option<String>,
    /// Where the connection was meant to go.
    #[serde(deserialize_with = "non_empty")]
    pub destination_ip: Option<String>,
    /// The workload's port.
    pub port: Option<u16>,
    /// The server name of TLS.
    #[serde(deserialize_with = "non_empty")]
    pub sni: Option<String>,
    /// Of the token that was verified; absent: there is none.
    pub claims: Option<BTreeMap<String, Value>>,
    /// What should come of it; absent: it is only told.
    pub expect: Option<Expected>,
    /// The rule that should decide: `ns[NAMESPACE]-policy[NAME]-rule[0]`, or `none`; absent: any.
    #[serde(deserialize_with = "non_empty")]
    pub rule: Option<String>,
}

/// What should come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// It passes.
    Allow,
    /// It is refused.
    Deny,
    /// A provider decides, and all else lets it pass.
    Ask,
}
