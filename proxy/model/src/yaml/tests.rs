//! The parser on good, bad and hostile text.

use super::*;
use crate::{
    config::Step,
    diagnostic::{Diagnostic, codes},
    source::Text,
};
use proptest::prelude::*;
use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

fn read(content: &str) -> (Vec<Arc<Document>>, Vec<Diagnostic>) {
    parse(&Text { name: "f.yaml".into(), content: content.into() }, Budget::default())
}

fn good(content: &str) -> Arc<Document> {
    let (documents, diagnostics) = read(content);
    assert!(diagnostics.is_empty(), "{content}: {diagnostics:?}");
    documents[0].clone()
}

/// `line:column code` of each mistake.
fn mistakes(content: &str) -> Vec<String> {
    let place = |d: &Diagnostic| {
        let span = d.span.unwrap();
        format!("{}:{} {}", span.line, span.column, d.code)
    };
    read(content).1.iter().map(place).collect()
}

fn place(document: &Document, path: &[Step<'_>], part: Part) -> (u32, u32, u32) {
    let span = document.span_at(document.root(), path, part);
    (span.line, span.column, span.length)
}

#[test]
fn places_of_keys_and_values() {
    let document =
        good("# head\na:\n  - b: 1\n    \"c\": [x, {d: 'two words'}]\n  -   e: |\n        text\nf:\n");
    use Step::{Index, Key};
    for (path, value, key) in [
        (&[Key("a")][..], (2, 1, 1), (2, 1, 1)),
        (&[Key("a"), Index(0)], (3, 5, 1), (3, 5, 1)),
        (&[Key("a"), Index(0), Key("b")], (3, 8, 1), (3, 5, 1)),
        (&[Key("a"), Index(0), Key("c")], (4, 5, 3), (4, 5, 3)),
        (&[Key("a"), Index(0), Key("c"), Index(0)], (4, 11, 1), (4, 11, 1)),
        (&[Key("a"), Index(0), Key("c"), Index(1)], (4, 14, 1), (4, 14, 1)),
        (&[Key("a"), Index(0), Key("c"), Index(1), Key("d")], (4, 18, 11), (4, 15, 1)),
        (&[Key("a"), Index(1)], (5, 7, 1), (5, 7, 1)),
        (&[Key("a"), Index(1), Key("e")], (6, 9, 1), (5, 7, 1)),
        (&[Key("f")], (7, 1, 1), (7, 1, 1)),
        (&[Key("a"), Index(0), Key("nothing"), Index(7)], (3, 5, 1), (3, 5, 1)),
        (&[Key("zzz")], (2, 1, 1), (2, 1, 1)),
    ] {
        assert_eq!(place(&document, path, Part::Value), value, "value of {path:?}");
        assert_eq!(place(&document, path, Part::Key), key, "key of {path:?}");
    }
}

#[test]
fn columns_are_characters() {
    let document = good("ключ: {é: ü}\n");
    assert_eq!(place(&document, &["ключ".into(), "é".into()], Part::Value), (1, 11, 1));
}

#[test]
fn documents_have_their_own_lines() {
    let (documents, diagnostics) = read("a: 1\n---\n# x\nb: 2\n...\n---\nc: [\n---\nd: 4\n");
    assert_eq!(diagnostics.len(), 1);
    let places: Vec<_> =
        documents.iter().map(|d| d.span(d.entries(d.root()).next().unwrap().0).line).collect();
    assert_eq!(places, [1, 4, 9]);
}

#[test]
fn json_is_yaml() {
    let document = good("{\n  \"a\": [1, true, null, \"x\\ty\"],\n\t\"b\": {\"c\": 1.5}\n}\n");
    let list = document.value(document.root(), "a").unwrap();
    let kinds: Vec<_> = document.items(list).map(|item| document.kind(item)).collect();
    assert_eq!(kinds, [Kind::Integer, Kind::Boolean, Kind::Null, Kind::Text]);
    assert_eq!(document.text(document.items(list).nth(3).unwrap()), "x\ty");
}

#[test]
fn characters_that_json_writes_as_two_escapes_are_read_and_move_nothing() {
    use Step::Key;
    let document = good(r#"{"\ud83d\ude00": "a\uD83D\uDE01\ud83d\ude02z", "b": {"c": 1}}"#);
    let value = document.value(document.root(), "😀").unwrap();
    assert_eq!(document.text(value), "a😁😂z");
    assert_eq!(place(&document, &[Key("b"), Key("c")], Part::Value), (1, 59, 1));
    assert_eq!(mistakes(r#"{"a": "\ud83d"}"#), ["1:7 SDL0004"], "half of one is no character");
}

#[test]
fn aliases_and_merges() {
    let text =
        "base: &b {x: 1, y: 2}\nother: &o {z: 3, x: 9}\nuse: {<<: [*b, *o], y: 5}\nlist: [*b, &t text, *t]\n";
    let document = good(text);
    let merged = document.value(document.root(), "use").unwrap();
    let entries: Vec<_> = document
        .entries(merged)
        .map(|(k, v)| (document.text(k).to_owned(), document.text(v).to_owned()))
        .collect();
    let expected = [("y", "5"), ("x", "1"), ("z", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(entries, expected);
    // What an alias stands for has the place of the anchor: that is the text to change.
    let copied = &["list".into(), Step::Index(0), "y".into()];
    assert_eq!(place(&document, copied, Part::Value), (1, 20, 1));
    let list = document.value(document.root(), "list").unwrap();
    assert_eq!(
        document.items(list).map(|i| document.text(i).to_owned()).collect::<Vec<_>>(),
        ["", "text", "text"]
    );
}

#[test]
fn tags_of_json_types() {
    let document = good("a: !!str 80\nb: !!int 5\nc: ! x\nd: !!map {e: !!seq []}\n");
    assert_eq!(document.kind(document.value(document.root(), "a").unwrap()), Kind::Text);
    assert_eq!(mistakes("a: 1\nb: !!python/object/apply:os.system [x]\n"), ["2:4 SDL0007"]);
    assert_eq!(mistakes("a: !!binary aGVsbG8=\n"), ["1:4 SDL0007"]);
    assert_eq!(mistakes("a: !custom x\n"), ["1:4 SDL0007"]);
    assert_eq!(mistakes("a: !!int x\n"), ["1:4 SDL0007"]);
}

#[test]
fn malformed_text() {
    for (text, expected) in [
        ("a: 1\na: 2\nb: {c: 1, c: 2}\n", &["3:11 SDL0005", "2:1 SDL0005"][..]),
        ("a: 1\n\tb: 2\n", &["2:1 SDL0004"]),
        ("a: [1, 2\n", &["2:1 SDL0004"]),
        ("a: 'x\n", &["1:4 SDL0004"]),
        ("a: *nowhere\n", &["1:4 SDL0004"]),
        ("a: &a [*a]\n", &["1:8 SDL0004"]),
        ("a: {<<: 5}\n", &["1:10 SDL0004"]),
        ("{{ .Values.x }}: 1\n", &["1:1 SDL0008"]),
        ("[a]: 1\n", &["1:1 SDL0008"]),
        ("a: 1\n b: 2\n", &["2:3 SDL0004"]),
    ] {
        assert_eq!(mistakes(text), expected, "{text:?}");
    }
}

#[test]
fn syntax_errors_say_what_to_do() {
    for (text, place, message) in [
        ("a:\n  b: 1\n\tc: 2\n", (3, 1), "a tab in the indentation"),
        ("a: b: c\n", (1, 5), "no value can begin"),
        ("a: {{ .Values.x }}: b\n", (1, 5), "cannot be a key"),
        ("- a\nb: 1\n", (2, 1), "does not belong to the list"),
        ("a:\n  b: 1\n c: 2\n", (3, 2), "does not belong to the object"),
        ("a: \"\\d+\"\n", (1, 4), "an escape that YAML does not know"),
        ("a: @x\n", (1, 4), "no plain text can begin"),
        ("a: *\n", (1, 4), "without a name"),
        ("a: - b\n", (1, 4), "no list can begin"),
        ("x: 'it's'\n", (1, 8), "follows the closing quote"),
        ("a: }\n", (1, 4), "without an opening one"),
        ("{\"a\": 1 \"b\": 2}", (1, 12), "has no `}`"),
    ] {
        let diagnostics = read(text).1;
        let span = diagnostics[0].span.unwrap();
        assert!(diagnostics[0].message.contains(message), "{text:?}: {diagnostics:?}");
        assert_eq!((span.line, span.column), place, "{text:?}");
        assert!(diagnostics[0].help.is_some(), "{text:?}");
    }
}

#[test]
fn a_mistake_in_one_document_leaves_the_others() {
    let (documents, diagnostics) = read("a: 1\n---\nb: [\n---\nc: 3\n");
    assert_eq!(documents.len(), 2);
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].code, codes::SYNTAX);
}

/// Hostile text is refused, and fast.
#[test]
fn bombs() {
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..40 {
        let item = format!("*a{}", level - 1);
        let _ = writeln!(laughs, "a{level}: &a{level} [{}]", [item.as_str(); 9].join(","));
    }
    let mut merges = String::from("m0: &m0 {k0: 1}\n");
    for level in 1..2000 {
        let _ = writeln!(merges, "m{level}: &m{level} {{<<: *m{}, k{level}: 1}}", level - 1);
    }
    let mut deep_aliases = String::from("a0: &a0 [x]\n");
    for level in 1..200 {
        let _ = writeln!(deep_aliases, "a{level}: &a{level} [*a{}]", level - 1);
    }
    let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(50_000), "*a,".repeat(10));
    for (name, text) in [
        ("laughs", laughs),
        ("merges", merges),
        ("aliases of aliases", deep_aliases),
        ("wide alias", wide),
        ("deep lists", "[".repeat(10_000)),
        ("deep objects", "{a: ".repeat(10_000)),
        ("deep blocks", (0..3000).fold(String::new(), |text, n| text + &" ".repeat(n) + "a:\n")),
        ("deep dashes", "- ".repeat(10_000)),
    ] {
        let begin = Instant::now();
        let (documents, diagnostics) = read(&text);
        let took = begin.elapsed();
        assert!(documents.is_empty(), "{name}");
        assert_eq!(
            diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(),
            [codes::BUDGET],
            "{name}: {diagnostics:?}"
        );
        // Unoptimised and on a busy machine; see the README for what a release build takes.
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
    }
}

#[test]
fn too_many_values_are_refused_once() {
    let budget = Budget { nodes: 100, ..Budget::default() };
    let text = Text { name: "f".into(), content: "- x\n---\n".repeat(200).into() };
    let (documents, diagnostics) = parse(&text, budget);
    assert_eq!((documents.len(), diagnostics.len()), (50, 1));
}

/// A tree to write down.
#[derive(Debug, Clone)]
enum Plan {
    Scalar(String),
    List(Vec<Plan>),
    Object(Vec<(String, Plan)>),
}

fn plan() -> impl Strategy<Value = Plan> {
    let scalar = "[a-z]{1,6}|[0-9]{1,4}|é[a-z]{0,3}".prop_map(Plan::Scalar);
    scalar.prop_recursive(5, 40, 5, |inner| {
        let object = prop::collection::btree_map("[a-z]{1,8}", inner.clone(), 1..5);
        prop_oneof![
            prop::collection::vec(inner, 1..5).prop_map(Plan::List),
            object.prop_map(|entries| Plan::Object(entries.into_iter().collect())),
        ]
    })
}

/// Writes `plan` as block YAML, and notes where each key and scalar went: line, column, text.
fn write(plan: &Plan, indent: usize, out: &mut String, places: &mut Vec<(u32, u32, String)>) {
    let here = |out: &String| {
        let line = out.matches('\n').count() as u32 + 1;
        (line, out.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1)
    };
    match plan {
        Plan::Scalar(text) => {
            let (line, column) = here(out);
            places.push((line, column, text.clone()));
            out.push_str(text);
            out.push('\n');
        }
        Plan::List(items) => {
            for item in items {
                out.push_str(&" ".repeat(indent));
                out.push('-');
                nested(item, indent + 2, out, places);
            }
        }
        Plan::Object(entries) => {
            for (key, value) in entries {
                out.push_str(&" ".repeat(indent));
                let (line, column) = here(out);
                places.push((line, column, key.clone()));
                out.push_str(key);
                out.push(':');
                nested(value, indent + 2, out, places);
            }
        }
    }
}

fn nested(plan: &Plan, indent: usize, out: &mut String, places: &mut Vec<(u32, u32, String)>) {
    out.push(if matches!(plan, Plan::Scalar(_)) { ' ' } else { '\n' });
    write(plan, indent, out, places);
}

fn found(document: &Document, node: NodeId, places: &mut Vec<(u32, u32, String)>) {
    let mut note = |node| {
        let span = document.span(node);
        places.push((span.line, span.column, document.text(node).to_owned()));
    };
    match document.kind(node) {
        Kind::Sequence => document.items(node).for_each(|item| found(document, item, places)),
        Kind::Mapping => {
            for (key, value) in document.entries(node) {
                let span = document.span(key);
                places.push((span.line, span.column, document.text(key).to_owned()));
                found(document, value, places);
            }
        }
        _ => note(node),
    }
}

proptest! {
    #[test]
    fn never_panics(text in "(?s).{0,300}") {
        read(&text);
    }

    #[test]
    fn never_panics_on_yaml_like_text(parts in prop::collection::vec(
        prop::sample::select(vec![
            "a", "b", ":", ": ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ",", "&x ", "*x", "<<", "|", ">", "\"", "'",
            "#", "---\n", "...\n", "!!str ", "!", "%", "?", "\t", "~", "80", "é", "\r\n", "\0", "\u{feff}",
        ]),
        0..60,
    )) {
        let text = parts.concat();
        for document in read(&text).0 {
            found(&document, document.root(), &mut Vec::new());
        }
    }

    #[test]
    fn every_place_is_right(plan in plan()) {
        let (mut text, mut expected) = (String::new(), Vec::new());
        write(&plan, 0, &mut text, &mut expected);
        let mut places = Vec::new();
        let document = good(&text);
        found(&document, document.root(), &mut places);
        prop_assert_eq!(places, expected, "{}", text);
    }
}
