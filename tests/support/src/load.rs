//! A client under load that behaves well: it honours `connection: close` and GOAWAY, and never hides a failure.

use crate::{
    client::{Client, Failure, request},
    echo::full,
    wait,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

/// Where new connections go, as a load balancer would say.
#[derive(Clone)]
pub struct Target(Arc<Mutex<SocketAddr>>);

impl Target {
    /// Points to `address` from now on.
    pub fn point_to(&self, address: SocketAddr) {
        *self.0.lock().unwrap() = address;
    }

    fn address(&self) -> SocketAddr {
        *self.0.lock().unwrap()
    }
}

/// What to send.
#[derive(Clone)]
pub struct Load {
    /// To which proxy; new connections go where it points now.
    pub target: Target,
    /// To which host.
    pub authority: String,
    /// Which path.
    pub path: String,
    /// On so many connections at once.
    pub connections: u32,
    /// Requests a second over all connections.
    pub rate: u32,
    /// Speak HTTP/2.
    pub http2: bool,
}

/// A load that runs until it is told to stop.
pub struct Running {
    stop: Arc<AtomicBool>,
    report: Arc<Report>,
    tasks: JoinSet<()>,
    began: Instant,
}

/// What came of it.
#[derive(Default)]
pub struct Report {
    /// Requests with a 200, read to the end.
    pub succeeded: AtomicU64,
    /// Of these, by the version that answered.
    pub versions: Mutex<BTreeMap<String, u64>>,
    /// What went wrong, the first hundred.
    pub failures: Mutex<Vec<String>>,
    /// How much went wrong.
    pub failed: AtomicU64,
    /// How often a client connected.
    pub connects: AtomicU64,
    /// How long it ran, once it has been stopped.
    pub elapsed: OnceLock<Duration>,
}

impl Load {
    /// 16 connections of HTTP/1.1, 500 requests a second.
    pub fn new(target: SocketAddr, authority: &str, path: &str) -> Self {
        let (authority, path) = (authority.to_owned(), path.to_owned());
        let target = Target(Arc::new(Mutex::new(target)));
        Load { target, authority, path, connections: 16, rate: 500, http2: false }
    }

    /// Begins.
    pub fn start(self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Report::default());
        let mut tasks = JoinSet::new();
        let pause = Duration::from_secs(1) * self.connections / self.rate;
        for index in 0..self.connections {
            let offset = pause * index / self.connections;
            tasks.spawn(connection(self.clone(), pause, offset, stop.clone(), report.clone()));
        }
        Running { stop, report, tasks, began: Instant::now() }
    }
}

impl Running {
    /// So far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Waits until so large a share of the rate was reached: what a machine that stood still kept back is made up for.
    ///
    /// # Panics
    /// When it never is.
    pub async fn reached(&self, rate: u32, share: f64) {
        let wanted = |begun: Instant| share * f64::from(rate) * begun.elapsed().as_secs_f64();
        wait::eventually("the rate that was asked for", || async {
            (self.report.succeeded.load(Ordering::Relaxed) as f64 > wanted(self.began)).then_some(())
        })
        .await;
    }

    /// Lets the requests under way end, and tells.
    ///
    /// # Panics
    /// When a client did.
    pub async fn stop(mut self) -> Arc<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.report.elapsed.set(self.began.elapsed());
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.report
    }
}

impl Report {
    /// Fails the test unless every request succeeded.
    ///
    /// # Panics
    /// When one did not, with the first of them.
    pub fn assert_no_failure(&self) {
        let failed = self.failed.load(Ordering::Relaxed);
        let succeeded = self.succeeded.load(Ordering::Relaxed);
        let failures = self.failures.lock().unwrap();
        let first = &failures[..failures.len().min(5)];
        assert_eq!(failed, 0, "{failed} failed beside {succeeded} that succeeded: {first:#?}");
        assert!(succeeded > 0, "nothing was sent");
    }

    /// Answers a second, of a load that was stopped: whether what was asked for was reached.
    ///
    /// # Panics
    /// While it runs.
    pub fn rate(&self) -> f64 {
        self.succeeded.load(Ordering::Relaxed) as f64 / self.elapsed.get().unwrap().as_secs_f64()
    }

    fn fail(&self, why: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < 100 {
            failures.push(why);
        }
    }
}

async fn connection(
    load: Load,
    pause: Duration,
    offset: Duration,
    stop: Arc<AtomicBool>,
    report: Arc<Report>,
) {
    let mut next = Instant::now() + offset;
    let mut client: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(next).await;
        // Open loop: what a slow answer held up is made up for; a long stall is not, in one burst.
        next = (next + pause).max(Instant::now() - Duration::from_secs(1));
        client = match one(&load, client.take(), &stop, &report).await {
            Ok(client) => client,
            Err(_) if stop.load(Ordering::Relaxed) => None,
            Err(why) => {
                report.fail(why);
                None
            }
        };
    }
}

/// One request, on a new connection if need be, or if it was not sent on the old one.
async fn one(
    load: &Load,
    mut client: Option<Client>,
    stop: &AtomicBool,
    report: &Report,
) -> Result<Option<Client>, String> {
    loop {
        let old = client.as_ref().is_some_and(|client| !client.is_closed());
        let mut current = match client.take() {
            Some(client) if old => client,
            _ => connect(load, report).await?,
        };
        let request = request("GET", &load.authority, &load.path).body(full("")).unwrap();
        match current.try_exchange(request).await {
            Ok(answer) if answer.status == 200 => {
                report.succeeded.fetch_add(1, Ordering::Relaxed);
                *report.versions.lock().unwrap().entry(answer.version().to_owned()).or_default() += 1;
                let close = answer.header("connection").eq_ignore_ascii_case("close");
                return Ok((!close).then_some(current));
            }
            Ok(answer) => return Err(format!("{} {}", answer.status, answer.text())),
            // A server may close an idle connection; a request that never left is sent on a new one.
            Err(Failure::NotSent(_)) if old && !stop.load(Ordering::Relaxed) => {}
            Err(failure) => return Err(failure.to_string()),
        }
    }
}

async fn connect(load: &Load, report: &Report) -> Result<Client, String> {
    let stream =
        TcpStream::connect(load.target.address()).await.map_err(|error| format!("connect: {error}"))?;
    let _ = stream.set_nodelay(true);
    report.connects.fetch_add(1, Ordering::Relaxed);
    Ok(if load.http2 { Client::http2_over(stream).await } else { Client::http1_over(stream).await })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        echo::{Answer, Echo},
        wait,
    };

    /// Waits for the one, does `then`, and waits for the other.
    async fn until(
        load: Load,
        before: impl Fn(&Report) -> bool,
        then: impl FnOnce(),
        after: impl Fn(&Report) -> bool,
    ) -> Arc<Report> {
        let load = load.start();
        wait::eventually("what comes first", || async { before(load.report()).then_some(()) }).await;
        then();
        wait::eventually("what comes then", || async { after(load.report()).then_some(()) }).await;
        load.stop().await
    }

    fn succeeded(report: &Report) -> u64 {
        report.succeeded.load(Ordering::Relaxed)
    }

    fn failed(report: &Report) -> u64 {
        report.failed.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn an_upstream_that_dies_under_it_is_a_failure() {
        for http2 in [false, true] {
            let echo = Echo::start("v1");
            let mut load = Load::new(echo.address(), "a", "/?delay=20ms");
            load.http2 = http2;
            until(load, |report| succeeded(report) > 20, || drop(echo), |report| failed(report) > 0).await;
        }
    }

    #[tokio::test]
    async fn an_answer_other_than_200_is_a_failure() {
        let echo = Echo::start("v1");
        echo.answer(|_| Some(Answer::status(503)));
        let load = Load::new(echo.address(), "a", "/");
        let report = until(load, |_| true, || {}, |report| failed(report) > 20).await;
        assert_eq!(succeeded(&report), 0);
    }

    #[tokio::test]
    async fn it_moves_on_when_it_is_asked_to() {
        let (first, second) = (Echo::start("first"), Echo::start("second"));
        first.answer(|_| Some(Answer::default().header("connection", "close")));
        let load = Load::new(first.address(), "a", "/");
        let target = load.target.clone();
        let many = |version: &'static str| {
            move |report: &Report| {
                report.versions.lock().unwrap().get(version).is_some_and(|count| *count > 20)
            }
        };
        let report = until(load, many("first"), || target.point_to(second.address()), many("second")).await;
        report.assert_no_failure();
    }
}
