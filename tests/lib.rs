//! Behaviour tests of Sidle: everything here goes through the real `sidle` program, as users run it.
//!
//! The tests are in `integration/`, one file for each behaviour; what they stand on is in `support/`, the real programs that
//! they talk to in `peers/`, and `run` starts everything.
