//! Fields of HTTP/2 (RFC 7541), with the dynamic table on both sides, as clients and servers use it.

use super::huffman;
use crate::void::Void;
use std::collections::VecDeque;

/// What a table holds at most, unless an end says otherwise.
pub const TABLE: usize = 4096;
/// What a field takes beside its name and value.
const OVERHEAD: usize = 32;
/// Entries of the static table; those of the dynamic one follow.
const STATIC: usize = STATIC_TABLE.len();

#[rustfmt::skip]
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// A name and a value.
pub type Field = (&'static str, String);

/// Writes fields: the first time as they are, from then on as numbers. The table never has to forget, so there are few fields.
pub struct Encoder {
    table: Vec<Field>,
    /// Whether the other end keeps a table.
    indexed: bool,
    /// Whether it is still to be told that there is none.
    tell: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder { table: Vec::new(), indexed: true, tell: false }
    }
}

impl Encoder {
    /// The other end has a table of so many bytes. To be said before anything is encoded.
    pub fn table_size(&mut self, bytes: u32) {
        if (bytes as usize) < TABLE {
            (self.indexed, self.tell) = (false, true);
        }
    }

    /// Appends fields to a block.
    pub fn encode(&mut self, fields: &[Field], block: &mut Vec<u8>) {
        if std::mem::take(&mut self.tell) {
            block.push(0x20);
        }
        for field in fields {
            self.field(field, block);
        }
    }

    fn field(&mut self, field: &Field, block: &mut Vec<u8>) {
        let (name, value) = (field.0, field.1.as_str());
        if let Some(at) = STATIC_TABLE.iter().position(|known| *known == (name, value)) {
            return integer(block, 0x80, 7, at + 1);
        }
        if let Some(at) = self.table.iter().rev().position(|known| known == field) {
            return integer(block, 0x80, 7, STATIC + 1 + at);
        }
        let known = STATIC_TABLE.iter().position(|known| known.0 == name).map_or(0, |at| at + 1);
        if self.indexed {
            integer(block, 0x40, 6, known);
            self.table.push(field.clone());
        } else {
            integer(block, 0, 4, known);
        }
        if known == 0 {
            text(block, name);
        }
        text(block, value);
    }
}

/// Fields that are sent over and over. To be sent before anything else is encoded: the other end's table grows in the order of blocks.
pub struct Repeated {
    first: Vec<u8>,
    later: Vec<u8>,
    begun: bool,
}

impl Repeated {
    /// Of `fields`.
    pub fn new(encoder: &mut Encoder, fields: &[Field]) -> Self {
        let (mut first, mut later) = (Vec::new(), Vec::new());
        encoder.encode(fields, &mut first);
        encoder.encode(fields, &mut later);
        Repeated { first, later, begun: false }
    }

    /// The block to send now.
    pub fn block(&mut self) -> &[u8] {
        if std::mem::replace(&mut self.begun, true) { &self.later } else { &self.first }
    }
}

fn integer(block: &mut Vec<u8>, pattern: u8, prefix: u32, mut value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return block.push(pattern | value as u8);
    }
    block.push(pattern | most as u8);
    value -= most;
    while value >= 128 {
        block.push(value as u8 | 128);
        value >>= 7;
    }
    block.push(value as u8);
}

fn text(block: &mut Vec<u8>, text: &str) {
    integer(block, 0, 7, text.len());
    block.extend_from_slice(text.as_bytes());
}

/// Reads fields.
#[derive(Default)]
pub struct Decoder {
    /// The newest first.
    table: VecDeque<(Vec<u8>, Vec<u8>)>,
    size: usize,
    /// What the other end said last.
    limit: Option<usize>,
}

/// A string as it stands in a block.
#[derive(Clone, Copy)]
struct Text<'b> {
    bytes: &'b [u8],
    huffman: bool,
}

impl Text<'_> {
    fn owned(self) -> Result<Vec<u8>, Void> {
        if self.huffman { huffman::decode(self.bytes) } else { Ok(self.bytes.to_owned()) }
    }
}

impl Decoder {
    /// Reads a block; shows the fields whose name is among `wanted`, the others are not looked at more than is needed.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        wanted: &[&str],
        mut see: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Void> {
        let is_wanted = |name: &[u8]| wanted.iter().any(|wanted| wanted.as_bytes() == name);
        while let Some(first) = block.first().copied() {
            match first {
                0x80.. => {
                    let (name, value) = self.entry(number(&mut block, 7)?)?;
                    if is_wanted(name) {
                        see(name, value);
                    }
                }
                0x20..0x40 => {
                    self.limit = Some(number(&mut block, 5)?);
                    self.evict();
                }
                _ => {
                    let indexed = first >= 0x40;
                    let known = number(&mut block, if indexed { 6 } else { 4 })?;
                    let new = if known == 0 { Some(string(&mut block)?.owned()?) } else { None };
                    let value = string(&mut block)?;
                    let name = match &new {
                        Some(new) => new.as_slice(),
                        None => self.entry(known)?.0,
                    };
                    if indexed {
                        let (name, value) = (name.to_owned(), value.owned()?);
                        if is_wanted(&name) {
                            see(&name, &value);
                        }
                        self.insert(name, value);
                    } else if is_wanted(name) {
                        see(name, &value.owned()?);
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(&self, number: usize) -> Result<(&[u8], &[u8]), Void> {
        let of_static = number.checked_sub(1).and_then(|at| STATIC_TABLE.get(at));
        if let Some((name, value)) = of_static {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = number.checked_sub(STATIC + 1).and_then(|at| self.table.get(at));
        let (name, value) = entry.ok_or_else(|| Void::because(format!("no field {number}")))?;
        Ok((name, value))
    }

    fn insert(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.size += name.len() + value.len() + OVERHEAD;
        self.table.push_front((name, value));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit.unwrap_or(TABLE) {
            let Some((name, value)) = self.table.pop_back() else { return };
            self.size -= name.len() + value.len() + OVERHEAD;
        }
    }
}

fn number(block: &mut &[u8], prefix: u32) -> Result<usize, Void> {
    let cut = || Void::because("a number that does not end");
    let most = (1usize << prefix) - 1;
    let (first, rest) = block.split_first().ok_or_else(cut)?;
    *block = rest;
    let mut value = usize::from(*first) & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let (next, rest) = block.split_first().ok_or_else(cut)?;
        *block = rest;
        value += usize::from(next & 127) << shift;
        if next & 128 == 0 {
            return Ok(value);
        }
    }
    Err(cut())
}

fn string<'b>(block: &mut &'b [u8]) -> Result<Text<'b>, Void> {
    let huffman = block.first().is_some_and(|first| first & 128 != 0);
    let length = number(block, 7)?;
    let (bytes, rest) =
        block.split_at_checked(length).ok_or_else(|| Void::because("a string that does not end"))?;
    *block = rest;
    Ok(Text { bytes, huffman })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(decoder: &mut Decoder, block: &[u8], wanted: &[&str]) -> Vec<String> {
        let mut seen = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        decoder
            .decode(block, wanted, |name, value| seen.push(format!("{}: {}", text(name), text(value))))
            .unwrap();
        seen
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 7541, C.6: responses with Huffman codes, and a table of 256 bytes.
    #[test]
    fn the_responses_of_the_rfc() {
        let mut decoder = Decoder { limit: Some(256), ..Decoder::default() };
        let wanted = [":status", "cache-control", "date", "location", "content-encoding", "set-cookie"];
        let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
                     63c7 8f0b 97c8 e9ae 82ae 43d3";
        let expected = [
            ":status: 302",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ];
        assert_eq!(decoded(&mut decoder, &bytes(first), &wanted), expected);
        assert_eq!(decoder.size, 222);
        assert_eq!(
            decoded(&mut decoder, &bytes("4883 640e ffc1 c0bf"), &[":status", "location"]),
            [":status: 307", "location: https://www.example.com"]
        );
        assert_eq!(decoder.size, 222);
        let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
                     dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07";
        let seen = decoded(&mut decoder, &bytes(third), &wanted);
        assert_eq!(seen[0], ":status: 200");
        assert_eq!(seen[5], "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
        assert_eq!(decoder.size, 215);
    }

    #[test]
    fn what_is_encoded_comes_back_and_is_short_the_second_time() {
        let fields = [
            (":method", "GET".to_owned()),
            (":path", "/svc/1024".to_owned()),
            ("x-unknown", "v".repeat(200)),
            ("accept", "*/*".to_owned()),
        ];
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let wanted = [":path", "x-unknown"];
        let expected = [":path: /svc/1024".to_owned(), format!("x-unknown: {}", "v".repeat(200))];
        let mut repeated = Repeated::new(&mut encoder, &fields);
        for length in [None, Some(4), Some(4)] {
            let block = repeated.block();
            assert_eq!(decoded(&mut decoder, block, &wanted), expected);
            assert!(length.is_none_or(|length| block.len() == length), "{block:?}");
        }
    }

    #[test]
    fn an_end_without_a_table_gets_all_fields_each_time() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        encoder.table_size(0);
        for first in [0x20, 0x04] {
            let mut block = Vec::new();
            encoder.encode(&[(":path", "/svc/1024".to_owned())], &mut block);
            assert_eq!(block[0], first, "it is told once that there is no table");
            assert_eq!(decoded(&mut decoder, &block, &[":path"]), [":path: /svc/1024"]);
            assert_eq!(decoder.size, 0);
        }
    }

    #[test]
    fn broken_blocks_are_errors() {
        for broken in [&[0x40, 0x05, b'a'][..], &[0xff, 0xff], &[0xbe], &[0x80], &[0x48, 0x81, 0x00]] {
            assert!(Decoder::default().decode(broken, &[], |_, _| ()).is_err(), "{broken:x?}");
        }
    }
}
