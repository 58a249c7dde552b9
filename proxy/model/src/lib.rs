//! What users write, and what the proxy runs.
//!
//! In:  Istio, Kubernetes and `sidle.dev` manifests as text.   Out: an [`ir::Ir`], and [`Diagnostic`]s with positions.
//! Invariants: nothing here knows tokio, hyper or the clock; what is in the IR cannot be wrong.
//! Not here: sockets, files being watched (`proxy/src/config`), matching (`sidle-routing`), Envoy's JSON (`sidle-xds`).
//! Read: `load` (the line) -> `source` (paths -> text) -> `yaml` (text -> positioned tree) -> `manifest` (tree -> `istio`,
//! `kubernetes`, `sidle`) -> `check` (rules between fields) -> `lower` (types -> `ir`).

mod cases;
pub mod check;
pub mod config;
pub mod diagnostic;
mod duration;
pub mod ir;
pub mod istio;
pub mod kubernetes;
mod load;
pub mod lower;
mod manifest;
mod map;
pub mod pause;
pub mod sidle;
pub mod source;
pub mod yaml;

pub use cases::authorization_cases;
pub use config::{Config, Metadata, Resource, Step, age_order};
pub use diagnostic::{Diagnostic, Severity, Span};
pub use duration::Duration;
pub use load::{Loaded, Loader, load, load_texts};
pub use map::Map;
