//! Readiness: `/ready`, `/healthz/ready`, `/healthcheck/{fail,ok}`.

use super::{
    Readiness,
    answer::{self, Answer, TEXT, answer},
    table::Ask,
};
use http::StatusCode;

/// Envoy's: the state, then what is missing.
pub(super) fn ready(ask: &Ask) -> Answer {
    say(&ask.source.readiness())
}

/// The same, for probes of load balancers and the kubelet.
pub(super) fn healthz(ask: &Ask) -> Answer {
    say(&ask.source.readiness())
}

fn say(readiness: &Readiness) -> Answer {
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = format!("{}\n", readiness.state.name());
    for line in &readiness.unmet {
        body.push_str(line);
        body.push('\n');
    }
    answer(status, TEXT, body)
}

pub(super) fn fail(ask: &Ask) -> Answer {
    ask.source.set_healthy(false);
    answer::ok()
}

pub(super) fn ok(ask: &Ask) -> Answer {
    ask.source.set_healthy(true);
    answer::ok()
}
