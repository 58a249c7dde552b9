//! The fields of a head, in the order in which they stand in it.
//!
//! In:  names and values, one after the other.   Out: the same, by name or one after the other.
//! Invariants: what is added stands last; what is replaced stands where it stood; nothing else changes its place.
//! Why not `http`'s map: heads are short, are read once, changed in a few places and written once. There, a place by hash for each
//! name costs more than looking through them, and takes the order among names away. Methods are called as they are there, but
//! [`Fields::keys`] gives a name as often as it stands here, and equality minds the order. Trailers are `http`'s maps, since bodies are.
//! Room for fields is taken from [`spare`], which is all that is remembered here.
//! Whoever changes many names at once does so by [`Fields::retain`]: the others look through all fields for each name.

pub mod spare;

use http::{HeaderMap, HeaderName, HeaderValue, header::MaxSizeReached};
use std::ops::Index;

/// Names with their values. A name may stand in several places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(HeaderName, HeaderValue)>);

/// What a field may be looked for by.
pub trait Name {
    /// Whether it is this.
    fn is(&self, name: &HeaderName) -> bool;
}

impl Name for HeaderName {
    fn is(&self, name: &HeaderName) -> bool {
        self == name
    }
}

impl Name for str {
    fn is(&self, name: &HeaderName) -> bool {
        name == self
    }
}

impl<N: Name + ?Sized> Name for &N {
    fn is(&self, name: &HeaderName) -> bool {
        (**self).is(name)
    }
}

impl Fields {
    /// None.
    pub const fn new() -> Self {
        Fields(Vec::new())
    }

    /// None, with room for so many.
    pub fn with_capacity(capacity: usize) -> Self {
        Fields(Vec::with_capacity(capacity))
    }

    /// How many there is room for.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, additional: usize) {
        self.0.reserve(additional);
    }

    /// How many there are; those of one name count one by one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all; the room stays.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there is one of this name.
    pub fn contains_key(&self, name: impl Name) -> bool {
        self.keys().any(|other| name.is(other))
    }

    /// The first value of this name.
    pub fn get(&self, name: impl Name) -> Option<&HeaderValue> {
        self.iter().find(|(other, _)| name.is(other)).map(|(_, value)| value)
    }

    /// The first value of this name, to be changed.
    pub fn get_mut(&mut self, name: impl Name) -> Option<&mut HeaderValue> {
        self.0.iter_mut().find(|(other, _)| name.is(other)).map(|(_, value)| value)
    }

    /// The values of this name.
    pub fn get_all<N: Name>(&self, name: N) -> impl Iterator<Item = &HeaderValue> + use<'_, N> {
        self.iter().filter(move |(other, _)| name.is(other)).map(|(_, value)| value)
    }

    /// Adds one behind all others.
    pub fn append(&mut self, name: impl Into<HeaderName>, value: HeaderValue) {
        self.0.push((name.into(), value));
    }

    /// Gives a name this value, and no other.
    pub fn insert(&mut self, name: impl Into<HeaderName>, value: HeaderValue) {
        let name = name.into();
        let Some(first) = self.place(&name) else { return self.0.push((name, value)) };
        let others = &self.0[first + 1..];
        if others.iter().any(|(other, _)| *other == name) {
            let mut at = 0..;
            self.0.retain(|(other, _)| at.next() == Some(first) || *other != name);
        }
        self.0[first].1 = value;
    }

    /// Removes all of this name; gives the first one's value.
    pub fn remove(&mut self, name: impl Name) -> Option<HeaderValue> {
        let (_, value) = self.0.remove(self.place(&name)?);
        self.retain(|other, _| !name.is(other));
        Some(value)
    }

    /// Removes those that `keep` is not true for.
    pub fn retain(&mut self, mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The name of each field: a name comes as often as it stands there.
    pub fn keys(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }

    fn place(&self, name: impl Name) -> Option<usize> {
        self.keys().position(|other| name.is(other))
    }
}

impl<N: Name> Index<N> for Fields {
    type Output = HeaderValue;

    /// The first value of a name that is there.
    fn index(&self, name: N) -> &HeaderValue {
        match self.get(name) {
            Some(value) => value,
            None => panic!("no such field"),
        }
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a HeaderName, &'a HeaderValue);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (HeaderName, HeaderValue)>,
        fn(&'a (HeaderName, HeaderValue)) -> Self::Item,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl Extend<(HeaderName, HeaderValue)> for Fields {
    fn extend<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, fields: I) {
        self.0.extend(fields);
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: I) -> Self {
        Fields(fields.into_iter().collect())
    }
}

impl TryFrom<Fields> for HeaderMap {
    type Error = MaxSizeReached;

    /// A map has room for 24,576 names.
    fn try_from(mut fields: Fields) -> Result<Self, MaxSizeReached> {
        let mut map = HeaderMap::try_with_capacity(fields.len())?;
        for (name, value) in fields.0.drain(..) {
            map.try_append(name, value)?;
        }
        spare::give_back(fields);
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, COOKIE, HOST};
    use proptest::prelude::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    fn all(fields: &Fields) -> Vec<String> {
        fields.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn each_stays_where_it_stands() {
        let mut fields = Fields::with_capacity(4);
        for (name, text) in [(COOKIE, "1"), (HOST, "a"), (COOKIE, "2"), (ACCEPT, "b"), (COOKIE, "3")] {
            fields.append(name, value(text));
        }
        assert_eq!(all(&fields), ["cookie=1", "host=a", "cookie=2", "accept=b", "cookie=3"]);
        fields.insert(HOST, value("c"));
        fields.insert(COOKIE, value("4"));
        assert_eq!(all(&fields), ["cookie=4", "host=c", "accept=b"]);
        assert_eq!(fields.remove("cookie"), Some(value("4")));
        assert_eq!(all(&fields), ["host=c", "accept=b"]);
        fields.insert(COOKIE, value("5"));
        assert_eq!(
            (all(&fields), &fields[COOKIE]),
            (["host=c", "accept=b", "cookie=5"].map(String::from).into(), &value("5"))
        );
    }

    const NAMES: [HeaderName; 3] = [COOKIE, HOST, HeaderName::from_static("x-a")];

    proptest! {
        /// Name by name, it holds what `http`'s map does.
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((0..4, 0..3_usize, "[a-z]{1,2}"), 0..40)) {
            let (mut fields, mut map) = (Fields::new(), HeaderMap::new());
            for (step, name, text) in steps {
                let (name, value) = (&NAMES[name], HeaderValue::from_str(&text).unwrap());
                match step {
                    0 | 1 => {
                        fields.append(name, value.clone());
                        map.append(name, value);
                    }
                    2 => {
                        fields.insert(name, value.clone());
                        map.insert(name, value);
                    }
                    _ => prop_assert_eq!(fields.remove(name), map.remove(name)),
                }
                prop_assert_eq!((fields.len(), fields.is_empty()), (map.len(), map.is_empty()));
                for name in &NAMES {
                    prop_assert!(fields.get_all(name).eq(map.get_all(name)));
                    prop_assert_eq!((fields.get(name), fields.contains_key(name)), (map.get(name), map.contains_key(name)));
                }
            }
            prop_assert_eq!(HeaderMap::try_from(fields).unwrap(), map);
        }
    }
}
