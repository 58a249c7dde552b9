//! Behaviour under load: tests that put work on the machine or measure it, in a program of their own, so that they run when no
//! other test does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

/// Held by each test: one at a time.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

mod bodies;
mod compare;
mod concurrency;
mod demo;
mod drain;
mod mtls_rotation;
mod reload_under_load;
mod reuse;
mod room;
mod takeover_under_load;
mod tls;
