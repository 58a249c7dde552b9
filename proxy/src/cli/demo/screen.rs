//! What the demo shows: a live picture on a terminal, plain lines in a pipe.
//!
//! In:  headings, notes, counts.   Out: standard output.
//! Invariants: escape sequences only where colours are allowed; a pipe gets one line a second.
//! Not here: what is counted (`traffic`), what is told (`story`).

use super::{
    super::{
        CliError,
        output::{Style, Terminal, print},
    },
    traffic::Counts,
};
use std::time::{Duration, Instant};

const BAR: usize = 50;

/// The demo's output.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal,
    began: Instant,
    /// Lines of the picture that stands at the cursor, to be drawn over.
    drawn: usize,
    last: Option<Instant>,
}

/// What a picture shows.
#[derive(Debug)]
pub struct Picture<'a> {
    /// Of the split service, since the phase began.
    pub split: &'a Counts,
    /// Of each client, since the start.
    pub totals: &'a [(&'static str, Counts)],
}

impl Screen {
    /// An empty screen.
    pub fn new(terminal: Terminal) -> Screen {
        Screen { terminal, began: Instant::now(), drawn: 0, last: None }
    }

    /// What happens next.
    pub fn heading(&mut self, text: &str) -> Result<(), CliError> {
        self.drawn = 0;
        // The first picture is of something.
        self.last = Some(Instant::now());
        print(&format!("\n{}\n", self.terminal.paint(Style::Title, text)))
    }

    /// Something that was seen.
    pub fn note(&mut self, style: Style, text: &str) -> Result<(), CliError> {
        self.drawn = 0;
        print(&format!("  {}\n", self.terminal.paint(style, text)))
    }

    /// How often [`Self::draw`] shows something.
    pub fn pace(&self) -> Duration {
        Duration::from_millis(if self.terminal.color { 200 } else { 1000 })
    }

    /// Shows where things stand, if it is time.
    pub fn draw(&mut self, picture: &Picture<'_>) -> Result<(), CliError> {
        if self.last.is_some_and(|last| last.elapsed() < self.pace()) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        if !self.terminal.color {
            return print(&line(picture, self.began.elapsed()));
        }
        let lines = self.lines(picture);
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        let text: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
        print(&(up + &text))
    }

    fn lines(&self, picture: &Picture<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        for (version, share) in shares(picture.split) {
            let full = (share * BAR as f64).round() as usize;
            let bar = self.terminal.paint(Style::Good, "█".repeat(full));
            let rest = self.terminal.paint(Style::Faint, "░".repeat(BAR - full));
            lines.push(format!("  {version}  {bar}{rest} {:5.1} %", share * 100.0));
        }
        lines.push(format!("  {}", totals(picture.totals)));
        lines
    }
}

/// `  3.0s  v1 89.7 %  v2 10.3 %  HTTP/1.1 512 …`.
fn line(picture: &Picture<'_>, elapsed: Duration) -> String {
    let shares: String = shares(picture.split)
        .iter()
        .map(|(version, share)| format!("{version} {:4.1} %  ", share * 100.0))
        .collect();
    format!("  {:5.1}s  {shares}{}\n", elapsed.as_secs_f64(), totals(picture.totals))
}

fn totals(totals: &[(&'static str, Counts)]) -> String {
    let failed: u64 = totals.iter().map(|(_, counts)| counts.failed).sum();
    let each: Vec<_> = totals.iter().map(|(name, counts)| format!("{name} {}", counts.requests)).collect();
    format!("{}  failed {failed}", each.join("  "))
}

/// Of the right answers, by version.
pub fn shares(counts: &Counts) -> Vec<(&str, f64)> {
    let total: u64 = counts.versions.values().sum();
    let share = |count: u64| if total == 0 { 0.0 } else { count as f64 / total as f64 };
    counts.versions.iter().map(|(version, count)| (&version[..], share(*count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_a_plain_line() {
        let versions = [("v1".to_owned(), 9), ("v2".to_owned(), 1)].into();
        let split = Counts { requests: 10, versions, ..Counts::default() };
        let totals =
            [("HTTP/1.1", split.clone()), ("gRPC", Counts { requests: 3, failed: 1, ..Counts::default() })];
        let text = line(&Picture { split: &split, totals: &totals }, Duration::from_secs(3));
        assert_eq!(text, "    3.0s  v1 90.0 %  v2 10.0 %  HTTP/1.1 10  gRPC 3  failed 1\n");
    }
}
