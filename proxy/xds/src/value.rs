//! The small words: JSON objects with optional fields, durations, shares, addresses, string matches.
//!
//! Not here: anything that knows listeners, routes or clusters.

use serde_json::{Map, Value, json};
use sidle_model::ir::{ListenAddress, Percent, StringMatch};
use std::{net::SocketAddr, path::Path, time::Duration};

/// A JSON object that leaves out what is not there, as protobuf does.
#[derive(Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    pub(crate) fn new() -> Self {
        Object::default()
    }

    /// A `google.protobuf.Any` of Envoy's API: `typed("config.cluster.v3.Cluster")`.
    pub(crate) fn typed(message: &str) -> Self {
        Object::new().with("@type", format!("type.googleapis.com/envoy.{message}"))
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    pub(crate) fn with_list(self, key: &str, values: Vec<Value>) -> Self {
        if values.is_empty() { self } else { self.with(key, values) }
    }

    pub(crate) fn with_true(self, key: &str, value: bool) -> Self {
        if value { self.with(key, true) } else { self }
    }

    /// All fields of `other`, over those of the same name.
    pub(crate) fn merge(mut self, other: Object) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Map<String, Value>> for Object {
    fn from(fields: Map<String, Value>) -> Object {
        Object(fields)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Value {
        Value::Object(object.0)
    }
}

/// A named extension with its configuration.
pub(crate) fn extension(name: &str, config: Object) -> Value {
    Object::new().with("name", name).with("typed_config", config).into()
}

/// Protobuf's text of a duration: `1s`, `0.025s`.
pub(crate) fn duration(duration: Duration) -> Value {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    if nanoseconds == 0 {
        return format!("{seconds}s").into();
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0')).into()
}

/// A timeout of which Envoy writes "none" as zero.
pub(crate) fn duration_or_never(timeout: Option<Duration>) -> Value {
    duration(timeout.unwrap_or_default())
}

/// A `FractionalPercent`.
pub(crate) fn share(percent: Percent) -> Value {
    json!({"numerator": percent.parts_per_million(), "denominator": "MILLION"})
}

/// A `StringMatcher`, full match for expressions.
pub(crate) fn string_matcher(matches: &StringMatch) -> Value {
    match matches {
        StringMatch::Exact(text) => json!({"exact": &**text}),
        StringMatch::Prefix(text) => json!({"prefix": &**text}),
        StringMatch::Regex(pattern) => json!({"safe_regex": regex(pattern.as_str())}),
        StringMatch::Present => json!({"safe_regex": regex("(?s).*")}),
    }
}

/// A `RegexMatcher`.
pub(crate) fn regex(pattern: &str) -> Value {
    json!({"regex": pattern})
}

/// An `Address` of an IP address or, for clusters that resolve, a name.
pub(crate) fn socket_address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

/// An `Address` of a Unix domain socket.
pub(crate) fn pipe(path: &Path) -> Value {
    json!({"pipe": {"path": path.to_string_lossy()}})
}

/// An `Address` of a socket.
pub(crate) fn ip_address(address: SocketAddr) -> Value {
    socket_address(&address.ip().to_string(), address.port())
}

/// An `Address` to bind.
pub(crate) fn listen_address(address: &ListenAddress) -> Value {
    match address {
        ListenAddress::Socket(address) => ip_address(*address),
        ListenAddress::Unix(path) => pipe(path),
    }
}

/// A `DataSource`: text where it is text.
pub(crate) fn data_source(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({"inline_string": text}),
        Err(_) => json!({"inline_bytes": base64(bytes)}),
    }
}

/// Standard base64, as protobuf writes bytes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (group >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_protobufs() {
        for (given, expected) in
            [(0, "0s"), (1_000, "1s"), (25, "0.025s"), (90_500, "90.5s"), (3_600_000, "3600s")]
        {
            assert_eq!(duration(Duration::from_millis(given)), expected);
        }
        assert_eq!(duration_or_never(None), "0s");
    }

    #[test]
    fn base64_pads_as_the_standard_says() {
        for (given, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(given.as_bytes()), expected);
        }
        assert_eq!(data_source(&[0xff, 0xfe]), json!({"inline_bytes": "//4="}));
    }
}
