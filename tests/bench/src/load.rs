//! The load: clients that keep their connections, ask the next question when they have the answer, and check it.
//!
//! Invariants: nothing is retried; the first wrong answer ends the run and makes it void.

use crate::{http1, void::Void};
use rustix::net::sockopt::socket_incoming_cpu;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

/// A request, and the bodies that are right.
#[derive(Debug, Clone)]
pub struct Question {
    request: Vec<u8>,
    answers: Vec<Vec<u8>>,
}

impl Question {
    /// A GET of `target` at `host`, with the headers that a client library sends.
    pub fn get(host: &str, target: &str, answers: Vec<Vec<u8>>) -> Self {
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\nuser-agent: sidle-bench\r\naccept: */*\r\n\
             accept-encoding: gzip\r\n\r\n"
        );
        Question { request: request.into_bytes(), answers }
    }
}

/// One client's connection.
pub struct Connection<S = TcpStream> {
    stream: S,
    received: Vec<u8>,
}

impl Connection {
    /// To `target`.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn open(target: SocketAddr) -> Result<Self, Void> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Connection::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// On a stream that stands.
    pub fn over(stream: S) -> Self {
        Connection { stream, received: Vec::with_capacity(4096) }
    }

    /// Asks; says which of the right answers came.
    ///
    /// # Errors
    /// When another one came, or none.
    pub async fn ask(&mut self, question: &Question) -> Result<usize, Void> {
        self.stream.write_all(&question.request).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(Void::because("the connection was closed in place of an answer"));
            }
            if let Some(body) = http1::answer(&self.received)? {
                let place = question.answers.iter().position(|right| right == body);
                return place.ok_or_else(|| {
                    Void::because(format!("a wrong answer: {}", String::from_utf8_lossy(&self.received)))
                });
            }
        }
    }
}

/// Connections that a client opens to find one that is served on its core.
const MAX_CONNECTS: usize = 100;

/// How much to ask.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Clients at once.
    pub connections: usize,
    /// Requests of all of them together.
    pub requests: usize,
    /// How long it may take.
    pub patience: Duration,
    /// The core that answers are to come from; `None`: from anywhere.
    pub core: Option<usize>,
}

impl Load {
    /// Asks `questions` in turn, over and over. How long it took.
    ///
    /// # Errors
    /// When an answer is wrong, or time is up.
    pub async fn run(&self, target: SocketAddr, questions: &Arc<[Question]>) -> Result<Duration, Void> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for _ in 0..self.connections {
            clients.spawn(client(target, questions.clone(), next.clone(), *self));
        }
        let all = async {
            while let Some(ended) = clients.join_next().await {
                ended.map_err(|error| Void::because(error.to_string()))??;
            }
            Ok(begin.elapsed())
        };
        let in_time = tokio::time::timeout(self.patience, all).await;
        in_time.unwrap_or_else(|_| Err(Void::because(format!("no end after {:?}", self.patience))))
    }
}

/// Opens connections until one is served where it is to be; that it is, its first answer tells.
async fn connect(target: SocketAddr, question: &Question, core: Option<usize>) -> Result<Connection, Void> {
    for _ in 0..MAX_CONNECTS {
        let mut connection = Connection::open(target).await?;
        let Some(core) = core else { return Ok(connection) };
        connection.ask(question).await?;
        if socket_incoming_cpu(&connection.stream).map_err(io::Error::from)? as usize == core {
            return Ok(connection);
        }
    }
    Err(Void::because("none of many connections was served on its own core"))
}

async fn client(
    target: SocketAddr,
    questions: Arc<[Question]>,
    next: Arc<AtomicUsize>,
    load: Load,
) -> Result<(), Void> {
    let mut connection = connect(target, &questions[0], load.core).await?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= load.requests {
            return Ok(());
        }
        connection.ask(&questions[number % questions.len()]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Upstream, address, body};

    const LOAD: Load = Load { connections: 3, requests: 100, patience: Duration::from_secs(20), core: None };

    async fn load_of(answers: Vec<Vec<u8>>) -> Result<Duration, Void> {
        let upstream = Upstream::start(2).await.unwrap();
        let second = SocketAddr::from((address(1), upstream.port));
        LOAD.run(second, &Arc::from([Question::get("host", "/path", answers)])).await
    }

    #[tokio::test]
    async fn right_answers_are_counted() {
        load_of(vec![body("v1", "/path"), body("v2", "/path")]).await.unwrap();
    }

    #[tokio::test]
    async fn one_wrong_answer_makes_the_run_void() {
        let void = load_of(vec![body("v1", "/path")]).await.unwrap_err();
        assert!(void.to_string().contains("wrong answer"), "{void}");
    }

    #[tokio::test]
    async fn silence_makes_the_run_void() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let load = Load { patience: Duration::from_millis(50), ..LOAD };
        let questions = Arc::from([Question::get("host", "/", Vec::new())]);
        assert!(load.run(silent.local_addr().unwrap(), &questions).await.is_err());
    }

    #[tokio::test]
    async fn clients_keep_to_connections_that_are_served_on_their_core() {
        let Some(cores) = crate::cores::Cores::claim().unwrap() else { return };
        let upstream = Upstream::start(1).await.unwrap();
        let target = SocketAddr::from((address(0), upstream.port));
        let questions = Arc::from([Question::get("host", "/path", vec![body("v1", "/path")])]);
        // All of this test runs on one core.
        Load { core: Some(cores.load()), ..LOAD }.run(target, &questions).await.unwrap();
        let void = Load { core: Some(cores.proxy()), ..LOAD }.run(target, &questions).await.unwrap_err();
        assert!(void.to_string().contains("own core"), "{void}");
    }
}
