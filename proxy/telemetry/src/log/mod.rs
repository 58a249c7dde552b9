//! The access log: one line for each request or TCP connection that has ended, and header values with operators.
//!
//! In:  a [`LogContext`] of what happened, an [`ir::AccessLog`].   Out: lines in a file; bytes of a header value.
//! Invariants: no control byte from a client reaches a line or a header; a missing value is `-` in text, `null` in JSON
//! and nothing in a header value; formatting allocates nothing, but for a thread's first line; a slow or full disk costs lines, never a worker,
//! and the proxy's own log says so.
//! Not here: parsing formats (`sidle_model::ir`), deciding what happened (`Exchange::finish`).
//! Read: `context` (what can be asked) -> `value` (operator -> value) -> `line` (text, JSON) -> `writer` (file) -> `losses`.

mod context;
mod escape;
mod line;
mod losses;
mod time;
mod value;
mod writer;

pub use context::{Address, AddressValue, DurationValue, LogContext, Message, NumberValue, TextValue};
pub use line::{LineFormat, write_header_value};

use crate::Telemetry;
use sidle_model::ir;
use std::{io, sync::Arc, time::Duration};
use writer::Writer;

/// An access log that lines can be written to from any thread. Clones write to the same file.
#[derive(Clone)]
pub struct AccessLog {
    writer: Arc<Writer>,
    format: Arc<LineFormat>,
}

impl AccessLog {
    /// Opens the file, or goes on with the open file of `previous` when the path is the same.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(
        settings: &ir::AccessLog,
        telemetry: &Telemetry,
        previous: Option<&AccessLog>,
    ) -> io::Result<Self> {
        let writer = match previous.filter(|log| log.writer.path() == settings.path) {
            Some(log) => Arc::clone(&log.writer),
            None => Arc::new(Writer::open(&settings.path, telemetry.access_log_counters())?),
        };
        Ok(AccessLog { writer, format: Arc::new(LineFormat::new(&settings.format)) })
    }

    /// Adds a line; returns at once. The file has it within a second.
    pub fn write(&self, context: &impl LogContext) {
        self.writer.line(|out| self.format.write(context, out));
    }

    /// Opens the path anew before the next line, after the file was moved away.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// Waits until all lines so far are in the file; `false` if that takes longer than `patience`. May block: not for
    /// workers.
    pub fn flush(&self, patience: Duration) -> bool {
        self.writer.flush(patience)
    }
}
