//! Requests at a fixed rate.
//!
//! Invariants: they are sent when they are due, whatever has come back, and time counts from when they were due; the load has a thread
//! of its own, so that who changes files meanwhile does not hold it up.

use crate::{
    compare::load::{
        Latency,
        pace::{Beat, Pace},
        tally::Tally,
    },
    load::{Connection, Question},
    void::Void,
};
use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, timeout},
};

/// How long answers may take when no more is asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much to ask.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    /// Clients at once.
    pub connections: usize,
    /// Requests a second of all of them together.
    pub rate: u32,
    /// How long.
    pub lasts: Duration,
}

impl Steady {
    /// Asks `questions` in turn, over and over. How long answers took.
    pub fn start(self, target: SocketAddr, questions: Arc<[Question]>) -> JoinHandle<Result<Latency, Void>> {
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let local = LocalSet::new();
            let most = self.lasts + PATIENCE;
            let ended = local.block_on(&runtime, async { timeout(most, self.run(target, questions)).await });
            ended.unwrap_or_else(|_| Err(Void::because(format!("no end after {most:?}"))))
        })
    }

    async fn run(self, target: SocketAddr, questions: Arc<[Question]>) -> Result<Latency, Void> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::open(target).await?);
        }
        let tally = Rc::new(Tally::default());
        let (beat, paces) = Beat::new(self.connections)?;
        let mut clients = JoinSet::new();
        for (at, (connection, pace)) in connections.into_iter().zip(paces).enumerate() {
            clients.spawn_local(client(connection, pace, questions.clone(), at, tally.clone()));
        }
        let begin = Instant::now();
        beat.keep(self.rate, begin, begin + self.lasts, begin).await?;
        drop(beat);
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| Void::because(error.to_string()))??;
        }
        tally.latency().ok_or_else(|| Void::because("nothing was asked"))
    }
}

async fn client(
    mut connection: Connection,
    mut pace: Pace,
    questions: Arc<[Question]>,
    mut at: usize,
    tally: Rc<Tally>,
) -> Result<(), Void> {
    while let Some(due) = pace.next().await {
        connection.ask(&questions[at % questions.len()]).await?;
        tally.answered(0, due);
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Upstream, address, body};

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_rate_is_kept_and_a_wrong_answer_is_void() {
        let upstream = Upstream::start(1).await.unwrap();
        let target = SocketAddr::from((address(0), upstream.port));
        let steady = Steady { connections: 3, rate: 500, lasts: Duration::from_millis(200) };
        let ask = |version: &str| {
            let questions = Arc::from([Question::get("host", "/path", vec![body(version, "/path")])]);
            let load = steady.start(target, questions);
            tokio::task::spawn_blocking(|| load.join().unwrap())
        };
        let latency = ask("v1").await.unwrap().unwrap();
        assert!(latency.p50 > 0.0 && latency.p50 <= latency.p99, "{latency:?}");
        assert!(ask("v2").await.unwrap().unwrap_err().to_string().contains("wrong answer"));
    }
}
