//! Regular expressions, each compiled once however many rules and configurations have it.
//!
//! Invariants: a [`Pattern`] compiles; its memory is bounded. What is remembered of texts decides what they cost, never what
//! comes of them: those in use, the last few, and a bounded number of refused ones.

use regex::bytes::{Regex, RegexBuilder};
use std::{
    collections::{HashMap, VecDeque},
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak},
};

/// A regular expression that compiles, with RE2's syntax as Istio users write it, anchored or not as its place says.
#[derive(Debug, Clone)]
pub struct Pattern(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    text: Box<str>,
    whole: Regex,
    search: OnceLock<Regex>,
}

impl Pattern {
    /// The most memory one compiled expression may take: 1 MiB.
    pub const SIZE_LIMIT: usize = 1 << 20;

    /// Checks that `pattern` compiles within [`Self::SIZE_LIMIT`].
    ///
    /// # Errors
    /// The expression's own error text.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if let Some(known) = memory().find(pattern) {
            return known;
        }
        // Not under the lock: it can take long.
        let made = Compiled::new(pattern).map(|compiled| Pattern(Arc::new(compiled)));
        memory().keep(pattern, &made);
        made
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// For a whole-string match (`^(?:…)$`), on bytes, so that values that are not UTF-8 can match or fail but never error.
    pub fn full_match(&self) -> Regex {
        self.0.whole.clone()
    }

    /// For a search anywhere in the subject, as `uriRegexRewrite` does.
    pub fn search(&self) -> Regex {
        let compile =
            || compile(&self.0.text, usize::MAX).expect("more than it was compiled in Pattern::new");
        self.0.search.get_or_init(compile).clone()
    }
}

impl Compiled {
    fn new(pattern: &str) -> Result<Self, String> {
        // By itself first: `a)(b` is whole only between the brackets that are put around it.
        let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
        parser.parse(pattern).map_err(|error| error.to_string())?;
        // With the flag `x`, a comment at its end would swallow the bracket that follows on its line.
        let whole = compile(&format!("^(?:{pattern})$"), Pattern::SIZE_LIMIT * 2).or_else(|error| {
            compile(&format!("^(?:{pattern}\n)$"), Pattern::SIZE_LIMIT * 2).map_err(|_| error)
        })?;
        Ok(Compiled { text: pattern.into(), whole, search: OnceLock::new() })
    }
}

fn compile(text: &str, limit: usize) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(limit).build().map_err(|error| error.to_string())
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

/// What came of the texts that were met.
#[derive(Debug, Default)]
struct Memory {
    outcomes: HashMap<Box<str>, Result<Weak<Compiled>, String>>,
    /// In use or not: a text is often met again before anybody keeps it.
    recent: VecDeque<Arc<Compiled>>,
    /// How many outcomes there may be before those that nobody uses are dropped.
    room: usize,
}

static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

fn memory() -> std::sync::MutexGuard<'static, Memory> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiled texts that are kept although nobody uses them: at most so many times [`Pattern::SIZE_LIMIT`].
const MOST_RECENT: usize = 16;
/// Outcomes that are kept at least.
const LEAST_ROOM: usize = 256;
/// Refused texts that are longer are refused anew each time.
const LONGEST_REFUSED: usize = 4096;

impl Memory {
    fn find(&mut self, text: &str) -> Option<Result<Pattern, String>> {
        match self.outcomes.get(text)? {
            Ok(compiled) => compiled.upgrade().map(|compiled| Ok(Pattern(compiled))),
            Err(error) => Some(Err(error.clone())),
        }
    }

    fn keep(&mut self, text: &str, made: &Result<Pattern, String>) {
        if self.outcomes.len() >= self.room.max(LEAST_ROOM) {
            let used = |outcome: &Result<Weak<_>, _>| {
                outcome.as_ref().is_ok_and(|compiled| compiled.strong_count() > 0)
            };
            self.outcomes.retain(|_, outcome| used(outcome));
            self.room = self.outcomes.len() * 2;
        }
        match made {
            Ok(Pattern(compiled)) => {
                self.recent.truncate(MOST_RECENT - 1);
                self.recent.push_front(compiled.clone());
                self.outcomes.insert(text.into(), Ok(Arc::downgrade(compiled)));
            }
            Err(error) if text.len() <= LONGEST_REFUSED => {
                self.outcomes.insert(text.into(), Err(error.clone()));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_compiled_once() {
        let (a, b) = (Pattern::new("/once/[a-z]+").unwrap(), Pattern::new("/once/[a-z]+").unwrap());
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert_eq!(a, b);
        assert_ne!(a, Pattern::new("/once/[a-y]+").unwrap());
    }

    #[test]
    fn whole_and_anywhere() {
        let pattern = Pattern::new("a|bc").unwrap();
        assert!(pattern.full_match().is_match(b"bc") && !pattern.full_match().is_match(b"abc"));
        assert!(pattern.search().is_match(b"xbcx"));
    }

    #[test]
    fn what_is_put_around_an_expression_neither_mends_nor_breaks_it() {
        assert!(Pattern::new("a)(b").is_err());
        let commented = Pattern::new("(?x) a b # both").unwrap();
        assert!(commented.full_match().is_match(b"ab") && !commented.full_match().is_match(b"abc"));
        assert!(commented.search().is_match(b"xabx"));
    }

    #[test]
    fn an_expression_that_is_too_large_is_refused_every_time_and_soon() {
        let text = r"(\pL{100}){100}";
        let first = Pattern::new(text).unwrap_err();
        let begin = std::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(Pattern::new(text).unwrap_err(), first);
        }
        assert!(begin.elapsed() < std::time::Duration::from_secs(2), "{:?}", begin.elapsed());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..10 * LEAST_ROOM {
            let text = format!("a{number}");
            let made = match number % 2 {
                0 => Compiled::new(&text).map(|compiled| Pattern(Arc::new(compiled))),
                _ => Err("refused".to_owned()),
            };
            memory.keep(&text, &made);
        }
        assert!(memory.outcomes.len() <= LEAST_ROOM + 1 && memory.recent.len() == MOST_RECENT);
    }
}
