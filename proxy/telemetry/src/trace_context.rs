//! `traceparent`: the trace that a request belongs to.
//!
//! In:  the header's bytes.   Out: a [`TraceParent`] that borrows them, or `None`.
//! Invariants: arbitrary bytes never panic; what is not exactly the grammar is no trace at all, so nothing that a client made up
//! comes into a log as an id.
//! Not here: `tracestate`, which is passed on unread; making spans.
//! Source: W3C Trace Context, level 2, section 3.2.

/// Version, ids and flags with their dashes: all that version 00 may have.
const LENGTH: usize = 55;

/// A `traceparent` that keeps to the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// 32 lower-case hexadecimal digits, not all zero.
    pub trace_id: &'a str,
    /// Of the span that asks: 16 lower-case hexadecimal digits, not all zero.
    pub parent_id: &'a str,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl<'a> TraceParent<'a> {
    /// Reads a header's value. A later version than 00 is read as far as 00 goes, as the standard asks.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = hex(fields.next()?, 32).filter(|id| not_zero(id))?;
        let parent_id = hex(fields.next()?, 16).filter(|id| not_zero(id))?;
        let flags = u8::from_str_radix(hex(fields.next()?, 2)?, 16).ok()?;
        let ends = match version {
            "ff" => false,
            "00" => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        (ends && fields.next().is_none()).then_some(TraceParent {
            trace_id,
            parent_id,
            sampled: flags & 1 == 1,
        })
    }
}

fn hex(field: &str, length: usize) -> Option<&str> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (field.len() == length && field.bytes().all(lower)).then_some(field)
}

fn not_zero(id: &str) -> bool {
    id.bytes().any(|digit| digit != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn as_the_standard_writes_it() {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let parsed = TraceParent::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed, TraceParent { trace_id: TRACE, parent_id: SPAN, sampled: true });
        assert!(!TraceParent::parse(format!("00-{TRACE}-{SPAN}-02").as_bytes()).unwrap().sampled);
        for later in ["cc-{}-[]-01", "cc-{}-[]-01-what-will-be", "01-{}-[]-00"] {
            let text = later.replace("{}", TRACE).replace("[]", SPAN);
            assert_eq!(TraceParent::parse(text.as_bytes()).unwrap().trace_id, TRACE, "{text}");
        }
    }

    #[test]
    fn whatever_breaks_the_grammar_is_no_trace() {
        for bad in [
            "",
            "00",
            "00-{}-[]",
            "00-{}-[]-1",
            "00-{}-[]-01-",
            "00-{}-[]-01-more",
            "cc-{}-[]-01more",
            "ff-{}-[]-01",
            "0-{}-[]-001",
            "00-00000000000000000000000000000000-[]-01",
            "00-{}-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-[]-01",
            "00-{}-[]-0g",
            "00_{}_[]_01",
            "00-{}-[]-+1",
            " 00-{}-[]-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47\u{e9}-[]-01",
        ] {
            let text = bad.replace("{}", TRACE).replace("[]", SPAN);
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_it_says_is_what_was_sent(trace in "[0-9a-f]{32}", span in "[0-9a-f]{16}", flags: u8) {
            let text = format!("00-{trace}-{span}-{flags:02x}");
            match TraceParent::parse(text.as_bytes()) {
                Some(parsed) => {
                    prop_assert_eq!(parsed.trace_id, trace);
                    prop_assert_eq!(parsed.parent_id, span);
                    prop_assert_eq!(parsed.sampled, flags & 1 == 1);
                }
                None => prop_assert!(!not_zero(&trace) || !not_zero(&span)),
            }
        }
    }
}
