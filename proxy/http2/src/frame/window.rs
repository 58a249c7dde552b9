//! How many bytes of DATA may still come, or go.
//!
//! Invariants: never above 2^31-1; below zero only where settings made it smaller, and then nothing more is sent.
//! Source: RFC 9113 section 6.9. The whole payload of DATA counts, padding too.

use super::MOST_31_BITS;
use crate::code::{Code, Violation};

/// The window of a stream, or of the connection, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(i64);

impl Window {
    /// As large as settings say: 2^31-1 at most.
    pub fn new(size: u32) -> Self {
        Self(i64::from(size.min(MOST_31_BITS)))
    }

    /// Bytes that may be sent now.
    pub fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// WINDOW_UPDATE of `stream`; 0 is the connection.
    ///
    /// # Errors
    /// The window would be too large: of the stream, or of the connection.
    pub fn open(&mut self, stream: u32, more: u32) -> Result<(), Violation> {
        let size = self.0 + i64::from(more);
        if size > i64::from(MOST_31_BITS) {
            return Err(match stream {
                0 => Violation::Connection(Code::FLOW_CONTROL_ERROR, "a window above 2^31-1"),
                _ => Violation::Stream(stream, Code::FLOW_CONTROL_ERROR, "a window above 2^31-1"),
            });
        }
        self.0 = size;
        Ok(())
    }

    /// DATA goes, or has come for `stream`; 0 is the connection.
    ///
    /// # Errors
    /// There was no room for it.
    pub fn take(&mut self, stream: u32, length: u32) -> Result<(), Violation> {
        let size = self.0 - i64::from(length);
        if size < 0 && length > 0 {
            return Err(match stream {
                0 => Violation::Connection(Code::FLOW_CONTROL_ERROR, "more than the window"),
                _ => Violation::Stream(stream, Code::FLOW_CONTROL_ERROR, "more than the window"),
            });
        }
        self.0 = size;
        Ok(())
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE has changed: every stream's window does, by the difference.
    ///
    /// # Errors
    /// The window would be too large, which ends the connection.
    pub fn change(&mut self, from: u32, to: u32) -> Result<(), Violation> {
        let size = self.0 + i64::from(to) - i64::from(from);
        if size > i64::from(MOST_31_BITS) {
            return Err(Violation::Connection(Code::FLOW_CONTROL_ERROR, "a window above 2^31-1"));
        }
        self.0 = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_there() {
        let mut window = Window::new(10);
        assert_eq!(window.take(1, 10), Ok(()));
        assert_eq!(window.take(1, 0), Ok(())); // the end of a stream needs no room
        assert!(matches!(window.take(1, 1), Err(Violation::Stream(1, Code::FLOW_CONTROL_ERROR, _))));
        assert!(matches!(window.take(0, 1), Err(Violation::Connection(Code::FLOW_CONTROL_ERROR, _))));
        assert_eq!((window.open(1, 5), window.available()), (Ok(()), 5));
    }

    #[test]
    fn it_has_a_bound() {
        let mut window = Window::new(u32::MAX);
        assert_eq!(window, Window::new(MOST_31_BITS));
        assert!(matches!(window.open(3, 1), Err(Violation::Stream(3, Code::FLOW_CONTROL_ERROR, _))));
        assert!(matches!(window.open(0, 1), Err(Violation::Connection(Code::FLOW_CONTROL_ERROR, _))));
        assert!(matches!(window.change(5, 6), Err(Violation::Connection(Code::FLOW_CONTROL_ERROR, _))));
    }

    #[test]
    fn settings_can_make_it_less_than_nothing() {
        let mut window = Window::new(10);
        window.take(1, 8).unwrap();
        window.change(10, 0).unwrap();
        assert_eq!(window.available(), 0);
        assert_eq!(window.take(1, 0), Ok(()));
        assert!(window.take(1, 1).is_err());
        window.open(1, 9).unwrap();
        assert_eq!(window.available(), 1);
    }
}
