//! Which endpoint, how many at once, and whether to try again.
//!
//! In:  a cluster's policy ([`sidle_model::ir`]) and its resolved endpoints.   Out: an [`Endpoint`] for each request, permits,
//! back-off times.
//! Invariants: pure. No clock, no randomness, no runtime: the time, random numbers and facts about the request are arguments. A pick
//! neither locks nor allocates, and its cost does not grow with the number of endpoints (ring hash: logarithm of the ring).
//! Not here: connections and pools (`proxy/src/upstream`), resolving names (`proxy/src/config`), timers.
//! Read: `endpoint` -> `state` -> `latency` -> `set` -> `selector/*` -> `hash` -> `limits` -> `earned` -> `retry` -> `hedge` -> `outlier` -> `concurrency` -> `rate_limit`.

mod back_off;
mod concurrency;
mod cookie;
mod earned;
mod endpoint;
mod hash;
mod hedge;
mod latency;
mod limits;
mod outlier;
mod rate_limit;
mod retry;
mod retry_headers;
mod selector;
mod set;
mod state;
#[cfg(test)]
mod tests;

pub use back_off::BackOff;
pub use concurrency::{ConcurrencyCounts, ConcurrencyLimiter, ConcurrencyPermit};
pub use earned::Earned;
pub use endpoint::{Endpoint, EndpointAddr, EndpointSpec};
pub use hash::{HashFacts, Hashed, hash};
pub use hedge::Hedge;
pub use latency::PeakEwma;
pub use limits::{ClusterUsage, Permit, Resource};
pub use outlier::{Change, OutlierDetector, Reason, Seen};
pub use rate_limit::{Allowance, RateLimiter};
pub use retry::{Outcome, should_retry};
pub use retry_headers::RetryHeaders;
pub use set::{EndpointSet, MAX_RESELECTIONS, PickContext, SetPolicy};
pub use state::{ActiveCheck, ActiveConnection, ActiveRequest, EndpointCounts, EndpointState, RequestResult};
