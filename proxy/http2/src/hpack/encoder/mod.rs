//! From fields to a block.
//!
//! Invariants: the table never has more than [`MOST_TABLE`] bytes, nor more than the peer takes; what is secret is marked as
//! never to be indexed, for whoever sends it on, too; what differs with each request (paths, places) is not remembered.
//! How: blocks of one connection are alike, so that each field is first compared with the one that came at its place the last time;
//! only if it is another it is looked for. A field goes into the table when it is sent for the second time, so that values that come once push nothing out; a name
//! that no table has goes with its second value, whatever that is.

mod index;
mod table;
#[cfg(test)]
mod tests;

use super::{
    DEFAULT_TABLE_SIZE,
    field::Pseudo,
    fixed::{self, index_of},
    huffman, integer,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use index::Sighting;
use table::{Named, Table};

/// Bytes of the table, also where the peer would take more.
pub const MOST_TABLE: usize = DEFAULT_TABLE_SIZE;
/// Values that are longer are not remembered.
const MOST_INDEXED: usize = 512;

/// A literal that stays out of the table.
const PLAIN: u8 = 0x00;
/// A literal that stays out of every table on its way.
const NEVER: u8 = 0x10;

const AUTHORIZATION: usize = 23;
const CONTENT_LOCATION: usize = 29;
const COOKIE: usize = 32;
const LOCATION: usize = 46;
const PROXY_AUTHORIZATION: usize = 49;
const REFERER: usize = 51;
const SET_COOKIE: usize = 55;

/// Where Huffman's code is used; never where it would be longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Huffman {
    /// Nowhere.
    Never,
    /// For what goes into the table, which is sent once.
    #[default]
    Indexed,
    /// Everywhere: the fewest bytes, for more work at both ends.
    Always,
}

/// Encodes the blocks of one direction of one connection, in their order.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    huffman: Huffman,
    /// The size that the peer's decoder has last been told.
    told: usize,
    /// The least size since then, if it has changed.
    least: Option<usize>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(Huffman::default())
    }
}

impl Encoder {
    /// Bytes of its index, which it always has.
    #[cfg(test)]
    pub fn index_bytes() -> usize {
        size_of::<index::Index>()
    }

    /// For a connection whose peer has not sent SETTINGS yet.
    pub fn new(huffman: Huffman) -> Self {
        Self { table: Table::new(MOST_TABLE), huffman, told: DEFAULT_TABLE_SIZE, least: None }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. Where one frame has several, the least first, and then the last.
    pub fn set_table_size(&mut self, size: usize) {
        let size = size.min(MOST_TABLE);
        if size != self.table.limit() {
            self.table.set_limit(size);
            self.least = Some(self.least.unwrap_or(self.told).min(size));
        }
    }

    /// Begins a block at the end of `out`.
    pub fn block<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Block<'a> {
        if let Some(least) = self.least.take() {
            let size = self.table.limit();
            if least < size && least < self.told {
                integer::put::<5>(out, 0x20, least);
                self.told = least;
            }
            if size != self.told {
                integer::put::<5>(out, 0x20, size);
                self.told = size;
            }
        }
        self.table.begin();
        Block { encoder: self, out }
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

/// A block that is being written: pseudo-header fields first.
#[derive(Debug)]
pub struct Block<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

impl Block<'_> {
    /// `:method`
    pub fn method(&mut self, method: &Method) {
        match *method {
            Method::GET => self.index(fixed::GET),
            Method::POST => self.index(fixed::POST),
            _ => self.repeated(Named::Pseudo(fixed::GET), method.as_str().as_bytes()),
        }
    }

    /// `:status`
    pub fn status(&mut self, status: StatusCode) {
        let place = match status.as_u16() {
            200 => 0,
            204 => 1,
            206 => 2,
            304 => 3,
            400 => 4,
            404 => 5,
            500 => 6,
            _ => return self.repeated(Named::Pseudo(fixed::STATUS), status.as_str().as_bytes()),
        };
        self.index(fixed::STATUS + place);
    }

    /// A pseudo-header field by its bytes.
    pub fn pseudo(&mut self, pseudo: Pseudo, value: &[u8]) {
        match (pseudo, value) {
            (Pseudo::Method, b"GET") => self.index(fixed::GET),
            (Pseudo::Method, b"POST") => self.index(fixed::POST),
            (Pseudo::Path, b"/") => self.index(fixed::ROOT),
            (Pseudo::Path, b"/index.html") => self.index(fixed::INDEX_HTML),
            (Pseudo::Scheme, b"http") => self.index(fixed::HTTP),
            (Pseudo::Scheme, b"https") => self.index(fixed::HTTPS),
            (Pseudo::Status, b"200") => self.index(fixed::STATUS),
            // Whoever sent it may have said that no table is to have it, and [`Field`](crate::hpack::Field) does not tell.
            (Pseudo::Path, _) => self.literal(NEVER, Named::Pseudo(fixed::ROOT), value),
            (Pseudo::Authority, _) => self.repeated(Named::Pseudo(fixed::AUTHORITY), value),
            (Pseudo::Method, _) => self.repeated(Named::Pseudo(fixed::GET), value),
            (Pseudo::Scheme, _) => self.repeated(Named::Pseudo(fixed::HTTP), value),
            (Pseudo::Status, _) => self.repeated(Named::Pseudo(fixed::STATUS), value),
            (Pseudo::Protocol, _) => {
                self.out.push(PLAIN);
                self.string(Pseudo::Protocol.name().as_bytes(), false);
                self.string(value, false);
            }
        }
    }

    /// A field.
    pub fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        if value.is_sensitive() || !self.expected(Named::Regular(name, 0), value.as_bytes()) {
            self.looked_up(name, value);
        }
    }

    #[inline(never)]
    fn looked_up(&mut self, name: &HeaderName, value: &HeaderValue) {
        let index = index_of(name.as_str()).unwrap_or(0);
        let (named, bytes) = (Named::Regular(name, index), value.as_bytes());
        if value.is_sensitive() {
            return self.literal(NEVER, named, bytes);
        }
        match index {
            AUTHORIZATION | COOKIE | PROXY_AUTHORIZATION | SET_COOKIE => self.literal(NEVER, named, bytes),
            CONTENT_LOCATION | LOCATION | REFERER => self.literal(PLAIN, named, bytes),
            fixed::GZIP_DEFLATE if bytes == fixed::GZIP_DEFLATE_VALUE.as_bytes() => self.index(index),
            _ => self.learnt(named, bytes),
        }
    }

    /// A field of either table.
    #[inline]
    fn index(&mut self, index: usize) {
        integer::put::<7>(self.out, 0x80, index);
    }

    /// Writes a field that comes where it came the last time, in one byte or two.
    #[inline]
    fn expected(&mut self, named: Named<'_>, value: &[u8]) -> bool {
        let place = self.encoder.table.expected(named, value);
        if let Some(place) = place {
            self.index(fixed::ENTRIES + 1 + place);
        }
        place.is_some()
    }

    /// A pseudo-header field that may come again.
    #[inline]
    fn repeated(&mut self, named: Named<'_>, value: &[u8]) {
        if !self.expected(named, value) {
            self.learnt(named, value);
        }
    }

    /// A field that may come again, and is not expected here.
    #[inline(never)]
    fn learnt(&mut self, named: Named<'_>, value: &[u8]) {
        if value.len() > MOST_INDEXED {
            return self.literal(PLAIN, named, value);
        }
        let table = &mut self.encoder.table;
        let tags @ (tag, name_tag) = named.tags(value);
        let again = match table.find(tag, named, value) {
            Sighting::At(place) => return self.index(fixed::ENTRIES + 1 + place),
            Sighting::Again => true,
            Sighting::First => false,
        };
        let name = match named.fixed() {
            0 => match table.find_name(name_tag, named) {
                Sighting::At(place) => fixed::ENTRIES + 1 + place,
                Sighting::Again if table.has_room(name_tag) => return self.add(tags, named, 0, value),
                _ => 0,
            },
            index => index,
        };
        match again {
            true => self.add(tags, named, name, value),
            false => self.with_name(PLAIN, named, name, value),
        }
    }

    /// A literal that goes into the table, if there is room for it; `name` is the index of its name, or 0.
    fn add(&mut self, tags: (u32, u32), named: Named<'_>, name: usize, value: &[u8]) {
        if !self.encoder.table.add(tags, named, value) {
            return self.with_name(PLAIN, named, name, value);
        }
        let coded = self.encoder.huffman != Huffman::Never;
        integer::put::<6>(self.out, 0x40, name);
        if let (0, Named::Regular(text, _)) = (name, named) {
            self.string(text.as_str().as_bytes(), coded);
        }
        self.string(value, coded);
    }

    /// A literal that does not.
    fn literal(&mut self, kind: u8, named: Named<'_>, value: &[u8]) {
        self.with_name(kind, named, named.fixed(), value);
    }

    fn with_name(&mut self, kind: u8, named: Named<'_>, name: usize, value: &[u8]) {
        let coded = self.encoder.huffman == Huffman::Always;
        integer::put::<4>(self.out, kind, name);
        if let (0, Named::Regular(text, _)) = (name, named) {
            self.string(text.as_str().as_bytes(), coded);
        }
        self.string(value, coded);
    }

    fn string(&mut self, text: &[u8], coded: bool) {
        if coded {
            let length = huffman::encoded_length(text);
            if length < text.len() {
                integer::put::<7>(self.out, 0x80, length);
                return huffman::encode(text, self.out);
            }
        }
        integer::put::<7>(self.out, 0, text.len());
        self.out.extend_from_slice(text);
    }
}
