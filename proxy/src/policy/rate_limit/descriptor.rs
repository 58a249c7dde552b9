//! What a service is told of a request.
//!
//! In:  actions, a request, its client and where it goes.   Out: entries of a descriptor, or none.
//! Invariant: an action without an entry leaves its descriptor out, unless it may be skipped.
//! Source: Envoy's `RateLimit.Action`.
#![cfg_attr(not(feature = "grpc-clients"), allow(dead_code, reason = "services are asked by gRPC only"))]

use crate::codec::RequestHead;
use ipnet::{Ipv4Net, Ipv6Net};
use sidle_model::ir::{RateLimitAction, RateLimitHeader};
use sidle_routing::{RequestView, RouteMatcher};
use std::net::IpAddr;

/// Actions, compiled.
pub struct Descriptor(Box<[(RateLimitAction, Option<RouteMatcher>)]>);

impl Descriptor {
    pub fn new(actions: &[RateLimitAction]) -> Self {
        let compiled = |action: &RateLimitAction| match action {
            RateLimitAction::HeaderValueMatch { matches, .. } => Some(RouteMatcher::new(matches)),
            _ => None,
        };
        Descriptor(actions.iter().map(|action| (action.clone(), compiled(action))).collect())
    }

    /// Keys and values for a request of `client` that goes to the cluster `to`; `None`: it has no such descriptor.
    pub fn entries(
        &self,
        head: &RequestHead,
        client: Option<IpAddr>,
        to: Option<&str>,
    ) -> Option<Vec<(String, String)>> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (action, matcher) in &self.0 {
            let (key, value) = match action {
                RateLimitAction::SourceCluster(name) => ("source_cluster", Some(name.to_string())),
                RateLimitAction::DestinationCluster => ("destination_cluster", to.map(str::to_owned)),
                RateLimitAction::RemoteAddress => {
                    ("remote_address", client.map(|client| client.to_canonical().to_string()))
                }
                RateLimitAction::MaskedRemoteAddress { v4, v6 } => {
                    ("masked_remote_address", client.and_then(|client| masked(client, *v4, *v6)))
                }
                RateLimitAction::RequestHeader { header, key, skip_if_absent } => {
                    match value(head, header).filter(|value| !value.is_empty()) {
                        None if *skip_if_absent => continue,
                        value => (&**key, value),
                    }
                }
                RateLimitAction::Generic { key, value } => (&**key, Some(value.to_string())),
                RateLimitAction::HeaderValueMatch { key, value, expect, .. } => {
                    let holds = matcher.as_ref().is_some_and(|matcher| matcher.matches(head) == *expect);
                    (&**key, holds.then(|| value.to_string()))
                }
            };
            entries.push((key.to_owned(), value?));
        }
        (!entries.is_empty()).then_some(entries)
    }
}

/// The first value of a header.
fn value(head: &RequestHead, header: &RateLimitHeader) -> Option<String> {
    Some(match header {
        RateLimitHeader::Method => head.method.as_str().to_owned(),
        RateLimitHeader::Path => head.target.as_str().to_owned(),
        RateLimitHeader::Authority => RequestView::authority(head).to_owned(),
        RateLimitHeader::Scheme => head.scheme.as_str().to_owned(),
        RateLimitHeader::Named(name) => {
            String::from_utf8_lossy(head.headers.get(name)?.as_bytes()).into_owned()
        }
    })
}

/// `192.0.2.0/24`.
fn masked(client: IpAddr, v4: u8, v6: u8) -> Option<String> {
    Some(match client.to_canonical() {
        IpAddr::V4(address) => Ipv4Net::new(address, v4).ok()?.trunc().to_string(),
        IpAddr::V6(address) => Ipv6Net::new(address, v6).ok()?.trunc().to_string(),
    })
}
