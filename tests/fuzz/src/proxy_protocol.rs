//! The PROXY protocol: what is found in the first bytes does not depend on how they arrive.

use sidle::listener::proxy_protocol::{self, MAX_BYTES, Parsed};

/// Looks at every beginning of the bytes.
pub fn run(data: &[u8]) {
    let data = &data[..data.len().min(2 * MAX_BYTES)];
    let mut told = Parsed::Incomplete;
    for end in 0..=data.len() {
        let now = proxy_protocol::parse(&data[..end]);
        assert!(told == Parsed::Incomplete || now == told, "{told:?} became {now:?}");
        if let Parsed::Header { length, .. } = now {
            assert!(length <= end && length <= MAX_BYTES, "a header of {length} bytes in {end}");
            assert_eq!(proxy_protocol::parse(&data[..length]), now, "what follows must not matter");
        }
        assert!(now != Parsed::Incomplete || end < MAX_BYTES, "{end} bytes, and still waiting");
        told = now;
    }
}
