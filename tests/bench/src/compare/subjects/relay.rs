//! The limit.

use super::Reason;
use crate::compare::stage::Setup;
use std::process::Command;

/// A relay to the first cluster.
pub fn command(setup: &Setup<'_>) -> Result<Command, Reason> {
    let scenario = setup.scenario;
    if scenario.clients.tls || scenario.upstream_tls {
        return Err(Reason::Skip("a relay of bytes ends no TLS".to_owned()));
    }
    if scenario.clients.protocol != scenario.upstream {
        return Err(Reason::Skip("a relay of bytes speaks no protocol".to_owned()));
    }
    if scenario.logs {
        return Err(Reason::Skip("a relay of bytes has nothing to log".to_owned()));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("relay").arg("--listen").arg(setup.address.port().to_string());
    command.arg("--to").arg(setup.upstreams[0].to_string());
    Ok(command)
}
