//! Rows as they stand in `cases/*.yaml`: what is sent to whom, and what must come of it.
//!
//! In:  the files.   Out: [`Case`]s, one for each variant and each listener.
//! Invariants: an unknown field is an error; every row has a source; ids are unique.
//! Not here: what the fields of a step mean (`bytes`), how an expectation is judged (`verdict`).
//!
//! A row with `each` stands for several. An item that is text takes the place of `{each}` in the row; an item that is a map
//! does so for each of its keys, and a key that is a field of a row sets that field.

use crate::bytes::Step;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use std::{collections::BTreeSet, ops::RangeInclusive, path::Path};

/// One row.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Letter and number of the row in the plan, then the number of the variant: `A3.2`.
    pub id: String,
    /// What it is about.
    pub name: String,
    /// Where the demand comes from: RFC section, CVE.
    pub source: String,
    /// Why there is nothing to run.
    pub not_applicable: Option<String>,
    /// Which listener gets the bytes.
    #[serde(default)]
    pub to: Door,
    /// Server name of the TLS handshake; for [`Door::Tls`].
    pub sni: Option<String>,
    /// Lines of the `spec` of `kind: Proxy`.
    #[serde(default)]
    pub proxy: String,
    /// Further manifests.
    #[serde(default)]
    pub manifests: String,
    /// Most open files of the process.
    pub open_files: Option<u32>,
    /// What the upstream does.
    #[serde(default)]
    pub upstream: Script,
    /// How many connections do the same at a time.
    #[serde(default = "one")]
    pub connections: usize,
    /// Nothing is read until all is sent; with several connections, nothing ever.
    #[serde(default)]
    pub deaf: bool,
    /// Load: a process of its own, a healthy client beside, figures.
    #[serde(default)]
    pub flood: bool,
    /// What is sent.
    #[serde(default)]
    pub send: Vec<Step>,
    /// A file for `sidle check`, in place of `send`.
    #[serde(default)]
    pub check: Vec<Step>,
    /// What must come of it; of several, one must hold.
    #[serde(default)]
    pub expect: Many<Expect>,
    /// For how long the outcome is waited for, in milliseconds.
    #[serde(default = "patience")]
    pub patience: u64,
}

/// A listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// From the application.
    #[default]
    Outbound,
    /// To the application.
    Inbound,
    /// A port of a Gateway.
    Gateway,
    /// Another, with TLS, for `one.test` and `two.test`.
    Tls,
    /// The admin server.
    Admin,
}

impl Door {
    /// As in the files.
    pub fn name(self) -> &'static str {
        match self {
            Door::Outbound => "outbound",
            Door::Inbound => "inbound",
            Door::Gateway => "gateway",
            Door::Tls => "tls",
            Door::Admin => "admin",
        }
    }
}

/// What the upstream does with a row's requests. Without one, it answers 200 with the target as the body.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// What it says on each new connection; HTTP/2 only, after its preface.
    pub greet: Vec<Step>,
    /// What it answers.
    pub answer: Vec<Step>,
    /// How many requests get `answer`; the others get the usual one. Absent: all.
    pub first: Option<u64>,
    /// Whether it answers when it has the head, and reads the body afterwards.
    pub early: bool,
    /// Whether it closes after `answer`.
    pub close: bool,
    /// Payload of its SETTINGS frame, hex; HTTP/2 only.
    pub settings: String,
}

/// What must come of a row. Absent fields do not matter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// One of these happened first: a status, `goaway`, `goaway CODE`, `rst`, `rst CODE`, `closed` (without an answer),
    /// `silence`.
    pub outcome: Many<String>,
    /// How many final answers came.
    pub answers: Option<Count>,
    /// So many answers came, and they are those to `/p/0`, `/p/1`, … in order.
    pub in_order: Option<u64>,
    /// Whether the proxy closed the connection.
    pub closed: Option<bool>,
    /// A further request on the same connection gets its own answer.
    pub next: bool,
    /// Bytes that the client got.
    pub has: Many<String>,
    /// Bytes that the client did not get.
    pub never: Many<String>,
    /// How many requests the upstream saw.
    pub requests: Option<Count>,
    /// How many connections the upstream has seen.
    pub upstream_connections: Option<Count>,
    /// The request lines that it saw.
    pub lines: Option<Many<String>>,
    /// The bodies that it saw, without framing.
    pub bodies: Option<Many<String>>,
    /// Bytes that it saw; letter case does not count.
    pub upstream_has: Many<String>,
    /// Bytes that it did not see; letter case does not count.
    pub upstream_never: Many<String>,
    /// How many requests it had at a time.
    pub in_flight: Option<u64>,
    /// How many requests are still at the upstream when all is over.
    pub left: Option<u64>,
    /// What a line of the access log holds.
    pub log: Many<String>,
    /// Resident memory that came on top, in KiB.
    pub memory_kib: Option<u64>,
    /// Processor time in milliseconds.
    pub cpu_ms: Option<u64>,
    /// From the first byte to the outcome, in milliseconds.
    pub within_ms: Option<u64>,
    /// From the first byte to the outcome at the earliest, in milliseconds.
    pub not_before_ms: Option<u64>,
}

/// One, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Many<T> {
    /// One.
    One(T),
    /// A list.
    List(Vec<T>),
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many::List(Vec::new())
    }
}

impl<T> Many<T> {
    /// All of them.
    pub fn all(&self) -> &[T] {
        match self {
            Many::One(one) => std::slice::from_ref(one),
            Many::List(list) => list,
        }
    }
}

/// `3`, or `0..1`, or `1..`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub struct Count(pub RangeInclusive<u64>);

impl TryFrom<Value> for Count {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if let Some(number) = value.as_u64() {
            return Ok(Count(number..=number));
        }
        let wrong = || format!("not a count: {value:?}");
        let (low, high) = value.as_str().and_then(|text| text.split_once("..")).ok_or_else(wrong)?;
        let high = if high.is_empty() { Ok(u64::MAX) } else { high.parse() };
        match (low.parse(), high) {
            (Ok(low), Ok(high)) => Ok(Count(low..=high)),
            _ => Err(wrong()),
        }
    }
}

fn one() -> usize {
    1
}

fn patience() -> u64 {
    3000
}

/// All rows of the files in `folder`, in the order of their names.
///
/// # Panics
/// When a row cannot be read; with its id.
pub fn load(folder: &Path) -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_stem().is_some_and(|stem| stem.len() == 1));
    files.sort();
    let cases: Vec<Case> = files
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let rows: Vec<Mapping> =
                serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            rows.into_iter().flat_map(variants)
        })
        .collect();
    let mut ids = BTreeSet::new();
    for case in &cases {
        assert!(ids.insert((&case.id, case.to.name())), "{} stands twice", case.id);
    }
    cases
}

/// The rows that one row of a file stands for.
fn variants(mut row: Mapping) -> Vec<Case> {
    let items = match row.remove("each") {
        Some(Value::Sequence(items)) => items,
        _ => vec![Value::Null],
    };
    let doors = match row.remove("to") {
        Some(Value::Sequence(doors)) => doors,
        Some(door) => vec![door],
        None => vec!["outbound".into()],
    };
    let several = items.len() > 1;
    let mut cases = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let number = several.then_some(index + 1);
        let row = variant(&row, item, number);
        for door in &doors {
            let mut row = row.clone();
            row.insert("to".into(), door.clone());
            let id = row["id"].as_str().unwrap_or("?").to_owned();
            let case = serde_yaml::from_value(Value::Mapping(row));
            cases.push(case.unwrap_or_else(|error| panic!("row {id}: {error}")));
        }
    }
    cases
}

fn variant(row: &Mapping, item: &Value, number: Option<usize>) -> Mapping {
    const FIELDS: &[&str] = &[
        "name",
        "source",
        "proxy",
        "upstream",
        "send",
        "expect",
        "patience",
        "sni",
        "not_applicable",
        "check",
        "manifests",
    ];
    let mut row = row.clone();
    let mut words = Vec::new();
    match item {
        Value::Mapping(item) => {
            for (key, value) in item {
                let key = key.as_str().unwrap_or_default();
                if FIELDS.contains(&key) {
                    row.insert(key.into(), value.clone());
                } else {
                    words.push((format!("{{{key}}}"), value.as_str().unwrap_or_default().to_owned()));
                }
            }
        }
        Value::String(word) => words.push(("{each}".to_owned(), word.clone())),
        _ => {}
    }
    if let (Some(number), Some(Value::String(id))) = (number, row.get_mut("id")) {
        id.push_str(&format!(".{number}"));
    }
    if let (Some(_), Some((_, word)), Some(Value::String(name))) =
        (number, words.first(), row.get_mut("name"))
        && !name.contains('{')
        && !matches!(item, Value::Mapping(item) if item.contains_key("name"))
    {
        name.push_str(&format!(": `{word}`"));
    }
    row.iter_mut().for_each(|(_, value)| replace(value, &words));
    row
}

fn replace(value: &mut Value, words: &[(String, String)]) {
    match value {
        Value::String(text) => {
            for (word, by) in words {
                if text.contains(word.as_str()) {
                    *text = text.replace(word.as_str(), by);
                }
            }
        }
        Value::Sequence(list) => list.iter_mut().for_each(|value| replace(value, words)),
        Value::Mapping(map) => map.iter_mut().for_each(|(_, value)| replace(value, words)),
        _ => {}
    }
}
