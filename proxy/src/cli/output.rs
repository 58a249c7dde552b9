//! What commands print: tables, JSON, colours.
//!
//! In:  rows, values, text.   Out: standard output, and notes on standard error.
//! Invariants: a pipe gets no escape sequence and no cut column; a reader that closes its pipe early is not an error.
//! Not here: what is printed (each command), errors (`mod.rs` prints them on standard error).

use super::CliError;
use comfy_table::{Attribute, Cell, ContentArrangement, LineStyle, TableStyle};
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: aligned columns, with lines and colours on a terminal.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// How standard output is written to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal {
    /// Whether a person is likely to read it.
    pub is_terminal: bool,
    /// Whether escape sequences may be used.
    pub color: bool,
}

impl Terminal {
    /// Of this process: `no_color` is the flag, `NO_COLOR` the convention of <https://no-color.org>.
    pub fn of_stdout(no_color: bool) -> Terminal {
        let is_terminal = io::stdout().is_terminal();
        let refused = no_color
            || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Terminal { is_terminal, color: is_terminal && !refused }
    }

    /// `text` in `style`, if colours are allowed.
    pub fn paint(&self, style: Style, text: impl Display) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_string() }
    }
}

/// A meaning that has a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A name of its row.
    Title,
    /// As wanted.
    Good,
    /// Not as wanted.
    Bad,
    /// To be looked at.
    Caution,
    /// Beside the point.
    Faint,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Title => "1",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Caution => "33",
            Style::Faint => "2",
        }
    }
}

/// Writes `text` to standard output.
///
/// # Errors
/// When it cannot be written; a closed pipe is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes `text` to standard error, if that can be written: it changes no exit code.
pub fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes `value` to standard output as indented JSON.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    print(&json(value)?)
}

/// `value` as indented JSON, with a line end.
///
/// # Errors
/// When the value has a map whose keys are not strings: a defect.
pub fn json(value: &impl serde::Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(text + "\n")
}

const LINE_UNDER_HEADER: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

/// Rows under a header.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(header: &[&'static str]) -> Table {
        Table { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as the header has.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.header.len());
        self.rows.push(cells.to_vec());
    }

    /// As text that ends with a line end.
    pub fn render(&self, terminal: Terminal) -> String {
        if !terminal.is_terminal {
            return self.plain();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(LINE_UNDER_HEADER).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(self.header.iter().map(|title| {
            let cell = Cell::new(title);
            if terminal.color { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in &self.rows {
            table.add_row(row);
        }
        table.to_string() + "\n"
    }

    fn plain(&self) -> String {
        let header: Vec<String> = self.header.iter().map(|title| title.to_uppercase()).collect();
        let lines = || std::iter::once(&header).chain(&self.rows);
        let widths: Vec<usize> = (0..header.len())
            .map(|column| lines().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for line in lines() {
            let start = text.len();
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', 2 + width - cell.chars().count()));
            }
            text.truncate(start + text[start..].trim_end().len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["name", "weight"]);
        table.row(["réviews-v1".into(), "90".into()]);
        table.row(["v2".into(), "10".into()]);
        table
    }

    #[test]
    fn a_pipe_gets_plain_aligned_columns() {
        let text = table().render(Terminal::default());
        assert_eq!(text, "NAME        WEIGHT\nréviews-v1  90\nv2          10\n");
    }

    #[test]
    fn a_terminal_gets_lines_and_colours_only_if_it_may() {
        let plain = table().render(Terminal { is_terminal: true, color: false });
        assert!(plain.contains('─') && !plain.contains('\x1b'), "{plain}");
    }

    #[test]
    fn colours_are_only_used_where_allowed() {
        let off = Terminal { is_terminal: true, color: false };
        assert_eq!(off.paint(Style::Bad, "x"), "x");
        assert_eq!(Terminal { color: true, ..off }.paint(Style::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
