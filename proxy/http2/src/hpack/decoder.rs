//! From a block to its fields.
//!
//! Invariants: a block is decoded to its end, also when its message is malformed or too large, for the table must stay what the
//! peer believes it to be; only then its fields are no longer handed out, and values that no table wants are passed over.
//! Values of a block share one buffer, which the next block uses again once nobody holds a value any more; those that go into
//! the table have memory of their own, of their own size.

use super::{
    DEFAULT_TABLE_SIZE, HpackError, OVERHEAD,
    field::{Content, Fault, Field, Name, Pseudo},
    fixed, huffman,
    integer::Rest,
    table::{Entry, Table},
};
use bytes::{Bytes, BytesMut};

/// The least that is allocated for values.
const LEAST_BUFFER: usize = 1 << 10;
/// A buffer that was allocated larger than this is not kept for the next block.
const MOST_KEPT: usize = 16 << 10;
/// How many times the most that is taken a message may count before it is no mistake.
const EXPANDED: usize = 3;
/// Size updates that one block may begin with (RFC 7541 section 4.2).
const MOST_UPDATES: usize = 2;

/// What a block is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The head of a request or a response.
    Head,
    /// What comes after a body: without pseudo-header fields.
    Trailers,
}

/// What to do with a message whose block has been decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All its fields have been handed out.
    Whole,
    /// It has more fields than are taken; some have been handed out.
    TooLarge,
    /// The same, and references to the table make it several times as large: nobody does that in good faith.
    Expanded,
    /// Its stream ends with PROTOCOL_ERROR.
    Malformed(Fault),
}

/// Decodes the blocks of one direction of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What the table's size may be set to.
    announced: usize,
    /// A smaller size that the next block has to begin with.
    owed: Option<usize>,
    /// Bytes of a message's fields: names, values, and 32 each.
    most_list: usize,
    /// For values: what is left of their buffer.
    values: BytesMut,
    /// How large that buffer is.
    allocated: usize,
    /// For names and for values that the table gets, on their way out of Huffman's code.
    scratch: Vec<u8>,
}

impl Decoder {
    /// With what the fields of one message may count. The table is as large as it is before SETTINGS: the peer may use all of it
    /// until it has acknowledged others.
    pub fn new(most_list: usize) -> Self {
        Self {
            table: Table::new(DEFAULT_TABLE_SIZE),
            announced: DEFAULT_TABLE_SIZE,
            owed: None,
            most_list,
            values: BytesMut::new(),
            allocated: 0,
            scratch: Vec::new(),
        }
    }

    /// The peer has acknowledged another SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_table_size(&mut self, size: usize) {
        self.announced = size;
        if size < self.table.limit() {
            self.owed = Some(self.owed.map_or(size, |owed| owed.min(size)));
        }
    }

    /// Hands the fields of a block to `sink`, in their order.
    ///
    /// # Errors
    /// The block cannot be decoded, and so none that follows.
    pub fn decode(
        &mut self,
        block: &[u8],
        part: Part,
        sink: &mut impl FnMut(Field),
    ) -> Result<Verdict, HpackError> {
        let mut rest = Rest(block);
        self.size_updates(&mut rest)?;
        let mut pass =
            Pass { sink, left: self.most_list, over: 0, seen: 0, regular: part == Part::Trailers, end: None };
        let decoded = self.fields(&mut rest, &mut pass);
        if self.allocated > MOST_KEPT {
            self.values = BytesMut::new();
            self.allocated = 0;
        }
        if self.scratch.capacity() > MOST_KEPT {
            self.scratch = Vec::new();
        }
        decoded.map(|()| match pass.end {
            Some(Verdict::TooLarge) if pass.over / EXPANDED > self.most_list => Verdict::Expanded,
            end => end.unwrap_or(Verdict::Whole),
        })
    }

    /// Those that a block begins with.
    fn size_updates(&mut self, rest: &mut Rest<'_>) -> Result<(), HpackError> {
        for _ in 0..MOST_UPDATES {
            let Some(first @ 0x20..=0x3f) = rest.peek() else { break };
            rest.byte();
            let size = rest.integer::<5>(first)?;
            if size > self.announced || self.owed.is_some_and(|owed| size > owed) {
                return Err(HpackError::TableSize);
            }
            self.owed = None;
            self.table.set_limit(size);
        }
        match self.owed {
            Some(_) => Err(HpackError::TableSizeOwed),
            None => Ok(()),
        }
    }

    fn fields<S: FnMut(Field)>(
        &mut self,
        rest: &mut Rest<'_>,
        pass: &mut Pass<'_, S>,
    ) -> Result<(), HpackError> {
        while let Some(first) = rest.byte() {
            match first {
                0x80.. => self.indexed(rest.integer::<7>(first)?, pass)?,
                0x40..0x80 => {
                    let index = rest.integer::<6>(first)?;
                    self.added(index, rest, pass)?;
                }
                0x20..0x40 => return Err(HpackError::TableSize), // not at the beginning, or one too many
                _ => {
                    let index = rest.integer::<4>(first)?;
                    self.literal(index, first & 0x10 != 0, rest, pass)?;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn indexed<S: FnMut(Field)>(&self, index: usize, pass: &mut Pass<'_, S>) -> Result<(), HpackError> {
        if let Some(place) = index.checked_sub(fixed::ENTRIES + 1) {
            let entry = self.table.get(place).ok_or(HpackError::Index)?;
            if pass.takes(entry.size) {
                pass.lend(&entry.content);
            }
        } else if let Some(entry) = fixed::pseudo(index) {
            if pass.takes(entry.size) && pass.places(entry.pseudo) {
                (pass.sink)(Field::Pseudo(entry.pseudo, Bytes::from_static(entry.value.as_bytes())));
            }
        } else {
            let entry = fixed::regular(index).ok_or(HpackError::Index)?;
            if pass.takes(entry.size) {
                pass.lend(&entry.content);
            }
        }
        Ok(())
    }

    /// A literal that goes into the table.
    fn added<S: FnMut(Field)>(
        &mut self,
        index: usize,
        rest: &mut Rest<'_>,
        pass: &mut Pass<'_, S>,
    ) -> Result<(), HpackError> {
        let name = self.name(index, rest)?;
        let value = match text(rest)? {
            Text::Plain(bytes) => Bytes::copy_from_slice(bytes),
            Text::Coded(bytes) => Bytes::copy_from_slice(unpacked(&mut self.scratch, bytes)?),
        };
        let size = name.len() + value.len() + OVERHEAD;
        let content = Content::of(name, value);
        if pass.takes(size) {
            pass.lend(&content);
        }
        self.table.add(Entry { content, size });
        Ok(())
    }

    /// A literal that does not.
    fn literal<S: FnMut(Field)>(
        &mut self,
        index: usize,
        sensitive: bool,
        rest: &mut Rest<'_>,
        pass: &mut Pass<'_, S>,
    ) -> Result<(), HpackError> {
        let name = self.name(index, rest)?;
        let value = text(rest)?;
        if pass.end.is_some() {
            return Ok(());
        }
        let value = self.shared(value, rest.0.len())?;
        if pass.takes(name.len() + value.len() + OVERHEAD) {
            let mut content = Content::of(name, value);
            if let (true, Content::Field(Field::Regular(_, value))) = (sensitive, &mut content) {
                value.set_sensitive(true);
            }
            pass.give(content);
        }
        Ok(())
    }

    /// A name: another entry's, or a literal.
    fn name(&mut self, index: usize, rest: &mut Rest<'_>) -> Result<Name, HpackError> {
        if index == 0 {
            return Ok(match text(rest)? {
                Text::Plain(bytes) => Name::of(bytes),
                Text::Coded(bytes) => Name::of(unpacked(&mut self.scratch, bytes)?),
            });
        }
        match index.checked_sub(fixed::ENTRIES + 1) {
            None => fixed::name(index),
            Some(place) => self.table.get(place).map(|entry| entry.content.name()),
        }
        .ok_or(HpackError::Index)
    }

    /// A value in the buffer that the block's values share; `left` bytes of the block follow it.
    fn shared(&mut self, text: Text<'_>, left: usize) -> Result<Bytes, HpackError> {
        let most = match text {
            Text::Plain([]) | Text::Coded([]) => return Ok(Bytes::new()),
            Text::Plain(bytes) => bytes.len(),
            Text::Coded(bytes) => huffman::most_decoded(bytes.len()),
        };
        if self.values.capacity() < most {
            self.make_room(most, left);
        }
        match text {
            Text::Plain(bytes) => self.values.extend_from_slice(bytes),
            Text::Coded(bytes) => {
                self.values.resize(most, 0);
                let length = huffman::decode(bytes, &mut self.values);
                self.values.truncate(length.unwrap_or(0));
                length.ok_or(HpackError::Huffman)?;
            }
        }
        Ok(self.values.split().freeze())
    }

    /// Room for a value and for what may follow it, so that it is one allocation for a block.
    #[cold]
    fn make_room(&mut self, most: usize, left: usize) {
        let wanted = (most + left).max(LEAST_BUFFER);
        if self.allocated < wanted || !self.values.try_reclaim(wanted) {
            // Not `reserve`, which may double what there was.
            self.values = BytesMut::with_capacity(wanted);
            self.allocated = wanted;
        }
    }

    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }
}

/// A string as the block has it.
enum Text<'a> {
    Plain(&'a [u8]),
    Coded(&'a [u8]),
}

#[inline]
fn text<'a>(rest: &mut Rest<'a>) -> Result<Text<'a>, HpackError> {
    let first = rest.byte().ok_or(HpackError::Short)?;
    let length = rest.integer::<7>(first)?;
    let bytes = rest.bytes(length)?;
    Ok(if first & 0x80 == 0 { Text::Plain(bytes) } else { Text::Coded(bytes) })
}

fn unpacked<'a>(scratch: &'a mut Vec<u8>, coded: &[u8]) -> Result<&'a [u8], HpackError> {
    scratch.clear();
    scratch.resize(huffman::most_decoded(coded.len()), 0);
    let length = huffman::decode(coded, scratch).ok_or(HpackError::Huffman)?;
    Ok(&scratch[..length])
}

/// What is known of a message while its block is decoded.
struct Pass<'s, S> {
    sink: &'s mut S,
    /// What its fields may still count.
    left: usize,
    /// What they count of which nothing was handed out.
    over: usize,
    /// Pseudo-header fields that have been, a bit each.
    seen: u8,
    /// Whether a regular field has been.
    regular: bool,
    /// Why nothing more is handed out.
    end: Option<Verdict>,
}

impl<S: FnMut(Field)> Pass<'_, S> {
    /// Counts a field, and says whether it is wanted.
    #[inline]
    fn takes(&mut self, size: usize) -> bool {
        if self.end.is_some() {
            self.over = self.over.saturating_add(size);
            return false;
        }
        match self.left.checked_sub(size) {
            Some(left) => self.left = left,
            None => self.end = Some(Verdict::TooLarge),
        }
        self.end.is_none()
    }

    /// Hands out a field that a table keeps.
    #[inline(always)] // the usual way of a field: a call here is a fifth of it
    fn lend(&mut self, content: &Content) {
        match content {
            Content::Field(Field::Regular(name, value)) => {
                self.regular = true;
                (self.sink)(Field::Regular(name.clone(), value.clone()));
            }
            Content::Field(Field::Pseudo(pseudo, value)) => {
                if self.places(*pseudo) {
                    (self.sink)(Field::Pseudo(*pseudo, value.clone()));
                }
            }
            Content::Wrong(fault, _) => self.end = Some(Verdict::Malformed(*fault)),
        }
    }

    /// Hands out a field that no table keeps.
    #[inline]
    fn give(&mut self, content: Content) {
        match content {
            Content::Field(Field::Regular(name, value)) => {
                self.regular = true;
                (self.sink)(Field::Regular(name, value));
            }
            Content::Field(Field::Pseudo(pseudo, value)) => {
                if self.places(pseudo) {
                    (self.sink)(Field::Pseudo(pseudo, value));
                }
            }
            Content::Wrong(fault, _) => self.end = Some(Verdict::Malformed(fault)),
        }
    }

    /// Whether a pseudo-header field may come here.
    #[inline]
    fn places(&mut self, pseudo: Pseudo) -> bool {
        let bit = 1 << pseudo as u8;
        if self.regular || self.seen & bit != 0 {
            let fault = if self.regular { Fault::LatePseudo } else { Fault::RepeatedPseudo };
            self.end = Some(Verdict::Malformed(fault));
            return false;
        }
        self.seen |= bit;
        true
    }
}
