//! The figures, side by side, as Markdown.

use super::client::{Figures, Seen};
use std::fmt;

/// What clients saw.
pub struct Report {
    /// One line.
    pub conditions: String,
    /// Proxy, setting, figures.
    pub rows: Vec<(&'static str, &'static str, Figures)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.conditions)?;
        writeln!(f, "| | | first 3 s: errors | p50, ms | p99, ms | then: errors | p50, ms | p99, ms |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for (name, setting, figures) in &self.rows {
            writeln!(f, "| {name} | {setting} | {} | {} |", cells(&figures.first), cells(&figures.then))?;
        }
        Ok(())
    }
}

fn cells(seen: &Seen) -> String {
    let (half, most) = (seen.percentile(50), seen.percentile(99));
    format!("{:.2} % | {half:.1} | {most:.1}", seen.share_of_errors())
}
