//! What a block costs: `cargo run --release -p sidle-http2 --example cost`.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use sidle_http2::hpack::{Block, Decoder, Encoder, Huffman, Part, Pseudo};
use std::{hint::black_box, time::Instant};

const ROUNDS: u32 = 400_000;

/// Fields of a gRPC request that has come through a proxy.
const REQUEST: [(&str, &str); 8] = [
    ("user-agent", "grpc-go/1.62.0"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("grpc-timeout", "999892u"),
    ("grpc-accept-encoding", "gzip, deflate"),
    ("x-forwarded-for", "10.1.2.3"),
    ("x-forwarded-proto", "http"),
    ("x-envoy-attempt-count", "1"),
];
const RESPONSE: [(&str, &str); 4] = [
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("server", "sidle"),
];

fn owned(fields: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
    let one = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(one).collect()
}

fn measure(name: &str, huffman: Huffman, mut write: impl FnMut(&mut Block<'_>, u32)) {
    let mut encoder = Encoder::new(huffman);
    let mut decoder = Decoder::new(64 << 10);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for round in 0..ROUNDS {
        let mut block = Vec::new();
        write(&mut encoder.block(&mut block), round);
        blocks.push(block);
    }
    let mut out = Vec::with_capacity(4096);
    let begin = Instant::now();
    for round in 0..ROUNDS {
        out.clear();
        write(&mut encoder.block(&mut out), round);
        black_box(&out);
    }
    let encoding = begin.elapsed() / ROUNDS;
    let begin = Instant::now();
    for block in &blocks {
        let decoded = decoder.decode(black_box(block), Part::Head, &mut |field| drop(black_box(field)));
        assert!(decoded.is_ok());
    }
    let decoding = begin.elapsed() / ROUNDS;
    println!("{name:<18} {huffman:<8?} {:>4} bytes  encode {encoding:?}  decode {decoding:?}", out.len());
}

fn main() {
    let (request, response) = (owned(&REQUEST), owned(&RESPONSE));
    let identifier = HeaderName::from_static("x-request-id");
    for huffman in [Huffman::Never, Huffman::Indexed, Huffman::Always] {
        let head = |block: &mut Block<'_>| {
            block.method(&Method::POST);
            block.pseudo(Pseudo::Scheme, b"http");
            block.pseudo(Pseudo::Path, b"/helloworld.Greeter/SayHello");
            block.pseudo(Pseudo::Authority, b"greeter.default.svc.cluster.local:50051");
            request.iter().for_each(|(name, value)| block.field(name, value));
        };
        measure("request", huffman, |block, _| head(block));
        measure("request with an id", huffman, |block, round| {
            head(block);
            let text = format!("7f1c{round:08x}-93ac-4b2d-8e10-a2b4c6d8e0f1");
            if let Ok(value) = HeaderValue::from_str(&text) {
                block.field(&identifier, &value);
            }
        });
        measure("response", huffman, |block, _| {
            block.status(StatusCode::OK);
            response.iter().for_each(|(name, value)| block.field(name, value));
        });
    }
}
