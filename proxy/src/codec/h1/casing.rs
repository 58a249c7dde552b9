//! Header names as they were written, for those few applications that mind.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

/// The spelling of each name, in the order of its values; nothing where the listener does not keep it.
#[derive(Debug, Clone, Default)]
pub struct Casing(Option<Box<HeaderMap<Bytes>>>);

impl Casing {
    /// Keeps `written`, the spelling of one field named `name`.
    pub(super) fn keep(&mut self, name: &HeaderName, written: Bytes) {
        self.0.get_or_insert_default().append(name, written);
    }

    /// How the value with this index among those of `name` was written.
    pub(super) fn of<'a>(&'a self, name: &'a HeaderName, index: usize) -> &'a [u8] {
        let kept = self.0.as_deref().and_then(|names| names.get_all(name).iter().nth(index));
        kept.map_or(name.as_str().as_bytes(), |written| written)
    }

    /// Whether any spelling is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_own_spelling_and_new_ones_are_lower_case() {
        let name = HeaderName::from_static("x-user");
        let mut casing = Casing::default();
        assert!(casing.is_empty());
        casing.keep(&name, Bytes::from_static(b"X-User"));
        casing.keep(&name, Bytes::from_static(b"X-USER"));
        assert_eq!(casing.of(&name, 0), b"X-User");
        assert_eq!(casing.of(&name, 1), b"X-USER");
        assert_eq!(casing.of(&name, 2), b"x-user");
    }
}
