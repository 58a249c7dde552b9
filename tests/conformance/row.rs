//! One row, from its first byte to its figures.
//!
//! In:  a [`Case`] and a [`Stage`].   Out: a [`Row`] of the table.
//! Not here: what is right (`verdict`), what it looks like (`table`).

use crate::{
    answer::First,
    bytes::{Act, Counters, Sink, Step, perform},
    case::{Case, Door},
    client::{Crowd, Received, Talk},
    priority::{self, Side},
    probe::{self, Health, Probe},
    stage::Stage,
    verdict::{self, Observation},
};
use std::{
    net::SocketAddr,
    ops::ControlFlow,
    time::{Duration, Instant},
};

const QUIET: Duration = Duration::from_millis(60);
const BASELINE: Duration = Duration::from_millis(1600);
/// How long a flood that is over at once goes on and on, for the healthy client's sake.
const SIEGE: Duration = Duration::from_millis(1600);
/// Answers that a percentile of the healthy client's needs.
const ENOUGH: usize = 200;
const RECOVERY: Duration = Duration::from_secs(5);
/// How often each line that should come later is looked for.
const LOOKS: u32 = 100;
const LOOK: Duration = Duration::from_millis(20);

/// A row that was run, or was not.
#[derive(Default)]
pub struct Row {
    /// What is wrong.
    pub wrong: Vec<String>,
    /// What was seen.
    pub outcome: String,
    /// Requests that the upstream saw.
    pub requests: Option<u64>,
    /// Memory, processor time, the healthy client before and meanwhile: of floods.
    pub load: Option<Load>,
    /// From the first byte to the outcome.
    pub took: Duration,
}

/// Figures of a flood.
pub struct Load {
    /// Resident memory that came on top.
    pub memory_kib: u64,
    /// Processor time without the healthy client's share.
    pub processor: Duration,
    /// The healthy client before.
    pub before: Health,
    /// The healthy client meanwhile.
    pub meanwhile: Health,
}

/// Runs a row; a flood that only slowed the healthy client down gets a second try.
pub fn run(case: &Case, stage: &mut Stage) -> Row {
    let row = once(case, stage);
    if case.flood && verdict::is_only_slow(&row.wrong) { once(case, stage) } else { row }
}

fn once(case: &Case, stage: &mut Stage) -> Row {
    let probe_address = stage.probe_address(case);
    stage.begin(case);
    let idle = Instant::now();
    let spent_before = stage.sidle.processor_time();
    let before = case.flood.then(|| Probe::run(probe_address, BASELINE));
    let share = (stage.sidle.processor_time() - spent_before).as_secs_f64() / idle.elapsed().as_secs_f64();
    let logged = stage.sidle.output().len();
    stage.sidle.forget_peak();
    let (memory, spent, begin) = (stage.sidle.resident_bytes(), stage.sidle.processor_time(), Instant::now());
    let probe = case.flood.then(|| Probe::start(probe_address));
    let mut seen = Observation {
        http2: case.send.iter().any(|step| matches!(step, Step::Act(Act::Preface { .. }))),
        first: first(case),
        ..Observation::default()
    };
    if case.flood {
        priority::with(Side::Hostile, || attack(case, stage, &mut seen));
    } else {
        attack(case, stage, &mut seen);
    }
    let spent_all = stage.sidle.processor_time().saturating_sub(spent);
    let ours = if case.flood { begin.elapsed().mul_f64(share) } else { Duration::ZERO };
    seen.processor = spent_all.saturating_sub(ours);
    seen.memory_kib = stage.sidle.peak_resident_bytes().saturating_sub(memory) >> 10;
    if case.flood {
        seen.troubles.extend(recovery(probe_address));
    }
    seen.health = before.zip(probe.map(Probe::finish));
    seen.upstream = settled(case, stage);
    seen.log = log(case, stage, logged);
    if let Some(status) = stage.sidle.exit_status() {
        seen.troubles.push(format!("the process ended with {status}"));
    }
    if let Some((_, meanwhile)) = &mut seen.health
        && meanwhile.answers() < ENOUGH
        && stage.sidle.exit_status().is_none()
    {
        *meanwhile = besieged(case, stage, probe_address);
        seen.troubles.extend(recovery(probe_address));
    }
    let wrong = verdict::judge(case.expect.all(), &seen);
    report(seen, wrong)
}

/// The healthy client's fortunes while the row's bytes come again and again, each time on new connections.
fn besieged(case: &Case, stage: &Stage, probe_address: SocketAddr) -> Health {
    let address = stage.address(case);
    let probe = Probe::start(probe_address);
    priority::with(Side::Hostile, || {
        let begin = Instant::now();
        while begin.elapsed() < SIEGE {
            let crowd: Result<Vec<_>, _> =
                (0..case.connections).map(|_| Talk::open(address, case.deaf)).collect();
            let Ok(crowd) = crowd else { continue };
            let _ = perform(&case.send, &mut Counters::default(), &mut Crowd(crowd));
        }
    });
    probe.finish()
}

fn first(case: &Case) -> First {
    match case.send.first() {
        Some(Step::Text(text)) if text.starts_with("HEAD ") => First::Head,
        Some(Step::Text(text)) if text.starts_with("CONNECT ") => First::Connect,
        _ => First::Other,
    }
}

/// Sends what the row says, on all its connections, and waits for what should come of it.
fn attack(case: &Case, stage: &Stage, seen: &mut Observation) {
    let address = stage.address(case);
    let mut crowd = Crowd(Vec::new());
    for _ in 0..case.connections {
        match Talk::open(address, case.deaf) {
            Ok(talk) => crowd.0.push(talk),
            Err(error) => return seen.troubles.push(format!("connecting: {error}")),
        }
    }
    let went = match crowd.0.as_mut_slice() {
        [one] => perform(&case.send, &mut Counters::default(), one),
        _ => perform(&case.send, &mut Counters::default(), &mut crowd),
    };
    if case.flood {
        seen.troubles.extend(stage.silent_surfaces());
    }
    // A deaf crowd stays so: what it would read now is as large as what it asked for.
    let hears = !case.deaf || crowd.0.len() == 1;
    for talk in crowd.0.iter_mut().filter(|_| hears) {
        talk.listen();
        wait(case, seen, talk, went);
    }
    if let Some(talk) = crowd.0.first() {
        talk.settle(QUIET);
    }
    if let [talk] = crowd.0.as_mut_slice() {
        seen.connections = vec![talk.received()];
        if case.expect.all().iter().any(|expect| expect.next) {
            seen.next = next(talk, seen);
        }
    } else {
        seen.connections = crowd.0.iter().map(Talk::received).collect();
    }
    let ends = seen.connections.iter().filter_map(|received| received.closed.or(received.last));
    seen.took = ends.max().unwrap_or_else(|| crowd.0.first().map_or(Duration::ZERO, Talk::elapsed));
}

fn wait(case: &Case, seen: &Observation, talk: &Talk, went: ControlFlow<()>) {
    let patience = Duration::from_millis(case.patience);
    let expected = case.expect.all();
    let count = |received: &Received| {
        crate::answer::answers(&received.bytes, seen.first, received.closed.is_some()).len() as u64
    };
    let happened = talk.wait(patience, |received| {
        let outcomes = seen.outcomes(received);
        expected.iter().any(|expect| {
            // Silence is judged when patience is at its end.
            let wanted = expect.outcome.all().iter().filter(|wanted| *wanted != "silence");
            let wanted: Vec<_> = wanted.cloned().collect();
            let least = expect.answers.as_ref().map(|count| *count.0.start()).max(expect.in_order);
            verdict::is_wanted(&outcomes, &wanted) && least.is_none_or(|least| count(received) >= least)
        })
    });
    if expected.iter().any(|expect| expect.closed == Some(true)) && (happened || went.is_break()) {
        talk.wait(patience, |_| false);
    }
}

/// A further request on the connection; says what is wrong with its answer.
fn next(talk: &mut Talk, seen: &Observation) -> Option<String> {
    let received = talk.received();
    if received.closed.is_some() {
        return Some("the connection is closed".to_owned());
    }
    let before = crate::answer::answers(&received.bytes, seen.first, false).len();
    let _ = talk.push(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut last = None;
    talk.wait(Duration::from_secs(3), |received| {
        let answers = crate::answer::answers(&received.bytes, seen.first, received.closed.is_some());
        last = answers.get(before).cloned();
        last.is_some()
    });
    match last {
        Some(answer) if answer.status == 200 && answer.body == b"/next" => None,
        Some(answer) => Some(format!("{} {}", answer.status, verdict::readable(&answer.body))),
        None => Some("no answer".to_owned()),
    }
}

/// Whether the proxy is well when the flood is over.
fn recovery(address: SocketAddr) -> Option<String> {
    let begin = Instant::now();
    loop {
        match probe::ask_once(address, &mut None) {
            Ok(()) => return None,
            Err(error) if begin.elapsed() > RECOVERY => return Some(format!("no recovery: {error}")),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// What the upstream saw, when it is over for it too: a request that slips through late belongs to this row, not the next.
fn settled(case: &Case, stage: &Stage) -> crate::recorder::Seen {
    let left = case.expect.all().iter().filter_map(|expect| expect.left).max();
    let mut before = stage.seen();
    for _ in 0..LOOKS {
        std::thread::sleep(LOOK);
        let seen = stage.seen();
        let quiet = (seen.requests, seen.bytes.len()) == (before.requests, before.bytes.len());
        before = seen;
        if quiet && left.is_none_or(|left| before.in_flight <= left) {
            break;
        }
    }
    before
}

/// The access log of this row.
fn log(case: &Case, stage: &Stage, from: usize) -> String {
    let wanted = case.expect.all().iter().find(|expect| !expect.log.all().is_empty());
    for _ in 0..LOOKS {
        let log = stage.sidle.output()[from..].to_owned();
        if wanted.is_none_or(|expect| expect.log.all().iter().all(|part| log.contains(part.as_str()))) {
            return log;
        }
        std::thread::sleep(LOOK);
    }
    stage.sidle.output()[from..].to_owned()
}

fn report(seen: Observation, wrong: Vec<String>) -> Row {
    let outcomes: Vec<_> = seen.connections.iter().flat_map(|received| seen.outcomes(received)).collect();
    let mut outcome = verdict::summary(&outcomes);
    if let [received] = seen.connections.as_slice()
        && received.closed.is_some()
        && !matches!(outcome.as_str(), "closed" | "cut")
    {
        outcome.push_str(", closed");
    }
    Row {
        wrong,
        outcome,
        requests: Some(seen.upstream.requests),
        took: seen.took,
        load: seen.health.map(|(before, meanwhile)| Load {
            memory_kib: seen.memory_kib,
            processor: seen.processor,
            before,
            meanwhile,
        }),
    }
}

/// Whether a row needs no proxy that runs.
pub fn is_check(case: &Case) -> bool {
    !case.check.is_empty() && case.to != Door::Admin
}
