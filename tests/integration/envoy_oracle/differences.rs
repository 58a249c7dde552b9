//! Where Sidle and Envoy differ, and why that is meant.
//!
//! Everything that differs must be explained by an entry, and every entry that is not a race must explain something in each
//! whole run.

use super::{observation::Deviation, request::Ask};
use std::collections::BTreeSet;

/// A difference that is meant.
pub struct Difference {
    /// Why.
    pub reason: &'static str,
    /// Whether it depends on which of two things comes first.
    pub race: bool,
    /// Whether it is the reason for a deviation, which is one of all that the request had.
    pub explains: fn(&Ask, &Deviation, &[Deviation]) -> bool,
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "REGISTRY_ONLY: Sidle names BlackHoleCluster and says why in the body; Istio's Envoy sends a bare 502",
        race: false,
        explains: |_, deviation, all| {
            let unknown = |one: &Deviation| one.what == "log cluster" && one.sidle == "BlackHoleCluster";
            let parts = [
                "log cluster",
                "response body",
                "response header content-type",
                "response header grpc-message",
                CONTENT_LENGTH,
            ];
            all.iter().any(unknown) && parts.contains(&&*deviation.what)
        },
    },
    Difference {
        reason: "refused by authorization: Sidle asks before it chooses a route, so its log names no cluster",
        race: false,
        explains: |_, deviation, all| {
            let same = !all.iter().any(|one| one.what == "log code");
            deviation.what == "log cluster" && deviation.sidle == "-" && same
        },
    },
    Difference {
        reason: "a path that applications may read in two ways: Sidle's DENY holds if either is meant, its ALLOW only if both are",
        race: false,
        explains: |ask, _, all| {
            let refused =
                |one: &Deviation| one.what == "log details" && one.sidle.starts_with("rbac_access_denied");
            all.iter().any(refused) && (ask.path.contains("//") || ask.path.contains(['%', ';']))
        },
    },
    Difference {
        reason: "framing of answers without a body (HEAD, no content): the length is left out or written as 0 or chunked",
        race: false,
        explains: |_, deviation, _| {
            let empty = |value: &str| matches!(value, "(none)" | "0");
            match &*deviation.what {
                "response header transfer-encoding" => {
                    deviation.sidle == "(none)" && deviation.envoy == "chunked"
                }
                CONTENT_LENGTH => empty(&deviation.sidle) || empty(&deviation.envoy),
                _ => false,
            }
        },
    },
    Difference {
        reason: "answered before the request's body was read: Envoy closes the connection, Sidle reads the rest",
        race: false,
        explains: |ask, deviation, _| {
            let closes = deviation.sidle == "(none)" && deviation.envoy == "close";
            deviation.what == "response header connection" && closes && !ask.body.is_empty()
        },
    },
    Difference {
        reason: "the order of response flags: Envoy's is the order of events, Sidle's is fixed",
        race: false,
        explains: |_, deviation, _| {
            let set = |flags: &str| flags.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
            deviation.what == "log flags" && set(&deviation.sidle) == set(&deviation.envoy)
        },
    },
    Difference {
        reason: "keep-alive races: Sidle sends a safe request again when its pooled connection breaks, Envoy answers 503",
        race: false,
        explains: |ask, deviation, _| {
            let tries = |requests: &str| requests.split(", ").count();
            let more = tries(&deviation.sidle) > tries(&deviation.envoy);
            deviation.what == "upstream requests" && more && ask.path.contains("reset")
        },
    },
    Difference {
        reason: "a gateway's client on loopback: Envoy writes an address of the machine in its place, Sidle what it is",
        race: false,
        explains: |_, deviation, _| {
            let parts = ["upstream header x-forwarded-for", "upstream header x-envoy-external-address"];
            parts.contains(&&*deviation.what) && deviation.envoy != "(none)"
        },
    },
    Difference {
        reason: "answered before the request had ended: Envoy leaves its service time out, Sidle writes it",
        race: true,
        explains: |ask, deviation, _| {
            let left_out = deviation.sidle != "(none)" && deviation.envoy == "(none)";
            deviation.what == "response header x-envoy-upstream-service-time"
                && left_out
                && !ask.body.is_empty()
        },
    },
    Difference {
        reason: "a request that may have been acted on: Sidle repeats it only if its method is idempotent or it has an \
                 Idempotency-Key, and then says URX for none; Envoy repeats a POST too",
        race: false,
        explains: |ask, _, all| {
            let fewer = |one: &Deviation| {
                let tries = |requests: &str| requests.split(", ").count();
                one.what == "upstream requests" && tries(&one.sidle) < tries(&one.envoy)
            };
            matches!(&*ask.method, "POST" | "PATCH") && all.iter().any(fewer)
        },
    },
    Difference {
        reason: "a route's timeout is DEADLINE_EXCEEDED (4) to gRPC, not UNAVAILABLE (14), which clients take for an \
                 invitation to try again",
        race: false,
        explains: |_, deviation, _| {
            let grpc = ["response header grpc-status", "log grpc status"].contains(&&*deviation.what);
            grpc && deviation.sidle == "4" && deviation.envoy == "14"
        },
    },
    Difference {
        reason: "a token is refused: Envoy has chosen a route before, and shows the token's parameter, or any other, in \
                 `www-authenticate` and its log; Sidle chooses none yet, and shows no query and no token",
        race: false,
        explains: |_, deviation, _| match &*deviation.what {
            "log route" => deviation.sidle == "-",
            "log path" => deviation.sidle.contains("access_token=-"),
            "response header www-authenticate" => {
                deviation.envoy.contains('?') && !deviation.sidle.contains('?')
            }
            _ => false,
        },
    },
    Difference {
        reason: "a preflight is not told which headers are exposed: the Fetch standard reads them from the answer proper",
        race: false,
        explains: |ask, deviation, _| {
            deviation.what == "response header access-control-expose-headers" && ask.method == "OPTIONS"
        },
    },
    Difference {
        reason: "after a retry Envoy's words are `retried and the latest reset reason`; Sidle's are the same as without",
        race: false,
        explains: |_, deviation, all| {
            let retried =
                |one: &Deviation| one.what == "response body" && one.envoy.contains("retried and the latest");
            let parts = ["response body", "response header grpc-message", CONTENT_LENGTH];
            // An answer to HEAD shows only how long they are.
            let longer = |one: &Deviation| {
                let length = |text: &str| text.parse::<usize>().unwrap_or_default();
                one.what == CONTENT_LENGTH
                    && length(&one.envoy) == length(&one.sidle) + "retried and the latest ".len()
            };
            (all.iter().any(retried)
                || deviation.envoy.contains("retried and the latest")
                || longer(deviation))
                && parts.contains(&&*deviation.what)
        },
    },
    Difference {
        reason: "what is left of a timeout when a try begins: the two proxies had used up a different part of it",
        race: true,
        explains: |_, deviation, _| {
            let number = |text: &str| text.parse::<u64>().is_ok();
            deviation.what == "upstream header x-envoy-expected-rq-timeout-ms"
                && number(&deviation.sidle)
                && number(&deviation.envoy)
        },
    },
];

const CONTENT_LENGTH: &str = "response header content-length";
