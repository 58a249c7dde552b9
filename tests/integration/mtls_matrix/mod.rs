//! Every mode of PeerAuthentication against everything that a client's rule may say, for HTTP, bytes, and TLS of the
//! applications' own: what is expected, and what is seen. The tables are printed and in `target/mtls-matrix.md`.
//!
//! Not here: the proxies and applications around it (`world`).

mod world;

use sidle_test_support::peers;
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::Mutex,
};
use world::{Caller, SPOKEN, Spoken, World};

/// A mode and its policy, then what each of [`RULES`] comes to (for TLS see [`expected`]): `m`TLS, `p`: as the application
/// sent it, or `-`: nothing gets through.
const MODES: [(&str, &str, &str); 8] = [
    ("none", "", "mppp--m"),
    ("STRICT", "{ mtls: { mode: STRICT } }", "m---m-m"),
    ("PERMISSIVE", "{ mtls: { mode: PERMISSIVE } }", "mppp--m"),
    ("DISABLE", "{ mtls: { mode: DISABLE } }", "-ppp---"),
    (
        "STRICT, its port PERMISSIVE",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: STRICT }, portLevelMtls: { PORT: { mode: PERMISSIVE } } }",
        "mppp--m",
    ),
    (
        "PERMISSIVE, its port STRICT",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: PERMISSIVE }, portLevelMtls: { PORT: { mode: STRICT } } }",
        "m---m-m",
    ),
    (
        "STRICT, its port DISABLE",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: STRICT }, portLevelMtls: { PORT: { mode: DISABLE } } }",
        "-ppp---",
    ),
    (
        "STRICT, another port DISABLE",
        "{ selector: { matchLabels: { app: shop } }, mtls: { mode: STRICT }, portLevelMtls: { 1: { mode: DISABLE } } }",
        "m---m-m",
    ),
];

/// A rule, whether the endpoint has the label of mTLS, and the `tls` block.
const RULES: [(&str, bool, &str); 7] = [
    ("none, endpoint takes mTLS", true, ""),
    ("none, endpoint does not", false, ""),
    ("DISABLE, endpoint takes mTLS", true, "{ mode: DISABLE }"),
    ("DISABLE", false, "{ mode: DISABLE }"),
    (
        "MUTUAL",
        true,
        "{ mode: MUTUAL, clientCertificate: DIR/tls.crt, privateKey: DIR/tls.key, caCertificates: DIR/ca.crt, subjectAltNames: [\"SHOP\"] }",
    ),
    ("SIMPLE", true, "{ mode: SIMPLE, caCertificates: DIR/ca.crt, subjectAltNames: [\"SHOP\"] }"),
    ("ISTIO_MUTUAL", false, "{ mode: ISTIO_MUTUAL }"),
];

/// Which of the two sides, if any, is an Envoy with the configuration that `sidle export envoy` makes of Sidle's.
#[derive(Clone, Copy, PartialEq)]
enum Envoy {
    Nowhere,
    Serves,
    Calls,
}

#[tokio::test]
async fn sidle_to_sidle() {
    assert_matrix("Sidle to Sidle", None, Envoy::Nowhere).await;
}

#[tokio::test]
async fn sidle_to_envoy() {
    let Some(program) = peers::find("envoy") else { return };
    assert_matrix("Sidle to Envoy", Some(program), Envoy::Serves).await;
}

#[tokio::test]
async fn envoy_to_sidle() {
    let Some(program) = peers::find("envoy") else { return };
    assert_matrix("Envoy to Sidle", Some(program), Envoy::Calls).await;
}

/// Asks each server by each rule.
async fn assert_matrix(pair: &'static str, program: Option<PathBuf>, envoy: Envoy) {
    let on = |side| program.as_deref().filter(|_| envoy == side);
    let world = World::start(&MODES.map(|(_, policy, _)| policy), on(Envoy::Serves));
    // By what is spoken, then by mode.
    let mut seen = vec![vec![String::new(); MODES.len()]; SPOKEN.len()];
    for rule in RULES {
        let caller = Caller::start(&world, rule, on(Envoy::Calls));
        for (spoken, rows) in SPOKEN.into_iter().zip(&mut seen) {
            for (at, row) in rows.iter_mut().enumerate() {
                row.push(caller.ask(&world, spoken, at).await);
            }
        }
    }
    let tables: String =
        SPOKEN.into_iter().zip(&seen).map(|(spoken, rows)| table(pair, spoken, rows)).collect();
    println!("{tables}");
    keep(pair, &tables);
    for (spoken, rows) in SPOKEN.into_iter().zip(seen) {
        let expected: Vec<_> = MODES.iter().map(|(.., row)| expected(spoken, row)).collect();
        assert_eq!(rows, expected, "\n{tables}");
    }
}

/// Where no rule says anything, what is TLS already by its ServiceEntry is left alone: as if the endpoint took no mTLS.
fn expected(spoken: Spoken, row: &str) -> String {
    match spoken {
        Spoken::Tls => row[1..2].to_owned() + &row[1..],
        Spoken::Http | Spoken::Tcp => row.to_owned(),
    }
}

fn table(pair: &str, spoken: Spoken, rows: &[String]) -> String {
    let (what, plain) = match spoken {
        Spoken::Http => ("HTTP", "plain text"),
        Spoken::Tcp => ("bytes", "plain text"),
        Spoken::Tls => ("TLS of the applications", "passed through"),
    };
    let word = |letter| match letter {
        'm' => "mTLS",
        'p' => plain,
        _ => "refused",
    };
    let mut table = format!("\n## {pair}, {what}\n\n| what comes in \\ what goes out |");
    RULES.iter().for_each(|(rule, ..)| _ = write!(table, " {rule} |"));
    table += "\n|---|";
    RULES.iter().for_each(|_| table += "---|");
    for ((mode, _, row), seen) in MODES.iter().zip(rows) {
        _ = write!(table, "\n| {mode} |");
        for (expected, seen) in expected(spoken, row).chars().zip(seen.chars()) {
            _ = match expected == seen {
                true => write!(table, " {} |", word(seen)),
                false => write!(table, " **{}, not {}** |", word(seen), word(expected)),
            };
        }
    }
    table + "\n"
}

/// Writes what is known so far: the tests of this file run at the same time.
fn keep(pair: &'static str, tables: &str) {
    static TABLES: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
    let mut all = TABLES.lock().unwrap();
    all.insert(pair, tables.to_owned());
    let intro = "# PeerAuthentication and DestinationRule\n\nWhat was expected and seen; where the two differ, both stand in bold.\n";
    let path: &Path = &peers::root().join("target/mtls-matrix.md");
    std::fs::write(path, all.values().fold(intro.to_owned(), |text, tables| text + tables)).unwrap();
}
