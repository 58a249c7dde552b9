//! The other end is h2: it reads what is written here, and what it writes is read here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use sidle_http2::{
    frame::{self, END_HEADERS, END_STREAM, HEAD_BYTES, Head, Kind, payload, settings, settings::Settings},
    hpack::{Decoder, Encoder, Field, Huffman, Part, Pseudo, Verdict},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const ROUNDS: u32 = 60;

/// This end of a connection, as simple as can be: each message is one frame of HEADERS.
struct End {
    stream: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
}

impl End {
    fn new(stream: DuplexStream, huffman: Huffman) -> Self {
        Self { stream, encoder: Encoder::new(huffman), decoder: Decoder::new(64 << 10) }
    }

    /// Reads up to the next message; settings are answered. `None` when the other end has gone.
    async fn message(&mut self, sender: settings::Sender) -> Option<(u32, Vec<Field>)> {
        loop {
            let mut bytes = [0; HEAD_BYTES];
            self.stream.read_exact(&mut bytes).await.ok()?;
            let head = Head::parse(bytes);
            head.check(frame::LEAST_MAX_FRAME_SIZE).unwrap();
            let mut body = vec![0; head.length as usize];
            self.stream.read_exact(&mut body).await.ok()?;
            match head.kind {
                Kind::Settings if !head.has(frame::ACK) => {
                    let said = settings::parse(&body, sender).unwrap();
                    for size in [said.least_header_table_size, said.header_table_size].into_iter().flatten() {
                        self.encoder.set_table_size(size as usize);
                    }
                    let mut out = Vec::new();
                    settings::put_acknowledgement(&mut out);
                    self.stream.write_all(&out).await.unwrap();
                }
                Kind::Ping if !head.has(frame::ACK) => {
                    let mut out = Vec::new();
                    payload::put_ping(&mut out, payload::ping(&body).unwrap(), true);
                    self.stream.write_all(&out).await.unwrap();
                }
                Kind::Headers => {
                    assert!(head.has(END_HEADERS));
                    let mut fields = Vec::new();
                    let block = &body[payload::headers(&head, &body).unwrap()];
                    let verdict = self.decoder.decode(block, Part::Head, &mut |field| fields.push(field));
                    assert_eq!(verdict, Ok(Verdict::Whole));
                    return Some((head.stream, fields));
                }
                _ => {}
            }
        }
    }

    async fn send(&mut self, stream: u32, write: impl FnOnce(&mut sidle_http2::hpack::Block<'_>)) {
        let mut out = vec![0; HEAD_BYTES];
        write(&mut self.encoder.block(&mut out));
        let length = (out.len() - HEAD_BYTES) as u32;
        let head = Head { length, kind: Kind::Headers, flags: END_HEADERS | END_STREAM, stream };
        out[..HEAD_BYTES].copy_from_slice(&head.bytes());
        self.stream.write_all(&out).await.unwrap();
    }
}

/// The fields of a round: some are always the same, some change, some are secret.
fn fields(round: u32) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut put = |name: &str, value: String| {
        let mut value = HeaderValue::from_str(&value).unwrap();
        value.set_sensitive(name == "x-secret" && round.is_multiple_of(2));
        fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    };
    put("content-type", "application/grpc".into());
    put("user-agent", "Mozilla/5.0 (X11; Linux x86_64) ~{}|<>^`\\\"?".into());
    put("x-request-id", format!("{round:032x}"));
    put("cookie", format!("a={round}"));
    put("cookie", "b=2".into());
    put("authorization", "Bearer abcdef".into());
    put("accept-encoding", "gzip, deflate".into());
    put("x-secret", "s".into());
    put("te", "trailers".into());
    put("x-empty", String::new());
    put(&format!("x-of-{}", round % 7), format!("{}", round / 7));
    put("x-long", "y".repeat(round as usize * 20));
    fields
}

fn as_map(fields: &[Field]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in fields {
        if let Field::Regular(name, value) = field {
            map.append(name.clone(), value.clone());
        }
    }
    map
}

fn path(round: u32) -> String {
    if round.is_multiple_of(3) { "/".into() } else { format!("/a/{round}?b=%20") }
}

async fn a_client(stream: DuplexStream, table: Option<u32>) {
    let mut builder = h2::client::Builder::new();
    if let Some(size) = table {
        builder.header_table_size(size);
    }
    let (mut send, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
    tokio::task::spawn_local(async move { connection.await.ok() });
    for round in 0..ROUNDS {
        let mut request = Request::new(());
        *request.method_mut() = if round % 2 == 0 { Method::GET } else { Method::DELETE };
        *request.uri_mut() = format!("https://host.example{}", path(round)).parse().unwrap();
        *request.headers_mut() = fields(round);
        let (response, _) = send.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), 200 + (round % 5) as u16);
        assert_eq!(*response.headers(), fields(round));
    }
}

async fn our_server(mut end: End) {
    let mut preface = [0; frame::PREFACE.len()];
    end.stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, frame::PREFACE);
    let mut out = Vec::new();
    Settings::default().put(&mut out);
    end.stream.write_all(&out).await.unwrap();
    for round in 0..ROUNDS {
        let (stream, got) = end.message(settings::Sender::Client).await.unwrap();
        let method = if round % 2 == 0 { "GET" } else { "DELETE" };
        for (pseudo, value) in
            [(Pseudo::Method, method), (Pseudo::Path, &path(round)), (Pseudo::Authority, "host.example")]
        {
            let wanted = Field::Pseudo(pseudo, Bytes::copy_from_slice(value.as_bytes()));
            assert!(got.contains(&wanted), "{wanted:?} in {got:?}");
        }
        let wanted = fields(round);
        assert_eq!(as_map(&got), wanted);
        end.send(stream, |block| {
            block.status(StatusCode::from_u16(200 + (round % 5) as u16).unwrap());
            for (name, value) in &wanted {
                block.field(name, value);
            }
        })
        .await;
    }
}

async fn a_server(stream: DuplexStream) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut round = 0;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        assert_eq!(request.uri().path_and_query().unwrap().as_str(), path(round));
        assert_eq!(request.uri().authority().unwrap(), "host.example");
        assert_eq!(*request.headers(), fields(round));
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(200 + (round % 5) as u16).unwrap();
        *response.headers_mut() = fields(round);
        respond.send_response(response, true).unwrap();
        round += 1;
    }
    assert_eq!(round, ROUNDS);
}

async fn our_client(mut end: End) {
    let mut out = frame::PREFACE.to_vec();
    Settings { enable_push: Some(false), ..Settings::default() }.put(&mut out);
    end.stream.write_all(&out).await.unwrap();
    for round in 0..ROUNDS {
        end.send(round * 2 + 1, |block| {
            block.method(&Method::GET);
            block.pseudo(Pseudo::Scheme, b"https");
            block.pseudo(Pseudo::Authority, b"host.example");
            block.pseudo(Pseudo::Path, path(round).as_bytes());
            for (name, value) in &fields(round) {
                block.field(name, value);
            }
        })
        .await;
        let (stream, got) = end.message(settings::Sender::Server).await.unwrap();
        assert_eq!(stream, round * 2 + 1);
        let status = (200 + round % 5).to_string();
        assert_eq!(got[0], Field::Pseudo(Pseudo::Status, status.into()));
        assert_eq!(as_map(&got), fields(round));
    }
}

fn together(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { tokio::join!(one, other) });
}

#[test]
fn a_client_and_this_end() {
    for huffman in [Huffman::Never, Huffman::Indexed, Huffman::Always] {
        for table in [None, Some(0), Some(300), Some(1 << 16)] {
            let (theirs, ours) = tokio::io::duplex(1 << 16);
            together(a_client(theirs, table), our_server(End::new(ours, huffman)));
        }
    }
}

#[test]
fn this_end_and_a_server() {
    for huffman in [Huffman::Never, Huffman::Indexed, Huffman::Always] {
        let (theirs, ours) = tokio::io::duplex(1 << 16);
        together(a_server(theirs), our_client(End::new(ours, huffman)));
    }
}
