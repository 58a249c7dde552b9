//! `envoy.service.ratelimit.v3`, as far as it is spoken here: field numbers are the protocol's, what is not looked at is left out.
//!
//! Source: `envoy/service/ratelimit/v3/rls.proto`, `envoy/extensions/common/ratelimit/v3/ratelimit.proto`.

use crate::policy::ext_authz::messages::Header;

/// How does one more stand to the limits?
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateLimitRequest {
    /// Which limits.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// What is known of it.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<Descriptor>,
}

/// Entries, from the general to the special.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Descriptor {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// An answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateLimitResponse {
    /// 1: it may pass, 2: it is one too many.
    #[prost(int32, tag = "1")]
    pub overall_code: i32,
    /// One for each descriptor.
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<DescriptorStatus>,
    /// For the client.
    #[prost(message, repeated, tag = "3")]
    pub response_headers_to_add: Vec<Header>,
    /// For the upstream.
    #[prost(message, repeated, tag = "4")]
    pub request_headers_to_add: Vec<Header>,
    /// For a client who is refused.
    #[prost(bytes = "vec", tag = "5")]
    pub raw_body: Vec<u8>,
}

/// How it stands to the limit of one descriptor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DescriptorStatus {
    /// The limit; none: there is no limit.
    #[prost(message, optional, tag = "2")]
    pub current_limit: Option<Limit>,
    /// What is left of it.
    #[prost(uint32, tag = "3")]
    pub limit_remaining: u32,
    /// Until it is whole again.
    #[prost(message, optional, tag = "4")]
    pub duration_until_reset: Option<Span>,
}

/// `RateLimitResponse.RateLimit`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Limit {
    /// How many.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// 1 second, 2 minute, 3 hour, 4 day, 5 month, 6 year, 7 week.
    #[prost(int32, tag = "2")]
    pub unit: i32,
    /// What the service calls it.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Span {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
}

impl Limit {
    /// Seconds of its unit; `None`: it is none that is known.
    pub fn window(&self) -> Option<u32> {
        const DAY: u32 = 24 * 3600;
        Some(match self.unit {
            1 => 1,
            2 => 60,
            3 => 3600,
            4 => DAY,
            5 => 30 * DAY,
            6 => 365 * DAY,
            7 => 7 * DAY,
            _ => return None,
        })
    }
}
