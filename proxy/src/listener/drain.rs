//! The end of a listener, as its connections see it.

use std::cell::Cell;
use tokio::sync::Notify;

/// Whether a listener is on its way out.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Cell<bool>,
    begins: Notify,
    stopped: Cell<bool>,
    stops: Notify,
}

impl Drain {
    /// Clients are told to go elsewhere; whoever comes all the same is served.
    pub fn begin(&self) {
        self.begun.set(true);
        self.begins.notify_waiters();
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

    /// Waits for it to begin.
    pub async fn begun(&self) {
        // One thread: nothing can begin between the check and the first poll of the notification.
        if !self.has_begun() {
            self.begins.notified().await;
        }
    }
}
