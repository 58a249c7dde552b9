//! What a request says of one thing: the texts that values are compared with.
//!
//! Invariants: each reading of what a client sent is among the texts; see the crate's own invariant on two readings.

use crate::{facts::Facts, path::ReadPath};
use serde_json::Value;
use sidle_model::ir::HeaderField;
use sidle_routing::{RequestView, host::split_host_port};
use smallvec::SmallVec;
use std::cell::OnceCell;

/// Facts, with what was worked out of them.
pub(crate) struct View<'f, F: Facts> {
    /// As given.
    pub facts: &'f F,
    path: Option<ReadPath<'f>>,
    host: OnceCell<Option<Host>>,
    accounts: OnceCell<SmallVec<[String; 1]>>,
}

/// An authority in lower case.
#[derive(Debug)]
pub(crate) struct Host {
    /// With the port, if there is one.
    pub written: String,
    /// Without port and trailing dot, where that is another.
    pub bare: Option<String>,
}

impl<'f, F: Facts> View<'f, F> {
    /// Of facts.
    pub fn new(facts: &'f F) -> Self {
        // CONNECT has no path.
        let request = facts.request().filter(|request| !request.is_connect());
        View {
            facts,
            path: request.map(|request| ReadPath::new(request.path())),
            host: OnceCell::new(),
            accounts: OnceCell::new(),
        }
    }

    /// The path, if there is one.
    pub fn path(&self) -> Option<&ReadPath<'f>> {
        self.path.as_ref()
    }

    /// The authority, if there is one.
    pub fn host(&self) -> Option<&Host> {
        let read = || {
            let written = self.facts.request()?.authority().to_ascii_lowercase();
            let name = split_host_port(&written).0;
            let bare = name.strip_suffix('.').unwrap_or(name).to_owned();
            let bare = Some(bare).filter(|bare| *bare != written);
            (!written.is_empty()).then_some(Host { written, bare })
        };
        self.host.get_or_init(read).as_ref()
    }

    /// The peer's trust domain.
    pub fn trust_domain(&self) -> Option<&'f str> {
        self.facts.principal()?.split('/').next()
    }

    /// Every namespace in the peer's principal: what stands between `/ns/` and another segment.
    pub fn namespaces(&self) -> impl Iterator<Item = &'f str> {
        let segments =
            || self.facts.principal().into_iter().flat_map(|principal| principal.split('/').skip(1));
        let pairs = segments().zip(segments().skip(1)).zip(segments().skip(2));
        pairs.filter(|((key, _), _)| *key == "ns").map(|((_, namespace), _)| namespace)
    }

    /// Every `NAMESPACE/ACCOUNT` in the peer's principal; other segments may stand between and behind.
    pub fn accounts(&self) -> &[String] {
        self.accounts.get_or_init(|| {
            let principal = self.facts.principal().unwrap_or_default();
            let segments: SmallVec<[&str; 8]> = principal.split('/').skip(1).collect();
            let mut accounts = SmallVec::new();
            for at in (0..segments.len().saturating_sub(3)).filter(|at| segments[*at] == "ns") {
                for pair in segments[at + 2..].windows(2).filter(|pair| pair[0] == "sa") {
                    accounts.push(format!("{}/{}", segments[at + 1], pair[1]));
                }
            }
            accounts
        })
    }

    /// Issuer and subject of the token.
    pub fn request_principal(&self) -> Option<(&str, &str)> {
        let claims = self.facts.claims()?;
        Some((claims.get("iss")?.as_str()?, claims.get("sub")?.as_str()?))
    }

    /// Each text of the claim at `path`: itself, the items of a list, the words of `scope` and `permission`.
    pub fn claim(&self, path: &[Box<str>], mut text: impl FnMut(&str)) {
        let Some((last, parents)) = path.split_last() else { return };
        let Some(mut object) = self.facts.claims() else { return };
        for name in parents {
            let Some(inner) = object.get(&**name).and_then(Value::as_object) else { return };
            object = inner;
        }
        let words = parents.is_empty() && matches!(&**last, "scope" | "permission");
        match object.get(&**last) {
            Some(Value::String(one)) if words => one.split_ascii_whitespace().for_each(text),
            Some(Value::String(one)) => text(one),
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).for_each(text),
            Some(Value::Bool(value)) => text(if *value { "true" } else { "false" }),
            Some(Value::Number(number)) => text(&number.to_string()),
            Some(Value::Null | Value::Object(_)) | None => {}
        }
    }

    /// The values of a header, one by one.
    pub fn header(&self, name: &HeaderField) -> SmallVec<[&[u8]; 2]> {
        let Some(request) = self.facts.request() else { return SmallVec::new() };
        let text =
            |text: &'f str| Some(text.as_bytes()).filter(|text| !text.is_empty()).into_iter().collect();
        match name {
            HeaderField::Method => text(request.method()),
            HeaderField::Authority => text(request.authority()),
            HeaderField::Scheme => text(request.scheme()),
            HeaderField::Path if request.is_connect() => SmallVec::new(),
            HeaderField::Path => text(request.path()),
            HeaderField::Status => SmallVec::new(),
            HeaderField::Named(name) => request.header(name).collect(),
        }
    }
}

/// The values of a header as one, as RFC 9110 section 5.2 joins them; `None`: there is one at most.
pub(crate) fn joined(values: &[&[u8]]) -> Option<Vec<u8>> {
    (values.len() > 1).then(|| values.join(&b","[..]))
}

/// The items of values that are lists.
pub(crate) fn items<'v>(values: &'v [&'v [u8]]) -> impl Iterator<Item = &'v [u8]> {
    let lists = values.iter().filter(|value| value.contains(&b','));
    lists.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// What rules can be found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Principal,
    Namespace,
    ServiceAccount,
    RequestPrincipal,
    Claim(Vec<Box<str>>),
    ServerName,
    Host,
    Path,
    Header(HeaderField),
}

impl Subject {
    /// Calls `text` with every reading of this that the request has.
    pub fn each<F: Facts>(&self, view: &View<'_, F>, mut text: impl FnMut(&[u8])) {
        match self {
            Subject::Principal => view.facts.principal().into_iter().for_each(|one| text(one.as_bytes())),
            Subject::Namespace => view.namespaces().for_each(|one| text(one.as_bytes())),
            Subject::ServiceAccount => view.accounts().iter().for_each(|one| text(one.as_bytes())),
            Subject::RequestPrincipal => {
                if let Some((issuer, subject)) = view.request_principal() {
                    text(format!("{issuer}/{subject}").as_bytes());
                }
            }
            Subject::Claim(path) => view.claim(path, |one| text(one.as_bytes())),
            Subject::ServerName => view.facts.server_name().into_iter().for_each(|one| text(one.as_bytes())),
            Subject::Host => {
                if let Some(host) = view.host() {
                    text(host.written.as_bytes());
                    host.bare.iter().for_each(|bare| text(bare.as_bytes()));
                }
            }
            Subject::Path => {
                if let Some(path) = view.path() {
                    text(path.written());
                    path.others().for_each(&mut text);
                }
            }
            Subject::Header(name) => {
                let values = view.header(name);
                values.iter().for_each(|value| text(value));
                joined(&values).iter().for_each(|joined| text(joined));
                items(&values).for_each(&mut text);
            }
        }
    }
}
