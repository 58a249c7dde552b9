//! Events of the YAML parser to a positioned tree, within a budget.
//!
//! Not here: aliases and merges (`merge`), what a syntax error means to a user (`syntax`).

use super::{
    Kind,
    packed::Node,
    scalar::plain_kind,
    split, surrogates,
    syntax::{Explained, explain},
    tree::Document,
    walk::MOST_MISTAKES,
};
use crate::{
    diagnostic::{Code, Diagnostic, Severity, Span, codes},
    pause,
    source::Text,
};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as EventSpan, StrInput, Tag};
use std::collections::{HashMap, hash_map::Entry};
use std::{borrow::Cow, sync::Arc};

/// How much one file may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Lists and objects inside one another.
    pub depth: usize,
    /// Keys and values in one file.
    pub nodes: usize,
    /// Keys and values that aliases and merges add to one document.
    pub copies: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { depth: 64, nodes: 4_000_000, copies: 100_000 }
    }
}

/// A part of a text that begins at a document marker, or at the text's start.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Its text, the marker included.
    pub content: &'a str,
    /// Its documents: one, unless `...` separates several.
    pub documents: Vec<Arc<Document>>,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

/// The pieces of `text`, in order, without those that hold no document.
pub fn pieces(text: &Text, budget: Budget) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut left = budget;
    for (content, first_line) in split::documents(&text.content) {
        let (mut builder, mut documents) = (Builder::new(text.name.clone(), first_line, left), Vec::new());
        let outcome = builder.run(content, &mut documents);
        left.nodes = builder.budget.nodes;
        let mut diagnostics = builder.diagnostics;
        let mut exhausted = false;
        if let Err(stop) = outcome {
            exhausted = stop.code == codes::BUDGET && left.nodes == 0;
            diagnostics.push(stop);
        }
        pieces.push(Piece { content, documents, diagnostics });
        if exhausted {
            break;
        }
    }
    pieces
}

/// All documents of `text` that are well-formed, and what is wrong with the others.
pub(crate) fn parse(text: &Text, budget: Budget) -> (Vec<Arc<Document>>, Vec<Diagnostic>) {
    let (mut documents, mut diagnostics) = (Vec::new(), Vec::new());
    for mut piece in pieces(text, budget) {
        documents.append(&mut piece.documents);
        diagnostics.append(&mut piece.diagnostics);
    }
    (documents, diagnostics)
}

/// A list or an object whose end was not seen yet.
pub(super) struct Open {
    index: usize,
    anchor: usize,
    mapping: bool,
    /// Children so far.
    children: usize,
}

pub(super) struct Builder {
    file: Arc<str>,
    first_line: usize,
    pub(super) budget: Budget,
    pub(super) copies_left: usize,
    pub(super) nodes: Vec<Node>,
    strings: String,
    pub(super) open: Vec<Open>,
    pub(super) anchors: HashMap<usize, usize>,
    diagnostics: Vec<Diagnostic>,
}

impl Builder {
    fn new(file: Arc<str>, first_line: usize, budget: Budget) -> Self {
        Builder {
            file,
            first_line,
            budget,
            copies_left: budget.copies,
            nodes: Vec::new(),
            strings: String::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            diagnostics: Vec::new(),
        }
    }

    /// Reads `content`, which holds one document, or several that `...` separates. A mistake that leaves the tree whole is
    /// noted; one that does not ends the reading.
    fn run(&mut self, content: &str, documents: &mut Vec<Arc<Document>>) -> Result<(), Diagnostic> {
        let disguised = surrogates::disguised(content);
        let mut parser = Parser::new(StrInput::new(disguised.as_deref().unwrap_or(content)));
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax(&error, content))?;
            match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let text = if disguised.is_some() { surrogates::revealed(text) } else { text };
                    self.scalar(&text, style, anchor, tag.as_deref(), &span)?
                }
                Event::SequenceStart(anchor, tag) => self.start(Kind::Sequence, anchor, tag, &span)?,
                Event::MappingStart(anchor, tag) => {
                    pause::here();
                    self.start(Kind::Mapping, anchor, tag, &span)?
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(&span)?,
                Event::Alias(anchor) => self.alias(anchor, &span)?,
                Event::DocumentEnd => self.finish(documents),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self, documents: &mut Vec<Arc<Document>>) {
        self.anchors.clear();
        self.copies_left = self.budget.copies;
        if !self.nodes.is_empty() {
            documents.push(Arc::new(Document::new(self.file.clone(), &self.nodes, &self.strings)));
        }
        self.nodes.clear();
        self.strings.clear();
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: &EventSpan,
    ) -> Result<(), Diagnostic> {
        let mut kind = if style == ScalarStyle::Plain { plain_kind(text) } else { Kind::Text };
        if let Some(tag) = tag {
            kind = self.tagged(kind, tag, text, span)?;
        }
        if self.is_key() {
            kind = if kind != Kind::Text || text != "<<" || style != ScalarStyle::Plain {
                Kind::Text
            } else {
                Kind::Merge
            };
        }
        let text_start = self.strings.len() as u32;
        self.strings.push_str(text);
        self.push(kind, text_start, text.len() as u32, span)?;
        let last = self.nodes.len() - 1;
        self.nodes[last].plain = style == ScalarStyle::Plain && tag.is_none();
        self.anchor(anchor, last);
        Ok(())
    }

    /// The kind that `tag` makes of a scalar.
    fn tagged(&self, kind: Kind, tag: &Tag, text: &str, span: &EventSpan) -> Result<Kind, Diagnostic> {
        let core = tag.handle == "tag:yaml.org,2002:";
        match (core, tag.suffix.as_str()) {
            (true, "str") => Ok(Kind::Text),
            (true, "int") if plain_kind(text) == Kind::Integer => Ok(Kind::Integer),
            (true, "float") if matches!(plain_kind(text), Kind::Integer | Kind::Float) => Ok(Kind::Float),
            (true, "bool") if plain_kind(text) == Kind::Boolean => Ok(Kind::Boolean),
            (true, "null") if plain_kind(text) == Kind::Null => Ok(Kind::Null),
            _ if tag.handle.is_empty() && tag.suffix == "!" => Ok(kind),
            _ => Err(self.refused_tag(tag, span)),
        }
    }

    fn refused_tag(&self, tag: &Tag, span: &EventSpan) -> Diagnostic {
        // No more of it than the known ones have: it may be a value that was meant to be none, such as a key.
        let suffix: String = tag.suffix.chars().take(12).collect();
        let name = match tag.handle.as_str() {
            "tag:yaml.org,2002:" => format!("!!{suffix}"),
            handle => format!("{handle}{suffix}"),
        };
        self.error(codes::TAG, span, format!("the tag `{name}` is refused here"))
            .help("only the tags of JSON's types are read, where the value is of that type: !!str !!int !!float !!bool !!null !!seq !!map")
    }

    fn start(
        &mut self,
        kind: Kind,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        span: &EventSpan,
    ) -> Result<(), Diagnostic> {
        let expected = if kind == Kind::Sequence { "seq" } else { "map" };
        if let Some(tag) = tag.as_deref()
            && !(tag.handle == "tag:yaml.org,2002:" && tag.suffix == expected)
            && !(tag.handle.is_empty() && tag.suffix == "!")
        {
            return Err(self.refused_tag(tag, span));
        }
        if self.is_key() {
            return Err(self.error(codes::KEY, span, "a list or an object cannot be a key").help(
                "a template's `{{ … }}` that was not filled in looks like this; so does a missing quote",
            ));
        }
        if self.open.len() >= self.budget.depth {
            return Err(self.too_deep(span));
        }
        self.push(kind, 0, 0, span)?;
        self.open.push(Open {
            index: self.nodes.len() - 1,
            anchor,
            mapping: kind == Kind::Mapping,
            children: 0,
        });
        Ok(())
    }

    fn end(&mut self, span: &EventSpan) -> Result<(), Diagnostic> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        if open.mapping {
            let pairs = self.pairs(open.index, self.nodes.len());
            self.refuse_duplicates(&pairs);
            self.merge(&pairs, span)?;
        }
        self.nodes[open.index].size = (self.nodes.len() - open.index) as u32;
        self.borrow_place(open.index);
        self.anchor(open.anchor, open.index);
        Ok(())
    }

    /// A list or object without brackets begins at its first child, and is as long as that.
    fn borrow_place(&mut self, index: usize) {
        let Some(child) = self.nodes.get(index + 1).copied() else { return };
        let node = &mut self.nodes[index];
        if (node.line, node.column) == (child.line, child.column) {
            node.length = child.length;
        }
    }

    pub(super) fn too_deep(&self, span: &EventSpan) -> Diagnostic {
        let message = format!("more than {} lists and objects inside one another", self.budget.depth);
        self.error(codes::BUDGET, span, message)
    }

    fn anchor(&mut self, anchor: usize, index: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, index);
        }
    }

    fn push(
        &mut self,
        kind: Kind,
        text_start: u32,
        text_length: u32,
        span: &EventSpan,
    ) -> Result<(), Diagnostic> {
        self.spend(1, span)?;
        self.count_child();
        let Span { line, column, length } = self.place(span);
        self.nodes.push(Node { kind, plain: false, line, column, length, size: 1, text_start, text_length });
        Ok(())
    }

    pub(super) fn spend(&mut self, nodes: usize, span: &EventSpan) -> Result<(), Diagnostic> {
        match self.budget.nodes.checked_sub(nodes) {
            Some(left) => self.budget.nodes = left,
            None => {
                self.budget.nodes = 0;
                return Err(self.error(codes::BUDGET, span, "the file holds too many keys and values"));
            }
        }
        Ok(())
    }
    /// Whether the next event is a key.
    pub(super) fn is_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.mapping && open.children % 2 == 0)
    }

    pub(super) fn count_child(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.children += 1;
        }
    }

    /// Key and value indices of the mapping at `index`, which ends where the nodes end or where its size says.
    pub(super) fn pairs(&self, index: usize, end: usize) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        let mut at = index + 1;
        while at < end {
            let value = at + self.nodes[at].size as usize;
            pairs.push((at, value));
            at = value + self.nodes[value].size as usize;
        }
        pairs
    }

    pub(super) fn key_text(&self, key: usize) -> &str {
        self.text_of(&self.nodes[key])
    }

    fn refuse_duplicates(&mut self, pairs: &[(usize, usize)]) {
        let mut twice = Vec::new();
        if pairs.len() <= 8 {
            // Nearly every mapping: cheaper than to hash.
            for (at, (key, _)) in pairs.iter().enumerate() {
                let first =
                    pairs[..at].iter().find(|(first, _)| self.key_text(*first) == self.key_text(*key));
                twice.extend(first.map(|(first, _)| (*first, *key)));
            }
        } else {
            let mut seen: HashMap<&str, usize> = HashMap::with_capacity(pairs.len());
            for (key, _) in pairs {
                match seen.entry(self.key_text(*key)) {
                    Entry::Occupied(first) => twice.push((*first.get(), *key)),
                    Entry::Vacant(place) => {
                        place.insert(*key);
                    }
                }
            }
        }
        let room = MOST_MISTAKES.saturating_sub(self.diagnostics.len());
        for (first, second) in twice.into_iter().take(room) {
            let (first, second) = (&self.nodes[first], &self.nodes[second]);
            let at = Span { line: second.line, column: second.column, length: second.length };
            let message = format!("the key `{}` stands here a second time", self.text_of(second));
            let diagnostic =
                Diagnostic::error(codes::DUPLICATE_KEY, message).at(self.file.clone(), at).help(format!(
                    "it first stands at line {}, column {}; keep one of the two",
                    first.line, first.column
                ));
            self.diagnostics.push(diagnostic);
        }
    }

    fn text_of(&self, node: &Node) -> &str {
        &self.strings[node.text_start as usize..(node.text_start + node.text_length) as usize]
    }

    fn place(&self, span: &EventSpan) -> Span {
        let one_line = span.start.line() == span.end.line();
        Span {
            line: (self.first_line + span.start.line()) as u32,
            column: span.start.col() as u32 + 1,
            length: if one_line { span.len() as u32 } else { 1 },
        }
    }

    pub(super) fn error(&self, code: Code, span: &EventSpan, message: impl Into<String>) -> Diagnostic {
        let mut place = self.place(span);
        place.length = place.length.max(1);
        Diagnostic::new(Severity::Error, code, message).at(self.file.clone(), place)
    }

    fn syntax(&self, error: &ScanError, content: &str) -> Diagnostic {
        let Explained { code, message, help, line, column } = explain(error, content);
        let place = Span { line: (self.first_line + line) as u32, column: column as u32 + 1, length: 1 };
        Diagnostic::error(code, message).at(self.file.clone(), place).maybe_help(help.map(Into::into))
    }
}
