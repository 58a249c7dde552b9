//! Configuration: from files that change to a snapshot that workers follow.
//!
//! In:  paths.   Out: a [`Snapshot`], and a [`ConfigStatus`] that says what came of the last change.
//! Invariants: build, then swap; a bad file changes nothing; live connections, pools and balancer state are carried over.
//! Not here: parsing and lowering (`sidle-model`), sockets (`app::publish`).
//! Beside requests all of it gives way to others (`way`).
//! Read: `source` (changes) -> `reload` (attempts) -> `read` (a thread: `input`, IR, `build`) -> `snapshot` -> `retired`; `status` tells.

mod build;
mod emptied;
pub mod files;
mod input;
pub mod lacks;
mod read;
mod reload;
mod retired;
mod settle;
mod snapshot;
mod source;
mod status;
mod survey;
mod way;

pub use build::{BuildError, Builder, Built, access_log};
pub use reload::{NotPublished, Overrides, Publish, Refused, ReloadRequest, Reloader};
pub use snapshot::{
    ActionPlan, Chain, Filter, ForwardPlan, HttpPlan, ListenerPlan, RoutePlan, Snapshot, TcpPlan,
    WeightedPlan,
};
pub use source::{FileSource, WatchOptions};
pub use status::{Attempt, AttemptResult, Cause, ConfigStatus, ConfigVersion, FileStatus, StatusCell};
