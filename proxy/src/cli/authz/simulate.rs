//! `sidle authz simulate`: a table of requests against the policies.

use crate::cli::{
    CliError, check,
    client::Client,
    explain::Request,
    node::{NodeArgs, config_paths, environment},
    output::{self, Format, Style, Table, Terminal},
};
use serde::Serialize;
use sidle_authz::{Authorizer, Verdict};
use sidle_model::{
    Diagnostic, authorization_cases,
    ir::HttpOptions,
    lower::{Policies, authorization_policies},
    sidle::{AuthorizationCase, Expected},
    source::{SizeLimit, read},
};
use std::{path::PathBuf, process::ExitCode};

/// Arguments of `sidle authz simulate`.
#[derive(Debug, clap::Args)]
pub struct SimulateArgs {
    /// Files, folders, globs, or - for standard input [env: SIDLE_CONFIG, separated by `:`]
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    config: Vec<PathBuf>,
    /// The table: YAML or JSON, a list of requests
    #[arg(short = 'f', long = "requests", value_name = "PATH")]
    requests: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What came of one request.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    /// Where it stands in the table.
    line: u32,
    /// Its name, or what it asks for.
    request: String,
    /// `allow`, `deny`, or nothing.
    expected: &'static str,
    /// `allow` or `deny`.
    found: &'static str,
    /// The rule that decided; `none`: no ALLOW rule holds; empty: there is none to ask.
    rule: String,
    /// Whether it is as expected.
    as_expected: bool,
}

/// Asks the policies. Exit code 1 if one request is not as expected.
pub fn run(args: SimulateArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let paths = config_paths(args.config, &environment)?;
    let node = args.node.node(&environment)?;
    let cases = cases(args.requests)?;
    let (_, config) = check::resources_or_report(&paths, &node)?;
    let (policies, normalization) = authorization_policies(&config, &node);
    let options = HttpOptions { normalization, ..HttpOptions::default() };
    let judge = Judge::new(policies, options);
    let outcomes = cases.iter().map(|(case, line)| judge.outcome(case, *line));
    let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Format::Table => output::print(&text(&outcomes, terminal))?,
        Format::Json => output::print_json(&outcomes)?,
    }
    let good = outcomes.iter().all(|outcome| outcome.as_expected);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cases(path: PathBuf) -> Result<Vec<(AuthorizationCase, u32)>, CliError> {
    let (texts, mut mistakes) = read(&[path], SizeLimit::default());
    let mut cases = Vec::new();
    for text in &texts {
        match authorization_cases(text) {
            Ok(more) => cases.extend(more),
            Err(more) => mistakes.extend(more),
        }
    }
    if mistakes.iter().any(Diagnostic::is_error) {
        return Err(check::refused("the table of requests", mistakes, &texts));
    }
    Ok(cases)
}

struct Judge {
    of_http: Authorizer,
    of_bytes: Authorizer,
    options: HttpOptions,
}

impl Judge {
    fn new(policies: Policies, options: HttpOptions) -> Self {
        let Policies { of_http, of_bytes } = policies;
        Judge { of_http: Authorizer::new(of_http), of_bytes: Authorizer::new(of_bytes), options }
    }

    fn outcome(&self, case: &AuthorizationCase, line: u32) -> Result<Outcome, CliError> {
        let client = Client::of(case).map_err(|wrong| CliError::Failed(format!("line {line}: {wrong}")))?;
        let method = case.method.as_deref().unwrap_or("GET");
        let request = case.url.as_ref().map(|url| Request::parse(method, url, &case.headers)).transpose();
        let request = request.map_err(|error| CliError::Failed(format!("line {line}: {error}")))?;
        let (allowed, rule) = match &request {
            None => decide(&self.of_bytes, &client, None),
            Some(request) => match request.admitted(&self.options) {
                Ok(admitted) => decide(&self.of_http, &client, Some(&admitted)),
                Err(reason) => (false, format!("400: {reason}")),
            },
        };
        let title = request.map_or_else(|| "bytes".to_owned(), |request| request.to_string());
        let expected = case.expect.map(|expected| expected == Expected::Allow);
        let right_rule = case.rule.as_ref().is_none_or(|wanted| *wanted == rule);
        Ok(Outcome {
            line,
            request: if case.name.is_empty() { title } else { case.name.clone() },
            expected: expected.map_or("", word),
            found: word(allowed),
            as_expected: expected.is_none_or(|expected| expected == allowed) && right_rule,
            rule,
        })
    }
}

fn word(allowed: bool) -> &'static str {
    if allowed { "allow" } else { "deny" }
}

fn decide(authorizer: &Authorizer, client: &Client, request: Option<&Request>) -> (bool, String) {
    let facts = client.asking(request);
    if let Some(custom) = authorizer.custom(&facts) {
        return (false, format!("{}: no provider `{}` is known", custom.rule, custom.provider));
    }
    match authorizer.decide(&facts).verdict {
        Verdict::Allowed(rule) => (true, rule.unwrap_or_default().to_owned()),
        Verdict::Denied(rule) => (false, rule.unwrap_or("none").to_owned()),
    }
}

fn text(outcomes: &[Outcome], terminal: Terminal) -> String {
    let mut table = Table::new(&["", "line", "expected", "found", "request", "rule"]);
    for outcome in outcomes {
        let mark = match (outcome.as_expected, outcome.expected) {
            (false, _) => "WRONG",
            (true, "") => "",
            (true, _) => "ok",
        };
        let Outcome { line, request, expected, found, rule, .. } = outcome;
        let [expected, found] = [expected, found].map(|word| (*word).to_owned());
        table.row([mark.into(), line.to_string(), expected, found, request.clone(), rule.clone()]);
    }
    let wrong = outcomes.iter().filter(|outcome| !outcome.as_expected).count();
    let style = if wrong == 0 { Style::Good } else { Style::Bad };
    let summary = format!("{} requests, {wrong} not as expected", outcomes.len());
    format!("{}{}\n", table.render(terminal), terminal.paint(style, summary))
}
