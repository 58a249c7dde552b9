//! What a listener's connections are told: that it ends, and when they have to look whether they may go on.
//!
//! Invariant: who waits, waits for one thing ([`Drain::told`]) and then looks: there are many, and each wait takes room.

use std::cell::Cell;
use tokio::sync::{Notify, futures::Notified};

/// A listener, to its connections: whether it is on its way out, and when they have to look.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Cell<bool>,
    /// How often they were told.
    times: Cell<u32>,
    tells: Notify,
    stopped: Cell<bool>,
    stops: Notify,
}

impl Drain {
    /// Clients are told to go elsewhere; whoever comes all the same is served.
    pub fn begin(&self) {
        self.begun.set(true);
        self.tell();
    }

    /// Its connections look whether they may go on.
    pub fn tell(&self) {
        self.times.set(self.times.get().wrapping_add(1));
        self.tells.notify_waiters();
    }

    /// How often they were told to: who has seen so much has missed nothing.
    pub fn times_told(&self) -> u32 {
        self.times.get()
    }

    /// Waits until they are told the next time.
    pub fn told(&self) -> Notified<'_> {
        self.tells.notified()
    }

    /// Nobody is accepted any more, either.
    pub fn stop(&self) {
        self.begin();
        self.stopped.set(true);
        self.stops.notify_waiters();
    }

    /// Waits for [`Self::stop`].
    pub async fn stopped(&self) {
        if !self.stopped.get() {
            self.stops.notified().await;
        }
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }
}
