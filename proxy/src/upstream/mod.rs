//! Out to the endpoints.
//!
//! In:  a [`Cluster`] and a request.   Out: a response, or why there is none; a connected [`crate::codec::Stream`] for bytes.
//! Invariants: an HTTP/1 connection has one owner; an HTTP/2 connection never exceeds its peer's stream limit; every
//! pooled connection, request and retry holds a permit of its cluster; pools belong to one worker and are never locked.
//! Not here: choosing clusters and endpoints, retrying (`exchange::attempt`), TLS configurations (`sidle-identity`).
//! Read: `cluster` -> `connector` -> `pool` -> `dns` -> `outliers` -> `health_check`.

pub mod cluster;
pub mod connector;
pub mod dns;
pub mod health_check;
pub mod outliers;
pub mod pool;

pub use cluster::Cluster;
pub use connector::{Connector, Target, Via};
pub use outliers::Alarm;
