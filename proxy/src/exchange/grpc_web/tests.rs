use super::*;
use crate::{
    codec::{BodyError, Scheme},
    exchange::piece::testing::{frames, read},
};
use bytes::Bytes;
use http::{Method, Version, uri::PathAndQuery};
use http_body::Frame;
use http_body_util::StreamBody;

fn request(fields: &[(&'static str, &str)]) -> RequestHead {
    RequestHead {
        method: Method::POST,
        scheme: Scheme::Http,
        authority: None,
        target: PathAndQuery::from_static("/p.S/M"),
        version: Version::HTTP_11,
        headers: fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
        upgrade: None,
        original_case: Default::default(),
        interim: None,
    }
}

#[test]
fn the_media_type_decides_the_request_and_accept_the_answer() {
    let of = |content: &str, accept: &str| {
        let web = GrpcWeb::of(&request(&[("content-type", content), ("accept", accept)]));
        web.map(|web| (web.text_request, web.text_response, web.json))
    };
    assert_eq!(of("application/grpc-web", "*/*"), Some((false, false, false)));
    assert_eq!(of("application/grpc-web+proto; charset=utf-8", ""), Some((false, false, false)));
    assert_eq!(of("application/grpc-web+json", "*/*"), Some((false, false, true)));
    assert_eq!(of("application/grpc-web-text", "application/grpc-web-text"), Some((true, true, false)));
    assert_eq!(of("Application/gRPC-Web-Text+proto", "*/*"), Some((true, false, false)));
    assert_eq!(of("application/grpc-web", "application/grpc-web-text+proto"), Some((false, true, false)));
    for other in ["application/grpc", "application/grpc-website", "application/grpc-web+", "text/plain", ""] {
        assert_eq!(of(other, "application/grpc-web-text"), None, "{other}");
    }
    assert_eq!(GrpcWeb::of(&request(&[("accept", "application/grpc-web-text")])), None);
}

#[test]
fn the_request_becomes_grpc() {
    let mut head = request(&[("content-type", "application/grpc-web-text+json"), ("content-length", "8")]);
    GrpcWeb::of(&head).unwrap().translate(&mut head);
    let wanted =
        [("content-type", "application/grpc+json"), ("te", "trailers"), ("grpc-accept-encoding", "identity")];
    assert_eq!(head.headers, request(&wanted).headers);
    assert!(head.is_grpc());
}

fn web(text: bool) -> GrpcWeb {
    GrpcWeb { text_request: text, text_response: text, json: false }
}

fn answer(status: u16, fields: &[(&'static str, &str)], body: Body) -> Answer {
    let mut head = ResponseHead::new(StatusCode::from_u16(status).unwrap());
    head.headers = request(fields).headers;
    Answer { head, body, upload: None, tunnel: None }
}

fn with_status(data: &'static [u8]) -> Body {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(data)), Frame::trailers(trailers)].map(Ok::<_, BodyError>);
    Body::Watched(Box::pin(StreamBody::new(futures_util::stream::iter(frames))))
}

/// The example of the protocol's description: one message, and its status behind it.
#[tokio::test]
async fn the_trailers_end_the_body() {
    let grpc = [("content-type", "application/grpc"), ("content-length", "6")];
    let mut binary = web(false).answer(answer(200, &grpc, with_status(b"\0\0\0\0\x01a"))).await;
    assert_eq!(binary.head.headers, request(&[("content-type", "application/grpc-web+proto")]).headers);
    let mut text = web(true).answer(answer(200, &grpc, with_status(b"\0\0\0\0\x01a"))).await;
    assert_eq!(text.head.headers, request(&[("content-type", "application/grpc-web-text+proto")]).headers);
    assert_eq!(read(&mut text.body, 9).await, "AAAAAAFhgAAAAA9ncnBjLXN0YXR1czowDQo=");
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut binary.body).poll_frame(cx)).await {
        assert!(!frame.is_trailers());
        bytes.extend_from_slice(frame.data_ref().unwrap());
    }
    assert_eq!(bytes, b"\0\0\0\0\x01a\x80\0\0\0\x0fgrpc-status:0\r\n");
    assert!(binary.body.is_end_stream());
}

#[tokio::test]
async fn a_status_in_the_only_header_block_stays_there() {
    let only = [("content-type", "application/grpc"), ("grpc-status", "5")];
    let told = web(true).answer(answer(200, &only, Body::Empty)).await;
    let wanted = [("content-type", "application/grpc-web-text+proto"), ("grpc-status", "5")];
    assert_eq!(told.head.headers, request(&wanted).headers);
    assert!(told.body.is_end_stream());
}

#[tokio::test]
async fn an_answer_that_is_not_grpc_becomes_a_status() {
    let page = answer(503, &[("content-type", "text/html")], frames(["100%", " down\n"]));
    let told = web(false).answer(page).await;
    assert_eq!(told.head.status, 503);
    let wanted = [
        ("content-type", "application/grpc-web+proto"),
        ("grpc-status", "14"),
        ("grpc-message", "100%25 down%0A"),
        ("content-length", "0"),
    ];
    assert_eq!(told.head.headers, request(&wanted).headers);
    assert!(told.body.is_end_stream());
    let long = "x".repeat(MAX_MESSAGE_BYTES);
    let told = web(false).answer(answer(200, &[], frames([&long, "more"]))).await;
    assert_eq!(
        (&told.head.headers["grpc-status"], told.head.headers["grpc-message"].len()),
        (&"2".parse().unwrap(), long.len())
    );
}

#[tokio::test]
async fn text_comes_out_of_base64_and_bytes_stay() {
    let mut decoded = web(true).decode(frames(["AAAA", "A", "AFhAAAA", "AAA="]));
    assert_eq!(read(&mut decoded, 9).await, "\0\0\0\0\x01a\0\0\0\0\0");
    let mut bad = web(true).decode(frames(["AAAA", "AA"]));
    assert_eq!(read(&mut bad, 1).await, "\0\0\0");
    let end = poll_fn(|cx| Pin::new(&mut bad).poll_frame(cx)).await;
    assert!(matches!(end, Some(Err(BodyError::Malformed))));
    let mut binary = web(false).decode(frames(["AAAA"]));
    assert_eq!(read(&mut binary, 9).await, "AAAA");
}
