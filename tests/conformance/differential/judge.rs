//! Which disagreements could smuggle a request, and what the others are.

use crate::{conversation::Outcome, framing::Message, reparse::Parsed, report::shown};

/// What was found out about one sequence.
pub struct Evidence<'a> {
    pub bytes: &'a [u8],
    pub sidle: &'a Outcome,
    /// How many requests the upstream answered, by Sidle's own log.
    pub logged: usize,
    /// Each other proxy: its name and what it did.
    pub others: Vec<(&'static str, &'a Outcome)>,
    /// Each other parser: its name and the requests that it sees in what Sidle wrote.
    pub parsers: Vec<(&'static str, Vec<Parsed>)>,
    /// Each other proxy: its name and what it did with what Sidle wrote.
    pub behind: Vec<(&'static str, &'a Outcome)>,
}

/// The class of what depends on what was asked before, and cannot be asked again.
pub const REUSE: &str = "reuse";

/// A disagreement.
#[derive(Debug)]
pub struct Finding {
    pub smuggles: bool,
    pub class: &'static str,
    pub detail: String,
}

fn smuggles(class: &'static str, detail: String) -> Finding {
    Finding { smuggles: true, class, detail }
}

fn differs(class: &'static str, detail: String) -> Finding {
    Finding { smuggles: false, class, detail }
}

/// All disagreements about one sequence.
pub fn judge(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = written(evidence);
    findings.extend(split(evidence));
    for (name, other) in &evidence.others {
        findings.extend(compared(evidence.sidle, name, other));
    }
    for (name, behind) in &evidence.behind {
        findings.extend(next_hop(evidence.sidle, name, behind));
    }
    findings
}

/// What Sidle wrote, read by strict parsers, must be the requests that it says it sent.
fn written(evidence: &Evidence<'_>) -> Vec<Finding> {
    let upstream = &evidence.sidle.upstream;
    let mut findings = Vec::new();
    if upstream.poisoned {
        findings.push(smuggles(REUSE, "a connection was used again in the middle of a request".to_owned()));
    }
    for why in &upstream.broken {
        findings.push(smuggles("broken bytes", why.clone()));
    }
    if evidence.logged != upstream.requests.len() {
        let detail = format!("{} on the wire, {} in Sidle's log", upstream.requests.len(), evidence.logged);
        findings.push(smuggles("count", detail));
    }
    let mut wanted: Vec<Parsed> =
        upstream.requests.iter().map(|one| parsed(one, Some(one.body.len()))).collect();
    wanted.extend(upstream.partial.iter().map(|one| parsed(one, None)));
    wanted.sort();
    for (name, seen) in &evidence.parsers {
        let mut seen = seen.clone();
        seen.sort();
        if seen != wanted {
            findings.push(smuggles("second parser", format!("{name} sees {seen:?} and not {wanted:?}")));
        }
    }
    findings
}

fn parsed(message: &Message, length: Option<usize>) -> Parsed {
    (message.method.clone(), message.target.clone(), length)
}

/// Sidle must not see more requests than the strictest of those that saw any.
fn split(evidence: &Evidence<'_>) -> Option<Finding> {
    let forwarded = evidence.sidle.upstream.requests.len();
    let statuses: Vec<_> = evidence.others.iter().map(|(name, other)| (name, &other.statuses)).collect();
    let strictest =
        evidence.others.iter().filter(|(_, other)| !refused(other)).min_by_key(|(_, other)| sees(other));
    let Some((name, other)) = strictest else {
        let wrote = evidence
            .sidle
            .upstream
            .streams
            .iter()
            .map(|bytes| shown(bytes))
            .collect::<Vec<_>>()
            .join(" and ");
        return (forwarded > 0)
            .then(|| smuggles("alone", format!("all others refuse: {statuses:?}; Sidle wrote {wrote}")));
    };
    if forwarded <= sees(other) {
        return None;
    }
    let detail = format!("{forwarded} by Sidle, {} by {name}; their answers {statuses:?}", sees(other));
    Some(match DIFFERENCES.iter().find(|one| one.proxy == *name && contains(evidence.bytes, one.bytes)) {
        Some(known) => differs(known.reason, detail),
        None => smuggles("split", detail),
    })
}

/// Whether a proxy said no to the first bytes and looked at nothing else.
fn refused(outcome: &Outcome) -> bool {
    outcome.upstream.requests.is_empty() && matches!(outcome.statuses[..], [status] if status >= 400)
}

/// How many requests a proxy found: those that it forwarded, and those that it answered itself.
fn sees(outcome: &Outcome) -> usize {
    outcome.upstream.requests.len().max(outcome.statuses.len())
}

/// Why a proxy sees fewer requests than Sidle where these bytes occur, without reading one of them otherwise.
struct Difference {
    proxy: &'static str,
    bytes: &'static str,
    reason: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference { proxy: "nginx", bytes: "close;x", reason: CLOSE },
    Difference { proxy: "nginx", bytes: "\"close\"", reason: CLOSE },
    Difference {
        proxy: "Envoy",
        bytes: "proxy-connection: close",
        reason: "Envoy ends the connection for Proxy-Connection",
    },
];

const CLOSE: &str = "nginx ends the connection where `close` is but a part of an option";

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// Sidle's requests beside those of another proxy.
fn compared(sidle: &Outcome, name: &str, other: &Outcome) -> Vec<Finding> {
    let (ours, theirs) = (&sidle.upstream.requests, &other.upstream.requests);
    let mut findings = Vec::new();
    if ours.len() != theirs.len() {
        let class = if ours.len() > theirs.len() { "a peer is stricter" } else { "Sidle is stricter" };
        let statuses = (&sidle.statuses, &other.statuses);
        findings.push(differs(
            class,
            format!("{name}: {} and {} requests, {statuses:?}", ours.len(), theirs.len()),
        ));
    }
    for (our, their) in ours.iter().zip(theirs) {
        if our.body != their.body {
            let bodies = (String::from_utf8_lossy(&our.body), String::from_utf8_lossy(&their.body));
            findings.push(smuggles("body", format!("{name}: {bodies:?}")));
        } else if our.framing != their.framing {
            findings.push(differs("framing", format!("{name}: {:?} and {:?}", our.framing, their.framing)));
        }
        if our.method != their.method {
            findings.push(differs("method", format!("{name}: {:?} and {:?}", our.method, their.method)));
        }
        if our.target != their.target {
            findings.push(differs("target", format!("{name}: {:?} and {:?}", our.target, their.target)));
        }
    }
    findings
}

/// What Sidle wrote, sent through another proxy, must stay the same requests; it may be refused.
fn next_hop(sidle: &Outcome, name: &str, behind: &Outcome) -> Vec<Finding> {
    let (ours, theirs) = (&sidle.upstream.requests, &behind.upstream.requests);
    if behind.statuses.len() > ours.len().max(1) || theirs.len() > ours.len() {
        let detail =
            format!("{name} sees {} of {} requests, {:?}", theirs.len(), ours.len(), behind.statuses);
        return vec![smuggles("next hop", detail)];
    }
    let bodies = |all: &[Message]| all.iter().map(|one| one.body.clone()).collect::<Vec<_>>();
    if theirs.len() == ours.len() && bodies(ours) != bodies(theirs) {
        return vec![smuggles("next hop", format!("{name} sees other bodies"))];
    }
    if theirs.len() < ours.len() {
        return vec![differs("the next hop refuses", format!("{name}: {:?}", behind.statuses))];
    }
    Vec::new()
}
