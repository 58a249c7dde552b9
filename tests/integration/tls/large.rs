//! Handshakes that are larger than any that is meant well: hellos in shreds, certificates with thousands of names, long chains.

use super::{IMPATIENT, NAME, SHOP, answer, length, real_hello, start};
use rustls::ClientConnection;
use sidle_test_support::{
    client::Client,
    echo::Echo,
    ports,
    sidle::Sidle,
    tls::{
        Authority,
        Name::{Dns, Uri},
        client_as,
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";

/// A hello of 16 KiB, cut into records of so many bytes.
fn shreds(size: usize) -> (ClientConnection, Vec<u8>) {
    let offers: Vec<Vec<u8>> = (0..57).map(|number| format!("{number:0>250}").into_bytes()).collect();
    let mut offers: Vec<&[u8]> = offers.iter().map(Vec::as_slice).collect();
    offers.push(b"http/1.1");
    let (client, hello) = real_hello(client_as(None, &offers, rustls::ALL_VERSIONS));
    assert!(hello.len() > 15_500 && hello.len() <= 16_384 + 5, "{}", hello.len());
    let cut = hello[5..].chunks(size).flat_map(|part| [&[22, 3, 1][..], &length(part.len()), part].concat());
    (client, cut.collect())
}

fn handshake(door: SocketAddr, (client, hello): (ClientConnection, Vec<u8>)) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(door)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // In segments that end anywhere.
    for part in hello.chunks(1000) {
        stream.write_all(part)?;
    }
    let mut client = client;
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    let mut tls = rustls::Stream::new(&mut client, &mut stream);
    write!(tls, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n")?;
    let mut head = [0; 12];
    tls.read_exact(&mut head)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Memory and processor time that `attack` cost.
fn cost(sidle: &Sidle, attack: impl FnOnce()) -> (u64, Duration) {
    sidle.forget_peak();
    let (memory, spent) = (sidle.resident_bytes(), sidle.processor_time());
    attack();
    (sidle.peak_resident_bytes().saturating_sub(memory), sidle.processor_time() - spent)
}

#[tokio::test]
async fn a_hello_in_shreds_costs_no_more_than_its_bytes() {
    let _machine = crate::MACHINE.lock().await;
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let sidle = start(port, &authority, &echo, IMPATIENT);
    for size in [16_384, 1000, 64, 7] {
        let seen = handshake(port, shreds(size));
        assert!(matches!(seen.as_deref(), Ok("HTTP/1.1 200")), "records of {size} bytes: {seen:?}");
    }
    let (memory, spent) = cost(&sidle, || {
        for _ in 0..20 {
            // A byte a record: six times as many bytes as the hello, and more than is looked at.
            assert!(handshake(port, shreds(1)).is_err());
        }
    });
    println!("hellos in records of a byte: {} KiB, {spent:?} for 20", memory >> 10);
    assert!(memory < 8 << 20 && spent < Duration::from_secs(4), "{} KiB, {spent:?}", memory >> 10);
    // A hello that says to be 16 MiB long, and keeps its word.
    let (memory, _) = cost(&sidle, || {
        let mut stream = TcpStream::connect(port).unwrap();
        let record = [&[22, 3, 1, 0x40, 0][..], &[0; 16_384]].concat();
        let mut first = record.clone();
        first[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
        let mut went = stream.write_all(&first);
        for _ in 0..1024 {
            went = went.and_then(|()| stream.write_all(&record));
        }
        drop(went);
        answer(stream);
    });
    assert!(memory < 8 << 20, "{} KiB", memory >> 10);
    let tls = authority.connect(port, NAME, &[b"http/1.1"]).await.unwrap();
    assert_eq!(Client::http1_over(tls).await.get(NAME, "/").await.status, 200);
}

#[tokio::test]
async fn certificates_and_chains_have_bounds() {
    let _machine = crate::MACHINE.lock().await;
    let (authority, echo, port) = (Authority::new(), Echo::start("v1"), ports::free());
    let sidle = start(port, &authority, &echo, IMPATIENT);
    let hosts: Vec<_> = (0..10_000).map(|number| format!("host-{number}.example.com")).collect();
    let wide = |count: usize| {
        let names = hosts[..count].iter().map(|host| Dns(host)).chain([Uri(WEB)]);
        authority.issue_named(&names.collect::<Vec<_>>())
    };
    for (what, identity, believed) in [
        ("3 authorities", authority.issue_below(WEB, 3), true),
        ("20 authorities", authority.issue_below(WEB, 20), false),
        ("1,000 names", wide(1_000), true),
        ("10,000 names", wide(10_000), false),
    ] {
        let begin = Instant::now();
        let (memory, spent) = cost(&sidle, || {
            let config = client_as(Some(&identity), &[b"istio"], rustls::ALL_VERSIONS);
            let (client, hello) = real_hello(config);
            let seen = handshake(sidle.ports.inbound, (client, hello));
            // Whoever got through asks for a host of the gateway's, which is none here.
            assert_eq!(seen.is_ok(), believed, "{what}: {seen:?}");
        });
        println!("a client with {what}: {} KiB, {spent:?}, {:?}", memory >> 10, begin.elapsed());
        assert!(
            memory < 8 << 20 && spent < Duration::from_secs(1),
            "{what}: {} KiB, {spent:?}",
            memory >> 10
        );
    }
    let tls =
        authority.connect_as(Some(&authority.issue_workload(WEB)), sidle.ports.inbound, &[b"istio"]).await;
    assert_eq!(Client::http1_over(tls.unwrap()).await.get("shop", "/").await.status, 200);
    assert_eq!(echo.last().header("x-forwarded-client-cert").split(";").next(), Some(&*format!("By={SHOP}")));
}
