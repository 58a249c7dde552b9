//! How authorization policies decided.

/// How authorization policies decided. The first two are what was done, the others are only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorized {
    /// Let through.
    Allowed,
    /// Refused.
    Denied,
    /// An AUDIT rule holds.
    Audited,
    /// Policies that are only tried would let it through.
    DryRunAllowed,
    /// Policies that are only tried would refuse it.
    DryRunDenied,
}

impl Authorized {
    /// All, in the order of their cells.
    pub const ALL: [Authorized; 5] = [
        Authorized::Allowed,
        Authorized::Denied,
        Authorized::Audited,
        Authorized::DryRunAllowed,
        Authorized::DryRunDenied,
    ];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Authorized::Allowed => "allowed",
            Authorized::Denied => "denied",
            Authorized::Audited => "audited",
            Authorized::DryRunAllowed => "dry_run_allowed",
            Authorized::DryRunDenied => "dry_run_denied",
        }
    }
}
