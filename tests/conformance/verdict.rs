//! Whether what happened is what a row demands.
//!
//! In:  an [`Observation`] and its [`Expect`]ations.   Out: what is wrong, in words.
//! Invariants: pure. What holds for every row needs no words in the data: the upstream never gets garbage, the healthy client
//! never an error.
//! Not here: making it happen (`row`).

use crate::{
    answer::{Answer, First, answers, events},
    bytes::{Counters, text},
    case::Expect,
    client::Received,
    probe::Health,
    recorder::Seen,
    wire,
};
use std::time::Duration;

/// Below this, two latencies are the same: the machine does other things too.
const NOISE: Duration = Duration::from_millis(50);

/// What happened.
#[derive(Default)]
pub struct Observation {
    /// Whether the client spoke HTTP/2.
    pub http2: bool,
    /// What was asked first.
    pub first: First,
    /// What each connection brought.
    pub connections: Vec<Received>,
    /// Why the further request on the same connection failed.
    pub next: Option<String>,
    /// What the upstream saw.
    pub upstream: Seen,
    /// The access log.
    pub log: String,
    /// Resident memory that came on top.
    pub memory_kib: u64,
    /// Processor time, without the healthy client's share.
    pub processor: Duration,
    /// From the first byte to the outcome.
    pub took: Duration,
    /// The healthy client before, and meanwhile.
    pub health: Option<(Health, Health)>,
    /// What else went wrong.
    pub troubles: Vec<String>,
}

impl Observation {
    /// What one connection brought, as outcomes.
    pub fn outcomes(&self, received: &Received) -> Vec<String> {
        outcomes(received, self.http2, self.first)
    }

    fn answers(&self, received: &Received) -> Vec<Answer> {
        answers(&received.bytes, self.first, received.closed.is_some())
    }
}

/// What a connection brought, as outcomes.
pub fn outcomes(received: &Received, http2: bool, first: First) -> Vec<String> {
    let mut found = if http2 {
        events(&received.bytes)
    } else {
        let answers = answers(&received.bytes, first, received.closed.is_some());
        answers.first().map(|answer| answer.status.to_string()).into_iter().collect()
    };
    if found.is_empty() {
        let partial = !http2 && received.bytes.starts_with(b"HTTP/1.1 ");
        found.push(match received.closed {
            Some(_) if partial => "cut".to_owned(),
            Some(_) => "closed".to_owned(),
            None => "silence".to_owned(),
        });
    }
    found
}

/// Whether one of the outcomes is one of those wanted.
pub fn is_wanted(outcomes: &[String], wanted: &[String]) -> bool {
    wanted.iter().any(|wanted| {
        outcomes.iter().any(|outcome| outcome == wanted || outcome.split(' ').next() == Some(wanted.as_str()))
    })
}

/// What is wrong: nothing, if one of the expectations holds.
pub fn judge(expected: &[Expect], seen: &Observation) -> Vec<String> {
    let mut always = seen.troubles.clone();
    if !seen.upstream.garbage.is_empty() {
        always.push(format!("the upstream got garbage: {}", readable(&seen.upstream.garbage)));
    }
    if let Some((before, meanwhile)) = &seen.health {
        always.extend(judge_health(before, meanwhile));
    }
    let best = expected.iter().map(|expect| judge_one(expect, seen)).min_by_key(Vec::len);
    always.extend(best.unwrap_or_default());
    always
}

/// Whether all that is wrong is that the healthy client was slow: worth another try on a busy machine.
pub fn is_only_slow(wrong: &[String]) -> bool {
    !wrong.is_empty() && wrong.iter().all(|wrong| wrong.starts_with("probe p99"))
}

fn judge_health(before: &Health, meanwhile: &Health) -> Option<String> {
    if let Some(error) = meanwhile.errors.first() {
        return Some(format!("probe: {} errors, first: {error}", meanwhile.errors.len()));
    }
    if meanwhile.answers() == 0 {
        return Some("probe: no answer".to_owned());
    }
    let limit = NOISE.max(before.percentile(99) * 2);
    let p99 = meanwhile.percentile(99);
    (p99 > limit).then(|| format!("probe p99 {p99:.1?}, baseline {:.1?}", before.percentile(99)))
}

fn judge_one(expect: &Expect, seen: &Observation) -> Vec<String> {
    let mut wrong = judge_upstream(expect, &seen.upstream);
    wrong.extend(judge_figures(expect, seen));
    wrong.extend(expect.log.all().iter().filter(|part| !seen.log.contains(part.as_str())).map(|part| {
        format!("not in the access log: {part:?}; it holds {:?}", seen.log.lines().last().unwrap_or(""))
    }));
    if let (true, Some(why)) = (expect.next, &seen.next) {
        wrong.push(format!("the next request: {why}"));
    }
    let of_each: Vec<_> = seen.connections.iter().map(|one| judge_connection(expect, seen, one)).collect();
    let bad = of_each.iter().filter(|wrong| !wrong.is_empty()).count();
    if bad > 1 {
        wrong.push(format!("on {bad} of {} connections", of_each.len()));
    }
    wrong.extend(of_each.into_iter().find(|wrong| !wrong.is_empty()).unwrap_or_default());
    wrong
}

fn judge_connection(expect: &Expect, seen: &Observation, received: &Received) -> Vec<String> {
    let mut wrong = Vec::new();
    let outcomes = seen.outcomes(received);
    if !expect.outcome.all().is_empty() && !is_wanted(&outcomes, expect.outcome.all()) {
        wrong.push(format!("outcome {}, not {}", summary(&outcomes), expect.outcome.all().join(" or ")));
    }
    let answers = if seen.http2 { Vec::new() } else { seen.answers(received) };
    if let Some(count) = &expect.answers
        && !count.0.contains(&(answers.len() as u64))
    {
        wrong.push(format!("{} answers, not {:?}", answers.len(), count.0));
    }
    if let Some(count) = expect.in_order {
        let wanted = (0..count).map(|number| format!("/p/{number}").into_bytes());
        if !answers.iter().map(|answer| answer.body.clone()).eq(wanted) {
            let bodies = answers.iter().map(|answer| readable(&answer.body)).collect::<Vec<_>>();
            wrong.push(format!("{} answers, or not in order: {}", answers.len(), bodies.join(" ")));
        }
    }
    if let Some(closed) = expect.closed
        && closed != received.closed.is_some()
    {
        wrong.push(if closed { "left open" } else { "closed" }.to_owned());
    }
    for part in expect.has.all() {
        if !wire::holds(&received.bytes, &plain(part)) {
            wrong.push(format!("the client did not get {part:?}"));
        }
    }
    for part in expect.never.all() {
        if wire::holds(&received.bytes, &plain(part)) {
            wrong.push(format!("the client got {part:?}"));
        }
    }
    wrong
}

fn judge_upstream(expect: &Expect, upstream: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines: Vec<String> = upstream.heads.iter().map(|head| first_line(head)).collect();
    if let Some(count) = &expect.requests
        && !count.0.contains(&upstream.requests)
    {
        wrong.push(format!("{} requests upstream, not {:?}: {lines:.5?}", upstream.requests, count.0));
    }
    if let Some(wanted) = &expect.lines
        && !lines.iter().map(String::as_str).eq(wanted.all().iter().map(String::as_str))
    {
        wrong.push(format!("upstream request lines {lines:?}"));
    }
    if let Some(wanted) = &expect.bodies
        && !upstream.bodies.iter().cloned().eq(wanted.all().iter().map(|body| plain(body)))
    {
        let bodies: Vec<_> = upstream.bodies.iter().map(|body| readable(body)).collect();
        wrong.push(format!("upstream bodies {bodies:?}"));
    }
    for part in expect.upstream_has.all() {
        if !wire::holds(&upstream.bytes, &plain(part)) {
            wrong.push(format!("the upstream did not get {part:?}: {}", readable(&upstream.bytes)));
        }
    }
    for part in expect.upstream_never.all() {
        if wire::holds(&upstream.bytes, &plain(part)) {
            wrong.push(format!("the upstream got {part:?}"));
        }
    }
    if let Some(count) = &expect.upstream_connections
        && !count.0.contains(&upstream.connections)
    {
        wrong.push(format!("{} upstream connections, not {:?}", upstream.connections, count.0));
    }
    if let Some(most) = expect.in_flight
        && upstream.most_in_flight > most
    {
        wrong.push(format!("{} requests in flight upstream, most {most}", upstream.most_in_flight));
    }
    if let Some(left) = expect.left
        && upstream.in_flight > left
    {
        wrong.push(format!("{} requests left at the upstream, most {left}", upstream.in_flight));
    }
    wrong
}

fn judge_figures(expect: &Expect, seen: &Observation) -> Vec<String> {
    let took = seen.took.as_millis() as u64;
    let spent = seen.processor.as_millis() as u64;
    [
        expect
            .memory_kib
            .filter(|&most| seen.memory_kib > most)
            .map(|most| format!("{} KiB more memory, most {most}", seen.memory_kib)),
        expect
            .cpu_ms
            .filter(|&most| spent > most)
            .map(|most| format!("{spent} ms of processor, most {most}")),
        expect.within_ms.filter(|&most| took > most).map(|most| format!("took {took} ms, most {most}")),
        expect
            .not_before_ms
            .filter(|&least| took < least)
            .map(|least| format!("took {took} ms, least {least}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn plain(part: &str) -> Vec<u8> {
    text(part, Counters::default())
}

fn first_line(head: &[u8]) -> String {
    String::from_utf8_lossy(head.split(|&byte| byte == b'\r').next().unwrap_or_default()).into_owned()
}

/// Bytes for people, shortened.
pub fn readable(bytes: &[u8]) -> String {
    let short = &bytes[..bytes.len().min(200)];
    short.escape_ascii().to_string() + if short.len() < bytes.len() { "…" } else { "" }
}

/// Outcomes, equal ones counted.
pub fn summary(outcomes: &[String]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for outcome in outcomes {
        match counted.iter_mut().find(|(name, _)| name == outcome) {
            Some((_, count)) => *count += 1,
            None => counted.push((outcome, 1)),
        }
    }
    let words = counted.iter().map(|(name, count)| match count {
        1 => (*name).to_owned(),
        _ => format!("{name} ×{count}"),
    });
    words.collect::<Vec<_>>().join(", ")
}
