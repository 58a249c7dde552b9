//! A map of few entries, in little memory.
//!
//! In:  names and values.   Out: the values by name, in the order of the names.
//! Invariants: the names are sorted, each there once; of two values of one name the later stays.
//! Why: a `BTreeMap` makes room for eleven entries with its first. Labels, ports and conditions on headers are one or two, and a mesh has
//! many thousands of such maps.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, collections::BTreeMap, fmt, slice, vec};

/// Values by name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Map<V>(Box<[(String, V)]>);

impl<V> Map<V> {
    /// Without entries.
    pub fn new() -> Self {
        Map::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether a name has a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names with their values.
    pub fn iter(&self) -> Iter<'_, V> {
        self.into_iter()
    }

    /// All names.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// All values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<V: Clone> Map<V> {
    /// All entries of both; of a name that both have, the value that `other` has.
    pub fn with(&self, other: &Map<V>) -> Self {
        self.0.iter().chain(&other.0).cloned().collect()
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Map(Box::default())
    }
}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<V> From<BTreeMap<String, V>> for Map<V> {
    fn from(sorted: BTreeMap<String, V>) -> Self {
        Map(sorted.into_iter().collect())
    }
}

impl<V> FromIterator<(String, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(entries: I) -> Self {
        BTreeMap::from_iter(entries).into()
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Map<V> {
    fn from(entries: [(String, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

/// Names with their values.
pub type Iter<'a, V> = std::iter::Map<slice::Iter<'a, (String, V)>, fn(&(String, V)) -> (&String, &V)>;

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = vec::IntoIter<(String, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Map::from)
    }
}

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

/// To users it is an object as any other.
impl<V: JsonSchema> JsonSchema for Map<V> {
    fn inline_schema() -> bool {
        <BTreeMap<String, V>>::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        <BTreeMap<String, V>>::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        <BTreeMap<String, V>>::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <BTreeMap<String, V>>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_map(entries in prop::collection::vec(("[a-c]{0,2}", 0..100u8), 0..12), name in "[a-c]{0,2}") {
            let wanted: BTreeMap<String, u8> = entries.iter().cloned().collect();
            let map: Map<u8> = entries.iter().cloned().collect();
            prop_assert_eq!(map.len(), wanted.len());
            prop_assert_eq!(map.is_empty(), wanted.is_empty());
            prop_assert!(map.iter().eq(wanted.iter()));
            prop_assert!(map.keys().eq(wanted.keys()) && map.values().eq(wanted.values()));
            prop_assert_eq!(map.get(&name), wanted.get(&name));
            prop_assert_eq!(map.contains_key(&name), wanted.contains_key(&name));
            prop_assert_eq!(format!("{map:?}"), format!("{wanted:?}"));
            let (first, second) = entries.split_at(entries.len() / 2);
            let [first, second] = [first, second].map(|part| part.iter().cloned().collect::<Map<u8>>());
            prop_assert_eq!(first.with(&second), map.clone());
            prop_assert!(map.into_iter().eq(wanted));
        }
    }
}
