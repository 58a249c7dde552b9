//! The end of a request: one log line, one count in each metric.
//!
//! Invariant: accounted for exactly once, by [`Exchange::finish`] or, when the client goes away, by `Drop`.
//! Not here: what is known of it (`record`).

use super::{Exchange, Moment, compare};
use crate::{
    listener::Fault,
    worker::{Held, Sides},
};
use sidle_telemetry::{RequestRecord, ResponseFlags, grpc};
use tokio::time::Instant;

impl Exchange {
    /// Logs and counts what ended `now`, once.
    pub fn finish(mut self: Box<Self>, now: Instant) {
        self.return_permit();
        std::mem::take(&mut self.compared).into_iter().for_each(compare::Side::end);
        self.account(now);
    }

    fn account(&mut self, now: Instant) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.active.end_at(now);
        let record = &mut self.record;
        let now = now.into_std();
        record.ended = Some(now);
        if let Some(meter) = &self.tunnel {
            record.bytes_sent = meter.sent();
            self.request_body.count_tunnel(meter.received());
        }
        record.bytes_received = self.request_body.received();
        if record.grpc && record.grpc_status.is_none() {
            // As Envoy: an answer without a status of gRPC's has the one that its HTTP status stands for.
            record.grpc_status = record.status.map(|status| grpc::status_of_answer(status.as_u16()));
        }
        record.request_complete = self.request_body.completed_at().map(Into::into);
        let destination = self.destination.as_ref();
        let destination =
            destination.map(|(cluster, endpoint)| (cluster.shared(), endpoint.as_ref().map(Held::shared)));
        let worker = &self.connection.worker;
        let direction = self.connection.direction;
        let sides = Sides::of(direction, &record.downstream, record.upstream_identity.as_deref());
        worker.count_request(
            &record.snapshot,
            direction,
            destination,
            record.grpc,
            sides,
            &RequestRecord {
                response_code: record.status.map_or(0, |status| status.as_u16()),
                grpc_status: record.grpc_status,
                flags: record.flags,
                duration: now - record.began,
                request_bytes: record.bytes_received,
                response_bytes: record.bytes_sent,
                request_messages: self.request_body.messages(),
                response_messages: record.response_messages.count(),
            },
        );
        if let Some((log, _)) = &record.snapshot.access_log {
            log.write(&Moment { record, request: None, response: None });
        }
    }
}

/// Details of what the end of the process cut.
pub(super) const CUT: &str = "drain_deadline";

impl Drop for Exchange {
    /// The net: a client that went away, or did wrong, before its answer was whole; or the process ended.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let (flag, details) = match self.connection.fault() {
            _ if self.connection.worker.is_ending() => (ResponseFlags::DT, CUT.into()),
            None => (ResponseFlags::DC, "downstream_remote_disconnect".into()),
            Some(Fault::Protocol) => (ResponseFlags::DPE, "http2.violation.of.messaging.rule".into()),
            Some(Fault::Flood(kind)) => (ResponseFlags::DPE, format!("http2.{}_flood", kind.as_str()).into()),
            Some(Fault::Idle) => (ResponseFlags::SI, "stream_idle_timeout".into()),
        };
        self.record.flags |= flag;
        if self.record.status.is_none() || flag != ResponseFlags::DC {
            self.record.details = details;
        }
        self.account(Instant::now());
    }
}
