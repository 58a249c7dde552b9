//! Header names as they were written, for those few applications that mind.

use bytes::Bytes;
use http::HeaderName;
use smallvec::SmallVec;

/// The spelling of each field, in their order; nothing where the listener does not keep it.
#[derive(Debug, Clone, Default)]
pub struct Casing(Vec<(HeaderName, Bytes)>);

/// Spellings, as they are asked for one field after the other.
pub(super) struct Spellings<'a> {
    all: &'a [(HeaderName, Bytes)],
    /// Where the last one stood. Fields keep their order, so that the next one mostly stands behind it.
    at: usize,
    used: SmallVec<[bool; 64]>,
}

impl Casing {
    /// Keeps `written`, the spelling of one field named `name`.
    pub(super) fn keep(&mut self, name: &HeaderName, written: Bytes) {
        self.0.push((name.clone(), written));
    }

    /// For a head that is written.
    pub(super) fn spellings(&self) -> Spellings<'_> {
        Spellings { all: &self.0, at: 0, used: SmallVec::from_elem(false, self.0.len()) }
    }

    /// Whether any spelling is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Spellings<'a> {
    /// How the next field, which is called `name`, was written.
    pub(super) fn next(&mut self, name: &'a HeaderName) -> &'a [u8] {
        let is = |at: &usize| self.all[*at].0 == *name && !self.used[*at];
        // Behind the last one; or else it was taken away and added anew, or never there.
        let found = (self.at..self.all.len()).find(is).or_else(|| (0..self.at).find(is));
        let Some(at) = found else { return name.as_str().as_bytes() };
        self.used[at] = true;
        self.at = self.at.max(at + 1);
        &self.all[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_own_spelling_and_new_ones_are_lower_case() {
        let [user, gone, id, new] = ["x-user", "x-gone", "x-id", "x-new"].map(HeaderName::from_static);
        let mut casing = Casing::default();
        assert!(casing.is_empty());
        for (name, written) in [(&user, "X-User"), (&gone, "X-Gone"), (&id, "X-ID"), (&user, "X-USER")] {
            casing.keep(name, Bytes::from_static(written.as_bytes()));
        }
        let mut spellings = casing.spellings();
        let written = [&user, &id, &user, &new, &gone].map(|name| spellings.next(name));
        assert_eq!(written, [&b"X-User"[..], b"X-ID", b"X-USER", b"x-new", b"X-Gone"]);
    }
}
