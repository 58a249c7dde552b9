//! Under which conditions tables came about: where, when, how often, and what was done.

use super::{
    results::Results,
    scenarios::{Kind, SCENARIOS, Scenario, Work},
    shown::Shown,
};
use std::fmt::Write;

/// Each machine, with what was measured there and when; what each scenario is.
pub fn conditions(shown: &Shown<'_>) -> String {
    let mut machines: Vec<(String, Vec<String>)> = Vec::new();
    for results in shown.0 {
        let (machine, measured) = (machine(results), measured(shown, results));
        match machines.iter_mut().find(|(other, _)| *other == machine) {
            Some((_, all)) => all.push(measured),
            None => machines.push((machine, vec![measured])),
        }
    }
    let mut text = String::new();
    for (machine, measured) in machines {
        let _ = writeln!(text, "{machine}");
        list(measured, &mut text);
        text += "\n";
    }
    text += "Figures are medians of all rounds, ratios medians (smallest–largest) of those of each round.\n";
    list(SCENARIOS.into_iter().filter_map(|scenario| about(shown, scenario)).collect(), &mut text);
    text
}

fn machine(results: &Results) -> String {
    let versions: Vec<_> =
        results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let ([proxy, load], versions) = (results.cores, versions.join(", "));
    format!(
        "{}, Linux {}. One worker each, alone on core {proxy}; load and upstreams on core {load}. {versions}.",
        results.processor, results.kernel
    )
}

/// When a measurement was made, and how often and how long it measured what is shown of it.
fn measured(shown: &Shown<'_>, results: &Results) -> String {
    let looks = results.idle_seconds.unwrap_or(results.seconds);
    let kinds = [
        (Kind::Saturation, "at saturation", results.seconds),
        (Kind::Rate, "at a fixed rate", results.seconds),
        (Kind::Idle, "of doing nothing", looks),
    ];
    let parts = kinds.into_iter().filter_map(|(kind, what, seconds)| {
        let names: Vec<_> = shown.scenarios_of(results, kind).map(|one| format!("`{}`", one.name)).collect();
        (!names.is_empty()).then(|| format!("{seconds} s {what} ({})", names.join(", ")))
    });
    let parts: Vec<_> = parts.collect();
    let (date, load) = (&results.date, results.load_average);
    let rounds =
        if results.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", results.rounds) };
    let what = if parts.is_empty() { "nothing that no later one has".to_owned() } else { parts.join(", ") };
    let early = results.ended_early().map_or_else(String::new, |how| format!(". **Ended early**, {how}"));
    format!("{date}, load average before: {load:.2}; {rounds}: {what}{early}")
}

/// What a scenario is, and its rate, if there is anything of it.
fn about(shown: &Shown<'_>, scenario: Scenario) -> Option<String> {
    let kinds = [Kind::Saturation, Kind::Rate, Kind::Idle];
    let works = kinds.map(|kind| shown.source(scenario.name, kind)?.work(scenario.name, kind));
    works.iter().flatten().next()?;
    let rate = match works[1] {
        Some(Work::Rate(rate)) => format!("; fixed rate: {rate}/s"),
        _ => String::new(),
    };
    Some(format!("`{}`: {}{rate}", scenario.name, scenario.about))
}

/// Lines of a list, after an empty one.
pub fn list(lines: Vec<String>, text: &mut String) {
    if !lines.is_empty() {
        *text += "\n";
    }
    for line in lines {
        let _ = writeln!(text, "* {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::example;

    fn conditions_of(results: &[Results]) -> String {
        conditions(&Shown(results))
    }

    fn expect(text: &str, lines: &[&str]) {
        for expected in lines {
            assert!(text.lines().any(|line| line == *expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn where_when_how_often_and_what() {
        expect(
            &conditions_of(&[example()]),
            &[
                "some, Linux 6.18. One worker each, alone on core 0; load and upstreams on core 1. haproxy 2.6.",
                "* `h1`: HTTP/1.1 kept alive, 64 connections, answers of 1 KiB; fixed rate: 5000/s",
                "* `idle`: 1,000 connections of HTTP/1.1 that asked once",
                "* 2026-11-22T10:00:00Z, load average before: 0.25; 2 rounds: 3 s at saturation (`h1`), 3 s at a fixed rate (`h1`), \
                 10 s of doing nothing (`idle`)",
            ],
        );
    }

    #[test]
    fn who_was_ended_early_says_how_far_it_got() {
        let mut results = example();
        assert!(!conditions_of(&[results]).contains("Ended early"));
        results = example();
        results.end_early("SIGINT").unwrap();
        let expected = "**Ended early**, by SIGINT: the last that all had done was idle in round 1 of 2.";
        let text = conditions_of(&[results]);
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn several_measurements_say_what_each_brought() {
        let mut last = example();
        last.runs.retain(|run| run.kind() == Kind::Rate);
        (last.date, last.rounds, last.seconds) = ("2026-11-23".to_owned(), 1, 8);
        let text = conditions_of(&[example(), last]);
        expect(
            &text,
            &[
                "* 2026-11-22T10:00:00Z, load average before: 0.25; 2 rounds: 3 s at saturation (`h1`), 10 s of doing nothing (`idle`)",
                "* 2026-11-23, load average before: 0.25; 1 round: 8 s at a fixed rate (`h1`)",
            ],
        );
        assert_eq!(text.matches("One worker each").count(), 1, "one machine is told of once: {text}");
    }
}
