//! The process: `/server_info`, `/memory`, `/logging`, `/reopen_logs`, `/drain_listeners`, `/quitquitquit`.

use super::{
    DrainRequest,
    answer::{Answer, TEXT, answer, json, ok, text},
    table::Ask,
};
use http::StatusCode;
use serde_json::json as value;
use sidle_telemetry::ProcessUsage;
use std::{sync::Arc, time::Duration};

/// For an answer to be written to a socket of this machine.
const ANSWER_FIRST: Duration = Duration::from_millis(50);

/// An `envoy.admin.v3.ServerInfo`, as far as it means something here.
pub(super) fn server_info(ask: &Ask) -> Answer {
    let uptime = format!("{}s", ask.source.telemetry().uptime().as_secs());
    let node = ask.source.ir().map(|ir| {
        let node = &ir.node;
        value!({
            "id": format!("sidecar~{}.{}~{}.svc.{}", node.workload, node.namespace, node.namespace, node.domain),
            "cluster": format!("{}.{}", node.workload, node.namespace),
            "metadata": { "NAMESPACE": node.namespace, "LABELS": node.labels, "WORKLOAD_NAME": node.workload },
        })
    });
    let info = value!({
        "version": concat!("sidle/", env!("CARGO_PKG_VERSION")),
        "state": ask.source.readiness().state.name(),
        "hot_restart_version": "disabled",
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "command_line_options": { "arguments": std::env::args().collect::<Vec<_>>() },
        "node": node,
    });
    json(StatusCode::OK, &info)
}

/// An `envoy.admin.v3.Memory` (64-bit numbers are strings), and the highest use so far.
pub(super) fn memory(_: &Ask) -> Answer {
    let usage = ProcessUsage::read();
    let shown = |bytes: Option<f64>| format!("{}", bytes.unwrap_or_default());
    let memory = value!({
        "allocated": shown(usage.resident_bytes),
        "total_physical_bytes": shown(usage.resident_bytes),
        "peak_physical_bytes": shown(usage.peak_resident_bytes),
        "heap_size": shown(usage.virtual_bytes),
    });
    json(StatusCode::OK, &memory)
}

/// Changes the level if one is given; says which one holds.
pub(super) fn logging(ask: &Ask) -> Answer {
    if let Some(level) = ask.query.value("level")
        && let Err(why) = ask.source.set_log_level(level)
    {
        return answer(StatusCode::BAD_REQUEST, TEXT, format!("{why}\n"));
    }
    text(format!("level: {}\n", ask.source.log_level()))
}

pub(super) fn reopen_logs(ask: &Ask) -> Answer {
    ask.source.reopen_logs();
    ok()
}

pub(super) fn drain_listeners(ask: &Ask) -> Answer {
    let drain =
        DrainRequest { inbound_only: ask.query.has("inboundonly"), graceful: ask.query.has("graceful") };
    ask.source.drain(drain);
    ok()
}

/// The process may end at once when told so; the answer goes first.
pub(super) fn quit(ask: &Ask) -> Answer {
    let source = Arc::clone(&ask.source);
    tokio::spawn(async move {
        tokio::time::sleep(ANSWER_FIRST).await;
        source.quit();
    });
    ok()
}
