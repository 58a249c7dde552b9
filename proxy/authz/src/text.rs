//! Many patterns of text at once.
//!
//! Invariants: looking up costs as many hashes as there are lengths of prefixes and suffixes, however many patterns there are. Bytes are
//! compared, so that what is not UTF-8 is met like anything else.

use foldhash::{HashMap, HashSet};
use sidle_model::ir::TextPattern;

/// Patterns, any of which may be met.
#[derive(Debug, Default)]
pub(crate) struct TextSet {
    patterns: Patterns,
    present: bool,
}

#[derive(Debug)]
enum Patterns {
    Few(Box<[TextPattern]>),
    Many(Box<TextMap<()>>),
}

impl Default for Patterns {
    fn default() -> Self {
        Patterns::Few(Box::default())
    }
}

/// So many are faster one by one.
const FEW: usize = 6;

impl TextSet {
    /// Compiles.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p TextPattern>) -> Self {
        let mut list: Vec<TextPattern> = patterns.into_iter().cloned().collect();
        let before = list.len();
        list.retain(|pattern| *pattern != TextPattern::Present);
        let present = list.len() < before;
        let patterns = if list.len() <= FEW {
            Patterns::Few(list.into())
        } else {
            let mut map = TextMap::default();
            for pattern in &list {
                map.insert(pattern, ());
            }
            Patterns::Many(Box::new(map))
        };
        TextSet { patterns, present }
    }

    /// Whether any text at all meets it, also an empty one.
    pub fn takes_presence(&self) -> bool {
        self.present
    }

    /// Whether `text` meets a pattern. An empty one is not there.
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.present && !text.is_empty() {
            return true;
        }
        match &self.patterns {
            Patterns::Few(list) => list.iter().any(|pattern| matches(pattern, text)),
            Patterns::Many(map) => map.any(text),
        }
    }
}

/// Whether `text` meets `pattern`.
pub(crate) fn matches(pattern: &TextPattern, text: &[u8]) -> bool {
    match pattern {
        TextPattern::Exact(exact) => text == exact.as_bytes(),
        TextPattern::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
        TextPattern::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
        TextPattern::Present => !text.is_empty(),
    }
}

/// What belongs to patterns, found by texts that meet them.
#[derive(Debug)]
pub(crate) struct TextMap<T> {
    exact: HashMap<Box<[u8]>, Vec<T>>,
    prefixes: ByLength<T>,
    suffixes: ByLength<T>,
}

#[derive(Debug)]
struct ByLength<T> {
    /// In order, each once.
    lengths: Vec<usize>,
    texts: HashMap<Box<[u8]>, Vec<T>>,
}

impl<T> Default for TextMap<T> {
    fn default() -> Self {
        TextMap { exact: HashMap::default(), prefixes: ByLength::default(), suffixes: ByLength::default() }
    }
}

impl<T> Default for ByLength<T> {
    fn default() -> Self {
        ByLength { lengths: Vec::new(), texts: HashMap::default() }
    }
}

impl<T> TextMap<T> {
    /// Adds what belongs to a pattern. [`TextPattern::Present`] is one of every text.
    pub fn insert(&mut self, pattern: &TextPattern, value: T) {
        match pattern {
            TextPattern::Exact(text) => self.exact.entry(text.as_bytes().into()).or_default().push(value),
            TextPattern::Prefix(text) => self.prefixes.insert(text, value),
            TextPattern::Suffix(text) => self.suffixes.insert(text, value),
            TextPattern::Present => self.prefixes.insert("", value),
        }
    }

    /// Everything that belongs to a pattern that `text` meets.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(&T)) {
        self.exact.get(text).into_iter().flatten().for_each(&mut found);
        for length in self.prefixes.up_to(text.len()) {
            self.prefixes.texts.get(&text[..length]).into_iter().flatten().for_each(&mut found);
        }
        for length in self.suffixes.up_to(text.len()) {
            self.suffixes.texts.get(&text[text.len() - length..]).into_iter().flatten().for_each(&mut found);
        }
    }

    /// Whether `text` meets any pattern.
    pub fn any(&self, text: &[u8]) -> bool {
        self.exact.contains_key(text)
            || self.prefixes.up_to(text.len()).any(|length| self.prefixes.texts.contains_key(&text[..length]))
            || self
                .suffixes
                .up_to(text.len())
                .any(|length| self.suffixes.texts.contains_key(&text[text.len() - length..]))
    }
}

impl<T> ByLength<T> {
    fn insert(&mut self, text: &str, value: T) {
        if let Err(at) = self.lengths.binary_search(&text.len()) {
            self.lengths.insert(at, text.len());
        }
        self.texts.entry(text.as_bytes().into()).or_default().push(value);
    }

    fn up_to(&self, most: usize) -> impl Iterator<Item = usize> + '_ {
        self.lengths.iter().copied().take_while(move |length| *length <= most)
    }
}

/// A set of texts without patterns.
pub(crate) type Texts = HashSet<Box<[u8]>>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern() -> impl Strategy<Value = TextPattern> {
        prop_oneof!["[ab]{1,3}", "[ab]{1,2}\\*", "\\*[ab]{1,2}", Just("*".to_owned())]
            .prop_map(|text| TextPattern::parse(&text))
    }

    proptest! {
        #[test]
        fn many_patterns_are_met_as_one_by_one(
            patterns in proptest::collection::vec(pattern(), 0..20), text in "[ab\u{e9}]{0,4}",
        ) {
            let text = text.as_bytes();
            let one_by_one = patterns.iter().any(|pattern| matches(pattern, text));
            prop_assert_eq!(TextSet::new(&patterns).matches(text), one_by_one);
            let mut map = TextMap::default();
            for (at, pattern) in patterns.iter().enumerate() {
                map.insert(pattern, at);
            }
            let mut found = Vec::new();
            map.each(text, |at| found.push(*at));
            found.sort_unstable();
            let here = |pattern: &TextPattern| matches(pattern, text) || *pattern == TextPattern::Present;
            let expected: Vec<_> = (0..patterns.len()).filter(|at| here(&patterns[*at])).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
