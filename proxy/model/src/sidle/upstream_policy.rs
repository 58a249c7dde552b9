//! `kind: UpstreamPolicy`: how requests go to a host, besides what Istio has fields for.

use crate::Duration;
use schemars::JsonSchema;
use serde::Deserialize;

/// How requests go to a host, on all its ports and subsets.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamPolicy {
    /// As in a DestinationRule.
    pub host: String,
    /// Chooses endpoints by how long they take to answer, in place of `LEAST_REQUEST`.
    pub peak_ewma: Option<PeakEwma>,
    /// Sends a request that takes long to a second endpoint too, and takes the answer that comes first.
    pub hedging: Option<Hedging>,
    /// Compares the host's answers to copies of requests with those to the requests.
    pub mirror_comparison: Option<MirrorComparison>,
}

/// Compares status and body of the answers to copies with those to the requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MirrorComparison {}

/// Chooses, of two endpoints, the one with the shorter wait: what its answers take, a peak counting at once and fading, times the
/// requests that are under way there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeakEwma {
    /// How long a latency is remembered: after so long a third of it is left; 10 s.
    pub decay: Option<Duration>,
}

/// Sends a request that takes long to a second endpoint too. Only requests that may be repeated, and only as far as the retry budget
/// goes. Without a field: after the route's `perTryTimeout`, and the first try goes on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hedging {
    /// After so long; with `percentile`, not before.
    pub after: Option<Duration>,
    /// After what so many percent of the answers took of late.
    #[schemars(range(min = 50, max = 99))]
    pub percentile: Option<u8>,
}
