//! Ten thousand handshakes that begin and do not end, beside a client that behaves.

use super::{IMPATIENT, NAME, answer, listener, real_hello, start};
use sidle_test_support::{
    client::Client,
    echo::Echo,
    ports,
    tls::{Authority, client_as},
    wait,
};
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// An unoptimised build proves the same with less of it.
const HALF: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
/// The default of `tlsHandshakeTimeout`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For the machine, which does both sides.
const GRACE: Duration = Duration::from_secs(5);
/// Of resident memory, for each of them.
const MEMORY: u64 = 24 << 10;

/// Begins handshakes: each sends another part of a hello and no more, but every fourth all of it, and every tenth goes on with a byte
/// a second.
struct Crowd {
    silent: Vec<TcpStream>,
    dripping: Vec<(TcpStream, usize)>,
}

impl Crowd {
    fn begin(port: SocketAddr, hello: &[u8]) -> Self {
        let mut crowd = Crowd { silent: Vec::new(), dripping: Vec::new() };
        for number in 0..HALF {
            let mut stream = TcpStream::connect(port).unwrap();
            let sent = match number {
                _ if number % 10 == 0 => 1,
                _ if number % 4 == 0 => hello.len(),
                _ => number % hello.len(),
            };
            stream.write_all(&hello[..sent]).unwrap();
            match sent {
                1 => crowd.dripping.push((stream, 1)),
                _ => crowd.silent.push(stream),
            }
        }
        crowd
    }

    /// Until nobody is left; says when that was.
    fn end(mut self, hello: &[u8]) -> Instant {
        for _ in 0..30 {
            if self.dripping.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
            self.dripping.retain_mut(|(stream, sent)| {
                let byte = [hello[*sent % hello.len()]];
                *sent += 1;
                stream.write_all(&byte).is_ok()
            });
        }
        assert!(self.dripping.is_empty(), "{} go on dripping", self.dripping.len());
        self.silent.into_iter().map(answer).for_each(drop);
        Instant::now()
    }
}

/// How long requests take, on a connection that stands and, each tenth, on one of its own.
struct Healthy {
    authority: Authority,
    port: SocketAddr,
    client: Client,
    times: Vec<Duration>,
}

impl Healthy {
    async fn ask(&mut self) {
        let begin = Instant::now();
        if self.times.len() % 10 == 9 {
            let tls = self.authority.connect(self.port, NAME, &[b"http/1.1"]).await.unwrap();
            assert_eq!(Client::http1_over(tls).await.get(NAME, "/").await.status, 200);
        } else {
            assert_eq!(self.client.get(NAME, "/").await.status, 200);
        }
        self.times.push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    /// The time that 99 of 100 took no longer than; and begins anew.
    fn p99(&mut self) -> (usize, Duration) {
        let mut times = std::mem::take(&mut self.times);
        times.sort_unstable();
        (times.len(), times[times.len() * 99 / 100])
    }
}

#[tokio::test]
async fn half_handshakes_by_the_thousand_are_ended_and_others_notice_nothing() {
    let _machine = crate::MACHINE.lock().await;
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let sidle = start(port, &authority, &echo, "");
    let tls = authority.connect(port, NAME, &[b"h2"]).await.unwrap();
    let client = Client::http2_over(tls).await;
    let mut healthy = Healthy { authority, port, client, times: Vec::new() };
    for _ in 0..200 {
        healthy.ask().await;
    }
    let (_, before) = healthy.p99();
    sidle.forget_peak();
    let memory = sidle.resident_bytes();

    let (_, hello) = real_hello(client_as(None, &[b"h2", b"http/1.1"], rustls::ALL_VERSIONS));
    let crowd = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let crowd = Crowd::begin(port, &hello);
        let begun = Instant::now();
        (began, begun, crowd.end(&hello))
    });
    let open = ("sidle_listener_connections_active", [("listener", listener(&sidle))]);
    let labels = [("listener", open.1[0].1.as_str())];
    let mut most: f64 = 0.0;
    while !crowd.is_finished() {
        healthy.ask().await;
        if healthy.times.len().is_multiple_of(50) {
            most = most.max(sidle.metrics().sum(open.0, &labels));
        }
    }
    let (began, begun, ended) = crowd.await.unwrap();
    let (requests, meanwhile) = healthy.p99();
    let grown = sidle.peak_resident_bytes().saturating_sub(memory);
    println!(
        "half handshakes: {HALF} begun in {:.1} s, {most} at once, all ended {:.1} s later; {} KiB of memory, {:.1} KiB each; \
         the healthy client: {requests} requests, p99 {meanwhile:.1?} ({before:.1?} before), no failure",
        (begun - began).as_secs_f64(),
        (ended - begun).as_secs_f64(),
        grown >> 10,
        (grown >> 10) as f64 / HALF as f64,
    );
    assert!(ended - begun < TIMEOUT + GRACE, "{:?}", ended - begun);
    assert!(grown < HALF as u64 * MEMORY, "{} KiB", grown >> 10);
    assert!(meanwhile < (2 * before).max(Duration::from_millis(250)), "{meanwhile:?}, {before:?} before");
    wait::until("the end of all but one", || (sidle.metrics().sum(open.0, &labels) == 1.0).then_some(()));
    healthy.ask().await;
}

/// A byte now and then is no handshake either, and no patience is begun anew by it.
#[tokio::test]
async fn a_hello_byte_by_byte_has_the_time_of_a_handshake() {
    let _machine = crate::MACHINE.lock().await;
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let sidle = start(port, &authority, &echo, IMPATIENT);
    let (_, hello) = real_hello(client_as(None, &[b"h2"], rustls::ALL_VERSIONS));
    for door in [port, sidle.ports.inbound] {
        let (mut slow, stop) = (TcpStream::connect(door).unwrap(), Arc::new(AtomicBool::new(false)));
        let dripping = std::thread::spawn({
            let (hello, stop) = (hello.clone(), stop.clone());
            move || {
                let mut drops = hello.iter().cycle();
                while !stop.load(SeqCst) && slow.write_all(&[*drops.next().unwrap()]).is_ok() {
                    std::thread::sleep(Duration::from_millis(25));
                }
            }
        });
        let begin = Instant::now();
        wait::until("the drips to be refused", || dripping.is_finished().then_some(()));
        assert!(begin.elapsed() < Duration::from_secs(3), "{door} {:?}", begin.elapsed());
        stop.store(true, SeqCst);
        dripping.join().unwrap();
    }
    let tls = authority.connect(port, NAME, &[b"h2"]).await.unwrap();
    assert_eq!(Client::http2_over(tls).await.get(NAME, "/").await.status, 200);
}
