//! YAML and JSON with positions.
//!
//! In:  text.   Out: [`Document`]s, in which every key and value has its line and column; and typed values of them.
//! Invariants: time and memory are bounded by the text's length and by [`Budget`]; nothing here panics on any input.
//! Not here: which kinds there are (`crate::manifest`).
//! Read: `split` (text -> documents) -> `build`, `merge` (events -> tree) -> `tree`, `packed` -> `shape`, `walk` (every mistake) -> `serde`.

mod build;
mod merge;
mod packed;
mod scalar;
pub(crate) mod serde;
pub(crate) mod shape;
mod split;
mod suggest;
mod surrogates;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
pub(crate) mod walk;

pub(crate) use build::parse;
pub use build::{Budget, Piece, pieces};
pub(crate) use suggest::nearest;
pub use tree::{Document, Kind, NodeId, Part};
pub(crate) use walk::MOST_MISTAKES;
