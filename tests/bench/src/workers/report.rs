//! One worker, two proxies, two workers, side by side, as Markdown: where nothing crosses from core to core, and where it may.

use crate::statistics::Spread;
use std::fmt;

/// What a round cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Microseconds of processor time of a request, of all proxies.
    pub microseconds: f64,
    /// Requests a second, of all clients.
    pub rate: f64,
}

/// What was found.
pub struct Report {
    /// One line.
    pub conditions: String,
    /// Of one worker, of two proxies, of two workers where all stay on their core; of two proxies, of two workers elsewhere. Round by round.
    pub costs: [Vec<Cost>; 5],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.conditions)?;
        writeln!(
            f,
            "| | one worker | two proxies | two workers | two proxies, across cores | two workers, across cores |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        let mut row = |name: &str, decimals, figure: fn(Cost, Cost) -> f64| {
            let cells = self.costs.each_ref().map(|costs| {
                let figures = costs.iter().zip(&self.costs[0]).map(|(cost, one)| figure(*cost, *one));
                Spread::of(figures).map_or_else(String::new, |spread| spread.text(decimals))
            });
            writeln!(f, "| {name} | {} |", cells.join(" | "))
        };
        row("processor time of a request, µs", 1, |cost, _| cost.microseconds)?;
        row("requests/s", 0, |cost, _| cost.rate)?;
        row("throughput, times that of one worker", 2, |cost, one| cost.rate / one.rate)?;
        row("one worker's processor time of a request to this", 2, |cost, one| {
            one.microseconds / cost.microseconds
        })
    }
}
