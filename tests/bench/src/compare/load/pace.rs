//! When the next question is due.
//!
//! Why not a runtime's timer: it counts in milliseconds, and that is longer than an answer takes.

use super::tally::Tally;
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
    /// When it has an answer.
    Closed(Rc<Tally>),
    /// When a moment comes, whatever has been answered by then.
    Fixed(UnboundedReceiver<Instant>),
}

/// What a pace says at a moment.
pub enum Due {
    /// Ask now; when it was planned, if it was.
    Now(Option<Instant>),
    /// Not yet.
    Later,
    /// There is no more to ask.
    Never,
}

impl Pace {
    /// As fast as answers come.
    pub fn closed(tally: &Rc<Tally>) -> Self {
        Pace::Closed(tally.clone())
    }

    /// Whether to ask, without waiting.
    pub fn now(&mut self) -> Due {
        match self {
            Pace::Closed(tally) if tally.stopped() => Due::Never,
            Pace::Closed(_) => Due::Now(None),
            Pace::Fixed(due) => match due.try_recv() {
                Ok(moment) => Due::Now(Some(moment)),
                Err(TryRecvError::Empty) => Due::Later,
                Err(TryRecvError::Disconnected) => Due::Never,
            },
        }
    }

    /// Waits until the next question is due; the moment, if it was planned. `None` when there is no more to ask.
    pub async fn next(&mut self) -> Option<Option<Instant>> {
        match self {
            Pace::Closed(tally) => (!tally.stopped()).then_some(None),
            Pace::Fixed(due) => due.recv().await.map(Some),
        }
    }
}

/// Shares `rate` questions a second among so many connections, until `end`.
///
/// # Errors
/// When the system has no timer.
pub fn fixed(
    connections: usize,
    rate: u32,
    end: Instant,
) -> Result<(Vec<Pace>, impl Future<Output = Result<(), Void>> + use<>), Void> {
    let (due, paces): (Vec<_>, Vec<_>) =
        (0..connections).map(|_| unbounded_channel()).map(|(due, pace)| (due, Pace::Fixed(pace))).unzip();
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(io::Error::from)?;
    // To the runtime a timer is like a pipe: a file that something can be read from when it is time.
    let timer = pipe::Receiver::from_owned_fd_unchecked(timer)?;
    Ok((paces, pacer(due, timer, rate, end)))
}

/// Tells each connection in turn when it is to ask.
async fn pacer(
    due: Vec<UnboundedSender<Instant>>,
    timer: pipe::Receiver,
    rate: u32,
    end: Instant,
) -> Result<(), Void> {
    let begin = Instant::now();
    for number in 0u64.. {
        let moment = begin + Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
        if moment >= end {
            break;
        }
        while let Some(left) = moment.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            arm(&timer, left)?;
            timer.readable().await?;
            // How often it was time is of no interest; not yet is no error.
            let _ = timer.try_read(&mut [0; 8]);
        }
        // A client that has failed says so itself.
        let _ = due[number as usize % due.len()].send(moment);
    }
    Ok(())
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
        let (paces, pacer) = fixed(3, 1000, begin + Duration::from_millis(30)).unwrap();
        pacer.await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(29));
        let mut moments = Vec::new();
        for mut pace in paces {
            while let Some(moment) = pace.next().await {
                moments.extend(moment);
            }
        }
        moments.sort_unstable();
        assert!((28..=30).contains(&moments.len()), "{}", moments.len());
        assert!(moments.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(1)));
    }
}
