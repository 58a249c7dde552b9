//! The figures of both meshes, side by side, as Markdown.

use super::{mesh::Mesh, subject::Subject};
use crate::{compare::load::Latency, statistics::Spread};
use std::fmt;

/// What one mesh costs.
#[derive(Debug, Default)]
pub struct Figures {
    /// Milliseconds from start to ready.
    pub start: Vec<f64>,
    /// Milliseconds from a written file to a request answered by it.
    pub change: Vec<f64>,
    /// Of these, milliseconds of work.
    pub work: Vec<f64>,
    /// Milliseconds of the slowest request during each change.
    pub slowest: Vec<f64>,
    /// Of requests in a quiet time and in one full of changes; the proxy alone on its core.
    pub alone: Vec<[Latency; 2]>,
    /// The same on two cores.
    pub on_both: Vec<[Latency; 2]>,
    /// MiB after the start.
    pub resident_at_start: f64,
    /// MiB after all changes.
    pub resident_after_changes: f64,
    /// For each load, for each round.
    pub costs: [Vec<Cost>; 2],
}

/// What one round of one load cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Microseconds of CPU for each request.
    pub microseconds: f64,
    /// Requests a second.
    pub rate: f64,
}

/// A column of the table.
pub struct Column {
    mesh: Mesh,
    bytes: usize,
    figures: Figures,
}

impl Column {
    /// For `subject`.
    pub fn new(subject: &Subject, figures: Figures) -> Self {
        Column { mesh: subject.mesh, bytes: subject.bytes, figures }
    }
}

/// Both columns, and how they were measured.
pub struct Report {
    /// One line.
    pub conditions: String,
    /// The small mesh, then the large one.
    pub columns: [Column; 2],
}

const LOADS: [&str; 2] = ["forwarded to 10 hosts", "answered by the proxy, every host in turn"];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.conditions)?;
        let [small, large] = &self.columns;
        writeln!(f, "| | {} | {} | ratio |", title(small), title(large))?;
        writeln!(f, "|---|---|---|---|")?;
        let mut row = |name: &str, cell: &dyn Fn(&Column) -> String, ratio: String| {
            writeln!(f, "| {name} | {} | {} | {ratio} |", cell(small), cell(large))
        };
        row(
            "services, endpoints of each",
            &|c| format!("{}, {}", c.mesh.services, c.mesh.endpoints),
            String::new(),
        )?;
        row("manifests", &|c| format!("{:.1} MB", c.bytes as f64 / 1e6), String::new())?;
        row("start to ready, ms", &|c| spread(&c.figures.start, 0), String::new())?;
        row("file written to applied, ms", &|c| spread(&c.figures.change, 0), String::new())?;
        row("of which work, ms", &|c| spread(&c.figures.work, 1), String::new())?;
        row("slowest request meanwhile, ms", &|c| spread(&c.figures.slowest, 1), String::new())?;
        type Pairs = fn(&Figures) -> &[[Latency; 2]];
        let places: [(&str, Pairs); 2] =
            [("the proxy alone on a core", |f| &f.alone), ("all on two cores", |f| &f.on_both)];
        type Part = fn(&Latency) -> f64;
        let parts: [(&str, Part); 2] =
            [("p99", |latency| latency.p99), ("p99 of 200 in a row", |latency| latency.p99_of_run)];
        for (place, pairs) in places {
            for (name, part) in parts {
                for (at, when) in ["quiet", "changes all the time"].into_iter().enumerate() {
                    let cell = |c: &Column| of_pairs(pairs(&c.figures), |pair| part(&pair[at]) / 1e3);
                    row(&format!("{name}, {place}, {when}, ms"), &cell, String::new())?;
                }
                let cell = |c: &Column| of_pairs(pairs(&c.figures), |pair| part(&pair[1]) / part(&pair[0]));
                row(&format!("{name}, {place}, the second to the first"), &cell, String::new())?;
            }
        }
        row(
            "resident after the start, MiB",
            &|c| format!("{:.1}", c.figures.resident_at_start),
            String::new(),
        )?;
        let changes = format!("resident after {} changes, MiB", small.figures.change.len());
        row(&changes, &|c| format!("{:.1}", c.figures.resident_after_changes), String::new())?;
        for (load, name) in LOADS.iter().enumerate() {
            let costs = |c: &Column| c.figures.costs[load].clone();
            let ratios: Vec<f64> = costs(large)
                .iter()
                .zip(costs(small))
                .map(|(large, small)| large.microseconds / small.microseconds)
                .collect();
            row(
                &format!("CPU of a request {name}, µs"),
                &|c| spread(&costs(c).iter().map(|cost| cost.microseconds).collect::<Vec<_>>(), 1),
                spread(&ratios, 2),
            )?;
            row(
                &format!("requests/s {name}"),
                &|c| spread(&costs(c).iter().map(|cost| cost.rate).collect::<Vec<_>>(), 0),
                String::new(),
            )?;
        }
        Ok(())
    }
}

fn title(column: &Column) -> String {
    format!("{} VirtualServices", column.mesh.virtual_services)
}

fn of_pairs(pairs: &[[Latency; 2]], figure: impl Fn(&[Latency; 2]) -> f64) -> String {
    spread(&pairs.iter().map(figure).collect::<Vec<_>>(), 2)
}

fn spread(figures: &[f64], decimals: usize) -> String {
    Spread::of(figures.iter().copied()).map_or_else(String::new, |spread| spread.text(decimals))
}
