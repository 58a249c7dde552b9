//! Questions to all targets in turn: at a fixed rate, or the next one when there is an answer.
//!
//! What a machine does to its guests changes from second to second by more than proxies differ. So all targets are there at once, and each
//! is asked for about a quarter of a second, over and over.
//!
//! Invariants: one target is asked at a time, in another order each time; what a target has used is read before and after each of its turns,
//! and what it uses beside them counts as a disturbance of others; how long the first answers of a turn take is not kept, as they find the
//! processor's caches full of others' things; connections stay from turn to turn.

use super::{
    Figures, Measured, Plan, Target,
    client::Client,
    end, first_failure,
    moment::Moment,
    pace::{Beat, Pace},
    tally::{Gate, Tally},
};
use crate::{usage::CpuTime, void::Void};
use fastrand::Rng;
use std::{rc::Rc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// How long a target is asked, with its rest, in the mean.
const TURN: Duration = Duration::from_millis(250);
/// How long it takes until a target has its caches to itself.
const SETTLE: Duration = Duration::from_millis(50);
/// When the last answers of a turn should have come.
const REST: Duration = Duration::from_millis(20);
/// The part of what is due at a fixed rate that is to be answered in its turn. Who cannot keep the rate has no latency at it, and is short in most
/// turns; a machine that stands still makes some of them short, whoever's they are.
const KEPT: f64 = 0.95;

/// A target, and who asks it.
struct Player<'a> {
    target: &'a Target,
    tally: Rc<Tally>,
    asks: Asks,
    sum: Sum,
}

/// When it is asked.
enum Asks {
    /// So often a second.
    Rate(u32, Beat),
    /// When it has answered.
    Closed,
}

/// Of all turns that count.
#[derive(Default)]
struct Sum {
    /// How many there were.
    turns: u32,
    /// In how many of them fewer were answered than [`KEPT`] of those that were due.
    short: u32,
    clusters: [u64; 2],
    seconds: f64,
    cpu_nanoseconds: u64,
}

/// Asks each target for as long as the plan says: `rate` questions a second, or as many as it answers.
///
/// # Errors
/// When the run is void.
pub async fn run(plan: &Plan, rate: Option<u32>) -> Result<Vec<Figures>, Void> {
    let mut clients = JoinSet::new();
    let mut players = Vec::new();
    for target in &plan.targets {
        let tally = Rc::new(Tally::default());
        let client = Client::new(plan, target, tally.clone())?;
        let connections = plan.clients.connections;
        let (asks, paces) = match rate {
            Some(rate) => {
                let (beat, paces) = Beat::new(connections)?;
                (Asks::Rate(rate, beat), paces)
            }
            None => (Asks::Closed, (0..connections).map(|_| Pace::closed(&tally)).collect()),
        };
        for pace in paces {
            let asked = client.clone().ask(pace);
            let name = target.name.clone();
            clients.spawn_local(async move { asked.await.map_err(|void| void.of(&name)) });
        }
        players.push(Player { target, tally, asks, sum: Sum::default() });
    }
    let disturbance = tokio::select! {
        disturbance = all_turns(plan, &mut players) => disturbance?,
        failed = first_failure(&mut clients) => return Err(failed),
    };
    // In the order in which they were asked for.
    players.sort_by_key(|player| plan.targets.iter().position(|target| target.name == player.target.name));
    let ended: Vec<_> = players.into_iter().map(Player::end).collect();
    end(clients).await?;
    ended.into_iter().map(|(target, tally, sum)| sum.figures(target, &tally, disturbance)).collect()
}

/// How long turns are, the same for all targets. It differs from round to round: what a machine does once a second would else always hit the
/// same target.
fn length(round: usize) -> Duration {
    let golden = (round as f64 * 0.618_034).fract();
    TURN.mul_f64(0.8 + 0.4 * golden)
}

/// How many rounds, from this one on, ask each target for so long at least.
fn rounds(first: usize, time: Duration) -> usize {
    let (mut round, mut asked) = (first, Duration::ZERO);
    while asked < time {
        asked += length(round) - REST;
        round += 1;
    }
    round - first
}

/// All turns, those that count and before them those that do not. What others used of both cores meanwhile.
async fn all_turns(plan: &Plan, players: &mut [Player<'_>]) -> Result<[f64; 2], Void> {
    let warm = rounds(0, plan.warm_up);
    let counted = rounds(warm, plan.window);
    let mut order = Rng::with_seed(1); // the same in each run
    let mut before = None;
    for round in 0..warm + counted {
        let counts = round >= warm;
        if counts && before.is_none() {
            before = Some(Moment::now(plan)?);
        }
        order.shuffle(players);
        for player in players.iter_mut() {
            player.turn(length(round), counts).await?;
        }
    }
    let before = before.ok_or_else(|| Void::because("nothing was to be asked"))?;
    let used = before.until(&Moment::now(plan)?);
    Ok(used.disturbance(players.iter().map(|player| player.sum.cpu_nanoseconds).sum()))
}

impl<'a> Player<'a> {
    /// Its turn.
    async fn turn(&mut self, length: Duration, counts: bool) -> Result<(), Void> {
        let (used, clusters) = (CpuTime::of(self.target.process)?, self.tally.clusters());
        let begin = Instant::now();
        let end = begin + length;
        let rest = end - REST;
        let mut due = 0;
        match &self.asks {
            Asks::Rate(rate, beat) => {
                let settled = if counts { begin + SETTLE } else { end };
                due = beat.keep(*rate, begin, rest, settled).await?;
            }
            Asks::Closed => {
                self.tally.set(Gate::Open);
                sleep_until(rest).await;
                self.tally.set(Gate::Shut);
            }
        }
        let asked = Instant::now();
        sleep_until(end).await;
        if counts {
            let answered = self.tally.last().unwrap_or(asked);
            self.sum.seconds += answered.duration_since(begin).as_secs_f64();
            self.sum.cpu_nanoseconds += CpuTime::of(self.target.process)?.since(&used);
            let now = self.tally.clusters();
            let answers = [0, 1].map(|cluster| now[cluster] - clusters[cluster]);
            self.sum.answered(answers, due);
        }
        Ok(())
    }

    /// Nothing more is asked; without its beat, clients end.
    fn end(self) -> (&'a Target, Rc<Tally>, Sum) {
        self.tally.set(Gate::Over);
        (self.target, self.tally, self.sum)
    }
}

impl Sum {
    /// Takes what a turn has brought, of so many answers that were due, if that is known beforehand.
    fn answered(&mut self, answers: [u64; 2], due: u64) {
        self.turns += 1;
        self.short += u32::from((answers.iter().sum::<u64>() as f64) < due as f64 * KEPT);
        for (sum, more) in self.clusters.iter_mut().zip(answers) {
            *sum += more;
        }
    }

    /// Whether it was short in most of its turns.
    fn is_short(&self) -> bool {
        self.short * 2 > self.turns
    }

    fn figures(self, target: &Target, tally: &Tally, disturbance: [f64; 2]) -> Result<Figures, Void> {
        let answers = self.clusters.iter().sum();
        if answers == 0 {
            return Err(Void::because("no answer").of(&target.name));
        }
        if self.is_short() {
            let Sum { turns, short, .. } = self;
            let percent = KEPT * 100.0;
            return Err(Void::because(format!(
                "in {short} of its {turns} turns it answered less than {percent:.0} % of what was due: it cannot keep the rate"
            ))
            .of(&target.name));
        }
        Ok(Figures::Load(Measured {
            answers,
            clusters: self.clusters,
            seconds: self.seconds,
            cpu_nanoseconds: self.cpu_nanoseconds,
            disturbance,
            latency: tally.latency(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_long_as_they_should_be_and_no_two_alike() {
        let lengths: Vec<_> = (0..20).map(length).collect();
        let mean = lengths.iter().sum::<Duration>() / 20;
        assert!(mean.abs_diff(TURN) < TURN / 20, "{mean:?}");
        assert!(lengths.iter().all(|length| *length > SETTLE * 2 + REST), "{lengths:?}");
        for (first, seconds) in [(0, 1), (3, 1), (5, 7)] {
            let time = Duration::from_secs(seconds);
            let asked = |rounds| (first..first + rounds).map(|round| length(round) - REST).sum::<Duration>();
            let enough = rounds(first, time);
            assert!(asked(enough) >= time && asked(enough - 1) < time, "{enough} from {first} on");
        }
        assert!(lengths.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > TURN / 10), "{lengths:?}");
    }
    #[test]
    fn who_is_short_in_most_turns_cannot_keep_the_rate() {
        let mut sum = Sum::default();
        sum.answered([85, 9], 100);
        assert!(sum.is_short());
        sum.answered([86, 9], 100);
        assert!(!sum.is_short(), "the machine stood still once");
        sum.answered([10, 0], 0);
        assert!(!sum.is_short(), "it answers as many as it does");
        assert_eq!((sum.clusters, sum.turns, sum.short), ([181, 18], 3, 1));
    }
}
