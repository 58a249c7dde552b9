//! Routing: which route a request takes, which filter chain a connection takes, and what a route does to a path, a
//! location and a cross-origin request.
//!
//! In:  [`ir::RouteConfiguration`] and [`ir::Listener`]; requests through [`RequestView`], connections as
//! [`ConnectionView`].   Out: a [`CompiledRoute`], a filter chain, or an [`Explanation`] of the choice.
//! Invariants: the index changes the cost of a choice, never the choice: the first route in list order that matches wins.
//! `select` and `explain` ask the same matchers. Nothing here reads a clock, draws a random number or does I/O.
//! Not here: endpoints (`sidle-balance`), parsing requests and changing headers (`proxy/src/codec`, `proxy/src/policy`),
//! which manifest made which route (`sidle-model`).
//! Read: `request` -> `table` -> `host_map` -> `matcher` -> `path_index` -> `explain`; then the small rooms on their own.
//!
//! [`ir::RouteConfiguration`]: sidle_model::ir::RouteConfiguration
//! [`ir::Listener`]: sidle_model::ir::Listener

pub mod cors;
mod explain;
pub mod filter_chain;
pub mod host;
mod host_map;
mod matcher;
pub mod path;
mod path_index;
pub mod redirect;
mod request;
pub mod rewrite;
mod string_match;
mod table;
mod weighted;

pub use cors::CorsPolicy;
pub use explain::{Difference, Explanation, HostCandidate, Rule, Verdict};
pub use filter_chain::{ConnectionView, FilterChainTable, Inspection};
pub use matcher::RouteMatcher;
pub use redirect::Redirect;
pub use request::RequestView;
pub use rewrite::PathRewriter;
pub use string_match::StringMatcher;
pub use table::{Compiled, CompiledRoute, Place, RouteTable};
pub use weighted::WeightedIndex;

#[cfg(test)]
mod tests;
