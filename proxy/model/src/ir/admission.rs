//! Who may ask at all.

/// What every request of a listener passes before its route is chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Admission {}
