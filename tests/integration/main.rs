//! Behaviour tests: the real `sidle`, real sockets, real peers. One file for each behaviour.
//!
//! Not here: tests that need the machine for themselves (`load.rs`).
//! Read: `stage.rs` (what most tests begin with), `raw.rs` (bytes by hand), then any file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod raw;
mod stage;

mod access_log;
mod accounts;
mod admin;
mod application;
mod authorization;
mod balancing;
mod both_ways;
mod certificates;
mod certs_command;
mod check;
mod close_notify;
mod command_line;
mod configuration;
mod connection_age;
mod cors;
mod delegates;
mod deploy;
mod descriptors;
mod edge;
mod egress;
mod endings;
mod envoy_oracle;
mod examples;
mod ext_authz;
mod ext_authz_bytes;
mod ext_authz_envoy;
mod faults;
mod full_disk;
mod gateway;
mod grpc;
mod grpc_web;
mod half_close;
mod headers;
mod health_checks;
mod hedging;
mod hosts;
mod http1;
mod http2;
mod http2_heads;
mod http2_upstream;
mod identity_sources;
mod inbound;
mod ingress_tls;
mod interception;
mod jwt;
mod keep_alive;
mod laws;
mod limits;
mod localities;
mod matching;
mod memory;
mod mirror;
mod mtls;
mod mtls_envoy;
mod mtls_matrix;
mod mtls_names;
mod mtls_reload;
mod outliers;
mod own_ports;
mod peers;
mod prometheus;
mod protocols;
mod rate_limit_service;
mod rate_limits;
mod redirect_rewrite;
mod resumption;
mod retries;
mod secrets;
mod service_manager;
mod simulate;
mod smuggling;
mod spire;
mod splitting;
mod takeover;
mod tiers;
mod tunnels;
mod upstream_tls;
