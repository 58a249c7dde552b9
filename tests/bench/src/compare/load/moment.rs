//! What all have used, at a moment.

use super::Plan;
use crate::{cores::CoreTime, usage::CpuTime, void::Void};
use tokio::time::Instant;

/// What all have used so far.
pub struct Moment {
    at: Instant,
    /// The upstreams and this process.
    ours: CpuTime,
    /// The proxies' core, and the one of load and upstreams.
    cores: [CoreTime; 2],
}

/// What all have used from a moment to another.
pub struct Used {
    seconds: f64,
    ours: u64,
    cores: [f64; 2],
}

impl Moment {
    /// This one.
    ///
    /// # Errors
    /// When somebody has gone.
    pub fn now(plan: &Plan) -> Result<Self, Void> {
        Ok(Moment {
            at: Instant::now(),
            ours: CpuTime::of(plan.upstream)?.and(CpuTime::of(std::process::id())?),
            cores: [CoreTime::of(plan.cores[0])?, CoreTime::of(plan.cores[1])?],
        })
    }

    /// From this one to a later one.
    pub fn until(&self, later: &Moment) -> Used {
        Used {
            seconds: later.at.duration_since(self.at).as_secs_f64(),
            ours: later.ours.since(&self.ours),
            cores: [0, 1].map(|core| later.cores[core].since(&self.cores[core])),
        }
    }
}

impl Used {
    /// What others used of the two cores, a hypervisor among them, in parts of the whole time; others than load and upstreams, and the
    /// targets in their turns.
    pub fn disturbance(&self, turns_nanoseconds: u64) -> [f64; 2] {
        let known = [turns_nanoseconds, self.ours];
        [0, 1].map(|core| {
            let others = self.cores[core] - known[core] as f64 / 1e9;
            (others / self.seconds).max(0.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_known_has_used_others_have() {
        let used = Used { seconds: 2.0, ours: 0, cores: [0.7, 0.0] };
        let [first, second] = used.disturbance(500_000_000);
        assert!((first - 0.1).abs() < 1e-9 && second == 0.0, "{first} {second}");
    }
}
