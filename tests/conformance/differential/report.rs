//! The table of all disagreements.

use crate::{judge::Finding, rows::Sequence};
use sidle_test_support::peers;
use std::{collections::BTreeMap, fmt::Write};

/// Writes `target/differential.md`: figures first, then what could smuggle, then the others by their class.
pub fn write(sequences: usize, forwarded: usize, found: &[(&Sequence, Finding)]) {
    let disputed: std::collections::BTreeSet<_> = found.iter().map(|(sequence, _)| &sequence.name).collect();
    let mut text = format!(
        "# Differential parsing\n\n{sequences} byte sequences to Sidle, nginx, HAProxy and Envoy; Sidle forwarded requests of \
         {forwarded}. Disagreement about {}.\n\n| class | could smuggle | count |\n|---|---|---|\n",
        disputed.len()
    );
    let mut classes: BTreeMap<(bool, &str), Vec<_>> = BTreeMap::new();
    for (sequence, finding) in found {
        classes.entry((!finding.smuggles, finding.class)).or_default().push((sequence, &finding.detail));
    }
    for ((harmless, class), all) in &classes {
        writeln!(text, "| {class} | {} | {} |", if *harmless { "no" } else { "**yes**" }, all.len()).unwrap();
    }
    for ((_, class), all) in &classes {
        write!(text, "\n## {class}\n\n| sequence | bytes | what differs |\n|---|---|---|\n").unwrap();
        for (sequence, detail) in all {
            writeln!(
                text,
                "| {} | `{}` | {} |",
                cell(&sequence.name),
                cell(&shown(&sequence.bytes)),
                cell(detail)
            )
            .unwrap();
        }
    }
    std::fs::write(peers::root().join("target/differential.md"), text).unwrap();
}

/// Bytes as text with escapes, cut where they get long.
pub fn shown(bytes: &[u8]) -> String {
    let text: String =
        bytes.iter().take(300).flat_map(|&byte| std::ascii::escape_default(byte)).map(char::from).collect();
    if bytes.len() > 300 { text + " ..." } else { text }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('`', "'")
}
