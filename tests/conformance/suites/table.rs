//! Results, and `target/suites.md`.

use sidle_test_support::peers;
use std::{collections::BTreeMap, fmt::Write, sync::Mutex};

/// One case of a suite: its name, what came of it without the proxy where that was tried, and what came of it through it.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub directly: Option<String>,
    pub through: String,
    pub passed: bool,
}

impl Case {
    /// A case that is only tried through the proxy.
    pub fn new(name: &str, outcome: Result<(), String>) -> Self {
        let passed = outcome.is_ok();
        let through = outcome.err().unwrap_or_else(|| "passed".to_owned());
        Case { name: name.to_owned(), directly: None, through, passed }
    }

    /// A case that may fail if it fails without the proxy too.
    pub fn beside(name: &str, directly: Result<(), String>, through: Result<(), String>) -> Self {
        let excused = directly.is_err();
        let mut case = Case::new(name, through);
        case.passed |= excused;
        case.directly = Some(directly.err().unwrap_or_else(|| "passed".to_owned()));
        case
    }
}

/// Enters a suite into the table, and fails if one of its cases failed, or if there are fewer than `least`.
pub fn enter(suite: &str, least: usize, cases: Vec<Case>) {
    static SUITES: Mutex<BTreeMap<String, Vec<Case>>> = Mutex::new(BTreeMap::new());
    let failed: Vec<_> = cases.iter().filter(|case| !case.passed).map(line).collect();
    let summary = format!("{suite}: {} of {} cases failed\n{}", failed.len(), cases.len(), failed.concat());
    let enough = cases.len() >= least;
    {
        let mut suites = SUITES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        suites.insert(suite.to_owned(), cases);
        std::fs::write(peers::root().join("target/suites.md"), table(&suites)).unwrap();
    }
    assert!(enough, "{suite} has at least {least} cases: {summary}");
    assert!(failed.is_empty(), "{summary}");
}

fn table(suites: &BTreeMap<String, Vec<Case>>) -> String {
    let mut text = "# Suites\n\n| suite | cases | passed |\n|---|---|---|\n".to_owned();
    for (suite, cases) in suites {
        let passed = cases.iter().filter(|case| case.passed).count();
        writeln!(text, "| {suite} | {} | {passed} |", cases.len()).unwrap();
    }
    for (suite, cases) in suites {
        write!(text, "\n## {suite}\n\n| case | directly | through Sidle |\n|---|---|---|\n").unwrap();
        cases.iter().for_each(|case| text.push_str(&line(case)));
    }
    text
}

fn line(case: &Case) -> String {
    let cell = |text: &str| text.trim().replace('|', "\\|").replace('\n', " ");
    let directly = case.directly.as_deref().unwrap_or("");
    let mark = if case.passed { "" } else { "**FAILED** " };
    format!("| {} | {} | {mark}{} |\n", cell(&case.name), cell(directly), cell(&case.through))
}
