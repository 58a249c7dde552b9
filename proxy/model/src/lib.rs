//! What users write, and what the proxy runs.
//!
//! In:  Istio, Kubernetes and `sidle.dev` manifests as text.   Out: an [`ir::Ir`], and [`Diagnostic`]s with positions.
//! Invariants: nothing here knows tokio, hyper or the clock; what is in the IR cannot be wrong.
//! Not here: sockets, files being watched (`proxy/src/config`), matching (`sidle-routing`), Envoy's JSON (`sidle-xds`).
//! Read: `yaml` (text -> positioned tree) -> `istio`, `kubernetes`, `sidle` (tree -> types) -> `lower` (types -> `ir`).

pub mod ir;
