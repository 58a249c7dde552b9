//! Connections whose other end is h2, both ways: what it sends is served, and it takes what is sent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use sidle_fields::Fields;
use sidle_http2::{
    Code,
    connection::{
        self, Allowance, Buffers, Config, Connection, End, Host, Incoming, Receiving, Sending, StreamError,
    },
};
use std::{
    cell::Cell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    task::{LocalSet, spawn_local},
};

fn config() -> Config {
    Config {
        stream_window: 100_000,
        connection_window: 300_000,
        max_streams: 50,
        max_list: 16 << 10,
        allowance: Allowance { resets: Some(1_000), control: 10_000 },
        host: Host { clock: || Duration::ZERO, buffers: Buffers { take: Vec::new, give_back: drop } },
    }
}

/// Moves a connection's bytes until it is done; `each` has the requests.
async fn drive(
    connection: Rc<Connection>,
    mut stream: DuplexStream,
    mut each: impl FnMut(Incoming),
) -> Option<End> {
    poll_fn(|cx| {
        connection.watch(cx.waker());
        loop {
            let mut came = false;
            let mut bytes = [0; 9_000];
            let mut read = ReadBuf::new(&mut bytes);
            if connection.wants_input()
                && let Poll::Ready(outcome) = Pin::new(&mut stream).poll_read(cx, &mut read)
            {
                if outcome.is_err() || read.filled().is_empty() {
                    connection.lost();
                    return Poll::Ready(());
                }
                came = true;
                connection.receive(read.filled());
                while let Some(incoming) = connection.accept() {
                    each(incoming);
                }
            }
            let full = !connection.wants_input();
            let written = connection.write(|pieces| Pin::new(&mut stream).poll_write_vectored(cx, pieces));
            if let Poll::Ready(Err(_)) = written {
                connection.lost();
                return Poll::Ready(());
            }
            if written.is_ready() && connection.is_done() {
                return Poll::Ready(());
            }
            if !(came || full && written.is_ready()) {
                return Poll::Pending;
            }
        }
    })
    .await;
    connection.ended()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let within = async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() };
    LocalSet::new().block_on(&runtime, within);
}

/// The length of a body, of its request's number.
fn length(number: usize) -> usize {
    [0, 1, 100, 16_384, 70_000, 250_000][number % 6]
}

fn content(number: usize) -> Vec<u8> {
    (0..length(number)).map(|at| (at / 7 + number) as u8).collect()
}

fn trailers(number: usize) -> Option<HeaderMap> {
    (number % 2 == 1).then(|| HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from(number))]))
}

async fn send(
    sending: &mut Sending,
    mut data: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<(), StreamError> {
    while !data.is_empty() {
        let room = poll_fn(|cx| sending.poll_room(cx)).await?;
        let piece = data.split_to(room.min(data.len()));
        sending.data(piece, data.is_empty() && trailers.is_none())?;
    }
    match trailers {
        Some(trailers) => sending.trailers(&trailers),
        None => Ok(()),
    }
}

async fn take(receiving: &mut Receiving) -> Result<(Vec<u8>, Option<HeaderMap>), StreamError> {
    let mut all = Vec::new();
    while let Some(data) = poll_fn(|cx| receiving.poll_data(cx)).await {
        all.extend_from_slice(&data?);
    }
    Ok((all, receiving.take_trailers()))
}

async fn h2_send(stream: &mut h2::SendStream<Bytes>, mut data: Bytes, trailers: Option<HeaderMap>) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = data.split_to(room.min(data.len()));
        let ends = data.is_empty() && trailers.is_none();
        if stream.send_data(piece, ends).is_err() {
            return;
        }
    }
    if let Some(trailers) = trailers {
        let _ = stream.send_trailers(trailers);
    }
}

async fn h2_take(stream: &mut h2::RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all, stream.trailers().await?))
}

fn number_of(field: Option<&HeaderValue>) -> usize {
    field.unwrap().to_str().unwrap().parse().unwrap()
}

/// Answers with what was sent; each eleventh is reset, and each thirteenth let go of.
async fn serve(incoming: Incoming) {
    let Incoming { fields, mut sending, mut receiving, .. } = incoming;
    let number = number_of(fields.headers.get("x-number"));
    match (number % 11, number % 13) {
        (10, _) => return sending.reset(Code::REFUSED_STREAM),
        (_, 12) => return,
        _ => {}
    }
    let Ok((content, trailers)) = take(&mut receiving).await else { return };
    sending.interim().send(StatusCode::EARLY_HINTS, &Fields::new());
    let ends = content.is_empty() && trailers.is_none();
    if sending.respond(StatusCode::OK, &Fields::new(), ends).is_ok() && !ends {
        let _ = send(&mut sending, content.into(), trailers).await;
    }
}

fn h2_request(number: usize) -> Request<()> {
    let request = Request::builder().method("POST").uri("http://host.example/echo");
    request.header("x-number", number).body(()).unwrap()
}

#[test]
fn h2_asks() {
    run(async {
        let (theirs, ours) = tokio::io::duplex(30_000);
        let engine = Rc::new(Connection::server(config()));
        let accepted = Rc::new(Cell::new(0));
        let counted = accepted.clone();
        let driven = spawn_local(drive(engine.clone(), ours, move |incoming| {
            counted.set(counted.get() + 1);
            spawn_local(serve(incoming));
        }));
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(40_000)
            .initial_connection_window_size(90_000)
            .initial_max_send_streams(10);
        let (client, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
        let connection = spawn_local(connection);
        let mut tasks = Vec::new();
        for number in 0..300 {
            let mut client = client.clone().ready().await.unwrap();
            let (answer, mut stream) = client.send_request(h2_request(number), false).unwrap();
            tasks.push(spawn_local(async move {
                if number % 17 == 16 {
                    stream.send_reset(h2::Reason::CANCEL);
                    return;
                }
                let sent = async {
                    let trailers = trailers(number);
                    if length(number) == 0 && trailers.is_none() {
                        let _ = stream.send_data(Bytes::new(), true);
                    }
                    h2_send(&mut stream, content(number).into(), trailers).await;
                };
                let got = async { h2_take(answer.await?.body_mut()).await };
                let ((), got) = tokio::join!(sent, got);
                match (number % 11, number % 13) {
                    // What h2 sent after the answer to our PING was not looked at.
                    _ if got.as_ref().is_err_and(h2::Error::is_go_away) => assert!(number > 150, "{number}"),
                    (10, _) => assert_eq!(got.unwrap_err().reason(), Some(h2::Reason::REFUSED_STREAM)),
                    (_, 12) => assert_eq!(got.unwrap_err().reason(), Some(h2::Reason::CANCEL)),
                    _ => assert!(got.unwrap() == (content(number), trailers(number)), "{number}"),
                }
            }));
        }
        while accepted.get() < 200 {
            tokio::task::yield_now().await; // some are under way, and some have not begun
        }
        engine.drain();
        for task in tasks {
            task.await.unwrap();
        }
        drop(client);
        connection.await.unwrap().unwrap();
        let end = driven.await.unwrap();
        assert!(matches!(end, None | Some(End::Transport)), "{end:?}");
    });
}

/// An echo that resets each eleventh.
async fn h2_serve(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    if number_of(head.headers.get("x-number")) % 11 == 10 {
        return respond.send_reset(h2::Reason::REFUSED_STREAM);
    }
    let Ok((content, trailers)) = h2_take(&mut body).await else { return };
    let ends = content.is_empty() && trailers.is_none();
    if let Ok(mut stream) = respond.send_response(Response::new(()), ends)
        && !ends
    {
        h2_send(&mut stream, content.into(), trailers).await;
    }
}

#[test]
fn h2_answers() {
    run(async {
        let (theirs, ours) = tokio::io::duplex(30_000);
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(40_000).initial_connection_window_size(90_000).max_concurrent_streams(20);
        let handshake = builder.handshake::<_, Bytes>(theirs);
        let server = spawn_local(async move {
            let mut connection = handshake.await.unwrap();
            let mut served = 0;
            while let Some(accepted) = connection.accept().await {
                let Ok((request, respond)) = accepted else { return };
                served += 1;
                spawn_local(h2_serve(request, respond));
                if served == 250 {
                    connection.graceful_shutdown();
                }
            }
        });
        let engine = Rc::new(Connection::client(Config { max_streams: 1, ..config() }));
        let opener = Rc::new(engine.opener());
        let driven = spawn_local(drive(engine, ours, |_| unreachable!()));
        let slots = Arc::new(tokio::sync::Semaphore::new(1));
        let mut tasks = Vec::new();
        for number in 0..300 {
            if number == 1 {
                slots.add_permits(19);
            }
            let slot = slots.clone().acquire_owned().await.unwrap();
            let headers = Fields::from_iter([("x-number".parse().unwrap(), HeaderValue::from(number))]);
            let request = connection::Request {
                method: &Method::POST,
                scheme: "http",
                authority: "host.example",
                path: "/echo",
                headers: &headers,
            };
            let ends = length(number) == 0 && trailers(number).is_none();
            let Ok((mut sending, mut receiving)) = opener.open(request, ends) else { break }; // it leaves
            let task = async move {
                if number % 17 == 16 {
                    drop((sending, receiving));
                } else {
                    let sent = send(&mut sending, content(number).into(), trailers(number));
                    let got = async {
                        let head = poll_fn(|cx| receiving.poll_head(cx)).await?;
                        assert_eq!(head.status, StatusCode::OK);
                        take(&mut receiving).await
                    };
                    let (_, got) = tokio::join!(sent, got);
                    match number % 11 {
                        10 => assert_eq!(got, Err(StreamError::Reset(Code::REFUSED_STREAM))),
                        // h2 looks at nothing more once it has said that it leaves.
                        _ if number >= 250 && got.is_err() => {}
                        _ => {
                            let error = got.as_ref().err();
                            assert!(got == Ok((content(number), trailers(number))), "{number} {error:?}");
                        }
                    }
                }
                drop(slot);
            };
            if number == 0 {
                task.await;
            } else {
                tasks.push(spawn_local(task));
            }
        }
        assert!((249..299).contains(&tasks.len()), "{}", tasks.len());
        for task in tasks {
            task.await.unwrap();
        }
        drop(opener);
        let end = driven.await.unwrap();
        assert!(matches!(end, None | Some(End::Transport)), "{end:?}");
        server.await.unwrap();
    });
}

/// Whatever takes bytes only one at a time.
struct Slow(DuplexStream);

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let most = bytes.len().min(3);
        Pin::new(&mut self.0).poll_write(cx, &bytes[..most])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut few = [0; 5];
        let most = read.remaining().min(few.len());
        let mut part = ReadBuf::new(&mut few[..most]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut part))?;
        read.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

#[test]
fn h2_asks_a_few_bytes_at_a_time() {
    run(async {
        let (theirs, ours) = tokio::io::duplex(100);
        let engine = Rc::new(Connection::server(config()));
        let driven = spawn_local(drive(engine, ours, |incoming| _ = spawn_local(serve(incoming))));
        let (mut client, connection) = h2::client::handshake(Slow(theirs)).await.unwrap();
        let connection = spawn_local(connection);
        for number in [1, 2, 3] {
            let (answer, mut stream) = client.send_request(h2_request(number), false).unwrap();
            h2_send(&mut stream, content(number).into(), trailers(number)).await;
            let got = h2_take(answer.await.unwrap().body_mut()).await.unwrap();
            assert!(got == (content(number), trailers(number)), "{number}");
        }
        drop(client);
        connection.await.unwrap().unwrap();
        assert!(matches!(driven.await.unwrap(), None | Some(End::Transport)));
    });
}
