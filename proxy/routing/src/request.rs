//! What the matchers see of a request.
//!
//! In:  both codecs' heads, the command line of `explain`, tests.   Out: borrowed parts.
//! Invariants: [`RequestView::path`] is normalised and holds no query; [`RequestView::authority`] is as the client sent it.
//! Not here: owning a request.

use http::HeaderName;

/// A request, as the matchers see it.
pub trait RequestView {
    /// `:method`.
    fn method(&self) -> &str;

    /// `:scheme`, lower-case.
    fn scheme(&self) -> &str;

    /// `:authority` as sent, with the port if there was one; empty if the client sent none.
    fn authority(&self) -> &str;

    /// Normalised path without the query; empty for CONNECT without a path.
    fn path(&self) -> &str;

    /// What follows the `?`, as sent.
    fn query(&self) -> Option<&str>;

    /// Whether this is CONNECT without `:protocol`: a tunnel, which only [`PathMatch::Connect`] takes.
    ///
    /// [`PathMatch::Connect`]: sidle_model::ir::PathMatch::Connect
    fn is_connect(&self) -> bool {
        self.method() == "CONNECT"
    }

    /// The claim at this path of the token that the request brought and that was believed.
    fn claim(&self, path: &[String]) -> Option<&serde_json::Value> {
        let _ = path;
        None
    }

    /// The values of a header, one for each field line, in order. `host` need not be among the headers: matchers read
    /// [`RequestView::authority`] for it.
    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]>;
}
