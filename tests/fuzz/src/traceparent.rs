//! `traceparent`: what is read stands in the value, byte for byte.

use sidle_telemetry::TraceParent;

/// Reads a value, and what it says again.
pub fn run(data: &[u8]) {
    let Some(read) = TraceParent::parse(data) else { return };
    let again = format!("00-{}-{}-{:02x}", read.trace_id, read.parent_id, u8::from(read.sampled));
    assert_eq!(TraceParent::parse(again.as_bytes()), Some(read));
    assert_eq!(&data[2..52], &again.as_bytes()[2..52]);
    assert!(!data.starts_with(b"00") || data.len() == again.len());
}
