//! Metrics: `/stats/prometheus`, `/metrics`, and `/stats` for people.

use super::{
    answer::{Answer, TEXT, answer, json, text},
    table::Ask,
};
use http::StatusCode;
use regex::RegexBuilder;
use serde_json::json as value;

/// For Prometheus.
pub(super) fn prometheus(ask: &Ask) -> Answer {
    let (content_type, body) = encode(ask, ask.accept.as_deref());
    answer(StatusCode::OK, content_type, body)
}

/// Everything as text, with what `/ready` would answer now.
fn encode(ask: &Ask, accept: Option<&str>) -> (&'static str, Vec<u8>) {
    let telemetry = ask.source.telemetry();
    telemetry.set_ready(ask.source.readiness().is_ready());
    telemetry.encode(accept)
}

/// One line a series, `name: value`, as Envoy shows them.
pub(super) fn stats(ask: &Ask) -> Answer {
    if ask.query.value("format") == Some("prometheus") {
        return prometheus(ask);
    }
    let filter =
        match ask.query.value("filter").map(|filter| RegexBuilder::new(filter).size_limit(1 << 20).build()) {
            Some(Err(error)) => return answer(StatusCode::BAD_REQUEST, TEXT, format!("filter: {error}\n")),
            Some(Ok(filter)) => Some(filter),
            None => None,
        };
    let (_, body) = encode(ask, None);
    let body = String::from_utf8_lossy(&body);
    let used_only = ask.query.has("usedonly");
    let wanted = |(name, value): &(&str, &str)| {
        (!used_only || *value != "0") && filter.as_ref().is_none_or(|filter| filter.is_match(name))
    };
    let samples = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let samples = samples.filter(wanted);
    if ask.query.wants_json() {
        let number = |text: &str| text.parse::<f64>().map_or(value!(text), |number| value!(number));
        let samples: Vec<_> = samples.map(|(name, v)| value!({ "name": name, "value": number(v) })).collect();
        return json(StatusCode::OK, &value!({ "stats": samples }));
    }
    text(samples.map(|(name, value)| format!("{name}: {value}\n")).collect::<String>())
}
