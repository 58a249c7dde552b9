use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    task::{JoinHandle, LocalSet},
    time::timeout,
};

/// A relay between two pairs; gives the outer ends.
fn start(idle: Option<Duration>) -> (UnixStream, UnixStream, JoinHandle<Relayed>) {
    let (client, client_side) = UnixStream::pair().unwrap();
    let (upstream, upstream_side) = UnixStream::pair().unwrap();
    let relay = tokio::task::spawn_local(async move {
        let (mut client, mut upstream) =
            (Duplex::Stream(client_side.into()), Duplex::Stream(upstream_side.into()));
        relay(&mut client, &mut upstream, idle, &Meter::default()).await
    });
    (client, upstream, relay)
}

/// Bytes that show when one is lost, doubled or moved.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + at / 251 + seed) % 251) as u8).collect()
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    LocalSet::new()
        .run_until(async {
            let (mut client, mut upstream, relay) = start(None);
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = Vec::new();
            upstream.read_to_end(&mut question).await.unwrap();
            assert_eq!(question, b"question");
            // The client has said all; it must still hear all.
            upstream.write_all(b"answer").await.unwrap();
            drop(upstream);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
            assert_eq!(relay.await.unwrap(), Relayed { received: 8, sent: 6, end: None });
        })
        .await;
}

#[tokio::test]
async fn ten_mebibytes_go_both_ways_at_once() {
    LocalSet::new()
        .run_until(async {
            const LENGTH: usize = 10 << 20;
            let (client, upstream, relay) = start(None);
            let ends: Vec<_> = [(client, 1, 2), (upstream, 2, 1)]
                .into_iter()
                .map(|(stream, says, hears)| {
                    let (mut read, mut write) = stream.into_split();
                    let writer = tokio::spawn(async move {
                        write.write_all(&pattern(LENGTH, says)).await.unwrap();
                        write.shutdown().await.unwrap();
                    });
                    tokio::spawn(async move {
                        let mut heard = Vec::new();
                        read.read_to_end(&mut heard).await.unwrap();
                        writer.await.unwrap();
                        heard == pattern(LENGTH, hears)
                    })
                })
                .collect();
            for end in ends {
                assert!(timeout(Duration::from_secs(30), end).await.unwrap().unwrap());
            }
            let length = LENGTH as u64;
            assert_eq!(relay.await.unwrap(), Relayed { received: length, sent: length, end: None });
        })
        .await;
}

/// A side that does not read stops the other side's sending; the relay holds one buffer of it, no more.
#[tokio::test]
async fn a_side_that_does_not_read_stops_the_other() {
    LocalSet::new()
        .run_until(async {
            let (mut client, mut upstream, relay) = start(None);
            let chunk = pattern(64 << 10, 0);
            let mut sent = Vec::new();
            while let Ok(written) = timeout(Duration::from_millis(200), client.write(&chunk)).await {
                sent.extend_from_slice(&chunk[..written.unwrap()]);
                assert!(sent.len() < 4 << 20, "nothing holds the client back");
            }
            // What is held now reaches the other side whole, however it was cut.
            client.shutdown().await.unwrap();
            let mut read = Vec::new();
            upstream.read_to_end(&mut read).await.unwrap();
            assert!(read == sent);
            drop((client, upstream));
            assert_eq!(relay.await.unwrap().received, sent.len() as u64);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_relay_ends_and_a_busy_one_does_not() {
    LocalSet::new()
        .run_until(async {
            let limit = Duration::from_secs(10);
            let (mut client, mut upstream, relay) = start(Some(limit));
            let began = Instant::now();
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(8)).await;
                upstream.write_all(b"x").await.unwrap();
                client.read_u8().await.unwrap();
            }
            let last = Instant::now();
            let relayed = relay.await.unwrap();
            assert_eq!(relayed, Relayed { received: 0, sent: 5, end: Some(RelayEnd::Idle) });
            assert_eq!(last - began, Duration::from_secs(40));
            let idle = last.elapsed();
            assert!((limit..limit + Duration::from_millis(20)).contains(&idle), "{idle:?}");
        })
        .await;
}

/// Half closed is not ended: the idle timeout is what frees a relay whose other side forgets to close.
#[tokio::test(start_paused = true)]
async fn a_half_closed_relay_is_idle_in_the_end() {
    LocalSet::new()
        .run_until(async {
            let (mut client, _upstream, relay) = start(Some(Duration::from_secs(10)));
            client.shutdown().await.unwrap();
            assert_eq!(relay.await.unwrap().end, Some(RelayEnd::Idle));
        })
        .await;
}

/// Nothing can be read while the buffer is full, but a client that takes a little at a time is alive.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_idle() {
    LocalSet::new()
        .run_until(async {
            let limit = Duration::from_secs(10);
            let mut direction = Direction::default();
            let (from, from_side) = UnixStream::pair().unwrap();
            let (to_side, mut to) = UnixStream::pair().unwrap();
            let (mut from_side, mut to_side) =
                (Duplex::Stream(from_side.into()), Duplex::Stream(to_side.into()));
            direction.left = pattern(4 << 20, 0);
            let mut timer = IdleTimer::new(limit);
            let mut taken = vec![0; 1 << 20];
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(8)).await;
                let before = direction.moved;
                poll_fn(|cx| Poll::Ready(direction.poll(&mut from_side, &mut to_side, cx).is_pending()))
                    .await;
                let moved = before != direction.moved;
                assert!(moved);
                assert!(poll_fn(|cx| Poll::Ready(timer.poll(moved, cx).is_pending())).await);
                // Frees room.
                assert!(to.read(&mut taken).await.unwrap() > 0);
            }
            drop(from);
        })
        .await;
}

#[tokio::test]
async fn the_side_that_failed_is_named() {
    LocalSet::new()
        .run_until(async {
            let (client, upstream, relay) = start(None);
            drop(client);
            drop(upstream);
            assert_eq!(relay.await.unwrap().end, None, "both closed");

            let (client, mut upstream, relay) = start(None);
            drop(client); // both halves: what comes for it cannot be delivered
            upstream.write_all(b"late").await.unwrap();
            assert_eq!(relay.await.unwrap().end, Some(RelayEnd::Client));

            let (mut client, upstream, relay) = start(None);
            drop(upstream);
            client.write_all(b"late").await.unwrap();
            assert_eq!(relay.await.unwrap().end, Some(RelayEnd::Upstream));
        })
        .await;
}

#[tokio::test]
async fn a_tunnel_reports_once_what_it_carried() {
    LocalSet::new()
        .run_until(async {
            let (mut client, client_side) = UnixStream::pair().unwrap();
            let (mut upstream, upstream_side) = UnixStream::pair().unwrap();
            let (tell, told) = tokio::sync::oneshot::channel();
            let tunnel = Tunnel::new(Duplex::Stream(upstream_side.into()), None, Rc::default(), |relayed| {
                tell.send(relayed).unwrap()
            });
            let outside = tokio::spawn(async move {
                client.write_all(b"abc").await.unwrap();
                drop(client);
                let mut heard = Vec::new();
                upstream.read_to_end(&mut heard).await.unwrap();
            });
            tunnel.run(Duplex::Stream(client_side.into())).await;
            outside.await.unwrap();
            assert_eq!(told.await.unwrap(), Relayed { received: 3, sent: 0, end: None });
        })
        .await;
}

/// A pair of TCP sockets.
async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (here.unwrap(), there.unwrap().0)
}

#[tokio::test]
async fn a_reset_is_passed_on_unless_the_other_side_has_the_end_already() {
    for ends_first in [false, true] {
        let (mut client, client_side) = tcp_pair().await;
        let (mut upstream, upstream_side) = tcp_pair().await;
        let relay = async move {
            let (mut client, mut upstream) =
                (Duplex::Stream(client_side.into()), Duplex::Stream(upstream_side.into()));
            relay(&mut client, &mut upstream, None, &Meter::default()).await
        };
        let sides = async move {
            upstream.write_all(b"answer").await.unwrap();
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.unwrap();
            if ends_first {
                upstream.shutdown().await.unwrap();
                assert_eq!(client.read(&mut answer).await.unwrap(), 0);
            }
            upstream.set_zero_linger().unwrap();
            drop(upstream);
            if ends_first {
                client.write_all(b"late").await.unwrap(); // nothing else finds it out
            }
            client
        };
        let both = async { tokio::join!(relay, sides) };
        let (relayed, mut client) = timeout(Duration::from_secs(10), both).await.unwrap();
        assert_eq!(relayed.end, Some(RelayEnd::Upstream));
        let end = client.read(&mut [0]).await.map_err(|error| error.kind());
        assert_eq!(end, if ends_first { Ok(0) } else { Err(io::ErrorKind::ConnectionReset) });
    }
}
