//! Deadlines of gRPC: what is read is what was meant, and never a surprise.

use sidle::codec::grpc::timeout;

/// Reads a value, and what it says again in nanoseconds.
pub fn run(data: &[u8]) {
    let Some(read) = timeout::parse(data) else { return };
    let (unit, digits) = data.split_last().expect("nothing is no timeout");
    let count: u128 = std::str::from_utf8(digits).expect("digits").parse().expect("a number");
    let nanoseconds = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        other => panic!("{other} is no unit"),
    };
    assert_eq!(read.as_nanos(), count * nanoseconds);
}
