//! DNS for the application: names of the mesh are answered here, all others where the machine would have asked.
//!
//! In:  questions by UDP and TCP.   Out: answers.
//! Invariants: the addresses of a name of the mesh are never asked for elsewhere; what is not of the mesh is answered as if there were no
//! proxy; questions under way, connections and remembered answers are bounded.
//! Not here: which names there are (`sidle-model`), names that the proxy itself looks up (`upstream::dns`).
//! Source: the agent of Istio.
//! Read: `answer` (names of the mesh) -> `forward` (all others, and what is remembered) -> here (sockets).

mod answer;
mod forward;
#[cfg(test)]
mod tests;

use answer::Names;
use arc_swap::ArcSwap;
use forward::{Forwarder, Way};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use sidle_model::ir;
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
};

/// Questions by UDP that wait for an answer from elsewhere.
const UNDER_WAY: usize = 1024;
/// Connections.
const CONNECTIONS: usize = 128;
/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 128;
/// How long a connection may be silent, or take nothing.
const IDLE: Duration = Duration::from_secs(10);
/// After a socket's failure.
const PAUSE: Duration = Duration::from_millis(50);

/// The server: cheap to share.
pub struct NameServer {
    names: ArcSwap<Names>,
    forwarder: Forwarder,
    under_way: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl NameServer {
    /// Asks the servers that the machine's resolver configuration names, and knows no name yet.
    ///
    /// # Errors
    /// That configuration cannot be read.
    pub fn new() -> io::Result<Arc<Self>> {
        let text = std::fs::read_to_string("/etc/resolv.conf")?;
        Ok(Arc::new(NameServer::of(&text)))
    }

    /// Asks nobody.
    pub fn alone() -> Arc<Self> {
        Arc::new(NameServer::of(""))
    }

    fn of(resolv_conf: &str) -> Self {
        let lines = || resolv_conf.lines().map(str::trim);
        let servers = lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
        let search = lines().filter_map(|line| line.strip_prefix("search")).next_back().unwrap_or_default();
        let suffixes = search
            .split_whitespace()
            .map(|domain| format!(".{}.", domain.trim_matches('.').to_ascii_lowercase()));
        NameServer {
            names: ArcSwap::from_pointee(Names::new(suffixes.collect())),
            forwarder: Forwarder::new(servers.map(|ip: IpAddr| SocketAddr::new(ip, 53)).collect()),
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }

    /// Answers for these names from now on.
    pub fn publish(&self, names: Arc<ir::Names>) {
        self.names.store(Arc::new(self.names.load().with(names)));
    }

    /// Serves `address`, and where that is 127.0.0.1 also ::1, if there is one. `shared`: for a moment with the process
    /// that is taken over; a question is answered by either. Until `stopped`, or its sender is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn serve(
        self: &Arc<Self>,
        address: SocketAddr,
        shared: bool,
        stopped: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        self.bind(address, shared, stopped)?;
        if address.ip().is_loopback() && address.is_ipv4() {
            let twin = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
            if let Err(error) = self.bind(twin, shared, stopped) {
                tracing::debug!(address = %twin, %error, "no DNS there");
            }
        }
        Ok(())
    }

    fn bind(
        self: &Arc<Self>,
        address: SocketAddr,
        shared: bool,
        stopped: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        let (domain, ours) = (Domain::for_address(address), address.into());
        if !shared {
            Socket::new(domain, Type::DGRAM, None)?.bind(&ours)?; // sharing would hide that another has it
        }
        let [udp, tcp] = [Type::DGRAM, Type::STREAM].map(|kind| {
            let socket = Socket::new(domain, kind, None)?;
            socket.set_reuse_port(true)?;
            socket.set_reuse_address(kind == Type::STREAM)?;
            socket.set_nonblocking(true)?;
            socket.bind(&ours)?;
            io::Result::Ok(socket)
        });
        let (udp, tcp) = (udp?, tcp?);
        tcp.listen(BACKLOG)?;
        let udp = UdpSocket::from_std(udp.into())?;
        let tcp = TcpListener::from_std(tcp.into())?;
        let (server, mut stopped) = (self.clone(), stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = server.clone().datagrams(Arc::new(udp)) => {}
                () = server.connections(tcp) => {}
            }
        });
        Ok(())
    }

    async fn datagrams(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(question) = Question::read(&buffer[..length]) else { continue };
            if let Some(answer) = self.known(&question) {
                let _ = socket.send_to(&question.fit(answer), client).await;
                continue;
            }
            // Who is not answered asks again, or another.
            let Ok(permit) = self.under_way.clone().try_acquire_owned() else { continue };
            let (server, socket) = (self.clone(), socket.clone());
            tokio::spawn(async move {
                let answer = server.elsewhere(&question, Way::Datagram).await;
                let _ = socket.send_to(&question.fit(answer), client).await;
                drop(permit);
            });
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok(permit) = self.connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        // A client that breaks off is not worth a word.
                        let _ = server.conversation(stream).await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn conversation(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
            let mut buffer = vec![0; usize::from(length)];
            tokio::time::timeout(IDLE, stream.read_exact(&mut buffer)).await??;
            let Some(question) = Question::read(&buffer) else { return Ok(()) };
            let answer = match self.known(&question) {
                Some(answer) => answer,
                None => self.elsewhere(&question, Way::Connection).await,
            };
            let bytes = answer.to_vec().map_err(io::Error::other)?;
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            let said = [&length.to_be_bytes()[..], &bytes].concat();
            tokio::time::timeout(IDLE, stream.write_all(&said)).await??;
        }
    }

    fn known(&self, question: &Question) -> Option<Message> {
        self.names.load().answer(&question.message)
    }

    async fn elsewhere(&self, question: &Question, way: Way) -> Message {
        match self.forwarder.ask(&question.message, &question.bytes, way).await {
            Some(answer) => answer,
            None => answer::failure(&question.message, ResponseCode::ServFail),
        }
    }
}

/// A question as it came.
struct Question {
    message: Message,
    bytes: Vec<u8>,
}

impl Question {
    /// `None`: it is none, and gets no answer.
    fn read(bytes: &[u8]) -> Option<Self> {
        let message = Message::from_vec(bytes).ok()?;
        let metadata = &message.metadata;
        let asks = metadata.message_type == MessageType::Query && metadata.op_code == OpCode::Query;
        (asks && message.queries.len() == 1).then(|| Question { bytes: bytes.to_vec(), message })
    }

    /// The answer as a datagram that the client takes; if it is longer, none but that it has to ask by TCP.
    fn fit(&self, answer: Message) -> Vec<u8> {
        let bytes = answer.to_vec().unwrap_or_default();
        if bytes.len() <= usize::from(self.message.max_payload()) {
            return bytes;
        }
        let mut short = answer::failure(&self.message, answer.metadata.response_code);
        short.metadata.truncation = true;
        short.to_vec().unwrap_or_default()
    }
}
