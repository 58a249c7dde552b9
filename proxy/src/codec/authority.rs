//! Who a request is for.

use http::HeaderValue;
use sidle_model::ir::is_authority;
use sidle_routing::host::split_host_port;

/// A host, perhaps with a port, that is safe to send; see [`Authority::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(HeaderValue);

impl Authority {
    /// Checks that `value` is what [`is_authority`] takes and nothing else. Letter case and a trailing dot stay as they were sent:
    /// only looking hosts up passes over them.
    pub fn new(value: HeaderValue) -> Option<Self> {
        is_authority(value.as_bytes()).then_some(Authority(value))
    }

    /// Whether it is this, byte by byte.
    pub fn is(&self, value: &HeaderValue) -> bool {
        self.0.as_bytes() == value.as_bytes()
    }

    /// The same in memory of its own.
    pub fn detached(&self) -> Self {
        HeaderValue::from_bytes(self.0.as_bytes()).map_or_else(|_| self.clone(), Authority)
    }

    /// From text that the configuration gives.
    pub fn from_config(text: &str) -> Option<Self> {
        HeaderValue::from_str(text).ok().and_then(Self::new)
    }

    /// As sent.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Whether it says which port.
    pub fn has_port(&self) -> bool {
        split_host_port(self.as_str()).1.is_some()
    }

    /// For a `host` header.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_behind_the_host() {
        for (text, has) in [("a", false), ("a:1", true), ("[::1]", false), ("[::1]:1", true), ("a.", false)] {
            assert_eq!(
                Authority::from_config(text).map(|authority| authority.has_port()),
                Some(has),
                "{text}"
            );
        }
        assert_eq!(Authority::from_config("a:80x"), None);
    }
}
