//! The tables for users name every field.

use super::*;
use schemars::schema_for;

/// `proxy/README.md`.
const README: &str = include_str!("../../../README.md");

fn fields<T: JsonSchema>() -> Vec<String> {
    let schema = schema_for!(T);
    let properties = schema.get("properties").and_then(|properties| properties.as_object());
    properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect()
}

#[test]
fn every_limit_is_in_the_table_of_limits() {
    let names = fields::<Limits>();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let rows =
            README.lines().filter(|line| line.starts_with('|') && line.contains(&format!("| `{name}` |")));
        assert_eq!(rows.count(), 1, "proxy/README.md must have one row for the limit `{name}`");
    }
}

#[test]
fn every_field_is_in_a_table_of_fields() {
    for (parent, names) in [
        ("", fields::<Proxy>()),
        ("drain.", fields::<Drain>()),
        ("proxyHeaders.", fields::<ProxyHeaders>()),
        ("proxyHeaders.server.", fields::<ServerHeader>()),
        ("pathNormalization.", fields::<PathNormalization>()),
        ("gatewayTopology.", fields::<GatewayTopology>()),
        ("", fields::<HealthPolicy>()),
        ("successRate.", fields::<SuccessRate>()),
        ("failurePercentage.", fields::<FailurePercentage>()),
        ("latency.", fields::<Latency>()),
        ("probing.", fields::<Probing>()),
        ("", fields::<ConcurrencyPolicy>()),
        ("minRtt.", fields::<MinRtt>()),
        ("", fields::<FaultPolicy>()),
        ("tcp.", fields::<TcpFaults>()),
        ("tcp.cut.", fields::<TcpCut>()),
        ("", fields::<RateLimitPolicy>()),
        ("key.", fields::<RateLimitKey>()),
        ("tokenBucket.", fields::<TokenBucket>()),
        ("", fields::<UpstreamPolicy>()),
        ("peakEwma.", fields::<PeakEwma>()),
        ("hedging.", fields::<Hedging>()),
        ("rateLimitService.", fields::<RateLimitService>()),
        ("", fields::<RateLimitAction>()),
        ("requestHeaders.", fields::<RequestHeaders>()),
        ("maskedRemoteAddress.", fields::<MaskedRemoteAddress>()),
        ("genericKey.", fields::<GenericKey>()),
        ("headerValueMatch.", fields::<HeaderValueMatch>()),
    ] {
        for name in names {
            let path = format!("`{parent}{name}");
            let named = |end: &str| README.contains(&format!("{path}{end}"));
            assert!(named("`") || named("."), "proxy/README.md does not name {path}`");
        }
    }
}
