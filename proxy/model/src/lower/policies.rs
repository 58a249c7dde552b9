//! What a rule does besides choosing a destination: faults, CORS, mirrors' shares, hash policies.
//!
//! In:  Istio's types.   Out: the IR's.
//! Not here: doing it.

use super::matches::string_match;
use crate::{
    ir::{Cors, Fault, FaultAbort, HashPolicy, Percent, StringMatch},
    istio,
};
use http::{HeaderName, StatusCode};

/// A percentage; what is out of range is refused by `check`.
pub(super) fn percent(value: &istio::Percent) -> Percent {
    Percent::new(value.value).unwrap_or(Percent::NEVER)
}

/// `None`: nothing is ever injected. A missing percentage means 0 %, as in Envoy.
pub(super) fn fault(fault: &istio::HttpFaultInjection) -> Option<Fault> {
    let delay = fault.delay.as_ref().and_then(|delay| {
        let share = match (&delay.percentage, delay.percent) {
            (Some(share), _) => percent(share),
            (None, Some(share)) => Percent::new(f64::from(share)).unwrap_or(Percent::NEVER),
            (None, None) => Percent::NEVER,
        };
        Some((delay.fixed_delay?.0, share))
    });
    let abort = fault.abort.as_ref().and_then(|abort| {
        let share = abort.percentage.as_ref().map_or(Percent::NEVER, percent);
        let answer = match (&abort.http_status, &abort.grpc_status) {
            (Some(status), _) => FaultAbort::Http(StatusCode::from_u16(u16::try_from(*status).ok()?).ok()?),
            (None, Some(name)) => FaultAbort::Grpc(grpc_status(name)?),
            (None, None) => return None,
        };
        Some((answer, share))
    });
    let delay = delay.filter(|(_, share)| *share != Percent::NEVER);
    let abort = abort.filter(|(_, share)| *share != Percent::NEVER);
    (delay.is_some() || abort.is_some()).then_some(Fault { delay, abort })
}

/// From `UNAVAILABLE` or `14`.
fn grpc_status(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let by_name = istio::GRPC_STATUSES
        .iter()
        .position(|known| *known == upper)
        .and_then(|code| u8::try_from(code).ok());
    by_name.or_else(|| name.parse().ok().filter(|code| *code <= 16))
}

/// Cross-origin policy.
pub(super) fn cors(policy: &istio::CorsPolicy) -> Cors {
    // `*` stands for every origin, wherever a literal may stand.
    let exact =
        |origin: &str| if origin == "*" { StringMatch::Present } else { StringMatch::Exact(origin.into()) };
    let allow_origins = if policy.allow_origins.is_empty() {
        policy.allow_origin.iter().map(|origin| exact(origin)).collect()
    } else {
        let lowered = policy.allow_origins.iter().filter_map(|origin| match &origin.exact {
            Some(origin) => Some(exact(origin)),
            None => string_match(origin).ok(),
        });
        lowered.collect()
    };
    Cors {
        allow_origins,
        allow_methods: policy.allow_methods.join(","),
        allow_headers: policy.allow_headers.join(","),
        expose_headers: policy.expose_headers.join(","),
        max_age: policy.max_age.map(|age| age.0),
        allow_credentials: policy.allow_credentials.unwrap_or_default(),
        forward_unmatched_preflights: policy.unmatched_preflights != istio::UnmatchedPreflights::Ignore,
    }
}

/// What requests to a destination are hashed by; empty: nothing.
pub(super) fn hash_policies(balancer: Option<&istio::LoadBalancerSettings>) -> Vec<HashPolicy> {
    let Some(hash) = balancer.and_then(|balancer| balancer.consistent_hash.as_ref()) else {
        return Vec::new();
    };
    let header = hash.http_header_name.as_ref().and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let policy = if let Some(name) = header {
        HashPolicy::Header(name)
    } else if let Some(cookie) = &hash.http_cookie {
        let attribute = |a: &istio::HttpCookieAttribute| (a.name.as_str().into(), a.value.as_str().into());
        HashPolicy::Cookie {
            name: cookie.name.as_str().into(),
            path: cookie.path.as_deref().map(Into::into),
            ttl: cookie.ttl.map(|ttl| ttl.0),
            attributes: cookie.attributes.iter().map(attribute).collect(),
        }
    } else if hash.use_source_ip == Some(true) {
        HashPolicy::SourceIp
    } else if let Some(name) = &hash.http_query_parameter_name {
        HashPolicy::QueryParameter(name.as_str().into())
    } else {
        return Vec::new();
    };
    vec![policy]
}

/// Standard base64; `None` if it is not that.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(digit);
        }
        match group.len() {
            4 => bytes.extend_from_slice(&bits.to_be_bytes()[1..]),
            3 => bytes.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
            2 => bytes.extend_from_slice(&(bits >> 4).to_be_bytes()[3..]),
            _ => return None,
        }
    }
    Some(bytes)
}

/// A SHA-256 in hexadecimal, `:` between the bytes or not; `None` if it is not that.
pub(crate) fn sha256_of_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// A SHA-256 in base64; `None` if it is not that.
pub(crate) fn sha256_of_base64(text: &str) -> Option<[u8; 32]> {
    base64(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("Z"), None);
        assert_eq!(base64("Zm 9"), None);
    }

    #[test]
    fn grpc_statuses_have_names() {
        assert_eq!(grpc_status("UNAVAILABLE"), Some(14));
        assert_eq!(grpc_status("cancelled"), Some(1));
        assert_eq!(grpc_status("17"), None);
    }

    #[test]
    fn a_fault_without_a_percentage_is_none() {
        let delay =
            istio::FaultDelay { fixed_delay: crate::Duration::parse("1s").ok(), ..Default::default() };
        let injection = istio::HttpFaultInjection { delay: Some(delay), abort: None };
        assert_eq!(fault(&injection), None);
    }
}
