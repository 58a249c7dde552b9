//! One condition, compiled.

use crate::{
    address::AddressSet,
    facts::Facts,
    path::{self, PathSet},
    subject::{Subject, View, items, joined},
    text::{TextSet, Texts, matches},
};
use sidle_model::ir::{self, Glob, HeaderField, Test, TextPattern};
use sidle_routing::RequestView;
use std::net::IpAddr;

/// Whether one reading of what was sent is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    /// It is: for rules that refuse, or only tell.
    Any,
    /// All are needed: for rules that let through.
    All,
}

impl Lean {
    fn other(self) -> Self {
        match self {
            Lean::Any => Lean::All,
            Lean::All => Lean::Any,
        }
    }
}

/// One condition, compiled.
#[derive(Debug)]
pub(crate) struct Condition {
    negated: bool,
    check: Check,
}

#[derive(Debug)]
enum Check {
    Principal(TextSet),
    Namespace(Texts, Box<[Glob]>),
    ServiceAccount(Texts),
    TrustDomain(TextSet),
    SourceIp(AddressSet),
    RemoteIp(AddressSet),
    DestinationIp(AddressSet),
    Port(Box<[u16]>),
    ServerName(TextSet),
    RequestPrincipal(Box<[(TextPattern, TextPattern)]>),
    Claim(Box<[Box<str>]>, TextSet),
    Host(TextSet),
    Path(PathSet),
    Method(TextSet),
    Header(HeaderField, TextSet),
}

impl Condition {
    /// Compiles.
    pub fn new(condition: &ir::Condition) -> Self {
        let check = match &condition.test {
            Test::Principal(patterns) => Check::Principal(TextSet::new(patterns)),
            Test::Namespace(globs) => {
                let (globs, exact): (Vec<_>, Vec<_>) =
                    globs.iter().partition(|glob| glob.as_str().contains('*'));
                let exact = exact.iter().map(|text| text.as_str().as_bytes().into());
                Check::Namespace(exact.collect(), globs.into_iter().cloned().collect())
            }
            Test::ServiceAccount(accounts) => {
                Check::ServiceAccount(accounts.iter().map(|text| text.as_bytes().into()).collect())
            }
            Test::TrustDomain(patterns) => Check::TrustDomain(TextSet::new(patterns)),
            Test::SourceIp(networks) => Check::SourceIp(AddressSet::new(networks)),
            Test::RemoteIp(networks) => Check::RemoteIp(AddressSet::new(networks)),
            Test::DestinationIp(networks) => Check::DestinationIp(AddressSet::new(networks)),
            Test::Port(ports) => Check::Port(ports.as_slice().into()),
            Test::ServerName(patterns) => Check::ServerName(TextSet::new(patterns)),
            Test::RequestPrincipal(patterns) => Check::RequestPrincipal(patterns.as_slice().into()),
            Test::Claim(path, patterns) => Check::Claim(path.as_slice().into(), TextSet::new(patterns)),
            Test::Host(patterns) => Check::Host(TextSet::new(patterns)),
            Test::Path(patterns) => Check::Path(PathSet::new(patterns)),
            Test::Method(patterns) => Check::Method(TextSet::new(patterns)),
            Test::Header(name, patterns) => Check::Header(name.clone(), TextSet::new(patterns)),
        };
        Condition { negated: condition.negated, check }
    }

    /// Whether it holds.
    pub fn holds<F: Facts>(&self, view: &View<'_, F>, lean: Lean) -> bool {
        match self.negated {
            false => self.check.meets(view, lean),
            // What a rule must not meet to let through is met by either reading.
            true => !self.check.meets(view, lean.other()),
        }
    }
}

impl Check {
    fn meets<F: Facts>(&self, view: &View<'_, F>, lean: Lean) -> bool {
        let facts = view.facts;
        let text = |set: &TextSet, text: Option<&str>| text.is_some_and(|text| set.matches(text.as_bytes()));
        let address =
            |set: &AddressSet, address: Option<IpAddr>| address.is_some_and(|address| set.contains(address));
        match self {
            Check::Principal(set) => text(set, facts.principal()),
            Check::TrustDomain(set) => text(set, view.trust_domain()),
            Check::Namespace(exact, globs) => view.namespaces().any(|namespace| {
                exact.contains(namespace.as_bytes()) || globs.iter().any(|glob| glob.matches(namespace))
            }),
            Check::ServiceAccount(accounts) => {
                view.accounts().iter().any(|account| accounts.contains(account.as_bytes()))
            }
            Check::SourceIp(set) => address(set, facts.source_ip()),
            Check::RemoteIp(set) => address(set, facts.remote_ip()),
            Check::DestinationIp(set) => address(set, facts.destination_ip()),
            Check::Port(ports) => facts.port().is_some_and(|port| ports.contains(&port)),
            Check::ServerName(set) => text(set, facts.server_name()),
            Check::RequestPrincipal(patterns) => view.request_principal().is_some_and(|(issuer, subject)| {
                let meets = |(of_issuer, of_subject): &(TextPattern, TextPattern)| {
                    matches(of_issuer, issuer.as_bytes()) && matches(of_subject, subject.as_bytes())
                };
                patterns.iter().any(meets)
            }),
            Check::Claim(path, set) => {
                let mut met = false;
                view.claim(path, |one| met |= set.matches(one.as_bytes()));
                met
            }
            Check::Host(set) => view.host().is_some_and(|host| {
                let bare = host.bare.as_ref().filter(|_| lean == Lean::Any);
                set.matches(host.written.as_bytes()) || bare.is_some_and(|bare| set.matches(bare.as_bytes()))
            }),
            Check::Path(set) => view.path().is_some_and(|path| match lean {
                Lean::Any => set.matches_any(path),
                Lean::All => set.matches_all(path),
            }),
            Check::Method(set) => text(set, facts.request().map(RequestView::method)),
            Check::Header(name, set) => header(set, &view.header(name), lean),
        }
    }
}

/// Several values are each a reading, as are the items of a list in one. Joined they are one more, as Envoy has it.
fn header(set: &TextSet, values: &[&[u8]], lean: Lean) -> bool {
    let takes = |value: &[u8]| set.takes_presence() || set.matches(value);
    let mut each = values.iter();
    match lean {
        Lean::Any => {
            each.any(|value| takes(value))
                || joined(values).is_some_and(|value| takes(&value))
                || items(values).any(takes)
        }
        Lean::All => !values.is_empty() && each.all(|value| takes(value)),
    }
}

/// What a rule with this condition can be found by; `None`: by nothing in particular.
pub(crate) fn keys(condition: &ir::Condition) -> Option<(Subject, Vec<TextPattern>)> {
    if condition.negated {
        return None;
    }
    let exact = |text: &str| TextPattern::Exact(text.into());
    let (subject, patterns) = match &condition.test {
        Test::Principal(patterns) => (Subject::Principal, patterns.clone()),
        Test::Namespace(globs) if globs.iter().all(|glob| !glob.as_str().contains('*')) => {
            (Subject::Namespace, globs.iter().map(|glob| exact(glob.as_str())).collect())
        }
        Test::ServiceAccount(accounts) => {
            (Subject::ServiceAccount, accounts.iter().map(|account| exact(account)).collect())
        }
        Test::RequestPrincipal(patterns) => {
            let both = patterns.iter().map(|pair| match pair {
                (TextPattern::Exact(issuer), TextPattern::Exact(subject)) => {
                    exact(&format!("{issuer}/{subject}"))
                }
                (TextPattern::Exact(issuer), _) => TextPattern::Prefix(format!("{issuer}/").into()),
                _ => TextPattern::Present,
            });
            (Subject::RequestPrincipal, both.collect())
        }
        Test::Claim(path, patterns) => (Subject::Claim(path.clone()), patterns.clone()),
        Test::ServerName(patterns) => (Subject::ServerName, patterns.clone()),
        Test::Host(patterns) => (Subject::Host, patterns.clone()),
        Test::Path(patterns) => (Subject::Path, patterns.iter().map(path::key).collect()),
        Test::Header(name, patterns) => (Subject::Header(name.clone()), patterns.clone()),
        _ => return None,
    };
    let selective = |pattern: &TextPattern| pattern.literal().len() > 1;
    patterns.iter().all(selective).then_some((subject, patterns))
}
