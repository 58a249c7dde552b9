//! Request targets: one form for routes, policies, logs and upstreams.
//!
//! In:  the path and query that an engine parsed.   Out: the same, normalised, or a refusal.
//! Invariants: what passes begins with `/`, or is the `*` of OPTIONS.
//! Not here: what is normal (`sidle_routing::path`), with two exceptions that lie with `http`'s types. They drop a fragment before
//! it can be refused here (both codecs refuse it before: `h1::parse`, `h2::convert`); and they refuse a bare `<`, `>`
//! or `` ` `` in a path, and `"`, `<` or `>` in a query, which need not be refused.
//! Source: RFC 9112 section 3.2, RFC 9113 section 8.3.1.

use super::Authority;
use crate::error::Refusal;
use http::{Method, uri::PathAndQuery};
use sidle_routing::path::{self, Normalization};
use std::borrow::Cow;

/// `PROPPATCH` has nine letters.
const MAX_METHOD: usize = 24;

/// Whether a method may be asked for. Methods are case-sensitive, but not every application knows: `get` could pass a rule for
/// `GET` and be served as one.
pub fn is_method(method: &Method) -> bool {
    let method = method.as_str();
    method.len() <= MAX_METHOD && !method.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// The target of a request that is not CONNECT.
///
/// # Errors
/// When it is not a path, or not one path.
pub fn normal(
    target: Option<PathAndQuery>,
    method: &Method,
    normalization: Normalization,
) -> Result<PathAndQuery, Refusal> {
    let target = target.ok_or(Refusal::BadTarget)?; // only CONNECT names an authority and no path
    if target.as_str() == "*" && *method == Method::OPTIONS {
        return Ok(target);
    }
    let normal = match path::normalise(target.as_str(), normalization) {
        Ok(Cow::Borrowed(_)) => None,
        Ok(Cow::Owned(normal)) => Some(normal),
        Err(ambiguous) => {
            tracing::debug!(%ambiguous, "target refused");
            return Err(Refusal::BadTarget);
        }
    };
    normal.map_or(Ok(target), |normal| PathAndQuery::try_from(normal).map_err(|_| Refusal::BadTarget))
}

/// The target of CONNECT in place of the path that it has not.
///
/// # Errors
/// When there is a path: the target was not an authority. When the authority does not say which port (RFC 9110 section 9.3.6).
pub fn of_connect(target: Option<PathAndQuery>, authority: &Authority) -> Result<PathAndQuery, Refusal> {
    match target {
        Some(_) => Err(Refusal::BadTarget),
        None if !authority.has_port() => Err(Refusal::BadHost),
        None => Ok(PathAndQuery::from_static("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &'static str, method: Method) -> Result<String, Refusal> {
        target_as(text, method, Normalization::Base)
    }

    fn target_as(text: &'static str, method: Method, how: Normalization) -> Result<String, Refusal> {
        let parsed = PathAndQuery::from_maybe_shared(bytes::Bytes::from_static(text.as_bytes())).ok();
        normal(parsed, &method, how).map(|target| target.to_string())
    }

    #[test]
    fn a_path_is_normalised() {
        for (sent, wanted) in [
            ("/", "/"),
            ("/a/../b%41?q=/../%41", "/bA?q=/../%41"),
            ("/x\\..\\admin", "/admin"),
            ("/a|{}^", "/a%7C%7B%7D%5E"),
            ("/admin#f", "/admin"), // the engine's part
        ] {
            assert_eq!(target(sent, Method::GET).as_deref(), Ok(wanted), "{sent}");
        }
    }

    #[test]
    fn what_is_not_one_path_is_refused() {
        for sent in ["*", "?a", "/%00", "/%c0%af", "/\u{e9}", "/a?\u{e9}"] {
            assert_eq!(target(sent, Method::GET), Err(Refusal::BadTarget), "{sent}");
        }
        assert_eq!(normal(None, &Method::GET, Normalization::Base), Err(Refusal::BadTarget));
    }

    #[test]
    fn options_may_ask_for_the_server_and_connect_has_no_path() {
        assert_eq!(target("*", Method::OPTIONS).as_deref(), Ok("*"));
        let authority = |text| Authority::from_config(text).unwrap();
        assert_eq!(of_connect(None, &authority("a:443")).unwrap(), "/");
        assert_eq!(of_connect(None, &authority("a")), Err(Refusal::BadHost));
        let path = Some(PathAndQuery::from_static("/"));
        assert_eq!(of_connect(path, &authority("a:443")), Err(Refusal::BadTarget));
    }

    #[test]
    fn how_far_is_the_configurations_choice() {
        use Normalization::*;
        for (how, wanted) in [
            (None, "/x/..//%41%2f"),
            (Base, "//A%2f"),
            (MergeSlashes, "/A%2f"),
            (DecodeAndMergeSlashes, "/A/"),
        ] {
            assert_eq!(target_as("/x/..//%41%2f", Method::GET, how).as_deref(), Ok(wanted), "{how:?}");
        }
    }

    /// Whatever the normal form may hold, `http` takes.
    #[test]
    fn every_byte_of_a_normal_path_can_be_sent() {
        for byte in 0..=u8::MAX {
            let text = format!("/a/../{}", char::from(byte));
            if let Ok(normal) = path::normalise(&text, Normalization::Base) {
                assert!(PathAndQuery::try_from(normal.as_ref()).is_ok(), "{text}");
            }
        }
    }
}
