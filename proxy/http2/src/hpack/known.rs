//! Names that are common in a mesh, and that neither RFC 7541 nor the crate `http` has: they cost no memory, and no counting of who
//! holds it.

use http::HeaderName;

/// The names, once as they are looked for and once as they are given.
macro_rules! names {
    ($($name:literal),* $(,)?) => {
        const TEXTS: &[&str] = &[$($name),*];
        static NAMES: [HeaderName; TEXTS.len()] = [$(HeaderName::from_static($name)),*];
    };
}

names![
    "b3",
    "baggage",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "grpc-timeout",
    "grpc-trace-bin",
    "idempotency-key",
    "priority",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-b3-flags",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-path",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-upstream-service-time",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-powered-by",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
];

/// Places of the table that finds a name.
const SLOTS: usize = 128;

/// Where a name is looked for: no two of them share a place, which is checked when this is built.
#[inline]
const fn slot(name: &[u8]) -> usize {
    let length = name.len();
    match name {
        [] => 0,
        [.., last] => {
            let (middle, later) = (name[length / 2] as usize, name[length * 3 / 4] as usize);
            (length * 91 + middle * 82 + *last as usize * 36 + later * 11) % SLOTS
        }
    }
}

/// By place: one more than the name's place in the list; 0 where there is none.
static PLACES: [u8; SLOTS] = places();

const fn places() -> [u8; SLOTS] {
    let mut places = [0; SLOTS];
    let mut place = 0;
    while place < TEXTS.len() {
        let slot = slot(TEXTS[place].as_bytes());
        assert!(places[slot] == 0);
        place += 1;
        places[slot] = place as u8;
    }
    places
}

/// The name that these bytes are, if it is one of them.
pub fn known(name: &[u8]) -> Option<HeaderName> {
    let place = usize::from(PLACES[slot(name)]).checked_sub(1)?;
    (TEXTS[place].as_bytes() == name).then(|| NAMES[place].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_and_no_other() {
        for name in TEXTS {
            assert_eq!(known(name.as_bytes()), Some(HeaderName::from_bytes(name.as_bytes()).unwrap()));
        }
        for name in ["", "x", "host", "B3", "x-forwarded-foo", "x-envoy-peer-metadata-if"] {
            assert_eq!(known(name.as_bytes()), None, "{name}");
        }
    }
}
