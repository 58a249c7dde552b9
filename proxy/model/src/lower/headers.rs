//! Changes to headers.
//!
//! In:  `headers` of a rule or a destination.   Out: [`HeaderOperations`], and the authority that a `Host` sets.
//! Invariants: names are lower-case; pseudo-headers and `Host` are never operations, since Istio drops them too. Changes
//! of a lone destination are its route's, and come last; of several destinations each has its own, and they come first.
//! Not here: applying them.

use crate::{
    Map,
    ir::{Format, HeaderFormat, HeaderOperations},
    istio,
};
use http::HeaderName;
use std::sync::Arc;

/// Changes to requests and to responses.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    pub request: HeaderOperations,
    pub response: HeaderOperations,
    /// New authority of the request.
    pub authority: Option<Arc<str>>,
}

impl Changes {
    pub fn new(headers: Option<&istio::Headers>) -> Self {
        let Some(headers) = headers else { return Changes::default() };
        let set = headers.request.as_ref().map(|request| &request.set);
        Changes {
            request: headers.request.as_ref().map(operations).unwrap_or_default(),
            response: headers.response.as_ref().map(operations).unwrap_or_default(),
            authority: set
                .and_then(|set| set.iter().find(|(name, _)| is_authority(name)))
                .map(|(_, v)| v.as_str().into()),
        }
    }
}

/// The changes of a route, then those of its only destination, as one list: Istio puts both on the route.
pub fn merge(route: HeaderOperations, destination: HeaderOperations) -> HeaderOperations {
    // What the destination sets would overwrite all that the route did to that name, but for removing it first.
    let lasts = |(name, _): &(HeaderName, HeaderFormat)| !destination.set.iter().any(|(set, _)| set == name);
    let mut set: Vec<_> = route.set.into_iter().filter(&lasts).collect();
    let mut add: Vec<_> = route.add.into_iter().filter(&lasts).collect();
    set.extend(destination.set);
    add.extend(destination.add);
    let mut remove = route.remove;
    remove.extend(destination.remove);
    HeaderOperations { set, add, remove }
}

fn operations(changes: &istio::HeaderOperations) -> HeaderOperations {
    HeaderOperations {
        set: values(&changes.set),
        add: values(&changes.add),
        remove: changes.remove.iter().filter_map(|name| header_name(name)).collect(),
    }
}

fn values(values: &Map<String>) -> Vec<(HeaderName, HeaderFormat)> {
    let format = |text: &str| HeaderFormat(Format::parse(text).unwrap_or_else(|_| Format::literal(text)));
    values.iter().filter_map(|(name, value)| Some((header_name(name)?, format(value)))).collect()
}

/// `None` for those that cannot be changed: pseudo-headers and `Host`.
fn header_name(name: &str) -> Option<HeaderName> {
    if is_authority(name) { None } else { HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).ok() }
}

/// Whether a name means the authority.
pub(crate) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(fields: &[(&'static str, &str)]) -> Vec<(HeaderName, HeaderFormat)> {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderFormat(Format::literal(v)))).collect()
    }

    #[test]
    fn a_lone_destination_has_the_last_word_but_nothing_is_removed_after_it_was_set() {
        let route = HeaderOperations {
            set: list(&[("a", "route"), ("b", "route"), ("c", "route")]),
            add: list(&[("b", "route"), ("d", "route")]),
            remove: vec![HeaderName::from_static("x")],
        };
        let destination = HeaderOperations {
            set: list(&[("b", "destination")]),
            add: list(&[("a", "destination"), ("d", "destination")]),
            remove: vec![HeaderName::from_static("c")],
        };
        let merged = merge(route, destination);
        assert_eq!(merged.set, list(&[("a", "route"), ("c", "route"), ("b", "destination")]));
        assert_eq!(merged.add, list(&[("d", "route"), ("a", "destination"), ("d", "destination")]));
        assert_eq!(merged.remove, ["x", "c"]);
    }
}
