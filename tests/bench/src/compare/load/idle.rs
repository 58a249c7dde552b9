//! Connections that asked once and stay.

use super::{Plan, Target, client::Client};
use crate::{
    usage::{CpuTime, resident_bytes},
    void::Void,
};
use serde::{Deserialize, Serialize};
use std::{any::Any, rc::Rc};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// Connections that are opened at once.
const BATCH: usize = 50;

/// What doing nothing costs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Idle {
    /// Connections.
    pub connections: usize,
    /// Resident before there were any.
    pub alone: Nothing,
    /// With them.
    pub with: Nothing,
}

/// What doing nothing costs at a moment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Nothing {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Processor time of a second, in milliseconds.
    pub cpu_milliseconds: f64,
}

impl Idle {
    /// Memory of a connection.
    pub fn bytes_of_connection(&self) -> f64 {
        (self.with.resident_bytes as f64 - self.alone.resident_bytes as f64) / self.connections as f64
    }
}

/// Looks at a target before and after there are so many connections.
///
/// # Errors
/// When an answer is wrong, or none comes.
pub async fn run(plan: &Plan, target: &Target, connections: usize) -> Result<Idle, Void> {
    let client = Client::new(plan, target, Rc::default())?;
    let alone = look(plan, target).await?;
    let mut kept: Vec<Box<dyn Any>> = Vec::with_capacity(connections);
    while kept.len() < connections {
        let mut batch = JoinSet::new();
        for _ in 0..BATCH.min(connections - kept.len()) {
            batch.spawn_local(client.clone().once());
        }
        while let Some(one) = batch.join_next().await {
            kept.push(one.map_err(|error| Void::because(error.to_string()))??);
        }
    }
    let with = look(plan, target).await?;
    Ok(Idle { connections, alone, with })
}

/// Looks for as long as anything is measured, after a while in which the subject comes to rest.
async fn look(plan: &Plan, target: &Target) -> Result<Nothing, Void> {
    sleep(plan.warm_up).await;
    let (before, begin) = (CpuTime::of(target.process)?, Instant::now());
    sleep(plan.window).await;
    let used = CpuTime::of(target.process)?.since(&before);
    Ok(Nothing {
        resident_bytes: resident_bytes(target.process)?,
        cpu_milliseconds: used as f64 / 1e6 / begin.elapsed().as_secs_f64(),
    })
}
