//! What tables show: one measurement, or several together.
//!
//! Invariants: all figures of one work of one scenario are of one measurement, the last that has it, so that ratios are of rounds in which all
//! were asked; nothing of what an earlier one has of it is shown.

use super::{
    load::Figures,
    results::{Cell, Results, Run},
    scenarios::{Kind, SCENARIOS, Scenario},
};

/// Measurements, the last of which wins.
pub struct Shown<'a>(pub &'a [Results]);

impl<'a> Shown<'a> {
    /// All who took part, in the order in which they are first named.
    pub fn subjects(&self) -> Vec<&'a str> {
        let mut subjects = Vec::new();
        for subject in self.0.iter().flat_map(|results| &results.subjects) {
            if !subjects.contains(&subject.as_str()) {
                subjects.push(subject);
            }
        }
        subjects
    }

    /// Where the figures of a work come from.
    pub fn source(&self, scenario: &str, kind: Kind) -> Option<&'a Results> {
        self.0.iter().rev().find(|results| results.work(scenario, kind).is_some())
    }

    /// The scenarios of which a kind of work was done.
    pub fn scenarios(&self, kind: Kind) -> impl Iterator<Item = Scenario> {
        SCENARIOS.into_iter().filter(move |scenario| self.source(scenario.name, kind).is_some())
    }

    /// The scenarios of which a measurement has the figures of a kind of work.
    pub fn scenarios_of(&self, results: &Results, kind: Kind) -> impl Iterator<Item = Scenario> {
        let from = move |name| self.source(name, kind).is_some_and(|source| std::ptr::eq(source, results));
        self.scenarios(kind).filter(move |scenario| from(scenario.name))
    }

    /// See [`Results::cell`].
    pub fn cell(
        &self,
        scenario: &str,
        subject: &str,
        kind: Kind,
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Cell {
        let source = self.source(scenario, kind);
        source.map_or(Cell::Absent, |results| results.cell(scenario, subject, kind, figure))
    }

    /// Of all runs that are shown, each said once.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for remark in self.runs().filter_map(Run::remark) {
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
        remarks
    }

    /// Whether all was done, and no run that is shown is void.
    pub fn all_count(&self) -> bool {
        self.0.iter().all(|results| results.ended_early_by.is_none()) && !self.runs().any(Run::is_void)
    }

    fn runs(&self) -> impl Iterator<Item = &'a Run> {
        let of = |results: &'a Results| results.runs.iter().map(move |run| (results, run));
        let shown = |(results, run): &(&Results, &Run)| {
            let source = self.source(run.scenario(), run.kind());
            source.is_some_and(|source| std::ptr::eq(source, *results))
        };
        self.0.iter().flat_map(of).filter(shown).map(|(_, run)| run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::example;

    fn cost(figures: &Figures) -> Option<f64> {
        Some(figures.load()?.cpu_microseconds())
    }

    /// What there is of one kind of work only.
    fn only(kind: Kind) -> Results {
        let mut results = example();
        results.runs.retain(|run| run.kind() == kind);
        results
    }

    #[test]
    fn of_a_work_that_several_have_the_last_ones_is_shown() {
        let (first, mut last) = (example(), only(Kind::Rate));
        last.runs.truncate(2);
        last.subjects = ["sidle", "haproxy", "mine"].map(str::to_owned).to_vec();
        let both = [first, last];
        let shown = Shown(&both);
        let cell = |kind| shown.cell("h1", "haproxy", kind, cost);
        assert_eq!(cell(Kind::Rate), Cell::Figures(vec![(0, 20.0)]), "one round, of the last");
        assert_eq!(cell(Kind::Saturation), Cell::Figures(vec![(0, 20.0), (1, 40.0)]));
        assert_eq!(shown.subjects(), ["sidle", "haproxy", "nginx", "mine"]);
        let names = |results, kind| shown.scenarios_of(results, kind).map(|one| one.name).collect::<Vec<_>>();
        assert_eq!((names(&both[0], Kind::Rate), names(&both[1], Kind::Rate)), (vec![], vec!["h1"]));
        assert_eq!(names(&both[0], Kind::Idle), ["idle"]);
        assert!(names(&both[1], Kind::Idle).is_empty());
    }

    #[test]
    fn a_void_run_is_told_once_and_fails_the_whole() {
        let mut results = [example(), example()];
        let expected = ["skipped: h1 nginx: cannot", "void: round 1 idle nginx: wrong"];
        assert_eq!(Shown(&results).remarks(), expected);
        assert!(!Shown(&results).all_count());
        results[1].runs.retain(|run| !run.is_void());
        assert!(Shown(&results).all_count(), "what the last has instead counts");
        assert_eq!(Shown(&results).remarks(), expected[..1]);
        results[0].end_early("SIGINT").unwrap();
        assert!(!Shown(&results).all_count());
    }
}
