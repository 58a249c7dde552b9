//! Every part of the crate at once.

mod simulation;
