use super::*;
use proptest::{collection::vec, option, prelude::*, sample::select};

/// What OpenSSL 3 sends for `Reviews.example.com` with ALPN `h2`, `http/1.1`, `istio`, limited to TLS 1.2.
const OPENSSL: &str = "16030100b7010000b3030317c6fc691acc3b04598d5df868ab50d9d93b95be3b1953aa29bce7b4e95d8974000004c0\
    2f00ff01000086000000180016000013526576696577732e6578616d706c652e636f6d000b000403000102000a000c000a001d0017001e00190018\
    0023000000100014001202683208687474702f312e3105697374696f0016000000170000000d002a00280403050306030807080808090\
    80a080b080408050806040105010601030303010302040205020602";

fn openssl() -> Vec<u8> {
    let digits: Vec<_> = OPENSSL.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn vector8(body: &[u8]) -> Vec<u8> {
    [&[body.len() as u8], body].concat()
}

fn vector16(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_be_bytes()[..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(body)].concat()
}

fn server_name(name: &str) -> Vec<u8> {
    extension(0, &vector16(&[&[0][..], &vector16(name.as_bytes())].concat()))
}

fn alpn(offers: &[&str]) -> Vec<u8> {
    let offers: Vec<_> = offers.iter().flat_map(|offer| vector8(offer.as_bytes())).collect();
    extension(16, &vector16(&offers))
}

/// A ClientHello as a handshake message.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    message_of(&[9; 32], &[0x13, 0x01], &vector16(&extensions.concat()))
}

fn message_of(session: &[u8], ciphers: &[u8], rest: &[u8]) -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &vector8(session), &vector16(ciphers), &vector8(&[0]), rest].concat();
    [&[1, 0][..], &vector16(&body)].concat()
}

/// A message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &vector16(part)].concat()).collect()
}

fn tls(server_name: Option<&str>, alpn: &[ApplicationProtocol]) -> Detection {
    Detection::Tls(ClientHello { server_name: server_name.map(Into::into), alpn: alpn.to_vec() })
}

/// The first answer when the bytes come one by one.
fn byte_by_byte(bytes: &[u8]) -> Detection {
    let answers = (0..=bytes.len()).map(|length| detect(&bytes[..length]));
    answers.into_iter().find(|answer| *answer != Detection::NeedMore).unwrap_or(Detection::NeedMore)
}

#[test]
fn reads_a_real_client_hello() {
    use ApplicationProtocol::{Http1, Http2, Istio};
    let bytes = openssl();
    assert_eq!(detect(&bytes), tls(Some("reviews.example.com"), &[Http2, Http1, Istio]));
    assert_eq!(detect(&bytes[..bytes.len() - 1]), Detection::NeedMore);
}

#[test]
fn plaintext_protocols() {
    use Detection::{Http1, Http2, NeedMore, Opaque};
    for (bytes, wanted) in [
        (&b""[..], NeedMore),
        (b"G", NeedMore),
        (b"GET", NeedMore),
        (b"GET ", Http1),
        (b"PATCH /a HTTP/1.1\r\n", Http1),
        (b"CONNECT a:443 HTTP/1.1\r\n", Http1),
        (b"PURGE /a", NeedMore),
        (b"PURGE /a HTTP/1.1\r", NeedMore),
        (b"PURGE /a HTTP/1.1\r\n", Http1),
        (b"PURGE /a HTTP/1.0\nHost: a", Http1),
        (b"PURGE /a HTTP/1.1\rx", Opaque),
        (b"EHLO mail.example\r\n", Opaque),
        (b"PING\r\n", Opaque),
        (b"*1\r\n$4\r\nPING\r\n", Opaque),
        (b"get key\x00", Opaque),
        (b"GET\t/", Opaque),
        (b"AVERYLONGMETHODNAMETHATISNONE / HTTP/1.1\r\n", Opaque),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Opaque),
        (b"\r\n", Opaque),
        (b" /a HTTP/1.1\r\n", Opaque),
        (b"TWENTY-CHARACTER-ONE /a HTTP/1.1\r\n", Http1),
        (b"\x00\x00\x00\x08", Opaque),
        (b"PRI", NeedMore),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", NeedMore),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", Http2),
        (b"PRI * HTTP/2.0\r\n\r\nXX", Opaque),
        (b"PRI /a HTTP/1.1\r\n", Http1),
    ] {
        assert_eq!(detect(bytes), wanted, "{}", bytes.escape_ascii());
    }
}

#[test]
fn nonsense_is_not_tls() {
    let good = message(&[server_name("a.b")]);
    assert_eq!(detect(&records(&good, 99)), tls(Some("a.b"), &[]));
    let inner = |change: fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        detect(&records(&message, 999))
    };
    assert_eq!(inner(|message| message[0] = 2), Detection::Opaque, "a ServerHello");
    assert_eq!(inner(|message| message[1] = 1), Detection::Opaque, "a message of more than 64 KiB");
    assert_eq!(inner(|message| message[4] = 4), Detection::Opaque, "a version that is none");
    for (session, ciphers, rest) in [
        (&[9; 33][..], &[0x13, 1][..], &[0, 0][..]),
        (&[], &[], &[0, 0]),
        (&[], &[0x13], &[0, 0]),
        (&[], &[0x13, 1], &[0, 0, 0]),
        (&[], &[0x13, 1], &[0]),
    ] {
        let bytes = records(&message_of(session, ciphers, rest), 999);
        assert_eq!(detect(&bytes), Detection::Opaque, "{session:?} {ciphers:?} {rest:?}");
    }
    assert_eq!(detect(&records(&message_of(&[], &[0x13, 1], &[]), 999)), tls(None, &[]), "no extensions");
    assert_eq!(
        inner(|message| *message.last_mut().unwrap() = b' '),
        Detection::Opaque,
        "a space in the name"
    );
    for extensions in [
        vec![server_name("a"), server_name("b")],
        vec![alpn(&["h2"]), alpn(&["h2"])],
        vec![server_name("")],
        vec![alpn(&[])],
        vec![alpn(&[""])],
        vec![extension(0, &[0, 1, 0])],
        vec![extension(0, &vector16(&[0, 0, 1, b'a', 0, 0, 1, b'b']))],
        vec![extension(0, &[&vector16(&[0, 0, 1, b'a'])[..], &[0]].concat())],
        vec![extension(0, &vector16(&[1, 0, 1, b'a']))],
        vec![vec![0, 0, 0]],
    ] {
        assert_eq!(detect(&records(&message(&extensions), 999)), Detection::Opaque, "{extensions:?}");
    }
    for bytes in
        [&[22, 2][..], &[22, 3, 5], &[22, 3, 1, 0, 0], &[22, 3, 1, 0x40, 1], b"\x16\x03\x01\x00\x01\x02"]
    {
        assert_eq!(detect(bytes), Detection::Opaque, "{bytes:?}");
    }
    assert_eq!(detect(&[records(&good, 9)[..14].to_vec(), b"GET ".to_vec()].concat()), Detection::Opaque);
}

#[test]
fn the_largest_client_hello_ends_at_the_bound() {
    let filler = vec![extension(21, &vec![0; 60_000])];
    assert_eq!(detect(&records(&message(&filler), 1 << 14)), tls(None, &[]));
    let endless = records(&message(&filler), 1);
    assert_eq!(detect(&endless[..MAX_BYTES - 1]), Detection::NeedMore);
    assert_eq!(detect(&endless), Detection::Opaque);
    assert_eq!(detect(&[b"PURGE /".to_vec(), vec![b'a'; MAX_BYTES]].concat()), Detection::Opaque);
}

prop_compose! {
    fn client_hellos()(
        name in option::of("[a-zA-Z0-9_-]{1,20}(\\.[a-z]{1,9}){0,3}"),
        offers in vec(select(&["h2", "http/1.1", "http/1.0", "istio", "istio-h2", "acme-tls/1"][..]), 0..4),
        others in vec((40u16..60000, vec(any::<u8>(), 0..40)), 0..5),
        size in 1usize..400,
        after in vec(any::<u8>(), 0..20),
    ) -> (Option<String>, Vec<&'static str>, Vec<u8>) {
        let mut extensions: Vec<_> = others.iter().map(|(kind, body)| extension(*kind, body)).collect();
        extensions.extend(name.as_deref().map(server_name));
        if !offers.is_empty() {
            extensions.insert(0, alpn(&offers));
        }
        let bytes = [records(&message(&extensions), size), after].concat();
        (name, offers, bytes)
    }
}

const STARTS: [&[u8]; 6] =
    [b"", b"\x16", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n", b"GET /", b"XYZ /a HTTP/1."];

fn anything() -> impl Strategy<Value = Vec<u8>> {
    (select(&STARTS[..]), vec(any::<u8>(), 0..200)).prop_map(|(start, rest)| [start, &rest].concat())
}

proptest! {
    #[test]
    fn server_name_and_alpn_come_out_of_any_fragmentation((name, offers, bytes) in client_hellos()) {
        let mut wanted = Vec::new();
        for offer in offers {
            let known = match offer {
                "h2" => ApplicationProtocol::Http2,
                "http/1.1" | "http/1.0" => ApplicationProtocol::Http1,
                "istio" => ApplicationProtocol::Istio,
                "istio-h2" => ApplicationProtocol::IstioHttp2,
                _ => continue,
            };
            if !wanted.contains(&known) {
                wanted.push(known);
            }
        }
        let wanted = tls(name.map(|name| name.to_lowercase()).as_deref(), &wanted);
        prop_assert_eq!(&detect(&bytes), &wanted);
        prop_assert_eq!(&byte_by_byte(&bytes), &wanted);
    }

    #[test]
    fn an_answer_never_changes(bytes in anything()) {
        prop_assert_eq!(byte_by_byte(&bytes), detect(&bytes));
    }

    #[test]
    fn a_damaged_client_hello_is_judged_the_same_at_any_pace(
        (_, _, mut bytes) in client_hellos(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert_eq!(byte_by_byte(&bytes), detect(&bytes));
    }
}
