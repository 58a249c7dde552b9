//! The nodes of a document in few bytes: a large configuration has millions of them, and they are kept for as long as their file is.
//!
//! In:  nodes in the order of the text.   Out: each of them, by its [`NodeId`]: the place of its first byte.
//! Invariants: what is unpacked is what was packed; a node's children follow it, and where it ends its next sibling begins.
//! Not here: walking from node to node (`tree`).

use super::tree::{Kind, NodeId};
use crate::{diagnostic::Span, pause};
use std::ops::Range;

/// A node as it is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub kind: Kind,
    /// A scalar without quotes, block indicator and tag.
    pub plain: bool,
    pub line: u32,
    pub column: u32,
    pub length: u32,
    /// Nodes of the subtree, itself included.
    pub size: u32,
    /// In the text of all scalars.
    pub text_start: u32,
    pub text_length: u32,
}

/// A node as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub kind: Kind,
    pub plain: bool,
    pub span: Span,
    /// In the text of all scalars; empty for lists and objects.
    pub text: Range<usize>,
    /// Where its first child begins, if it has any.
    pub inner: u32,
    /// Where its subtree ends.
    pub end: u32,
}

/// Nodes: for each a byte of kind and flags, then numbers: line, column, length unless the flag says that it is the text's; of a list or an
/// object the bytes of its children, of a scalar where its text begins and how long it is.
#[derive(Debug)]
pub(super) struct Packed {
    /// From which lines are counted.
    first_line: u32,
    bytes: Box<[u8]>,
}

/// By the lowest three bits of the first byte.
const KINDS: [Kind; 8] = [
    Kind::Null,
    Kind::Boolean,
    Kind::Integer,
    Kind::Float,
    Kind::Text,
    Kind::Merge,
    Kind::Sequence,
    Kind::Mapping,
];
const KIND: u8 = 7;
const PLAIN: u8 = 8;
const AS_LONG_AS_ITS_TEXT: u8 = 16;

impl Packed {
    /// Packs them.
    pub fn new(nodes: &[Node]) -> Self {
        let first_line = nodes.iter().map(|node| node.line).min().unwrap_or_default();
        let inner = bytes_of_children(nodes, first_line);
        let mut bytes = Vec::new();
        for (node, inner) in nodes.iter().zip(inner) {
            node.pause();
            let (first, numbers, count) = node.packed(first_line, inner);
            bytes.push(first);
            numbers[..count].iter().for_each(|number| put(&mut bytes, *number));
        }
        Packed { first_line, bytes: bytes.into() }
    }

    /// Where all nodes end.
    pub fn end(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// What the node at `id` is.
    pub fn kind(&self, id: NodeId) -> Kind {
        KINDS[usize::from(self.bytes[id.0 as usize] & KIND)]
    }

    /// The node at `id`.
    pub fn node(&self, id: NodeId) -> Unpacked {
        let mut rest = &self.bytes[id.0 as usize..];
        let first = rest[0];
        rest = &rest[1..];
        let kind = KINDS[usize::from(first & KIND)];
        let (line, column) = (self.first_line + take(&mut rest), take(&mut rest));
        let length = (first & AS_LONG_AS_ITS_TEXT == 0).then(|| take(&mut rest));
        let (text, children) = match kind {
            Kind::Sequence | Kind::Mapping => (0..0, take(&mut rest)),
            _ => {
                let start = take(&mut rest) as usize;
                (start..start + take(&mut rest) as usize, 0)
            }
        };
        let inner = self.end() - rest.len() as u32;
        Unpacked {
            kind,
            plain: first & PLAIN != 0,
            span: Span { line, column, length: length.unwrap_or(text.len() as u32) },
            text,
            inner,
            end: inner + children,
        }
    }
}

impl Node {
    /// Work on many nodes gives way in each object.
    fn pause(&self) {
        if self.kind == Kind::Mapping {
            pause::here();
        }
    }

    fn is_collection(&self) -> bool {
        matches!(self.kind, Kind::Sequence | Kind::Mapping)
    }

    /// The first byte, and the numbers that follow, of which so many count.
    fn packed(&self, first_line: u32, inner: u32) -> (u8, [u32; 5], usize) {
        let mut first = self.kind as u8;
        if self.plain {
            first |= PLAIN;
        }
        let (line, column, length) = (self.line - first_line, self.column, self.length);
        let (start, text) = (self.text_start, self.text_length);
        match (self.is_collection(), length == text) {
            (true, _) => (first, [line, column, length, inner, 0], 4),
            (false, true) => (first | AS_LONG_AS_ITS_TEXT, [line, column, start, text, 0], 4),
            (false, false) => (first, [line, column, length, start, text], 5),
        }
    }
}

/// How many bytes the children of each node take; from the last to the first, because an outer one's depend on the inner ones'.
fn bytes_of_children(nodes: &[Node], first_line: u32) -> Vec<u32> {
    let mut inner = vec![0; nodes.len()];
    // From where each node begins to the end of all.
    let mut begins = vec![0; nodes.len() + 1];
    for (at, node) in nodes.iter().enumerate().rev() {
        node.pause();
        inner[at] = begins[at + 1] - begins[at + node.size as usize];
        let (_, numbers, count) = node.packed(first_line, inner[at]);
        begins[at] = begins[at + 1] + 1 + numbers[..count].iter().map(|number| width(*number)).sum::<u32>();
    }
    inner
}

/// The bytes of a number: seven bits in each, the lowest first; the eighth says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn width(number: u32) -> u32 {
    number.max(1).ilog2() / 7 + 1
}

fn take(bytes: &mut &[u8]) -> u32 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = (bytes[0], &bytes[1..]);
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return number;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_has_its_place() {
        for kind in KINDS {
            assert_eq!(KINDS[kind as usize], kind);
        }
    }

    fn numbers() -> impl Strategy<Value = u32> {
        prop_oneof![0..300u32, 16_000..17_000u32, 0..u32::MAX / 2]
    }

    /// Any node; with room for children if it can have any.
    fn node() -> impl Strategy<Value = (Node, usize)> {
        let place = (numbers(), numbers(), numbers());
        (0..KINDS.len(), any::<bool>(), place, (numbers(), numbers()), any::<bool>(), 0..6usize).prop_map(
            |(kind, plain, (line, column, length), (text_start, text_length), same, children)| {
                let length = if same { text_length } else { length };
                let kind = KINDS[kind];
                let node = Node { kind, plain, line, column, length, size: 1, text_start, text_length };
                match node.is_collection() {
                    true => (Node { text_start: 0, text_length: 0, ..node }, children),
                    false => (node, 0),
                }
            },
        )
    }

    /// Gives the node at `at` as many children as it wants of those that follow.
    fn grow(nodes: &mut [(Node, usize)], at: usize) -> usize {
        let mut end = at + 1;
        for _ in 0..nodes[at].1 {
            if end < nodes.len() {
                end = grow(nodes, end);
            }
        }
        nodes[at].0.size = (end - at) as u32;
        end
    }

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(mut given in prop::collection::vec(node(), 1..60)) {
            let end = grow(&mut given, 0);
            let nodes: Vec<Node> = given[..end].iter().map(|(node, _)| *node).collect();
            let packed = Packed::new(&nodes);
            // In the order of the text each begins where the one before has its header's end.
            let mut places = vec![];
            let mut next = 0;
            for node in &nodes {
                let unpacked = packed.node(NodeId(next));
                prop_assert_eq!(packed.kind(NodeId(next)), node.kind);
                prop_assert_eq!((unpacked.kind, unpacked.plain), (node.kind, node.plain));
                let span = Span { line: node.line, column: node.column, length: node.length };
                prop_assert_eq!(unpacked.span, span);
                let start = node.text_start as usize;
                prop_assert_eq!(unpacked.text, start..start + node.text_length as usize);
                places.push((next, unpacked.end));
                next = unpacked.inner;
            }
            prop_assert_eq!(next, packed.end());
            for (at, node) in nodes.iter().enumerate() {
                let after = places.get(at + node.size as usize).map_or(packed.end(), |place| place.0);
                prop_assert_eq!(places[at].1, after);
            }
        }
    }
}
