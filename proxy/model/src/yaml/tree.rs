//! The positioned tree of one document.
//!
//! Invariants: nodes stand in the order of the text, each followed by its descendants; a mapping's children are key, value, key,
//! value.

use super::packed::{Node, Packed, Unpacked};
use crate::{config::Step, diagnostic::Span, pause};
use std::{collections::HashMap, sync::Arc};

/// One YAML document.
#[derive(Debug)]
pub struct Document {
    file: Arc<str>,
    nodes: Packed,
    /// The text of all scalars, escapes decoded.
    strings: Box<str>,
    /// The items of each list that is longer than [`LONG_LIST`], so that rules late in a long list are found as fast as the first.
    long_lists: HashMap<NodeId, Box<[NodeId]>>,
}

/// Counting items one by one is cheap up to here.
const LONG_LIST: usize = 32;

/// A node of a [`Document`], by where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub(super) u32);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any other number.
    Float,
    /// Text.
    Text,
    /// The key `<<`, whose value was merged into the mapping.
    Merge,
    /// A list.
    Sequence,
    /// An object.
    Mapping,
}

/// Which part of an entry a place is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its value; the key if the value is an object, a list or nothing.
    Value,
    /// Its key.
    Key,
}

impl Document {
    /// From the nodes in the order of the text.
    pub(super) fn new(file: Arc<str>, nodes: &[Node], strings: &str) -> Self {
        let nodes = Packed::new(nodes);
        let mut document = Document { file, nodes, strings: strings.into(), long_lists: HashMap::new() };
        let mut next = document.root();
        while next.0 < document.nodes.end() {
            let node = document.node(next);
            if node.kind == Kind::Mapping {
                pause::here();
            }
            if node.kind == Kind::Sequence {
                let items: Vec<_> = document.items(next).collect();
                if items.len() > LONG_LIST {
                    document.long_lists.insert(next, items.into());
                }
            }
            next = NodeId(node.inner);
        }
        document
    }

    /// The file, as the user named it.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The outermost value.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    fn node(&self, id: NodeId) -> Unpacked {
        self.nodes.node(id)
    }

    /// What `id` is.
    pub fn kind(&self, id: NodeId) -> Kind {
        self.nodes.kind(id)
    }

    /// The text of a scalar, as written but for quotes and escapes; empty for lists and objects.
    pub fn text(&self, id: NodeId) -> &str {
        &self.strings[self.node(id).text]
    }

    /// Whether `id` is a scalar without quotes and tag, so that others may make something else of its text than we do.
    pub fn is_plain(&self, id: NodeId) -> bool {
        self.node(id).plain
    }

    /// Where `id` was written.
    pub fn span(&self, id: NodeId) -> Span {
        self.node(id).span
    }

    /// Whether `inner` is `outer` or stands in it.
    pub fn contains(&self, outer: NodeId, inner: NodeId) -> bool {
        (outer.0..self.node(outer).end).contains(&inner.0)
    }

    /// The direct children, keys included.
    fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let Unpacked { inner: mut next, end, .. } = self.node(id);
        std::iter::from_fn(move || {
            let child = (next < end).then_some(NodeId(next))?;
            next = self.node(child).end;
            Some(child)
        })
    }

    /// The items of a list; nothing for anything else.
    pub fn items(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let is_list = self.kind(id) == Kind::Sequence;
        self.children(id).filter(move |_| is_list)
    }

    /// The item at `index` of a list.
    pub fn item(&self, id: NodeId, index: usize) -> Option<NodeId> {
        match self.long_lists.get(&id) {
            Some(items) => items.get(index).copied(),
            None => self.items(id).nth(index),
        }
    }

    /// Keys and values of an object, merged ones last; nothing for anything else.
    pub fn entries(&self, id: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        let is_object = self.kind(id) == Kind::Mapping;
        let mut children = self.children(id).filter(move |_| is_object);
        std::iter::from_fn(move || {
            loop {
                let entry = (children.next()?, children.next()?);
                if self.kind(entry.0) != Kind::Merge {
                    return Some(entry);
                }
            }
        })
    }

    /// Key and value of the entry `key` of an object.
    pub fn entry(&self, id: NodeId, key: &str) -> Option<(NodeId, NodeId)> {
        self.entries(id).find(|(name, _)| self.text(*name) == key)
    }

    /// The value of the entry `key` of an object.
    pub fn value(&self, id: NodeId, key: &str) -> Option<NodeId> {
        self.entry(id, key).map(|(_, value)| value)
    }

    /// Follows `path` from `id` as far as it exists: the key (if the last step has one) and the value.
    pub fn follow(&self, id: NodeId, path: &[Step<'_>]) -> (Option<NodeId>, NodeId) {
        let mut reached = (None, id);
        for step in path {
            let next = match step {
                Step::Key(key) => self.entry(reached.1, key).map(|(key, value)| (Some(key), value)),
                Step::Index(index) => self.item(reached.1, *index).map(|item| (None, item)),
            };
            let Some(next) = next else { break };
            reached = next;
        }
        reached
    }

    /// Where the part at `path` below `id` was written, or its nearest ancestor that was.
    pub fn span_at(&self, id: NodeId, path: &[Step<'_>], part: Part) -> Span {
        let (key, value) = self.follow(id, path);
        self.entry_span(key, value, part)
    }

    /// Where an entry was written.
    pub fn entry_span(&self, key: Option<NodeId>, value: NodeId, part: Part) -> Span {
        let has_place =
            !matches!(self.kind(value), Kind::Mapping | Kind::Sequence) && self.span(value).length > 0;
        match key {
            Some(key) if part == Part::Key || !has_place => self.span(key),
            _ => self.span(value),
        }
    }
}
