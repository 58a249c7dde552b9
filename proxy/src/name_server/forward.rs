//! Questions for others, and what is remembered of their answers.
//!
//! Invariants: an answer is believed only from the server that was asked, with the number and the question that it was asked
//! with; at most [`MAX_REMEMBERED`] answers are kept, each no longer than its shortest TTL and [`MAX_TTL`].
//! Not here: names of the mesh.

use hickory_resolver::proto::{
    op::{Message, Query, ResponseCode},
    rr::RecordType,
};
use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// Answers that are kept.
const MAX_REMEMBERED: usize = 4096;
/// Seconds that one is kept at most.
const MAX_TTL: u32 = 300;
/// Seconds that an answer is kept which says that there is nothing: at most.
const MAX_NEGATIVE_TTL: u32 = 30;
/// How long one server has.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the list of servers is gone through.
const ROUNDS: usize = 2;

/// How a question came, and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// UDP.
    Datagram,
    /// TCP.
    Connection,
}

/// Asks others.
pub struct Forwarder {
    servers: Vec<SocketAddr>,
    remembered: Mutex<HashMap<(Query, bool), Remembered>>,
}

struct Remembered {
    answer: Message,
    since: Instant,
    until: Instant,
}

impl Forwarder {
    /// Of these servers, the first that answers.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Forwarder { servers, remembered: Mutex::default() }
    }

    /// The answer, with the question's number; `None`: nobody gave one.
    pub async fn ask(&self, question: &Message, bytes: &[u8], way: Way) -> Option<Message> {
        let mut query = question.queries.first()?.clone();
        query.name = query.name.to_lowercase();
        let key = (query, question.edns.is_some());
        let mut answer = match self.recall(&key) {
            Some(answer) => answer,
            None => {
                let answer = self.go_round(question, bytes, way).await?;
                self.remember(key, &answer);
                answer
            }
        };
        answer.metadata.id = question.metadata.id;
        answer.queries.clone_from(&question.queries);
        Some(answer)
    }

    fn recall(&self, key: &(Query, bool)) -> Option<Message> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get(key).filter(|found| found.until > Instant::now())?;
        let age = u32::try_from(found.since.elapsed().as_secs()).unwrap_or(u32::MAX);
        let mut answer = found.answer.clone();
        let Message { answers, authorities, additionals, .. } = &mut answer;
        for record in answers.iter_mut().chain(authorities).chain(additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    fn remember(&self, key: (Query, bool), answer: &Message) {
        let Some(seconds) = lasts(answer) else { return };
        let now = Instant::now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, kept| kept.until > now);
        }
        if remembered.len() < MAX_REMEMBERED {
            let until = now + Duration::from_secs(seconds.into());
            remembered.insert(key, Remembered { answer: answer.clone(), since: now, until });
        }
    }

    async fn go_round(&self, question: &Message, bytes: &[u8], way: Way) -> Option<Message> {
        for server in self.servers.iter().cycle().take(self.servers.len() * ROUNDS) {
            let asked = async {
                match way {
                    Way::Datagram => by_datagram(*server, question, bytes).await,
                    Way::Connection => by_connection(*server, question, bytes).await,
                }
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "DNS server does not answer"),
                Err(_) => tracing::debug!(%server, "DNS server is silent"),
            }
        }
        None
    }
}

/// For how many seconds an answer may be kept; `None`: not at all.
fn lasts(answer: &Message) -> Option<u32> {
    let code = answer.metadata.response_code;
    if answer.metadata.truncation || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let least = match answer.answers.iter().map(|record| record.ttl).min() {
        Some(least) => least.min(MAX_TTL),
        None => {
            let soa = answer.authorities.iter().find(|record| record.record_type() == RecordType::SOA)?;
            soa.ttl.min(MAX_NEGATIVE_TTL)
        }
    };
    (least > 0).then_some(least)
}

/// The question with a number of its own.
fn numbered(bytes: &[u8]) -> (u16, Vec<u8>) {
    let (number, mut bytes) = (fastrand::u16(..), bytes.to_vec());
    if let Some(place) = bytes.get_mut(..2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    (number, bytes)
}

/// Whether these bytes answer that question.
fn matching(question: &Message, number: u16, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let (asked, answered) = (question.queries.first()?, answer.queries.first()?);
    let same = asked.query_type == answered.query_type
        && asked.query_class == answered.query_class
        && asked.name.to_lowercase() == answered.name.to_lowercase();
    (answer.metadata.id == number && same).then_some(answer)
}

async fn by_datagram(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // A port of its own: who does not see the question cannot guess where its answer is waited for.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let (number, bytes) = numbered(bytes);
    socket.send(&bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = matching(question, number, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn by_connection(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let (number, bytes) = numbered(bytes);
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    matching(question, number, &buffer).ok_or_else(|| io::Error::other("the answer is to another question"))
}
