//! Streams over a pipe in memory: no sockets, no proxy around them.

use super::{
    duplex::StreamDuplex,
    send::Pump,
    wire::{self, Event, Patience, Wire},
};
use crate::codec::{Body, BodyError, Duplex, Stream, Tunnel, body::Http2Body, tunnel::RelayEnd};
use bytes::Bytes;
use futures_util::stream;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use sidle_fields::Fields;
use sidle_http2::connection::{Allowance, Config, Connection, Incoming, Sending};
use std::{future::poll_fn, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    task::LocalSet,
};

fn of_connection<R>(_: impl FnOnce(Stream, Rc<crate::listener::Connection>) -> R) -> usize {
    size_of::<R>()
}

fn of_stream<R>(_: impl FnOnce(super::ClientStream) -> R) -> usize {
    size_of::<R>()
}

/// A connection that waits keeps the first two, besides what the engine keeps (`sidle_http2` has a test of its own); each open stream the
/// third. Who makes them larger makes every connection or every stream dearer: box what is rare.
#[test]
fn connections_and_streams_take_little_room() {
    let sizes = [
        ("a connection's task", of_connection(super::serve), 768),
        ("its wire", size_of::<Wire>(), 168),
        ("a stream's task", of_stream(super::stream::serve), 4672),
    ];
    let large: Vec<_> = sizes.iter().filter(|(_, size, most)| size > most).collect();
    assert!(large.is_empty(), "{large:?} of {sizes:?}");
}

type Client = h2::client::SendRequest<Bytes>;

/// A client, and the server's next request.
async fn pair(window: u32) -> (Client, mpsc::UnboundedReceiver<Incoming>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (accepted, requests) = mpsc::unbounded_channel();
    let engine = Connection::server(Config {
        stream_window: 64 << 10,
        connection_window: 1 << 20,
        max_streams: 100,
        max_list: 32 << 10,
        allowance: Allowance { resets: Some(100), control: 1_000 },
        host: wire::HOST,
    });
    let mut wire = Wire::of_client(Stream::from(ours), engine, Patience::default());
    tokio::task::spawn_local(async move {
        while poll_fn(|cx| wire.poll(cx)).await == Event::Received {
            while let Some(incoming) = wire.connection.accept() {
                let _ = accepted.send(incoming);
            }
        }
    });
    let (client, driver) =
        h2::client::Builder::new().initial_window_size(window).handshake::<_, Bytes>(theirs).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ = driver.await;
    });
    (client, requests)
}

/// Answers a request, and sends `body`.
async fn send(mut sending: Sending, body: Body, patience: Option<Duration>) -> Result<(), BodyError> {
    sending.respond(StatusCode::OK, &Fields::new(), false).unwrap();
    let mut pump = Pump::new(sending, body, patience);
    poll_fn(|cx| pump.poll(None, cx)).await
}

fn request(method: http::Method, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

fn frames(frames: Vec<Result<Frame<Bytes>, BodyError>>) -> Body {
    Body::Watched(Box::pin(StreamBody::new(stream::iter(frames))))
}

/// Answers one request with `body`; gives what the client got.
async fn answered(body: Body) -> (Result<Vec<u8>, h2::Error>, Option<HeaderMap>) {
    let (mut client, mut requests) = pair(16 << 10).await;
    let (response, _) = client.send_request(request(http::Method::GET, "http://a/"), true).unwrap();
    let incoming = requests.recv().await.unwrap();
    tokio::task::spawn_local(send(incoming.sending, body, None));
    let receiving = response.await.unwrap().into_body();
    tokio::time::timeout(Duration::from_secs(10), received(receiving)).await.expect("the response ends")
}

async fn received(mut receiving: RecvStream) -> (Result<Vec<u8>, h2::Error>, Option<HeaderMap>) {
    let mut read = Vec::new();
    while let Some(data) = receiving.data().await {
        match data {
            Ok(data) => {
                let _ = receiving.flow_control().release_capacity(data.len());
                read.extend_from_slice(&data);
            }
            Err(error) => return (Err(error), None),
        }
    }
    (Ok(read), receiving.trailers().await.unwrap())
}

#[tokio::test]
async fn a_body_larger_than_the_window_arrives_with_its_trailers() {
    LocalSet::new()
        .run_until(async {
            let mut trailers = HeaderMap::new();
            for (name, value) in [("grpc-status", "0"), ("connection", "close"), ("content-length", "9")] {
                trailers.insert(name, HeaderValue::from_static(value));
            }
            let data = Bytes::from(vec![7; 100 << 10]);
            let body = frames(vec![
                Ok(Frame::data(Bytes::new())),
                Ok(Frame::data(data.clone())),
                Ok(Frame::data(data)),
                Ok(Frame::trailers(trailers)),
            ]);
            let (read, trailers) = answered(body).await;
            assert_eq!(read.unwrap(), vec![7; 200 << 10]);
            let trailers = trailers.unwrap();
            assert_eq!(trailers.keys().collect::<Vec<_>>(), ["grpc-status"], "nothing that frames");
        })
        .await;
}

/// A peer whose window is used up need not open it for a message that has ended.
#[tokio::test]
async fn the_end_of_a_message_needs_no_window() {
    LocalSet::new()
        .run_until(async {
            for trailers in
                [None, Some(HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]))]
            {
                let (mut client, mut requests) = pair(5).await;
                let (response, _) =
                    client.send_request(request(http::Method::GET, "http://a/"), true).unwrap();
                let incoming = requests.recv().await.unwrap();
                let (tell, told) = tokio::sync::oneshot::channel();
                let (first, last) = (Frame::data(Bytes::from_static(b"whole")), trailers.clone());
                let end = stream::once(async { told.await.ok().map(Frame::trailers) });
                let end = futures_util::StreamExt::filter_map(end, |end| std::future::ready(end.map(Ok)));
                let body = futures_util::StreamExt::chain(stream::iter([Ok(first)]), end);
                let body = Body::Watched(Box::pin(StreamBody::new(body)));
                tokio::task::spawn_local(send(incoming.sending, body, None));
                let mut receiving = response.await.unwrap().into_body();
                assert_eq!(&receiving.data().await.unwrap().unwrap()[..], b"whole");
                match last {
                    Some(last) => tell.send(last).unwrap(),
                    None => drop(tell),
                }
                let (rest, end) =
                    tokio::time::timeout(Duration::from_secs(10), received(receiving)).await.unwrap();
                assert_eq!((rest.unwrap().len(), end), (0, trailers));
            }
        })
        .await;
}

#[tokio::test]
async fn who_has_nothing_to_send_keeps_nobody_waiting() {
    LocalSet::new()
        .run_until(async {
            let (mut client, mut requests) = pair(1 << 20).await;
            let mut answers = Vec::new();
            for silent in [true, false, true, false] {
                let (response, _) =
                    client.send_request(request(http::Method::GET, "http://a/"), true).unwrap();
                let incoming = requests.recv().await.unwrap();
                let begin = stream::iter([Ok(Frame::data(Bytes::from(vec![1; 100 << 10])))]);
                let body: Body = if silent {
                    let body = futures_util::StreamExt::chain(begin, stream::pending());
                    Body::Watched(Box::pin(StreamBody::new(body)))
                } else {
                    Body::Full(Bytes::from(vec![1; 300 << 10]))
                };
                tokio::task::spawn_local(send(incoming.sending, body, None));
                answers.push((silent, response.await.unwrap().into_body()));
            }
            let reads = answers.into_iter().map(async |(silent, mut receiving)| {
                if silent {
                    let mut length = 0;
                    while length < 100 << 10 {
                        let data = receiving.data().await.unwrap().unwrap();
                        receiving.flow_control().release_capacity(data.len()).unwrap();
                        length += data.len();
                    }
                    std::mem::forget(receiving); // it goes on, and sends nothing
                } else {
                    assert_eq!(received(receiving).await.0.unwrap().len(), 300 << 10);
                }
            });
            let all = futures_util::future::join_all(reads);
            tokio::time::timeout(Duration::from_secs(10), all).await.expect("each comes to its end");
        })
        .await;
}

#[tokio::test]
async fn a_body_that_fails_resets_its_stream_with_the_reason() {
    LocalSet::new()
        .run_until(async {
            for (error, reason) in [
                (BodyError::Closed, Reason::INTERNAL_ERROR),
                (BodyError::Reset(8), Reason::CANCEL),
                (BodyError::Malformed, Reason::INTERNAL_ERROR),
                (BodyError::Reset(1), Reason::INTERNAL_ERROR),
                (BodyError::Reset(7), Reason::INTERNAL_ERROR),
                (BodyError::Deadline, Reason::CANCEL),
            ] {
                let (read, _) =
                    answered(frames(vec![Ok(Frame::data(Bytes::from_static(b"x"))), Err(error)])).await;
                assert_eq!(read.unwrap_err().reason(), Some(reason), "{error:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn sending_stops_when_the_client_resets() {
    LocalSet::new()
        .run_until(async {
            let (mut client, mut requests) = pair(1 << 10).await;
            let (response, mut stream) =
                client.send_request(request(http::Method::GET, "http://a/"), false).unwrap();
            let Incoming { sending, .. } = requests.recv().await.unwrap();
            let body = Body::Full(Bytes::from(vec![0; 1 << 20])); // waits for a window that never opens
            let sent = tokio::task::spawn_local(send(sending, body, None));
            response.await.unwrap();
            stream.send_reset(Reason::CANCEL);
            assert_eq!(sent.await.unwrap(), Err(BodyError::Reset(8)));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn data_without_a_window_does_not_wait_for_ever() {
    LocalSet::new()
        .run_until(async {
            let patience = Duration::from_secs(60);
            let (mut client, mut requests) = pair(1 << 10).await;
            let (response, _) = client.send_request(request(http::Method::GET, "http://a/"), true).unwrap();
            let Incoming { sending, .. } = requests.recv().await.unwrap();
            let began = tokio::time::Instant::now();
            let body = Body::Full(Bytes::from(vec![0; 1 << 20]));
            assert_eq!(send(sending, body, Some(patience)).await, Err(BodyError::Idle));
            assert_eq!(began.elapsed().as_secs(), patience.as_secs());
            let mut receiving = response.await.unwrap().into_body();
            let error = loop {
                match receiving.data().await.expect("the stream does not end well") {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error.reason(), Some(Reason::CANCEL));

            let (response, _client) =
                client.send_request(request(http::Method::CONNECT, "a:80"), false).unwrap();
            let Incoming { mut sending, receiving, .. } = requests.recv().await.unwrap();
            sending.respond(StatusCode::OK, &Fields::new(), false).unwrap();
            let mut tunnel = StreamDuplex::new(sending, Http2Body::new(receiving), Some(patience));
            let error = tunnel.write_all(&[0; 4 << 10]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            drop(response);
        })
        .await;
}

/// A stream of CONNECT, relayed to a pipe.
async fn tunnel()
-> (h2::SendStream<Bytes>, RecvStream, UnixStream, tokio::sync::oneshot::Receiver<Option<RelayEnd>>) {
    let (mut client, mut requests) = pair(16 << 10).await;
    let (response, sending) = client.send_request(request(http::Method::CONNECT, "a:80"), false).unwrap();
    let incoming = requests.recv().await.unwrap();
    let (upstream, upstream_side) = UnixStream::pair().unwrap();
    let mut back = incoming.sending;
    back.respond(StatusCode::OK, &Fields::new(), false).unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    let finish = |relayed: crate::codec::tunnel::Relayed| tell.send(relayed.end).unwrap();
    let tunnel = Tunnel::new(Duplex::Stream(upstream_side.into()), None, Default::default(), finish);
    let client_side = Duplex::Http2(StreamDuplex::new(back, Http2Body::new(incoming.receiving), None));
    tokio::task::spawn_local(tunnel.run(client_side));
    (sending, response.await.unwrap().into_body(), upstream, told)
}

#[tokio::test]
async fn a_tunnel_carries_more_than_a_window_and_ends_by_halves() {
    LocalSet::new()
        .run_until(async {
            let (mut sending, mut receiving, mut upstream, told) = tunnel().await;
            sending.send_data(Bytes::from_static(b"ping"), false).unwrap();
            sending.send_data(Bytes::new(), true).unwrap();
            let mut heard = Vec::new();
            upstream.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"ping");
            let writer = tokio::task::spawn_local(async move {
                upstream.write_all(&vec![9; 300 << 10]).await.unwrap();
            });
            let mut length = 0;
            while let Some(data) = receiving.data().await {
                let data = data.unwrap();
                assert!(data.iter().all(|&byte| byte == 9));
                length += data.len();
                receiving.flow_control().release_capacity(data.len()).unwrap();
            }
            writer.await.unwrap();
            assert_eq!(length, 300 << 10);
            assert_eq!(told.await.unwrap(), None);
        })
        .await;
}

#[tokio::test]
async fn a_tunnel_whose_client_resets_closes_its_upstream() {
    LocalSet::new()
        .run_until(async {
            let (mut sending, _receiving, mut upstream, told) = tunnel().await;
            sending.send_reset(Reason::CANCEL);
            let mut heard = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(5), upstream.read_to_end(&mut heard)).await;
            assert!(read.is_ok());
            assert_eq!(told.await.unwrap(), Some(RelayEnd::Client));
        })
        .await;
}
