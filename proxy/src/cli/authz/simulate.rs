//! `sidle authz simulate`: a table of requests against the policies.

use crate::cli::{
    CliError, check,
    client::Client,
    explain::Request,
    node::{NodeArgs, config_paths, environment},
    output::{self, Format, Style, Table, Terminal},
    received::{self, ASSUMED, Received},
};
use serde::Serialize;
use sidle_authz::{Authorizer, Verdict};
use sidle_model::{
    Config, Diagnostic, authorization_cases,
    ir::{Direction, HttpOptions, Ir, ListenAddress, Listener, Node},
    lower::{Policies, authorization_policies, inbound_mtls},
    sidle::{AuthorizationCase, Expected},
    source::{SizeLimit, read},
};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

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
    /// `allow`, `deny`, `ask`, or nothing.
    expected: &'static str,
    /// `allow`, `deny`, or `ask`: a provider decides.
    found: &'static str,
    /// The rule that decided; `none`: no ALLOW rule holds; empty: there is none to ask.
    rule: String,
    /// Whether it is as expected.
    as_expected: bool,
    /// Whether the principal is taken as told, since the proxy has no identity to find it out.
    #[serde(skip)]
    assumed: bool,
}

/// Asks the policies. Exit code 1 if one request is not as expected.
pub fn run(args: SimulateArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let paths = config_paths(args.config, &environment)?;
    let node = args.node.node(&environment)?;
    let cases = cases(args.requests)?;
    let (ir, config) = check::resources_or_report(&paths, &node)?;
    let (policies, normalization) = authorization_policies(&config, &node);
    let options = HttpOptions { normalization, ..HttpOptions::default() };
    let judge = Judge::new(policies, options, Ports { ir: &ir, config: &config, node: &node });
    let outcomes = cases.iter().map(|(case, line)| judge.outcome(case, *line));
    let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Format::Table => output::print(&text(&outcomes, terminal))?,
        Format::Json => output::print_json(&outcomes)?,
    }
    if outcomes.iter().any(|outcome| outcome.assumed) {
        eprintln!("note: {ASSUMED}");
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

struct Judge<'a> {
    of_http: Bench,
    of_bytes: Bench,
    options: HttpOptions,
    ports: Ports<'a>,
}

/// What the proxy's ports take.
struct Ports<'a> {
    ir: &'a Ir,
    config: &'a Config,
    node: &'a Node,
}

/// Policies, and whom they may ask.
struct Bench {
    authorizer: Authorizer,
    asked: Option<Arc<str>>,
}

impl<'a> Judge<'a> {
    fn new(policies: Policies, options: HttpOptions, ports: Ports<'a>) -> Self {
        let Policies { of_http, of_bytes, asked_of_http, asked_of_bytes } = policies;
        let bench = |policies, asked| Bench { authorizer: Authorizer::new(policies), asked };
        Judge {
            of_http: bench(of_http, asked_of_http),
            of_bytes: bench(of_bytes, asked_of_bytes),
            options,
            ports,
        }
    }

    fn outcome(&self, case: &AuthorizationCase, line: u32) -> Result<Outcome, CliError> {
        let client = Client::of(case).map_err(|wrong| CliError::Usage(format!("line {line}: {wrong}")))?;
        let method = case.method.as_deref().unwrap_or("GET");
        let request = case.url.as_ref().map(|url| Request::parse(method, url, &case.headers)).transpose();
        let request = request.map_err(|error| CliError::Usage(format!("line {line}: {error}")))?;
        let received = self.ports.receive(&client);
        let client = if received == Received::Unproven { client.without_principal() } else { client };
        let (found, rule) = match (&received, &request) {
            (Received::Closed(why), _) => (Expected::Deny, format!("closed: {why}")),
            (_, None) => self.of_bytes.decide(&client, None),
            (_, Some(request)) => match request.admitted(&self.options) {
                Ok(admitted) => self.of_http.decide(&client, Some(&admitted)),
                Err(reason) => (Expected::Deny, format!("400: {reason}")),
            },
        };
        let title = request.map_or_else(|| "bytes".to_owned(), |request| request.to_string());
        let right_rule = case.rule.as_ref().is_none_or(|wanted| *wanted == rule);
        Ok(Outcome {
            line,
            request: if case.name.is_empty() { title } else { case.name.clone() },
            expected: case.expect.map_or("", word),
            found: word(found),
            as_expected: case.expect.is_none_or(|expected| expected == found) && right_rule,
            rule,
            assumed: received == Received::Assumed,
        })
    }
}

fn word(found: Expected) -> &'static str {
    match found {
        Expected::Allow => "allow",
        Expected::Deny => "deny",
        Expected::Ask => "ask",
    }
}

impl Ports<'_> {
    /// PeerAuthentications hold for the workload's ports; at those of Gateways certificates are what the servers say.
    fn receive(&self, client: &Client) -> Received {
        let of_gateway = |listener: &Listener| match (listener.direction, &listener.address) {
            (Direction::Gateway, ListenAddress::Socket(address)) => {
                client.port.map_or(self.ir.inbound_mtls.is_empty(), |port| port == address.port())
            }
            _ => false,
        };
        if self.ir.listeners.iter().any(|listener| of_gateway(listener)) {
            return if client.has_principal() { Received::Proven } else { Received::Unproven };
        }
        let known = self.ir.inbound_mtls.iter().any(|one| client.port.is_none_or(|port| one.port == port));
        let ports = match known {
            true => received::at(&self.ir.inbound_mtls, client.port),
            false => vec![inbound_mtls(self.config, self.node, client.port)],
        };
        received::received(&ports, self.ir.settings.identity.is_some(), client)
    }
}

impl Bench {
    fn decide(&self, client: &Client, request: Option<&Request>) -> (Expected, String) {
        let facts = client.asking(request);
        let custom = self.authorizer.custom(&facts);
        if let Some(custom) = custom.filter(|custom| self.asked.as_deref() != Some(custom.provider)) {
            let why = format!("{}: provider `{}` cannot be asked", custom.rule, custom.provider);
            return (Expected::Deny, why);
        }
        match (self.authorizer.decide(&facts).verdict, custom) {
            (Verdict::Denied(rule), _) => (Expected::Deny, rule.unwrap_or("none").to_owned()),
            (Verdict::Allowed(_), Some(custom)) => (Expected::Ask, custom.rule.to_owned()),
            (Verdict::Allowed(rule), None) => (Expected::Allow, rule.unwrap_or_default().to_owned()),
        }
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
