//! All rounds of a measurement, and under which conditions they were run.
//!
//! Invariants: this is the JSON that a measurement leaves, and files of earlier ones are read again: what is new is optional.

use super::{
    CompareArgs,
    load::Figures,
    scenarios::{Kind, Scenario, Work},
    subjects::{Reason, Subject},
};
use crate::{cores::Cores, void::Void};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, fs, time::SystemTime};

/// All rounds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    /// When it began.
    pub date: String,
    /// The machine's.
    pub kernel: String,
    /// The machine's.
    pub processor: String,
    /// Before it began.
    pub load_average: f64,
    /// Of the proxy, of everything else.
    pub cores: [usize; 2],
    /// How often.
    pub rounds: u32,
    /// What counts of each load.
    pub seconds: u64,
    /// Of each look at one that does nothing; as of loads, where it does not say.
    pub idle_seconds: Option<u64>,
    /// In the order of tables.
    pub subjects: Vec<String>,
    /// Of those that say.
    pub versions: BTreeMap<String, String>,
    /// Every one.
    pub runs: Vec<Run>,
    /// The signal that came before all was done.
    pub ended_early_by: Option<String>,
}

/// One subject, one work of one scenario, one round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    round: u32,
    scenario: String,
    subject: String,
    work: Work,
    outcome: Outcome,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Counts(Figures),
    Skipped(String),
    Void(String),
}

impl Run {
    /// Of an outcome.
    pub fn new(
        round: u32,
        scenario: &Scenario,
        subject: &Subject,
        work: Work,
        outcome: Result<Figures, Reason>,
    ) -> Self {
        let outcome = match outcome {
            Ok(figures) => Outcome::Counts(figures),
            Err(Reason::Skip(reason)) => Outcome::Skipped(reason),
            Err(Reason::Void(void)) => Outcome::Void(void.to_string()),
        };
        Run { round, scenario: scenario.name.to_owned(), subject: subject.name().to_owned(), work, outcome }
    }

    /// Of which scenario.
    pub fn scenario(&self) -> &str {
        &self.scenario
    }

    /// Of which kind of work.
    pub fn kind(&self) -> Kind {
        self.work.kind()
    }

    /// Whether it is of this.
    fn is_of(&self, scenario: &str, kind: Kind) -> bool {
        self.scenario == scenario && self.kind() == kind
    }

    /// Whether it does not count.
    pub fn is_void(&self) -> bool {
        matches!(self.outcome, Outcome::Void(_))
    }

    /// Who was left out, and why; what does not count, and why; what others disturbed.
    pub fn remark(&self) -> Option<String> {
        let told = match &self.outcome {
            Outcome::Counts(figures) => figures.disturbed(),
            _ => true,
        };
        told.then(|| self.to_string())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scenario, subject, round) = (&self.scenario, &self.subject, self.round + 1);
        match &self.outcome {
            Outcome::Skipped(reason) => write!(f, "skipped: {scenario} {subject}: {reason}"),
            Outcome::Void(reason) => write!(f, "void: round {round} {scenario} {subject}: {reason}"),
            Outcome::Counts(figures) => write!(f, "round {round} {scenario} {subject}: {figures}"),
        }
    }
}

/// What the rounds of a cell come down to.
#[derive(Debug, PartialEq)]
pub enum Cell {
    /// Nothing was measured.
    Absent,
    /// A round is void.
    Void,
    /// A figure for each round.
    Figures(Vec<(u32, f64)>),
}

impl Results {
    /// None yet.
    pub fn new(args: &CompareArgs, cores: Cores, subjects: &[Subject], load_average: f64) -> Self {
        let names = subjects.iter().map(|subject| subject.name().to_owned());
        let versions =
            subjects.iter().filter_map(|subject| Some((subject.name().to_owned(), subject.version()?)));
        Results {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            load_average,
            cores: [cores.proxy(), cores.load()],
            rounds: args.rounds,
            seconds: args.seconds,
            idle_seconds: Some(args.times().of(Kind::Idle).window.as_secs()),
            subjects: names.collect(),
            versions: versions.collect(),
            runs: Vec::new(),
            ended_early_by: None,
        }
    }

    /// By what, and how far it got.
    pub fn ended_early(&self) -> Option<String> {
        let (signal, last) = (self.ended_early_by.as_ref()?, self.runs.last()?);
        let (scenario, round, rounds) = (&last.scenario, last.round + 1, self.rounds);
        Some(format!("by {signal}: the last that all had done was {scenario} in round {round} of {rounds}."))
    }

    /// What all subjects have done.
    pub fn add(&mut self, whole: Vec<Run>) {
        self.runs.extend(whole);
    }

    /// There will be no more.
    ///
    /// # Errors
    /// When there are none.
    pub fn end_early(&mut self, signal: &str) -> Result<(), Void> {
        self.ended_early_by = Some(signal.to_owned());
        if self.runs.is_empty() {
            Err(Void::because(format!("ended by {signal} before all had done anything")))
        } else {
            Ok(())
        }
    }

    /// Whether a subject cannot do a scenario.
    pub fn skipped(&self, scenario: &Scenario, subject: &Subject) -> bool {
        self.of(scenario.name, subject.name()).any(|run| matches!(run.outcome, Outcome::Skipped(_)))
    }

    fn of(&self, scenario: &str, subject: &str) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.scenario == scenario && run.subject == subject)
    }

    /// A work of a scenario, if anything was done of it.
    pub fn work(&self, scenario: &str, kind: Kind) -> Option<Work> {
        self.runs.iter().find(|run| run.is_of(scenario, kind)).map(|run| run.work)
    }

    /// A figure of each round of a work with a subject.
    pub fn cell(
        &self,
        scenario: &str,
        subject: &str,
        kind: Kind,
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Cell {
        let mut figures = Vec::new();
        for run in self.of(scenario, subject).filter(|run| run.work.kind() == kind) {
            match &run.outcome {
                Outcome::Void(_) => return Cell::Void,
                Outcome::Counts(measured) => {
                    figures.extend(figure(measured).map(|figure| (run.round, figure)))
                }
                Outcome::Skipped(_) => {}
            }
        }
        if figures.is_empty() { Cell::Absent } else { Cell::Figures(figures) }
    }
}

/// The processor's name.
fn processor(cpuinfo: &str) -> String {
    let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::compare::{
        load::{Idle, Latency, Measured, Nothing},
        scenarios::SCENARIOS,
    };

    /// Rounds of two scenarios with three subjects, the last of which does not do the first scenario, and fails in the second.
    pub fn example() -> Results {
        let mut results = Results {
            date: "2026-11-22T10:00:00Z".to_owned(),
            kernel: "6.18".to_owned(),
            processor: "some".to_owned(),
            load_average: 0.25,
            cores: [0, 1],
            rounds: 2,
            seconds: 3,
            idle_seconds: Some(10),
            subjects: ["sidle", "haproxy", "nginx"].map(str::to_owned).to_vec(),
            versions: BTreeMap::from([("haproxy".to_owned(), "2.6".to_owned())]),
            runs: Vec::new(),
            ended_early_by: None,
        };
        let [h1, idle] = ["h1", "idle"].map(scenario);
        for round in 0..2 {
            for (subject, cost) in [(Subject::Sidle, 10_000), (Subject::Haproxy, 20_000)] {
                for work in h1.work {
                    let measured = measured(cost * (1 + u64::from(round)), *work);
                    results.add(vec![Run::new(round, &h1, &subject, *work, Ok(Figures::Load(measured)))]);
                }
                let memory = |mib: u64| Nothing { resident_bytes: mib << 20, cpu_milliseconds: 0.5 };
                let one = Idle { connections: 1024, alone: memory(10), with: memory(12) };
                results.add(vec![Run::new(round, &idle, &subject, idle.work[0], Ok(Figures::Idle(one)))]);
            }
        }
        let skip = Reason::Skip("cannot".to_owned());
        results.add(vec![Run::new(0, &h1, &Subject::Nginx, h1.work[0], Err(skip))]);
        let void = Reason::Void(Void::because("wrong"));
        results.add(vec![Run::new(0, &idle, &Subject::Nginx, idle.work[0], Err(void))]);
        results
    }

    fn scenario(name: &str) -> Scenario {
        SCENARIOS.into_iter().find(|scenario| scenario.name == name).unwrap()
    }

    fn measured(nanoseconds: u64, work: Work) -> Measured {
        Measured {
            answers: 90_000,
            clusters: [81_000, 9000],
            seconds: 3.0,
            cpu_nanoseconds: nanoseconds * 90_000,
            disturbance: [0.0; 2],
            latency: matches!(work, Work::Rate(_)).then_some(Latency {
                p50: 100.0,
                p99: 200.0,
                p999: 300.0,
                p99_of_run: 150.0,
                max: 400.0,
            }),
        }
    }

    #[test]
    fn a_cell_has_a_figure_for_each_round() {
        let results = example();
        let cell = |subject, figure: fn(&Figures) -> Option<f64>| {
            results.cell("h1", subject, Kind::Saturation, figure)
        };
        let cost = |figures: &Figures| Some(figures.load()?.cpu_microseconds());
        assert_eq!(cell("sidle", cost), Cell::Figures(vec![(0, 10.0), (1, 20.0)]));
        assert_eq!(cell("nginx", cost), Cell::Absent);
        assert_eq!(results.cell("idle", "nginx", Kind::Idle, cost), Cell::Void);
        assert!(results.skipped(&scenario("h1"), &Subject::Nginx));
        assert!(!results.skipped(&scenario("idle"), &Subject::Nginx));
    }

    #[test]
    fn who_has_done_nothing_has_nothing_to_show() {
        let mut results = example();
        assert!(results.end_early("SIGINT").is_ok());
        results.runs.clear();
        assert!(results.end_early("SIGINT").is_err(), "there is nothing to show");
    }

    #[test]
    fn every_round_is_in_the_json() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["runs"].as_array().unwrap().len(), 14);
        assert_eq!(json["runs"][0]["outcome"]["Counts"]["Load"]["answers"], 90_000);
        assert_eq!(json["versions"]["haproxy"], "2.6");
    }

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Some CPU\n"), "Some CPU");
        assert_eq!(processor(""), std::env::consts::ARCH);
    }
}
