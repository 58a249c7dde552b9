//! The compression of fields.
//!
//! In:  blocks.   Out: fields in their order; or fields, and out come blocks.
//! Invariants: both tables are bounded; nothing that a peer sends makes us allocate more than a small multiple of its bytes; one
//! entry of a table holds no other memory than its own (a value that pinned its whole block could be made to pin megabytes).
//! Source: RFC 7541; RFC 9113 section 8 for what a field may be.
//! Read: [`field`] -> `integer`, [`huffman`] -> `fixed`, `known` and `table` -> [`decoder`] -> [`encoder`].

mod decoder;
mod encoder;
mod field;
mod fixed;
pub mod huffman;
mod integer;
mod known;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Part, Verdict};
pub use encoder::{Block, Encoder, Huffman};
pub use field::{Fault, Field, Pseudo};

use crate::code::{Code, Violation};

/// The size of a table before SETTINGS say otherwise.
pub const DEFAULT_TABLE_SIZE: usize = 4096;
/// What a field counts beyond its name and value.
pub const OVERHEAD: usize = 32;

/// Why a block cannot be decoded: the tables of both ends are no longer the same, and the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    /// The block ends within a field.
    #[error("a block that ends within a field")]
    Short,
    /// An integer above 32 bits, or with too many bytes.
    #[error("an integer that is too large")]
    Integer,
    /// Not a Huffman code, or not ended as one.
    #[error("a string that is no Huffman code")]
    Huffman,
    /// An index that neither table has.
    #[error("an index that no table has")]
    Index,
    /// A table size above what was announced, after a field, or for the third time.
    #[error("a table size that is not allowed")]
    TableSize,
    /// We announced a smaller table, and the block does not begin with it.
    #[error("a smaller table was not heeded")]
    TableSizeOwed,
}

impl From<HpackError> for Violation {
    fn from(error: HpackError) -> Self {
        let why = match error {
            HpackError::Short => "a block that ends within a field",
            HpackError::Integer => "an integer that is too large",
            HpackError::Huffman => "a string that is no Huffman code",
            HpackError::Index => "an index that no table has",
            HpackError::TableSize => "a table size that is not allowed",
            HpackError::TableSizeOwed => "a smaller table was not heeded",
        };
        Self::Connection(Code::COMPRESSION_ERROR, why)
    }
}
