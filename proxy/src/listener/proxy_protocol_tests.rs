use super::*;
use proptest::prelude::*;

fn header(length: usize, source: &str, destination: &str) -> Parsed {
    let addresses = Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() };
    Parsed::Header { length, addresses: Some(addresses) }
}

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

const V4: [u8; 12] = [10, 1, 2, 3, 10, 9, 8, 7, 0x12, 0x34, 0x01, 0xBB];

#[test]
fn version_1_is_a_line() {
    let line = b"PROXY TCP4 10.1.2.3 10.9.8.7 4660 443\r\n";
    assert_eq!(parse(line), header(line.len(), "10.1.2.3:4660", "10.9.8.7:443"));
    let more = [&line[..], b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(parse(&more), header(line.len(), "10.1.2.3:4660", "10.9.8.7:443"));
    let line = b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n";
    assert_eq!(parse(line), header(line.len(), "[2001:db8::1]:0", "[::1]:65535"));
    for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"] {
        assert_eq!(parse(line), Parsed::Header { length: line.len(), addresses: None });
    }
}

#[test]
fn version_2_is_binary() {
    assert_eq!(parse(&v2(0x21, 0x11, &V4)), header(28, "10.1.2.3:4660", "10.9.8.7:443"));
    let with_list = [&V4[..], &[0x02, 0, 3, b'a', b'.', b'b']].concat();
    assert_eq!(parse(&v2(0x21, 0x11, &with_list)), header(34, "10.1.2.3:4660", "10.9.8.7:443"));
    let mut v6 = [0; 36];
    (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 80, 81);
    assert_eq!(parse(&v2(0x21, 0x21, &v6)), header(52, "[::1]:80", "[::2]:81"));
    for bytes in [v2(0x20, 0x00, &[]), v2(0x20, 0x11, &V4), v2(0x21, 0x00, &[1]), v2(0x21, 0x31, &[0; 216])] {
        assert_eq!(parse(&bytes), Parsed::Header { length: bytes.len(), addresses: None });
    }
    let longest = v2(0x21, 0x11, &[1; MAX_BYTES - FIXED]);
    assert!(matches!(parse(&longest), Parsed::Header { length: MAX_BYTES, .. }));
}

#[test]
fn what_is_broken_is_no_header() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
        "POST / HTTP/1.1\r\n",
        "PROXY\r\n",
        "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\nx\r\n",
        "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
        "\x16\x03\x01",
        "\r\n\r\nX",
    ] {
        assert_eq!(parse(line.as_bytes()), Parsed::Invalid, "{line:?}");
    }
    assert_eq!(
        parse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).as_bytes()),
        Parsed::Invalid,
        "too long"
    );
    for (bytes, why) in [
        (v2(0x11, 0x11, &V4), "version 1 in binary"),
        (v2(0x22, 0x11, &V4), "command"),
        (v2(0x21, 0x12, &V4), "datagrams"),
        (v2(0x21, 0x41, &V4), "family"),
        (v2(0x21, 0x11, &V4[..11]), "too short for its family"),
        (v2(0x21, 0x21, &V4), "too short for its family"),
        (v2(0x21, 0x11, &[0; MAX_BYTES - FIXED + 1]), "too long"),
    ] {
        assert_eq!(parse(&bytes), Parsed::Invalid, "{why}");
    }
}

/// A connection whose header does not come is not read beyond the bound.
#[test]
fn what_is_incomplete_is_short() {
    assert_eq!(parse(&[b"PROXY ", &[b'x'; MAX_V1 - 7][..]].concat()), Parsed::Incomplete);
    assert_eq!(parse(&[b"PROXY ", &[b'x'; MAX_V1 - 6][..]].concat()), Parsed::Invalid);
}

proptest! {
    #[test]
    fn bytes_that_come_one_by_one_mean_the_same(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            prop::collection::vec(any::<u8>(), 0..600).prop_map(|tail| [&SIGNATURE[..], &tail].concat()),
            "PROXY (TCP4|TCP6|UNKNOWN|x)( [0-9.:a-f]{0,12}){0,5}(\r\n)?x{0,3}".prop_map(String::into_bytes),
            Just(v2(0x21, 0x11, &V4)),
        ],
    ) {
        let whole = parse(&bytes);
        for length in 0..bytes.len() {
            match parse(&bytes[..length]) {
                Parsed::Incomplete => prop_assert!(length < MAX_BYTES),
                decided => prop_assert_eq!(decided, whole),
            }
        }
        if let Parsed::Header { length, .. } = whole {
            prop_assert!(length <= bytes.len() && length <= MAX_BYTES);
        }
    }
}
