//! When the next question is due.
//!
//! Why not a runtime's timer: it counts in milliseconds, and that is longer than an answer takes.

use super::tally::{Gate, Tally};
use crate::void::Void;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::{io, os::fd::AsFd, rc::Rc, time::Duration};
use tokio::{
    net::unix::pipe,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel},
    time::Instant,
};

/// When one connection asks.
pub enum Pace {
    /// When it has an answer, and the gate is open.
    Closed(Rc<Tally>),
    /// When a moment comes, whatever has been answered by then.
    Fixed(UnboundedReceiver<Option<Instant>>),
}

/// What a pace says at a moment.
pub enum Due {
    /// Ask now; when it was planned, if it was and counts.
    Now(Option<Instant>),
    /// Not yet.
    Later,
    /// There is no more to ask.
    Never,
}

impl Pace {
    /// As fast as answers come, while the gate is open.
    pub fn closed(tally: &Rc<Tally>) -> Self {
        Pace::Closed(tally.clone())
    }

    /// Whether to ask, without waiting.
    pub fn now(&mut self) -> Due {
        match self {
            Pace::Closed(tally) => match tally.gate() {
                Gate::Open => Due::Now(None),
                Gate::Shut => Due::Later,
                Gate::Over => Due::Never,
            },
            Pace::Fixed(due) => match due.try_recv() {
                Ok(moment) => Due::Now(moment),
                Err(TryRecvError::Empty) => Due::Later,
                Err(TryRecvError::Disconnected) => Due::Never,
            },
        }
    }

    /// Waits until the next question is due; the moment, if it was planned and counts. `None` when there is no more to ask.
    pub async fn next(&mut self) -> Option<Option<Instant>> {
        match self {
            Pace::Closed(tally) => (tally.passed().await == Gate::Open).then_some(None),
            Pace::Fixed(due) => due.recv().await,
        }
    }
}

/// Says when it is time, to so many connections; when it goes, there is no more to ask.
pub struct Beat {
    due: Vec<UnboundedSender<Option<Instant>>>,
    timer: pipe::Receiver,
}

impl Beat {
    /// With a pace for each connection.
    ///
    /// # Errors
    /// When the system has no timer.
    pub fn new(connections: usize) -> Result<(Self, Vec<Pace>), Void> {
        let (due, paces) =
            (0..connections).map(|_| unbounded_channel()).map(|(due, pace)| (due, Pace::Fixed(pace))).unzip();
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(io::Error::from)?;
        // To the runtime a timer is like a pipe: a file that something can be read from when it is time.
        let timer = pipe::Receiver::from_owned_fd_unchecked(timer)?;
        Ok((Beat { due, timer }, paces))
    }

    /// Shares `rate` questions a second among the connections, from `begin` to `end`. How long those take that are due before `settled` is not kept. How many
    /// there were.
    ///
    /// # Errors
    /// When the timer fails.
    pub async fn keep(&self, rate: u32, begin: Instant, end: Instant, settled: Instant) -> Result<u64, Void> {
        let mut number = 0;
        loop {
            let moment = begin + Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
            if moment >= end {
                return Ok(number);
            }
            while let Some(left) =
                moment.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                arm(&self.timer, left)?;
                self.timer.readable().await?;
                // How often it was time is of no interest; not yet is no error.
                let _ = self.timer.try_read(&mut [0; 8]);
            }
            // A client that has failed says so itself.
            let _ = self.due[number as usize % self.due.len()].send((moment >= settled).then_some(moment));
            number += 1;
        }
    }
}

fn arm(timer: impl AsFd, left: Duration) -> io::Result<()> {
    let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn moments_are_shared_out_evenly_and_end() {
        let begin = Instant::now();
        let (beat, paces) = Beat::new(3).unwrap();
        let [settled, end] = [10, 40].map(|milliseconds| begin + Duration::from_millis(milliseconds));
        assert_eq!(beat.keep(1000, begin, end, settled).await.unwrap(), 40);
        drop(beat);
        assert!(begin.elapsed() >= Duration::from_millis(39));
        let mut moments = Vec::new();
        for mut pace in paces {
            while let Some(moment) = pace.next().await {
                moments.push(moment);
            }
        }
        moments.sort_unstable();
        assert_eq!(moments.len(), 40);
        let kept: Vec<_> = moments.into_iter().flatten().collect();
        assert!(kept.len() == 30 && kept[0] >= settled, "{}", kept.len());
        assert!(kept.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(1)));
    }
}
