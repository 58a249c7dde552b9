//! What an authoriser's answer does to headers.

#[cfg(feature = "grpc-clients")]
use super::messages::{Header, HeaderOption};
use crate::codec::hop_by_hop;
use http::{HeaderName, HeaderValue, header};
use sidle_fields::Fields;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    name: HeaderName,
    how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "grpc-clients"), allow(dead_code, reason = "some are said by gRPC only"))]
enum How {
    /// In place of what is there.
    Set(HeaderValue),
    /// Beside what is there.
    Add(HeaderValue),
    /// Beside what is there, if something is.
    AddToExisting(HeaderValue),
    /// In place of what is there, if something is.
    Replace(HeaderValue),
    /// If nothing is there.
    AddIfAbsent(HeaderValue),
    Remove,
}

impl Change {
    /// Beside what is there.
    pub(in crate::policy) fn add(name: HeaderName, value: HeaderValue) -> Option<Self> {
        Change::new(name, How::Add(value))
    }

    /// Away with all of this name.
    pub(super) fn remove(name: &str) -> Option<Self> {
        Change::new(HeaderName::from_bytes(name.as_bytes()).ok()?, How::Remove)
    }

    /// `None`: that header is the codecs' alone, or says whom the request is for.
    fn new(name: HeaderName, how: How) -> Option<Self> {
        (!hop_by_hop::is_framing(&name) && name != header::HOST).then_some(Change { name, how })
    }

    /// Makes it.
    pub fn apply(&self, headers: &mut Fields) {
        let there = headers.contains_key(&self.name);
        match &self.how {
            How::Set(value) => {
                headers.insert(&self.name, value.clone());
            }
            How::Replace(value) if there => {
                headers.insert(&self.name, value.clone());
            }
            How::Add(value) => {
                headers.append(&self.name, value.clone());
            }
            How::AddToExisting(value) if there => {
                headers.append(&self.name, value.clone());
            }
            How::AddIfAbsent(value) if !there => {
                headers.append(&self.name, value.clone());
            }
            How::Remove => {
                headers.remove(&self.name);
            }
            How::Replace(_) | How::AddToExisting(_) | How::AddIfAbsent(_) => {}
        }
    }
}

/// As gRPC says them.
#[cfg(feature = "grpc-clients")]
impl Change {
    /// A header that a service adds.
    pub(in crate::policy) fn header(header: &Header) -> Option<Self> {
        let (name, value) = pair(header)?;
        Change::add(name, value)
    }

    /// To a refused client's answer.
    pub(super) fn to_refusal(option: &HeaderOption) -> Option<Self> {
        let (name, value) = parts(option)?;
        Change::add(name, value)
    }

    /// To a request: in place of what is there, unless it is to be appended.
    pub(super) fn to_request(option: &HeaderOption) -> Option<Self> {
        let (name, value) = parts(option)?;
        let append = option.append.is_some_and(|append| append.value);
        Change::new(name, if append { How::AddToExisting(value) } else { How::Set(value) })
    }

    /// To the response.
    pub(super) fn to_response(option: &HeaderOption) -> Option<Self> {
        let (name, value) = parts(option)?;
        let how = match (option.append.map(|append| append.value), option.append_action) {
            (Some(true), _) | (None, 0) => How::Add(value),
            (Some(false), _) | (None, 2) => How::Set(value),
            (None, 1) => How::AddIfAbsent(value),
            (None, 3) => How::Replace(value),
            (None, _) => return None,
        };
        Change::new(name, how)
    }
}

/// Several values of one name stay several, and take the place of what was there.
pub(super) fn replacing(changes: Vec<Change>) -> Vec<Change> {
    let mut seen: Vec<HeaderName> = Vec::new();
    let mut out = Vec::with_capacity(changes.len());
    for change in changes {
        if !seen.contains(&change.name) {
            seen.push(change.name.clone());
            out.push(Change { name: change.name.clone(), how: How::Remove });
        }
        out.push(change);
    }
    out
}

#[cfg(feature = "grpc-clients")]
fn parts(option: &HeaderOption) -> Option<(HeaderName, HeaderValue)> {
    pair(option.header.as_ref()?)
}

#[cfg(feature = "grpc-clients")]
fn pair(header: &Header) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(header.key.as_bytes()).ok()?;
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

#[cfg(test)]
#[cfg(feature = "grpc-clients")]
mod tests {
    use super::super::messages::Bool;
    use super::*;

    fn option(key: &str, append: Option<bool>, append_action: i32) -> HeaderOption {
        let header = Header { key: key.into(), value: "new".into(), raw_value: Vec::new() };
        HeaderOption { header: Some(header), append: append.map(|value| Bool { value }), append_action }
    }

    fn applied(change: Option<Change>, before: &[&'static str]) -> Option<Vec<String>> {
        let mut headers = Fields::new();
        for value in before {
            headers.append(HeaderName::from_static("x"), HeaderValue::from_static(value));
        }
        change?.apply(&mut headers);
        Some(headers.get_all("x").map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn each_way_to_meet_what_is_there() {
        let request =
            |append, before: &[&'static str]| applied(Change::to_request(&option("x", append, 0)), before);
        assert_eq!(request(None, &["a", "b"]).unwrap(), ["new"]);
        assert_eq!(request(Some(true), &["a"]).unwrap(), ["a", "new"]);
        assert!(request(Some(true), &[]).unwrap().is_empty(), "as in Envoy");
        let response = |action, before: &[&'static str]| {
            applied(Change::to_response(&option("x", None, action)), before)
        };
        assert_eq!(response(0, &["a"]).unwrap(), ["a", "new"]);
        assert_eq!(response(1, &["a"]).unwrap(), ["a"]);
        assert_eq!(response(1, &[]).unwrap(), ["new"]);
        assert_eq!(response(2, &["a"]).unwrap(), ["new"]);
        assert_eq!(response(3, &["a"]).unwrap(), ["new"]);
        assert!(response(3, &[]).unwrap().is_empty());
        assert!(applied(Change::remove("x"), &["a"]).unwrap().is_empty());
    }

    #[test]
    fn frames_and_destinations_are_not_the_authorisers() {
        for name in ["content-length", "Transfer-Encoding", "connection", "host", ":path", "a b"] {
            assert_eq!(Change::to_request(&option(name, None, 0)), None, "{name}");
            assert_eq!(Change::remove(name), None, "{name}");
        }
    }
}
