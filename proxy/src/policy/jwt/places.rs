//! Where a token stands in a request: found, taken off, hidden from the log.

use crate::codec::RequestHead;
use http::{HeaderName, HeaderValue, header, uri::PathAndQuery};
use percent_encoding::percent_decode_str;
use sidle_fields::Fields;
use sidle_jwt::Refusal;
use sidle_model::ir::TokenPlace;
use std::borrow::Cow;

/// Adds what stands at `place` to `found`.
///
/// # Errors
/// A header that holds a token came more than once: two programs could read two tokens.
pub fn find<'h>(
    place: &TokenPlace,
    head: &'h RequestHead,
    found: &mut Vec<Cow<'h, str>>,
) -> Result<(), Refusal> {
    match place {
        TokenPlace::Header { name, prefix, any_case } => {
            let mut lines = 0;
            let before = found.len();
            for value in head.headers.get_all(name) {
                lines += 1;
                if let Some(token) = behind(value.as_bytes(), prefix, *any_case) {
                    found.push(text(token)?);
                }
            }
            match lines > 1 && found.len() > before {
                true => Err(Refusal::SeveralTokens),
                false => Ok(()),
            }
        }
        TokenPlace::Parameter(name) => {
            let query = head.target.query().unwrap_or_default();
            let values = query.split('&').filter_map(|pair| parameter(pair, name));
            found.extend(values.map(|value| percent_decode_str(value).decode_utf8_lossy()));
            Ok(())
        }
        TokenPlace::Cookie(name) => {
            for pair in cookies(&head.headers) {
                if let Some(value) = cookie(pair, name) {
                    found.push(text(value)?);
                }
            }
            Ok(())
        }
    }
}

/// Takes away whatever stands at `place`.
pub fn take(place: &TokenPlace, head: &mut RequestHead) {
    match place {
        TokenPlace::Header { name, .. } => {
            head.headers.remove(name);
        }
        TokenPlace::Parameter(name) => {
            let kept = |pair: &&str| parameter(pair, name).is_none();
            if let Some(target) = with_query(&head.target, |query| query.split('&').filter(kept).collect()) {
                head.target = target;
            }
        }
        TokenPlace::Cookie(name) => take_cookie(name, &mut head.headers),
    }
}

/// The target without the value of the parameter `name`; `None`: it has none.
pub fn mask(target: &PathAndQuery, name: &str) -> Option<PathAndQuery> {
    target.query()?.split('&').find_map(|pair| parameter(pair, name))?;
    let masked = |pair: &str| match (parameter(pair, name), pair.split_once('=')) {
        (Some(_), Some((key, _))) => format!("{key}=-"),
        _ => pair.to_owned(),
    };
    let query: Vec<String> = target.query()?.split('&').map(masked).collect();
    PathAndQuery::try_from(format!("{}?{}", target.path(), query.join("&"))).ok()
}

fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Refusal::Form)
}

fn behind<'v>(value: &'v [u8], prefix: &str, any_case: bool) -> Option<&'v [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    let same = start == prefix.as_bytes() || any_case && start.eq_ignore_ascii_case(prefix.as_bytes());
    same.then(|| rest.trim_ascii_start())
}

/// The value of a query's `pair` if `name` is its name.
fn parameter<'p>(pair: &'p str, name: &str) -> Option<&'p str> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    (key == name || percent_decode_str(key).eq(name.bytes())).then_some(value)
}

fn with_query<'t>(
    target: &'t PathAndQuery,
    change: impl Fn(&'t str) -> Vec<&'t str>,
) -> Option<PathAndQuery> {
    let pairs = change(target.query()?);
    let path = target.path();
    let text = if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) };
    PathAndQuery::try_from(text).ok()
}

fn cookies(headers: &Fields) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

/// The value of a cookie if `name` is its name.
fn cookie<'c>(pair: &'c [u8], name: &str) -> Option<&'c [u8]> {
    let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    Some(value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value))
}

fn take_cookie(name: &str, headers: &mut Fields) {
    let kept: Vec<&[u8]> =
        cookies(headers).filter(|pair| !pair.is_empty() && cookie(pair, name).is_none()).collect();
    let kept = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|_| !kept.is_empty());
    headers.remove(header::COOKIE);
    if let Some(kept) = kept {
        headers.insert(header::COOKIE, kept);
    }
}

/// A header that a claim goes to.
pub fn set(headers: &mut Fields, name: &HeaderName, value: &str) {
    // A value that cannot stand in a header is told nobody.
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name.clone(), value);
    }
}
