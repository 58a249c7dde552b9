//! A line of the access log, as text or JSON; and the value of a header.

use super::{context::LogContext, escape::Style, value::Value};
use sidle_model::ir::{AccessLogFormat, Format, HeaderFormat, Piece};

/// A format made ready for writing lines.
#[derive(Debug, Clone)]
pub struct LineFormat(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Text {
        format: Format,
        /// Whether the format lacks the end of the line.
        add_newline: bool,
    },
    /// Each value with all that stands before it: `{"key":` or `,"key":`.
    Json(Vec<(Vec<u8>, Format)>),
}

impl LineFormat {
    /// From configuration.
    pub fn new(format: &AccessLogFormat) -> Self {
        LineFormat(match format {
            AccessLogFormat::Text(format) => {
                let add_newline =
                    !matches!(format.pieces().last(), Some(Piece::Literal(text)) if text.ends_with('\n'));
                Kind::Text { format: format.clone(), add_newline }
            }
            AccessLogFormat::Json(fields) => Kind::Json(
                fields
                    .iter()
                    .enumerate()
                    .map(|(at, (key, format))| (json_key(at == 0, key), format.clone()))
                    .collect(),
            ),
        })
    }

    /// Appends one line, its end included.
    pub fn write(&self, context: &impl LogContext, out: &mut Vec<u8>) {
        match &self.0 {
            Kind::Text { format, add_newline } => {
                pieces(format, context, Style::Text, "-", out);
                if *add_newline {
                    out.push(b'\n');
                }
            }
            Kind::Json(fields) => {
                if fields.is_empty() {
                    out.push(b'{');
                }
                for (key, format) in fields {
                    out.extend_from_slice(key);
                    json_value(format, context, out);
                }
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

/// Appends the value of a header that the configuration sets. What is missing is left out, as in Envoy; the result is a
/// valid header value.
pub fn write_header_value(format: &HeaderFormat, context: &impl LogContext, out: &mut Vec<u8>) {
    pieces(&format.0, context, Style::Text, "", out);
}

/// All pieces, one after the other.
fn pieces(format: &Format, context: &impl LogContext, style: Style, missing: &str, out: &mut Vec<u8>) {
    for piece in format.pieces() {
        match piece {
            Piece::Literal(text) if style == Style::Text => out.extend_from_slice(text.as_bytes()),
            Piece::Literal(text) => {
                Value::Bytes(text.as_bytes()).write(style, None, out);
            }
            Piece::Operator(operator, length) => {
                if !Value::of(operator, context).write(style, *length, out) {
                    out.extend_from_slice(missing.as_bytes());
                }
            }
        }
    }
}

/// A lone operator keeps its type: numbers are numbers, what is missing is `null`. Anything longer is a string.
fn json_value(format: &Format, context: &impl LogContext, out: &mut Vec<u8>) {
    if let [Piece::Operator(operator, length)] = format.pieces() {
        match Value::of(operator, context) {
            Value::Absent => return out.extend_from_slice(b"null"),
            number @ Value::Number(_) => {
                number.write(Style::Json, None, out);
                return;
            }
            text => {
                out.push(b'"');
                text.write(Style::Json, *length, out);
            }
        }
    } else {
        out.push(b'"');
        pieces(format, context, Style::Json, "-", out);
    }
    out.push(b'"');
}

fn json_key(first: bool, key: &str) -> Vec<u8> {
    let mut out = if first { b"{\"".to_vec() } else { b",\"".to_vec() };
    Value::Bytes(key.as_bytes()).write(Style::Json, None, &mut out);
    out.extend_from_slice(b"\":");
    out
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
