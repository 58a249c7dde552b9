//! Response flags: Envoy's short codes for what went wrong with a request.
//!
//! Out: [`ResponseFlags`], shown as `UF,URX` or `-`, in access logs and metrics.
//! Source: Envoy "Access logging", `%RESPONSE_FLAGS%`.

use std::fmt;

/// A set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResponseFlags(u32);

/// Declares the flags in the order in which Envoy lists them.
macro_rules! flags {
    ($($name:ident = $bit:literal, $what:literal;)*) => {
        impl ResponseFlags {
            $(#[doc = $what] pub const $name: ResponseFlags = ResponseFlags(1 << $bit);)*
        }
        const NAMES: &[(ResponseFlags, &str)] = &[$((ResponseFlags::$name, stringify!($name))),*];
    };
}

flags! {
    LH = 0, "Local service failed its health check.";
    UH = 1, "No healthy upstream.";
    UT = 2, "Upstream request timeout.";
    LR = 3, "Connection reset by this proxy.";
    UR = 4, "Connection reset by the upstream.";
    UF = 5, "Upstream connection failure.";
    UC = 6, "Upstream connection ended.";
    UO = 7, "Upstream overflow: a circuit breaker is open.";
    NR = 8, "No route.";
    DI = 9, "Delay injected.";
    FI = 10, "Fault injected.";
    RL = 11, "Rate limited.";
    UAEX = 12, "Denied by external authorization.";
    RLSE = 13, "The rate limit service failed.";
    DC = 14, "Downstream connection ended.";
    URX = 15, "Retries used up.";
    SI = 16, "Stream idle timeout.";
    IH = 17, "Invalid value of a strictly checked header.";
    DPE = 18, "Downstream protocol error.";
    UMSDR = 19, "The upstream request reached its longest duration.";
    RFCF = 20, "The response came from a cache.";
    NFCF = 21, "Filter configuration is missing.";
    DT = 22, "The connection reached its longest duration.";
    UPE = 23, "Upstream protocol error.";
    NC = 24, "No such cluster.";
    OM = 25, "Ended by the overload manager.";
    DF = 26, "Name resolution failed.";
    DO = 27, "Dropped because of overload of the cluster.";
}

impl ResponseFlags {
    /// All went well.
    pub const NONE: ResponseFlags = ResponseFlags(0);

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are here.
    pub const fn contains(self, other: ResponseFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    pub const fn union(self, other: ResponseFlags) -> ResponseFlags {
        ResponseFlags(self.0 | other.0)
    }

    /// Adds.
    pub fn insert(&mut self, other: ResponseFlags) {
        self.0 |= other.0;
    }

    /// The set as a number, for hashing and compact storage.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The short codes of the flags that are set, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| *name)
    }
}

impl std::ops::BitOr for ResponseFlags {
    type Output = ResponseFlags;
    fn bitor(self, other: ResponseFlags) -> ResponseFlags {
        self.union(other)
    }
}

impl std::ops::BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: ResponseFlags) {
        self.insert(other);
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (place, name) in self.names().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_envoy_shows_them() {
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
        assert_eq!((ResponseFlags::URX | ResponseFlags::UF).to_string(), "UF,URX");
        let all = NAMES.iter().fold(ResponseFlags::NONE, |set, (flag, _)| set | *flag);
        assert_eq!(all.bits().count_ones() as usize, NAMES.len(), "two flags share a bit");
        assert_eq!(all.to_string().split(',').count(), NAMES.len());
    }
}
