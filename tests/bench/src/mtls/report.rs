//! The figures, side by side, as Markdown.

use super::LOADS;
use crate::statistics::Spread;
use std::fmt;

/// What each proxy costs.
pub struct Report {
    /// One line.
    pub conditions: String,
    /// Of the proxies.
    pub names: Vec<&'static str>,
    /// Microseconds, for each proxy, load and round.
    pub figures: Vec<[Vec<f64>; LOADS.len()]>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.conditions)?;
        writeln!(f, "| CPU, µs | {} | ratio |", self.names.join(" | "))?;
        writeln!(f, "|---|{}---|", "---|".repeat(self.names.len()))?;
        for (load, name) in LOADS.iter().enumerate() {
            let of = |figures: &[Vec<f64>; LOADS.len()]| spread(figures[load].iter().copied());
            let cells: Vec<_> = self.figures.iter().map(of).collect();
            let ratio = match &self.figures[..] {
                [ours, theirs] => {
                    spread(ours[load].iter().zip(&theirs[load]).map(|(ours, theirs)| ours / theirs))
                }
                _ => String::new(),
            };
            writeln!(f, "| {name} | {} | {ratio} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

fn spread(figures: impl IntoIterator<Item = f64>) -> String {
    Spread::of(figures).map_or_else(String::new, |spread| spread.text(2))
}
