//! `sidle authz simulate`: a table of requests against the policies.

use crate::cli::{
    CliError, check,
    client::Client,
    explain::Request,
    node::{NodeArgs, config_paths, environment},
    output::{self, Format, Style, Table, Terminal},
    received::{self, ASSUMED, Admitted, Received},
    tokens::{self, Judged},
};
use serde::Serialize;
use sidle_authz::{Authorizer, Verdict};
use sidle_model::{
    Config, Diagnostic, authorization_cases,
    ir::{Direction, HttpOptions, Ir, JwtProvider, ListenAddress, Listener, Node},
    lower::{Policies, authorization_policies, inbound_mtls, token_providers},
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
    /// The provider that is asked first: what it refuses gets its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    asks: Option<String>,
    /// Whether it is as expected.
    as_expected: bool,
    /// Whether the principal is taken as told, since the proxy has no identity to find it out.
    #[serde(skip)]
    assumed: bool,
    /// Whether claims are told that nobody looks at.
    #[serde(skip)]
    unseen: bool,
}

/// Asks the policies. Exit code 1 if one request is not as expected.
pub fn run(args: SimulateArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let paths = config_paths(args.config, &environment)?;
    let node = args.node.node(&environment)?;
    let cases = cases(args.requests)?;
    let (ir, config) = check::resources_or_report(&paths, &node)?;
    let (policies, normalization) = authorization_policies(&config, &node);
    let options = HttpOptions { normalization, ..HttpOptions::default() };
    let admitted = ir.settings.identity.as_ref().map(Admitted::by);
    let ports = Ports { ir: &ir, config: &config, node: &node, admitted };
    let judge = Judge::new(policies, options, token_providers(&config, &node), ports);
    let outcomes = cases.iter().map(|(case, line)| judge.outcome(case, *line));
    let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Format::Table => output::print(&text(&outcomes, terminal))?,
        Format::Json => output::print_json(&outcomes)?,
    }
    if outcomes.iter().any(|outcome| outcome.assumed) {
        output::complain(&format!("note: {ASSUMED}\n"));
    }
    if outcomes.iter().any(|outcome| outcome.unseen) {
        output::complain(&format!("note: {}\n", tokens::UNSEEN));
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
    tokens: Arc<[JwtProvider]>,
    ports: Ports<'a>,
}

/// What the proxy's ports take.
struct Ports<'a> {
    ir: &'a Ir,
    config: &'a Config,
    node: &'a Node,
    /// Whom its identity believes.
    admitted: Option<Admitted>,
}

/// What comes of a request: the rule that decides, and the provider that is asked first.
struct Found(Expected, String, Option<String>);

/// Policies, and whom they may ask.
struct Bench {
    authorizer: Authorizer,
    asked: Option<Arc<str>>,
}

impl<'a> Judge<'a> {
    fn new(policies: Policies, options: HttpOptions, tokens: Arc<[JwtProvider]>, ports: Ports<'a>) -> Self {
        let Policies { of_http, of_bytes, asked_of_http, asked_of_bytes } = policies;
        let bench = |policies, asked| Bench { authorizer: Authorizer::new(policies), asked };
        Judge {
            of_http: bench(of_http, asked_of_http),
            of_bytes: bench(of_bytes, asked_of_bytes),
            options,
            tokens,
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
        let Found(found, rule, asks) = match (&received, &request) {
            (Received::Closed(why), _) => Found(Expected::Deny, format!("closed: {why}"), None),
            (_, None) => self.of_bytes.decide(&client, None, &[]),
            (_, Some(request)) => match request.admitted(&self.options) {
                Ok(admitted) => self.of_http.decide(&client, Some(&admitted), &self.tokens),
                Err(reason) => Found(Expected::Deny, format!("400: {reason}"), None),
            },
        };
        let unseen = request.is_some() && client.claims().is_some() && self.tokens.is_empty();
        let title = request.map_or_else(|| "bytes".to_owned(), |request| request.to_string());
        let right_rule = case.rule.as_ref().is_none_or(|wanted| *wanted == rule);
        Ok(Outcome {
            line,
            request: if case.name.is_empty() { title } else { case.name.clone() },
            expected: case.expect.map_or("", word),
            found: word(found),
            as_expected: case.expect.is_none_or(|expected| expected == found) && right_rule,
            rule,
            asks,
            unseen,
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
        received::received(&ports, self.admitted.as_ref(), client)
    }
}

impl Bench {
    /// In the proxy's order: the provider, the token, the rules.
    fn decide(&self, client: &Client, request: Option<&Request>, tokens: &[JwtProvider]) -> Found {
        let first = client.with_claims(None);
        let custom = self.authorizer.custom(&first.asking(request));
        if let Some(custom) = custom.filter(|custom| self.asked.as_deref() != Some(custom.provider)) {
            let why = format!("{}: provider `{}` cannot be asked", custom.rule, custom.provider);
            return Found(Expected::Deny, why, None);
        }
        let asks = custom.map(|custom| custom.provider.to_owned());
        let client = match request.map(|request| tokens::judge(tokens, client, request)) {
            None => first,
            Some(Judged::Passed(client)) => client,
            Some(Judged::Refused { status, reason }) => {
                return Found(Expected::Deny, format!("{status}: {reason}"), asks);
            }
        };
        match (self.authorizer.decide(&client.asking(request)).verdict, custom) {
            (Verdict::Denied(rule), _) => Found(Expected::Deny, rule.unwrap_or("none").to_owned(), asks),
            (Verdict::Allowed(_), Some(custom)) => Found(Expected::Ask, custom.rule.to_owned(), asks),
            (Verdict::Allowed(rule), None) => {
                Found(Expected::Allow, rule.unwrap_or_default().to_owned(), None)
            }
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
        let Outcome { line, request, expected, found, rule, asks, .. } = outcome;
        let [expected, found] = [expected, found].map(|word| (*word).to_owned());
        let asks = asks.as_ref().map(|provider| format!("; {provider} is asked first")).unwrap_or_default();
        table.row([mark.into(), line.to_string(), expected, found, request.clone(), format!("{rule}{asks}")]);
    }
    let wrong = outcomes.iter().filter(|outcome| !outcome.as_expected).count();
    let style = if wrong == 0 { Style::Good } else { Style::Bad };
    let summary = format!("{} requests, {wrong} not as expected", outcomes.len());
    format!("{}{}\n", table.render(terminal), terminal.paint(style, summary))
}
