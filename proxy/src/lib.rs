//! Sidle's data plane and its command line.
//!
//! Read: `main.rs` -> [`app`] (what runs where) -> [`listener`] -> [`codec`] -> [`exchange`] -> [`policy`] -> [`upstream`];
//! [`config`] is the other straight line, from files to what workers follow. `exchange` is the corridor: it knows
//! the rooms around it; `codec` and `listener` hand over to it, `policy` and `upstream` serve it.

pub mod admin;
pub mod app;
pub mod child;
pub mod cli;
pub mod codec;
pub mod config;
pub mod error;
pub mod exchange;
pub mod identity;
pub mod inject;
pub mod intercept;
pub mod jwks;
pub mod listener;
pub mod name_server;
pub mod overload;
pub mod policy;
pub mod reserve;
mod turn;
pub mod upstream;
pub mod worker;
