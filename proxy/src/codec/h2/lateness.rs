//! A timer that exists only while something is late.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Sleep;

/// Measures how long one thing takes.
#[derive(Debug, Default)]
pub struct Lateness(Option<(u64, Pin<Box<Sleep>>)>);

impl Lateness {
    /// Ready when `thing` has taken longer than `limit` since this was first asked about it.
    pub fn poll(&mut self, thing: u64, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.as_ref().is_some_and(|(timed, _)| *timed != thing) {
            self.over();
        }
        let (_, timer) = self.0.get_or_insert_with(|| (thing, Box::pin(tokio::time::sleep(limit))));
        timer.as_mut().poll(cx)
    }

    /// It is done.
    pub fn over(&mut self) {
        self.0 = None;
    }
}
