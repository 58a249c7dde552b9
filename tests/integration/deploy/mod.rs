//! What `deploy/` holds, used as its users would.
//!
//! Read: `machine` (a machine with a real systemd) -> `debian` (the package on it) -> `systemd` (the unit on it); `pod` (what a
//! container engine gives) -> `container` -> `kubernetes` (the chart, the manifests) ->
//! `captured` (the same with traffic capture, and what `sidle inject` makes); `monitoring`
//! (rules and dashboard); `page` (deploy/README.md).

mod captured;
mod container;
mod debian;
mod kubernetes;
mod machine;
mod monitoring;
mod page;
mod pod;
mod systemd;

use sidle_test_support::peers::root;
use std::path::PathBuf;

/// A file or folder of `deploy/`.
fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}
