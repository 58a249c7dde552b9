//! What a block costs: `cargo run --release -p sidle-http2 --example cost [ROUNDS [CASE]]`.
//!
//! `known`: a request whose fields are all in the tables; `call`: one whose path is a literal; `call-with-id`: with a value that is
//! new each time, too; `response`: its fields are all in the tables. For instructions instead of time: the rounds of one case under
//! `valgrind --tool=callgrind --toggle-collect='cost::decode'`.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use sidle_http2::hpack::{Block, Decoder, Encoder, Huffman, Part, Pseudo};
use std::{hint::black_box, time::Instant};

const ROUNDS: u32 = 400_000;
/// Blocks after which the tables have what comes again.
const WARM: u32 = 8;

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

/// Times what is done for blocks after the first few, which fill the tables.
fn measure(name: &str, rounds: u32, huffman: Huffman, mut write: impl FnMut(&mut Block<'_>, u32)) {
    let mut encoder = Encoder::new(huffman);
    let mut decoder = Decoder::new(64 << 10);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for round in 0..rounds + WARM {
        let mut block = Vec::new();
        write(&mut encoder.block(&mut block), round);
        blocks.push(block);
    }
    let (first, blocks) = blocks.split_at(WARM as usize);
    decode(&mut decoder, first);
    let mut out = Vec::with_capacity(4096);
    let begin = Instant::now();
    encode(&mut encoder, &mut out, rounds, &mut write);
    let encoding = begin.elapsed() / rounds;
    let begin = Instant::now();
    decode(&mut decoder, blocks);
    let decoding = begin.elapsed() / rounds;
    println!("{name:<18} {huffman:<8?} {:>4} bytes  encode {encoding:?}  decode {decoding:?}", out.len());
}

#[inline(never)]
fn encode(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    rounds: u32,
    write: &mut impl FnMut(&mut Block<'_>, u32),
) {
    for round in 0..rounds {
        out.clear();
        write(&mut encoder.block(out), round);
        black_box(&out);
    }
}

#[inline(never)]
fn decode(decoder: &mut Decoder, blocks: &[Vec<u8>]) {
    for block in blocks {
        let decoded = decoder.decode(black_box(block), Part::Head, &mut |field| drop(black_box(field)));
        assert!(decoded.is_ok());
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let wanted = |name: &str| arguments.get(1).is_none_or(|wanted| wanted == name);
    let (request, response) = (owned(&REQUEST), owned(&RESPONSE));
    let identifier = HeaderName::from_static("x-request-id");
    let head = |block: &mut Block<'_>, path: &[u8]| {
        block.method(&Method::POST);
        block.pseudo(Pseudo::Scheme, b"http");
        block.pseudo(Pseudo::Path, path);
        block.pseudo(Pseudo::Authority, b"greeter.default.svc.cluster.local:50051");
        request.iter().for_each(|(name, value)| block.field(name, value));
    };
    let call = b"/helloworld.Greeter/SayHello";
    for huffman in [Huffman::Never, Huffman::Indexed, Huffman::Always] {
        if wanted("known") {
            measure("known", rounds, huffman, |block, _| head(block, b"/"));
        }
        if wanted("call") {
            measure("call", rounds, huffman, |block, _| head(block, call));
        }
        if wanted("call-with-id") {
            let ids: Vec<_> = (0..1024)
                .filter_map(|round| {
                    HeaderValue::from_str(&format!("7f1c{round:08x}-93ac-4b2d-8e10-a2b4c6d8e0f1")).ok()
                })
                .collect();
            measure("call-with-id", rounds, huffman, |block, round| {
                head(block, call);
                block.field(&identifier, &ids[round as usize % ids.len()]);
            });
        }
        if wanted("response") {
            measure("response", rounds, huffman, |block, _| {
                block.status(StatusCode::OK);
                response.iter().for_each(|(name, value)| block.field(name, value));
            });
        }
    }
}
