//! The admin server, and the two small servers for metrics and health: three views of one table of endpoints.
//!
//! In:  an [`AdminSource`], which knows the rest of the process.   Out: answers over HTTP/1.1.
//! Invariants: nothing here runs on a worker; what changes something is a POST, from no web page, to a host name that is
//! ours; a client that sends slowly, or does not read, holds one of a bounded number of connections and no more.
//! Not here: the state that is shown (`worker`, `upstream`, `config`), what a drain does (`app`), Envoy's words (`sidle-xds`).
//! Read: `table` (all endpoints) -> `server` (HTTP) -> `guard` (who may ask) -> one file a group of endpoints.

mod answer;
mod certs;
mod clusters;
mod config;
mod guard;
mod index;
mod jwks;
mod listeners;
mod process;
mod ready;
mod server;
mod stats;
mod table;
#[cfg(test)]
mod tests;

pub use server::{SPARE, Server, narrowed};
pub use table::Surface;

use crate::{config::ConfigStatus, jwks::SourceView};
use futures_util::future::BoxFuture;
use sidle_balance::{ClusterUsage, ConcurrencyCounts, EndpointSet};
use sidle_identity::Svid;
use sidle_model::ir;
use sidle_telemetry::Telemetry;
use std::sync::Arc;

/// What the servers show and do.
pub trait AdminSource: Send + Sync + 'static {
    /// Metrics.
    fn telemetry(&self) -> &Telemetry;
    /// Whether requests should come.
    fn readiness(&self) -> Readiness;
    /// What runs, and how the last attempt to change it went.
    fn config_status(&self) -> Arc<ConfigStatus>;
    /// What runs; `None` until the first configuration is in.
    fn ir(&self) -> Option<Arc<ir::Ir>>;
    /// The workload's identity; `None` while it has none.
    fn svid(&self) -> Option<Arc<Svid>>;
    /// Clusters with their endpoints as they are now.
    fn clusters(&self) -> Vec<ClusterView>;
    /// Listeners that are bound.
    fn listeners(&self) -> Vec<ListenerView>;
    /// Keys of issuers that are fetched.
    fn jwks(&self) -> Vec<SourceView>;
    /// The level of the proxy's own log.
    fn log_level(&self) -> String;

    /// Changes [`Self::log_level`].
    ///
    /// # Errors
    /// Says what a level may be.
    fn set_log_level(&self, level: &str) -> Result<(), String>;
    /// Reads the files again, and says how that went; `None` if the process is on its way out.
    fn reload(&self) -> BoxFuture<'static, Option<Arc<ConfigStatus>>>;
    /// Opens log files anew.
    fn reopen_logs(&self);
    /// Closes listeners.
    fn drain(&self, drain: DrainRequest);
    /// Makes the process unready, or ready again, whatever else holds.
    fn set_healthy(&self, healthy: bool);
    /// Ends the process as SIGTERM does.
    fn quit(&self);
}

/// Whether requests should come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Where in its life the process is.
    pub state: State,
    /// What is missing, one line each; empty when ready.
    pub unmet: Vec<String>,
}

impl Readiness {
    /// Whether requests should come.
    pub fn is_ready(&self) -> bool {
        self.state == State::Live && self.unmet.is_empty()
    }
}

/// Where in its life a process is. Names are Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first configuration is not in, or a listener is not bound.
    Initializing,
    /// Serves.
    Live,
    /// On its way out.
    Draining,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Initializing => "INITIALIZING",
            State::Live => "LIVE",
            State::Draining => "DRAINING",
        }
    }
}

/// A cluster as it is now.
#[derive(Clone)]
pub struct ClusterView {
    /// Its policy.
    pub config: Arc<ir::Cluster>,
    /// Its endpoints, with their figures.
    pub endpoints: Arc<EndpointSet>,
    /// What this process uses of it.
    pub usage: Arc<ClusterUsage>,
    /// The limit by latency, if it has one.
    pub concurrency: Option<ConcurrencyCounts>,
}

/// A listener that is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerView {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is bound, with the real port when the configuration says 0.
    pub address: ir::ListenAddress,
    /// Connections that are open.
    pub active: u64,
}

/// `POST /drain_listeners`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainRequest {
    /// Only what takes connections from others; the application can still go out.
    pub inbound_only: bool,
    /// Lets what is under way end.
    pub graceful: bool,
}
