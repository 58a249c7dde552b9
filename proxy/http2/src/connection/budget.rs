//! How much of what costs the sender nothing a peer may send.
//!
//! In:  the heads of frames, both ways.   Out: the kind of flood, once it is one.
//! Invariants: the clock is read only for frames that count, so a connection that works pays nothing for it. What a
//! working connection needs in proportion to its work (WINDOW_UPDATE to data, PING that measures it, PRIORITY to streams) is
//! paid for by that work.
//! Source: CVE-2023-44487, CVE-2025-8671, CVE-2019-9512 to 9518; Envoy's `http2_protocol_options`.

use crate::{
    code::Code,
    frame::{ACK, END_STREAM, Head, Kind, PADDED},
};
use std::time::Duration;

/// What a peer sends too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Streams that end by reset, whoever reset them.
    Resets,
    /// DATA with nothing in it.
    Data,
    /// HEADERS that nobody waits for: interim responses.
    Headers,
    /// PRIORITY.
    Priority,
    /// SETTINGS.
    Settings,
    /// PUSH_PROMISE.
    Push,
    /// PING.
    Ping,
    /// WINDOW_UPDATE out of proportion to the data sent.
    WindowUpdate,
    /// CONTINUATION.
    Continuation,
    /// GOAWAY, and types that nobody knows.
    Other,
}

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
/// What the acknowledgement of a PING counts that nobody sent.
const PER_PING_ACK: u32 = 100;

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
    clock: fn() -> Duration,
    since: Duration,
    streams: u32,
    resets: u32,
    control: u32,
    credit: u32,
}

impl Budget {
    /// Of a client, which opens streams, or of a server, which answers on them.
    pub fn new(allowance: Allowance, of_client: bool, clock: fn() -> Duration) -> Self {
        Budget { allowance, of_client, clock, since: clock(), streams: 0, resets: 0, control: 0, credit: 0 }
    }

    /// Counts a frame of the peer's. An acknowledgement of our PING is not to be shown.
    pub fn received(&mut self, head: &Head) -> Option<Flood> {
        match head.kind {
            Kind::Data if head.has(PADDED) => None, // there may be nothing else in it
            Kind::Data if head.length > 0 => self.earn(FOR_DATA_RECEIVED),
            Kind::Data if head.has(END_STREAM) => None,
            Kind::Data => self.count(1, Flood::Data),
            Kind::Headers if self.of_client => None, // see `opened` and `late`
            Kind::Headers => self.spend(Flood::Headers),
            Kind::RstStream => self.reset(),
            Kind::Settings => self.count(1, Flood::Settings),
            Kind::PushPromise => self.count(1, Flood::Push),
            Kind::Ping if head.has(ACK) => self.count(PER_PING_ACK, Flood::Ping),
            Kind::Ping => self.spend(Flood::Ping),
            Kind::Priority => self.spend(Flood::Priority),
            Kind::WindowUpdate => self.spend(Flood::WindowUpdate),
            Kind::Continuation => self.spend(Flood::Continuation),
            _ => self.spend(Flood::Other),
        }
    }

    /// A client has opened a stream.
    pub fn opened(&mut self) {
        self.streams = self.streams.saturating_add(1);
        self.earn(FOR_STREAM_RECEIVED);
    }

    /// A client has sent a head that opens none: trailers, or one for a stream that has ended.
    pub fn late(&mut self) -> Option<Flood> {
        self.spend(Flood::Headers)
    }

    /// A frame of data has nothing in it but padding.
    pub fn received_nothing(&mut self) -> Option<Flood> {
        self.count(1, Flood::Data)
    }

    /// Data was sent.
    pub fn sent_data(&mut self) {
        self.earn(FOR_DATA_SENT);
    }

    /// A head was sent to a server.
    pub fn sent_request(&mut self) {
        self.earn(FOR_STREAM_SENT);
    }

    /// A stream was reset.
    pub fn sent_reset(&mut self, code: Code) -> Option<Flood> {
        if accuses(code) { self.reset() } else { None }
    }

    /// Whether streams have ended by reset lately.
    pub fn is_suspicious(&mut self) -> bool {
        if self.resets > 0 {
            self.roll();
        }
        self.resets > 0
    }

    fn earn(&mut self, credit: u32) -> Option<Flood> {
        self.credit = (self.credit + credit).min(MAX_CREDIT);
        None
    }

    fn spend(&mut self, kind: Flood) -> Option<Flood> {
        match self.credit.checked_sub(1) {
            Some(left) => {
                self.credit = left;
                None
            }
            None => self.count(1, kind),
        }
    }

    fn count(&mut self, weight: u32, kind: Flood) -> Option<Flood> {
        self.roll();
        self.control = self.control.saturating_add(weight);
        (self.control > self.allowance.control).then_some(kind)
    }

    /// A flood of resets is more than the limit, and more than half of the streams: when many requests run out of time at
    /// once, their client is not an attacker, and closing its connection would take the others down, too.
    fn reset(&mut self) -> Option<Flood> {
        let limit = self.allowance.resets?;
        self.roll();
        self.resets = self.resets.saturating_add(1);
        (self.resets > limit && self.resets > self.streams / 2).then_some(Flood::Resets)
    }

    fn roll(&mut self) {
        let now = (self.clock)();
        if now.saturating_sub(self.since) >= SECOND {
            self.since = now;
            (self.streams, self.resets, self.control) = (0, 0, 0);
        }
    }
}

/// Whether a reset says that its receiver broke the protocol: a client can make us send those (CVE-2025-8671). REFUSED_STREAM
/// does not: a client may open too many streams before it has read how many it may.
pub fn accuses(code: Code) -> bool {
    matches!(
        code,
        Code::PROTOCOL_ERROR
            | Code::FLOW_CONTROL_ERROR
            | Code::STREAM_CLOSED
            | Code::FRAME_SIZE_ERROR
            | Code::COMPRESSION_ERROR
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const ALLOWANCE: Allowance = Allowance { resets: Some(10), control: 100 };

    thread_local! {
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn budget(of_client: bool) -> Budget {
        Budget::new(ALLOWANCE, of_client, || NOW.get())
    }

    fn head(kind: Kind, length: u32) -> Head {
        Head { length, kind, flags: 0, stream: 1 }
    }

    /// How many of `frame` pass, and what they then are.
    fn passed(budget: &mut Budget, frame: Head) -> (u32, Flood) {
        let mut passed = 0;
        loop {
            if let Some(flood) = budget.received(&frame) {
                return (passed, flood);
            }
            passed += 1;
            assert!(passed < 50_000, "nothing stops {frame:?}");
        }
    }

    #[test]
    fn what_carries_nothing_is_bounded_in_a_second() {
        for (kind, flood) in [
            (Kind::Data, Flood::Data),
            (Kind::Priority, Flood::Priority),
            (Kind::Settings, Flood::Settings),
            (Kind::Ping, Flood::Ping),
            (Kind::WindowUpdate, Flood::WindowUpdate),
            (Kind::Continuation, Flood::Continuation),
            (Kind::PushPromise, Flood::Push),
            (Kind::Unknown(0x42), Flood::Other),
        ] {
            for mut budget in [budget(true), budget(false)] {
                assert_eq!(passed(&mut budget, head(kind, 0)), (100, flood));
                NOW.set(NOW.get() + SECOND);
                assert_eq!(passed(&mut budget, head(kind, 0)), (100, flood), "anew");
            }
        }
        assert_eq!(passed(&mut budget(false), head(Kind::Headers, 5)), (100, Flood::Headers));
        let acknowledged = Head { flags: ACK, ..head(Kind::Ping, 8) };
        assert_eq!(passed(&mut budget(true), acknowledged), (1, Flood::Ping));
    }

    #[test]
    fn work_pays_for_what_it_needs() {
        let mut client = budget(true);
        for _ in 0..100_000 {
            client.sent_data();
            for _ in 0..10 {
                assert_eq!(client.received(&head(Kind::WindowUpdate, 4)), None);
            }
            assert_eq!(client.received(&head(Kind::Data, 5)), None);
            assert_eq!(client.received(&head(Kind::Ping, 8)), None);
            client.opened();
            assert_eq!(client.received(&head(Kind::Priority, 5)), None);
            assert_eq!(client.received(&head(Kind::WindowUpdate, 4)), None);
        }
        for _ in 0..100_000 {
            client.sent_data();
        }
        let (spent, _) = passed(&mut client, head(Kind::WindowUpdate, 4));
        assert_eq!(spent, MAX_CREDIT + 100, "and no more is saved up");
        let mut server = budget(false);
        for _ in 0..1_000 {
            server.sent_request();
            for _ in 0..10 {
                let answer = server.received(&head(Kind::Headers, 50));
                assert_eq!(answer, None, "eight interim, one final, trailers");
            }
        }
    }

    #[test]
    fn resets_are_a_flood_when_most_streams_end_so() {
        let reset = head(Kind::RstStream, 4);
        let mut rapid = budget(true);
        let mut passed = 0;
        while {
            rapid.opened();
            rapid.received(&reset).is_none()
        } {
            passed += 1;
        }
        assert_eq!(passed, 10);

        let mut some = budget(true);
        for _ in 0..1_000 {
            for _ in 0..2 {
                some.opened();
            }
            assert_eq!(some.received(&reset), None, "half of them ran out of time");
        }
        let mut upstream = Budget::new(Allowance { resets: None, ..ALLOWANCE }, false, || NOW.get());
        for _ in 0..1_000 {
            assert_eq!(upstream.received(&reset), None);
        }
    }

    #[test]
    fn a_reset_of_ours_counts_when_the_client_made_us() {
        let resets = |code| {
            let mut budget = budget(true);
            (0..1_000).position(|_| budget.sent_reset(code).is_some())
        };
        for code in [Code::PROTOCOL_ERROR, Code::FLOW_CONTROL_ERROR, Code::STREAM_CLOSED] {
            assert_eq!(resets(code), Some(10), "{code}");
        }
        for code in [Code::NO_ERROR, Code::CANCEL, Code::INTERNAL_ERROR, Code::REFUSED_STREAM] {
            assert_eq!(resets(code), None, "{code}");
        }
    }
}
