//! Changes to headers.
//!
//! In:  `headers` of a rule or a destination.   Out: [`HeaderOperations`], and the authority that a `Host` sets.
//! Invariants: names are lower-case; pseudo-headers and `Host` are never operations, since Istio drops them too.
//! Not here: applying them.

use crate::{
    ir::{Format, HeaderFormat, HeaderOperations},
    istio,
};
use http::HeaderName;
use std::{collections::BTreeMap, sync::Arc};

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

fn operations(changes: &istio::HeaderOperations) -> HeaderOperations {
    HeaderOperations {
        set: values(&changes.set),
        add: values(&changes.add),
        remove: changes.remove.iter().filter_map(|name| header_name(name)).collect(),
    }
}

fn values(values: &BTreeMap<String, String>) -> Vec<(HeaderName, HeaderFormat)> {
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
