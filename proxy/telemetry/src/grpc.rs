//! gRPC status codes: numbers, names, the status of a local reply, and what a status stands for.
//!
//! Source: the gRPC status code list; Envoy's tables of local replies to gRPC requests and of HTTP statuses.

/// Names of the statuses 0 to 16 as access logs show them.
const NAMES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// `NotFound` for 5; `None` above 16.
pub fn grpc_status_name(status: u8) -> Option<&'static str> {
    NAMES.get(usize::from(status)).copied()
}

/// The `grpc-status` with which the proxy itself answers a gRPC request that would get this HTTP status.
///
/// A timeout of the proxy's own is not in this table: it is 4 (deadline exceeded), whatever the HTTP status.
pub fn grpc_status_from_http(status: u16) -> u8 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The `grpc-status` that an upstream's answer stands for when it names none: 2 (unknown) even if it says that all is well.
pub fn status_of_answer(status: u16) -> u8 {
    match grpc_status_from_http(status) {
        0 => 2,
        other => other,
    }
}

/// The HTTP status that a `grpc-status` stands for, as Envoy's outlier detection reads it.
pub fn http_status_of(status: u8) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_replies() {
        let expected = [
            (200, 0),
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (503, 14),
            (504, 14),
            (500, 2),
            (408, 2),
        ];
        for (http, grpc) in expected {
            assert_eq!(grpc_status_from_http(http), grpc, "{http}");
        }
        assert_eq!((status_of_answer(200), status_of_answer(503)), (2, 14));
        let stand_for = [0, 2, 4, 8, 12, 13, 14, 15, 16, 99].map(http_status_of);
        assert_eq!(stand_for, [200, 500, 504, 429, 501, 500, 503, 500, 401, 500]);
        assert_eq!(grpc_status_name(5), Some("NotFound"));
        assert_eq!(grpc_status_name(17), None);
    }
}
