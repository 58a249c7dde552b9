//! Proxies and applications of the matrix: for each mode and each thing that may be spoken a server, for each rule a client.

use crate::{
    envoy_oracle::envoy::Envoy,
    mtls::{SHOP, TAKES_MTLS, WEB, server_of, service_of, told, with_identity},
};
use sidle_test_support::{
    client::{Client, request},
    echo::{Echo, full},
    ports,
    sidle::{Sidle, command},
    tcp::Tap,
    tls::Authority,
};
use std::{fmt::Write, net::SocketAddr, path::Path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What the applications speak to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    Http,
    /// Bytes of no protocol.
    Tcp,
    /// TLS that ends in the application.
    Tls,
}

pub const SPOKEN: [Spoken; 3] = [Spoken::Http, Spoken::Tcp, Spoken::Tls];

/// What the client of [`Spoken::Tls`] offers in its ClientHello: seen on the wire, its TLS went unwrapped.
const MARK: &[u8] = b"of-the-application";

impl Spoken {
    /// As ports are named.
    fn name(self) -> &'static str {
        match self {
            Spoken::Http => "http",
            Spoken::Tcp => "tcp",
            Spoken::Tls => "tls",
        }
    }
}

/// The servers, one for each mode of each thing that is spoken.
pub struct World {
    authority: Authority,
    servers: Vec<Vec<Server>>,
    _applications: [Echo; 2],
}

struct Server {
    /// Shows what arrives before the proxy.
    tap: Tap,
    _envoy: Option<Envoy>,
    _sidle: Sidle,
}

impl World {
    /// `envoy`: what serves in the place of Sidle, by Sidle's configuration.
    pub fn start(policies: &[&str], envoy: Option<&Path>) -> Self {
        let authority = Authority::new();
        let names: Vec<_> = (0..policies.len()).map(|at| host(Spoken::Tls, at)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let plain = Echo::start("shop");
        let tls = Echo::start_tls("shop", authority.issue(&names));
        let start = |spoken: Spoken, policy: &str| {
            let port = if spoken == Spoken::Tls { tls.port() } else { plain.port() };
            let sidle = server_of(with_identity(&authority, SHOP), spoken.name(), port, policy);
            let envoy = envoy.map(|program| exported(program, &sidle));
            let address = place(sidle.ports.inbound, envoy.as_ref());
            Server { tap: Tap::start(address), _envoy: envoy, _sidle: sidle }
        };
        let servers = SPOKEN.map(|spoken| policies.iter().map(|policy| start(spoken, policy)).collect());
        World { authority, servers: servers.into(), _applications: [plain, tls] }
    }
}

/// The service of one server.
fn host(spoken: Spoken, at: usize) -> String {
    format!("{}-{at}.test", spoken.name())
}

/// The same proxy on Envoy: its own words for the configuration.
fn exported(program: &Path, sidle: &Sidle) -> Envoy {
    let mut export = command();
    export.args(["export", "envoy", "--labels", "app=shop", "-c"]).arg(sidle.folder());
    let export = serde_json::from_slice(&export.output().unwrap().stdout).unwrap();
    Envoy::start(program, export, sidle.folder(), &sidle.folder().join("log"))
}

/// Where one goes for what Sidle has at `address`.
fn place(address: SocketAddr, envoy: Option<&Envoy>) -> SocketAddr {
    envoy.map_or(address, |envoy| envoy.listeners[&address.port()])
}

/// A client whose rule for all servers is the same.
pub struct Caller {
    /// Where each server is reached, by what is spoken.
    doors: Vec<Vec<SocketAddr>>,
    _envoy: Option<Envoy>,
    _sidle: Sidle,
}

impl Caller {
    /// `envoy`: what calls in the place of Sidle, by Sidle's configuration.
    pub fn start(world: &World, (_, label, rule): (&str, bool, &str), envoy: Option<&Path>) -> Self {
        let builder = with_identity(&world.authority, WEB);
        let folder = builder.folder().join("identity").display().to_string();
        let rule = rule.replace("DIR", &folder).replace("SHOP", SHOP);
        let label = if label { TAKES_MTLS } else { "" };
        let outbound = builder.ports().outbound;
        let mut manifests = String::new();
        let mut sidecar = String::from(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: { name: web }\nspec:\n  egress:\n",
        );
        let mut doors = Vec::new();
        for (spoken, servers) in SPOKEN.into_iter().zip(&world.servers) {
            let door = |(at, server): (usize, &Server)| {
                let host = host(spoken, at);
                let (name, protocol) = (host.trim_end_matches(".test"), spoken.name().to_uppercase());
                let address = server.tap.address();
                let service = service_of(name, address, "serviceAccount: shop,", label, &rule);
                let port = format!("name: {}, protocol: {protocol}", spoken.name());
                manifests += &(service.replace("name: http, protocol: HTTP", &port) + "---\n");
                if spoken == Spoken::Http {
                    return outbound;
                }
                let door = ports::free();
                writeln!(
                    sidecar,
                    "    - port: {{ number: {}, name: {name}, protocol: {protocol} }}\n      bind: 127.0.0.1\n      \
                     captureMode: NONE\n      hosts: ['*/{host}']",
                    door.port()
                )
                .unwrap();
                door
            };
            doors.push(servers.iter().enumerate().map(door).collect::<Vec<_>>());
        }
        sidecar += "    - hosts: ['*/*']\n";
        let sidle = builder.file("test.yaml", &(manifests + &sidecar)).start();
        let envoy = envoy.map(|program| exported(program, &sidle));
        let doors =
            doors.into_iter().map(|row| row.into_iter().map(|door| place(door, envoy.as_ref())).collect());
        Caller { doors: doors.collect(), _envoy: envoy, _sidle: sidle }
    }

    /// `m`: the server was reached by mTLS, `p`: with what the application sent, `-`: not at all.
    pub async fn ask(&self, world: &World, spoken: Spoken, at: usize) -> char {
        let (door, host) = (self.doors[spoken as usize][at], host(spoken, at));
        let tap = &world.servers[spoken as usize][at].tap;
        tap.take();
        let wrapped = match spoken {
            Spoken::Http => return http(door, &host).await,
            Spoken::Tcp => bytes(door).await.then(|| tap.take().starts_with(&[22, 3])),
            Spoken::Tls => {
                let marked = |bytes: Vec<u8>| bytes.windows(MARK.len()).any(|window| window == MARK);
                tls(&world.authority, door, &host).await.then(|| !marked(tap.take()))
            }
        };
        match wrapped {
            Some(true) => 'm',
            Some(false) => 'p',
            None => '-',
        }
    }
}

async fn http(door: SocketAddr, host: &str) -> char {
    let answer = Client::http1(door).await.ask(request("GET", host, "/")).await;
    match (answer.status.as_u16(), told(&answer).is_some()) {
        (200, true) => 'm',
        (200, false) => 'p',
        (503, _) => '-',
        _ => '?',
    }
}

/// Whether the application answers bytes.
async fn bytes(door: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(door).await.unwrap();
    let mut answer = [0; 10];
    let asked = stream.write_all(b"hello").await.is_ok();
    asked && stream.read_exact(&mut answer).await.is_ok() && &answer == b"shop hello"
}

/// Whether the application answers inside TLS that it ends itself.
async fn tls(authority: &Authority, door: SocketAddr, host: &str) -> bool {
    let Ok(tls) = authority.connect(door, host, &[MARK, b"http/1.1"]).await else { return false };
    let asked = request("GET", host, "/").body(full("")).unwrap();
    let answer = Client::http1_over(tls).await.try_exchange(asked).await;
    answer.is_ok_and(|answer| answer.status == 200)
}
