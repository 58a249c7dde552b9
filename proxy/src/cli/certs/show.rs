//! `sidle certs show`: who certificates are for, and until when.
//!
//! In:  PEM files, or folders of them.   Out: a row for each certificate; failure if one has run out.
//! Invariant: nothing of a key is ever read into a row.

use super::folder::told;
use crate::cli::{
    CliError,
    output::{self, Format, Style, Table, Terminal},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use sidle_identity::{Moment, Summary};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Deeper folders are not looked into.
const MAX_DEPTH: usize = 8;
/// Names of files that may hold certificates.
const EXTENSIONS: [&str; 4] = ["crt", "pem", "cer", "cert"];

/// Arguments of `sidle certs show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// PEM files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    file: String,
    authority: bool,
    uris: Vec<String>,
    dns_names: Vec<String>,
    subject: String,
    valid_from: String,
    expires: String,
    expired: bool,
    #[serde(skip)]
    not_after: Moment,
}

/// Prints the certificates. Exit code 1 if one has run out.
pub fn run(args: &ShowArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let mut rows = Vec::new();
    for path in &args.paths {
        let before = rows.len();
        collect(path, 0, &mut rows)?;
        if rows.len() == before {
            return Err(CliError::Failed(format!("{}: no PEM certificate in it", path.display())));
        }
    }
    match args.output {
        Format::Json => output::print_json(&rows)?,
        Format::Table => output::print(&table(&rows, terminal).render(terminal))?,
    }
    Ok(if rows.iter().any(|row| row.expired) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn collect(path: &Path, depth: usize, rows: &mut Vec<Row>) -> Result<(), CliError> {
    let metadata = fs::metadata(path).map_err(|error| told(path, &error))?;
    if !metadata.is_dir() {
        return read(path, rows);
    }
    if depth > MAX_DEPTH {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|error| told(path, &error))?;
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let extension = entry.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if entry.is_dir() || EXTENSIONS.contains(&extension) {
            collect(&entry, depth + 1, rows)?;
        }
    }
    Ok(())
}

fn read(path: &Path, rows: &mut Vec<Row>) -> Result<(), CliError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let broken = || CliError::Failed(format!("{}: not valid PEM", path.display()));
    for certificate in certificates.map_err(|_| broken())? {
        let summary = Summary::of(&certificate).ok_or_else(broken)?;
        rows.push(Row {
            file: path.display().to_string(),
            authority: summary.is_authority,
            uris: summary.uris,
            dns_names: summary.dns_names,
            subject: summary.subject,
            valid_from: summary.not_before.to_string(),
            expires: summary.not_after.to_string(),
            expired: summary.not_after <= Moment::now(),
            not_after: summary.not_after,
        });
    }
    Ok(())
}

fn table(rows: &[Row], terminal: Terminal) -> Table {
    let mut table = Table::new(&["file", "kind", "who", "expires", "left"]);
    for row in rows {
        let kind = if row.authority { "authority" } else { "leaf" };
        let names = row.uris.iter().chain(&row.dns_names);
        let who = names.map(String::as_str).collect::<Vec<_>>().join(" ");
        let who = if who.is_empty() { row.subject.clone() } else { who };
        let left = match row.expired {
            true => terminal.paint(Style::Bad, "expired"),
            false => format!("{} days", row.not_after.left().as_secs() / 86_400),
        };
        table.row([row.file.clone(), kind.into(), who, row.expires.clone(), left]);
    }
    table
}
