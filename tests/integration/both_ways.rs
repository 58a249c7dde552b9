//! A request's content and its answer move at the same time, and neither waits for the other.

use crate::{raw::Raw, stage::HOST};
use http_body_util::BodyExt as _;
use sidle_test_support::{
    client::{Client, request},
    echo::zeros,
    manifest::service,
    sidle::Sidle,
    tcp::TcpServer,
    wait,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc::{Receiver, Sender, channel},
};

/// More than all buffers on the way together.
const LENGTH: u64 = 48 << 20;

/// An upstream that answers when it has the head, with as many bytes as it is sent, in the order that `serve` says.
fn upstream(serve: fn(TcpStream, &Sender<()>)) -> (TcpServer, Receiver<()>) {
    let (done, told) = channel();
    let done = std::sync::Mutex::new(done);
    let server = TcpServer::start(move |mut stream, _| {
        let done = done.lock().unwrap().clone();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        serve(stream, &done);
    });
    (server, told)
}

fn read_all(stream: &mut TcpStream) {
    let read = std::io::copy(&mut stream.take(LENGTH), &mut std::io::sink());
    assert_eq!(read.unwrap(), LENGTH);
}

fn write(stream: &mut TcpStream, length: u64) -> std::io::Result<u64> {
    std::io::copy(&mut std::io::repeat(b'x').take(length), stream)
}

/// Reads all while it answers.
fn at_once(mut stream: TcpStream, done: &Sender<()>) {
    let mut answering = stream.try_clone().unwrap();
    let answering = std::thread::spawn(move || write(&mut answering, LENGTH));
    read_all(&mut stream);
    done.send(()).unwrap();
    answering.join().unwrap().unwrap();
    let _ = stream.read(&mut [0]);
}

/// Answers, reads all, and ends its answer.
fn answer_first(mut stream: TcpStream, done: &Sender<()>) {
    write(&mut stream, LENGTH - 1).unwrap();
    read_all(&mut stream);
    write(&mut stream, 1).unwrap();
    done.send(()).unwrap();
    let _ = stream.read(&mut [0]);
}

fn in_front_of(server: &TcpServer) -> Sidle {
    Sidle::run(&service("echo", HOST, "HTTP", &[("v1", server.port())]))
}

fn begin(sidle: &Sidle) -> TcpStream {
    let mut client = Raw::connect(sidle);
    client.send(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}\r\n\r\n"));
    client.0.set_write_timeout(Some(wait::PATIENCE)).unwrap();
    client.0
}

/// The length of the answer's content.
fn answer(client: &mut TcpStream) -> u64 {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{:?}", String::from_utf8_lossy(&head));
    std::io::copy(&mut client.take(LENGTH), &mut std::io::sink()).unwrap()
}

#[test]
fn a_client_may_read_its_answer_once_it_has_sent_all() {
    let (server, told) = upstream(at_once);
    let sidle = in_front_of(&server);
    let mut client = begin(&sidle);
    let before = sidle.resident_bytes();
    assert_eq!(write(&mut client, LENGTH).expect("the upload goes on while nobody reads the answer"), LENGTH);
    told.recv_timeout(wait::PATIENCE).unwrap();
    let grown = sidle.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{} KiB more", grown >> 10);
    assert_eq!(answer(&mut client), LENGTH);
}

#[test]
fn a_server_may_read_its_request_once_it_has_answered() {
    let (server, told) = upstream(answer_first);
    let sidle = in_front_of(&server);
    let mut client = begin(&sidle);
    let mut sending = client.try_clone().unwrap();
    let sending = std::thread::spawn(move || write(&mut sending, LENGTH));
    assert_eq!(answer(&mut client), LENGTH);
    assert_eq!(sending.join().unwrap().unwrap(), LENGTH);
    told.recv_timeout(wait::PATIENCE).unwrap();
}

#[tokio::test]
async fn a_stream_of_http_2_sends_while_its_window_is_closed() {
    let (server, told) = upstream(at_once);
    let sidle = in_front_of(&server);
    let mut client = Client::http2(sidle.outbound()).await;
    let post = request("POST", HOST, "/").header("content-length", LENGTH).body(zeros(LENGTH)).unwrap();
    let mut answer = client.send(post).await.unwrap().into_body();
    tokio::task::spawn_blocking(move || told.recv_timeout(wait::PATIENCE))
        .await
        .unwrap()
        .expect("the upload goes on while nobody reads the answer");
    let mut length = 0;
    while let Some(frame) = wait::within("the answer", answer.frame()).await {
        length += frame.unwrap().data_ref().map_or(0, bytes::Bytes::len) as u64;
    }
    assert_eq!(length, LENGTH);
}
