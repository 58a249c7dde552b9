//! All rounds, and under which conditions they were run.

use super::{
    CompareArgs,
    load::Figures,
    scenarios::{Scenario, Work},
    subjects::{Reason, Subject},
};
use crate::cores::Cores;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, fs, time::SystemTime};

/// All rounds.
#[derive(Debug, Serialize)]
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
    /// Whom ratios refer to.
    pub reference: String,
    /// In the order of tables.
    pub subjects: Vec<String>,
    /// Of those that say.
    pub versions: BTreeMap<String, String>,
    /// In the order of tables.
    #[serde(skip)]
    pub scenarios: Vec<Scenario>,
    /// Every one.
    pub runs: Vec<Run>,
}

/// One subject, one work of one scenario, one round.
#[derive(Debug, Serialize)]
pub struct Run {
    round: u32,
    scenario: String,
    subject: String,
    work: Work,
    outcome: Outcome,
}

/// What came of it.
#[derive(Debug, Serialize)]
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
    pub fn new(
        args: &CompareArgs,
        cores: Cores,
        scenarios: &[Scenario],
        subjects: &[Subject],
        load_average: f64,
    ) -> Self {
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
            reference: args.reference.clone(),
            subjects: names.collect(),
            versions: versions.collect(),
            scenarios: scenarios.to_vec(),
            runs: Vec::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// Whether a subject cannot do a scenario.
    pub fn skipped(&self, scenario: &Scenario, subject: &Subject) -> bool {
        self.of(scenario.name, subject.name()).any(|run| matches!(run.outcome, Outcome::Skipped(_)))
    }

    /// Whether no run is void.
    pub fn all_count(&self) -> bool {
        !self.runs.iter().any(|run| matches!(run.outcome, Outcome::Void(_)))
    }

    /// Who was left out of what, and why; what does not count, and why; what others disturbed.
    pub fn remarks(&self) -> Vec<String> {
        let told = |run: &&Run| match &run.outcome {
            Outcome::Counts(figures) => figures.disturbed(),
            _ => true,
        };
        self.runs.iter().filter(told).map(ToString::to_string).collect()
    }

    fn of(&self, scenario: &str, subject: &str) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.scenario == scenario && run.subject == subject)
    }

    /// A figure of each round of a work with a subject.
    pub fn cell(
        &self,
        scenario: &str,
        subject: &str,
        work: Work,
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Cell {
        let mut figures = Vec::new();
        for run in self.of(scenario, subject).filter(|run| run.work == work) {
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
