//! Authorization: who may do what.
//!
//! In:  [`ir::Authorization`]; what is known of a request or connection, as [`Facts`].   Out: a [`Decision`], or an [`Explanation`]
//! of it.
//! Invariants: the index changes the cost of a decision, never the decision; `decide` and `explain` ask the same conditions. Where
//! what a client sent can be read in two ways, a rule that refuses holds if either reading meets it, a rule that lets through
//! only if both do. What is not known (the principal of a peer in the clear) meets no value, and so every negative one. Nothing here
//! reads a clock, draws a random number or does I/O.
//! Not here: which policies hold for whom (`sidle-model`), normal paths (`sidle-routing`), what is answered (`proxy/src/policy`).
//! Source: R10 of Istio's rules: its "Authorization Policy" reference, Envoy's RBAC filter.
//! Read: `facts` -> `authorizer` -> `rules` -> `condition` -> `text`, `path`, `address` -> `index` -> `explain`.
//!
//! [`ir::Authorization`]: sidle_model::ir::Authorization

mod address;
mod authorizer;
mod condition;
mod explain;
mod facts;
mod index;
mod path;
mod rules;
mod subject;
mod text;

pub use authorizer::{Authorizer, Custom, Decision, Verdict};
pub use explain::{Explanation, Failure, PolicyReport, RuleReport, Stage};
pub use facts::Facts;
