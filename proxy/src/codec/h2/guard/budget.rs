//! How much of what costs the sender nothing a peer may send.
//!
//! In:  the heads of frames, both ways.   Out: the kind of flood, once it is one.
//! Invariants: pure, and reads the clock only for frames that count, so a connection that works pays nothing for it. What a
//! working connection needs in proportion to its work (WINDOW_UPDATE to data, PING that measures it, PRIORITY to streams) is
//! paid for by that work.
//! Not here, because h2 itself bounds them: CONTINUATION frames of one block (5), bytes of a block (four times the limit),
//! empty DATA (100 in a connection's life), memory held by tiny DATA, resets of streams not yet accepted (20) and protocol
//! errors (1,024 in a connection's life); answers to PING and SETTINGS, which h2 makes before it reads on.
//! Source: CVE-2023-44487, CVE-2025-8671, CVE-2019-9512 to 9518; Envoy's `http2_protocol_options`.

use super::frames::{Head, kind};
use h2::Reason;
use sidle_telemetry::Http2Flood;
use std::time::Duration;
use tokio::time::Instant;

/// What "in one second" means.
const SECOND: Duration = Duration::from_secs(1);
/// Frames of the peer's that a frame of data sent to it pays for, as in Envoy.
const FOR_DATA_SENT: u32 = 10;
/// The same, for data received.
const FOR_DATA_RECEIVED: u32 = 1;
/// The same, for a stream that it opened.
const FOR_STREAM_RECEIVED: u32 = 2;
/// The same, for a stream opened to it: interim responses, the response, trailers, a window.
const FOR_STREAM_SENT: u32 = 12;
/// The most that work pays for in advance.
const MAX_CREDIT: u32 = 10_000;
/// What the acknowledgement of a PING counts: one is sent in a connection's life, and h2 logs each that it did not ask for.
const PER_PING_ACK: u32 = 100;
/// Resets of streams not yet accepted, beyond which h2 closes.
const H2_PENDING_RESETS: u32 = 20;

/// What one peer may send.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Streams that end by reset in one second; `None`: any number, it is the peer's own work that is lost.
    pub resets: Option<u32>,
    /// Frames that carry nothing in one second.
    pub control: u32,
}

/// What one peer has sent.
#[derive(Debug)]
pub struct Budget {
    allowance: Allowance,
    /// Whether the peer opens the streams.
    of_client: bool,
    since: Instant,
    streams: u32,
    resets: u32,
    control: u32,
    credit: u32,
}

impl Budget {
    /// Of a client, which opens streams.
    pub fn of_client(allowance: Allowance) -> Self {
        Budget::new(allowance, true)
    }

    /// Of a server, which answers on them.
    pub fn of_server(allowance: Allowance) -> Self {
        Budget::new(allowance, false)
    }

    fn new(allowance: Allowance, of_client: bool) -> Self {
        let since = Instant::now();
        Budget { allowance, of_client, since, streams: 0, resets: 0, control: 0, credit: 0 }
    }

    /// Counts a frame of the peer's.
    pub fn received(&mut self, head: Head) -> Option<Http2Flood> {
        match head.kind {
            kind::DATA if head.length > 0 => self.earn(FOR_DATA_RECEIVED),
            kind::DATA if head.has_first_flag() => None,
            kind::DATA => self.count(1, Http2Flood::Data),
            kind::HEADERS if self.of_client => {
                self.streams = self.streams.saturating_add(1);
                self.earn(FOR_STREAM_RECEIVED)
            }
            kind::HEADERS => self.spend(Http2Flood::Headers),
            kind::RST_STREAM => self.reset(),
            kind::SETTINGS => self.count(1, Http2Flood::Settings),
            kind::PUSH_PROMISE => self.count(1, Http2Flood::Push),
            kind::PING if head.has_first_flag() => self.count(PER_PING_ACK, Http2Flood::Ping),
            kind::PING => self.spend(Http2Flood::Ping),
            kind::PRIORITY => self.spend(Http2Flood::Priority),
            kind::WINDOW_UPDATE => self.spend(Http2Flood::WindowUpdate),
            kind::CONTINUATION => self.spend(Http2Flood::Continuation),
            _ => self.spend(Http2Flood::Other),
        }
    }

    /// Counts a frame sent to the peer.
    pub fn sent(&mut self, head: Head) -> Option<Http2Flood> {
        match head.kind {
            kind::DATA if head.length > 0 => self.earn(FOR_DATA_SENT),
            kind::HEADERS if !self.of_client => self.earn(FOR_STREAM_SENT),
            kind::RST_STREAM if accuses(head.code) => self.reset(),
            _ => None,
        }
    }

    /// Whether streams have ended by reset lately.
    pub fn is_suspicious(&self) -> bool {
        self.resets > 0
    }

    /// What was too much, if it was not too much for this budget. Among what h2 bounds, resets alone are seen here.
    pub fn suspicion(&self) -> Http2Flood {
        if self.resets >= H2_PENDING_RESETS { Http2Flood::Resets } else { Http2Flood::Other }
    }

    fn earn(&mut self, credit: u32) -> Option<Http2Flood> {
        self.credit = (self.credit + credit).min(MAX_CREDIT);
        None
    }

    fn spend(&mut self, kind: Http2Flood) -> Option<Http2Flood> {
        match self.credit.checked_sub(1) {
            Some(left) => {
                self.credit = left;
                None
            }
            None => self.count(1, kind),
        }
    }

    fn count(&mut self, weight: u32, kind: Http2Flood) -> Option<Http2Flood> {
        self.roll();
        self.control = self.control.saturating_add(weight);
        (self.control > self.allowance.control).then_some(kind)
    }

    /// A flood of resets is more than the limit, and more than half of the streams: when many requests run out of time at
    /// once, their client is not an attacker, and closing its connection would take the others down, too.
    fn reset(&mut self) -> Option<Http2Flood> {
        let limit = self.allowance.resets?;
        self.roll();
        self.resets = self.resets.saturating_add(1);
        (self.resets > limit && self.resets > self.streams / 2).then_some(Http2Flood::Resets)
    }

    fn roll(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.since) >= SECOND {
            self.since = now;
            (self.streams, self.resets, self.control) = (0, 0, 0);
        }
    }
}

/// Whether a reset says that its receiver broke the protocol: a client can make us send those (CVE-2025-8671). REFUSED_STREAM
/// does not: a client may open too many streams before it has read how many it may.
pub fn accuses(code: u32) -> bool {
    let codes = [
        Reason::PROTOCOL_ERROR,
        Reason::FLOW_CONTROL_ERROR,
        Reason::STREAM_CLOSED,
        Reason::FRAME_SIZE_ERROR,
        Reason::COMPRESSION_ERROR,
    ];
    codes.contains(&Reason::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { resets: Some(10), control: 100 };

    fn head(kind: u8, length: usize) -> Head {
        Head { length, kind, flags: 0, stream: 1, code: 0 }
    }

    /// How many of `frame` pass, and what they then are.
    fn passed(budget: &mut Budget, frame: Head) -> (u32, Http2Flood) {
        let mut passed = 0;
        loop {
            if let Some(flood) = budget.received(frame) {
                return (passed, flood);
            }
            passed += 1;
            assert!(passed < 50_000, "nothing stops {frame:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_carries_nothing_is_bounded_in_a_second() {
        for (kind, flood) in [
            (kind::DATA, Http2Flood::Data),
            (kind::PRIORITY, Http2Flood::Priority),
            (kind::SETTINGS, Http2Flood::Settings),
            (kind::PING, Http2Flood::Ping),
            (kind::WINDOW_UPDATE, Http2Flood::WindowUpdate),
            (kind::CONTINUATION, Http2Flood::Continuation),
            (kind::PUSH_PROMISE, Http2Flood::Push),
            (0x42, Http2Flood::Other),
        ] {
            for mut budget in [Budget::of_client(ALLOWANCE), Budget::of_server(ALLOWANCE)] {
                assert_eq!(passed(&mut budget, head(kind, 0)), (100, flood));
                tokio::time::advance(SECOND).await;
                assert_eq!(passed(&mut budget, head(kind, 0)), (100, flood), "anew");
            }
        }
        let mut budget = Budget::of_server(ALLOWANCE);
        assert_eq!(passed(&mut budget, head(kind::HEADERS, 5)), (100, Http2Flood::Headers));
        let mut budget = Budget::of_client(ALLOWANCE);
        let acknowledged = Head { flags: 1, ..head(kind::PING, 8) };
        assert_eq!(passed(&mut budget, acknowledged), (1, Http2Flood::Ping));
    }

    #[tokio::test(start_paused = true)]
    async fn work_pays_for_what_it_needs() {
        let mut budget = Budget::of_client(ALLOWANCE);
        for _ in 0..100_000 {
            assert_eq!(budget.sent(head(kind::DATA, 16_384)), None);
            for _ in 0..10 {
                assert_eq!(budget.received(head(kind::WINDOW_UPDATE, 4)), None);
            }
            assert_eq!(budget.received(head(kind::DATA, 5)), None);
            assert_eq!(budget.received(head(kind::PING, 8)), None);
            assert_eq!(budget.received(head(kind::HEADERS, 20)), None);
            assert_eq!(budget.received(head(kind::PRIORITY, 5)), None);
            assert_eq!(budget.received(head(kind::WINDOW_UPDATE, 4)), None);
        }
        for _ in 0..100_000 {
            budget.sent(head(kind::DATA, 16_384));
        }
        let (spent, _) = passed(&mut budget, head(kind::WINDOW_UPDATE, 4));
        assert_eq!(spent, MAX_CREDIT + 100, "and no more is saved up");
        let mut budget = Budget::of_server(ALLOWANCE);
        for _ in 0..1_000 {
            budget.sent(head(kind::HEADERS, 50));
            for _ in 0..10 {
                assert_eq!(
                    budget.received(head(kind::HEADERS, 50)),
                    None,
                    "eight interim, one final, trailers"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn resets_are_a_flood_when_most_streams_end_so() {
        let reset = head(kind::RST_STREAM, 4);
        let mut rapid = Budget::of_client(ALLOWANCE);
        let mut passed = 0;
        while rapid.received(head(kind::HEADERS, 6)).or_else(|| rapid.received(reset)).is_none() {
            passed += 1;
        }
        assert_eq!(passed, 10);

        let mut some = Budget::of_client(ALLOWANCE);
        for _ in 0..1_000 {
            for _ in 0..2 {
                assert_eq!(some.received(head(kind::HEADERS, 6)), None);
            }
            assert_eq!(some.received(reset), None, "half of them ran out of time");
        }
        let mut upstream = Budget::of_server(Allowance { resets: None, ..ALLOWANCE });
        for _ in 0..1_000 {
            assert_eq!(upstream.received(reset), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_of_ours_counts_when_the_client_made_us() {
        let resets = |code: Reason| {
            let mut budget = Budget::of_client(ALLOWANCE);
            let reset = Head { code: code.into(), ..head(kind::RST_STREAM, 4) };
            (0..1_000).position(|_| budget.sent(reset).is_some())
        };
        for code in [Reason::PROTOCOL_ERROR, Reason::FLOW_CONTROL_ERROR, Reason::STREAM_CLOSED] {
            assert_eq!(resets(code), Some(10), "{code}");
        }
        for code in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
            assert_eq!(resets(code), None, "{code}");
        }
    }
}
