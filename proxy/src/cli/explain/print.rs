//! A [`Report`] for people.
//!
//! Invariants: one line a fact; the widest column is last, so that nothing is cut.

use super::{
    super::output::{Style, Terminal},
    authorization::{Authorization, Condition},
    outcome::{Destination, Forwarded, Outcome},
    report::{Report, Rule, RuleVerdict},
};
use std::fmt::Write as _;

/// `report` as text that ends with a line end.
pub fn text(report: &Report, terminal: Terminal) -> String {
    let mut page = Page { text: String::new(), terminal };
    page.head(report);
    if let Some(authorization) = &report.authorization {
        page.authorization(authorization);
    }
    page.rules(&report.rules);
    page.outcome(&report.outcome);
    page.text
}

struct Page {
    text: String,
    terminal: Terminal,
}

impl Page {
    fn line(&mut self, line: &str) {
        // A `String` takes every write.
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    fn fact(&mut self, name: &str, value: &str) {
        let name = self.terminal.paint(Style::Faint, format!("{name:<10}"));
        self.line(&format!("{name} {value}"));
    }

    fn facts(&mut self, name: &str, values: &[String]) {
        for (at, value) in values.iter().enumerate() {
            self.fact(if at == 0 { name } else { "" }, value);
        }
    }

    fn head(&mut self, report: &Report) {
        let title = self.terminal.paint(Style::Title, &report.request);
        self.line(&title);
        self.facts("note", &report.notes);
        self.fact("listener", &format!("{} on {}", report.listener, report.address));
        self.facts("mtls", &report.mtls);
        if let Some(table) = &report.route_configuration {
            self.fact("routes", table);
        }
        let tokens = report.tokens.iter();
        let tokens = tokens.map(|tokens| {
            format!("of {} are verified  {}  {}", tokens.issuer, tokens.resource, tokens.origin)
        });
        self.facts("tokens", &tokens.collect::<Vec<_>>());
        self.facts("limited by", &report.rate_limits);
        if let Some(host) = &report.virtual_host {
            self.fact("host", &format!("{} is covered by {} of {}", host.host, host.domain, host.name));
            if host.resource != host.origin {
                self.fact("", &format!("{}  {}", host.resource, host.origin));
            }
            if !host.others.is_empty() {
                self.fact("", &format!("less specific: {}", host.others.join(", ")));
            }
        }
    }

    fn authorization(&mut self, authorization: &Authorization) {
        if let Some(provider) = &authorization.asks {
            self.fact("asks", &format!("provider {provider}; what follows holds if it allows"));
        }
        for policy in &authorization.policies {
            let dry_run = if policy.dry_run { ", only tried" } else { "" };
            self.line("");
            self.line(&format!("{} {}{dry_run}  {}", policy.action, policy.name, policy.origin));
            if policy.rules.is_empty() {
                self.line(&self.terminal.paint(Style::Faint, "   has no rules, so that none holds"));
            }
            for (at, rule) in policy.rules.iter().enumerate() {
                let (style, mark) = if rule.holds { (Style::Good, "yes") } else { (Style::Bad, "no ") };
                let mark = self.terminal.paint(style, mark);
                self.line(&format!("{at:>3}  {mark}  {}", rule.origin));
                for Condition { field, origin, wanted, found } in &rule.failed {
                    let found = found.as_ref().map_or("nothing".to_owned(), |found| format!("{found:?}"));
                    self.line(&format!("          {origin}  {field}: wanted {wanted}, found {found}"));
                }
            }
        }
    }

    fn rules(&mut self, rules: &[Rule]) {
        if rules.is_empty() {
            return;
        }
        self.line("");
        let number = rules.len().to_string().len();
        let origin = rules.iter().map(|rule| rule.origin.chars().count()).max().unwrap_or(0);
        let reached = rules.iter().take_while(|rule| rule.verdict != RuleVerdict::NotReached).count();
        for (at, rule) in rules.iter().enumerate().take(reached) {
            let (style, mark) = match rule.verdict {
                RuleVerdict::Wins => (Style::Good, "yes"),
                RuleVerdict::Differs | RuleVerdict::NotReached | RuleVerdict::LessSpecific => {
                    (Style::Bad, "no ")
                }
            };
            let mark = self.terminal.paint(style, mark);
            let why = match &rule.difference {
                None if rule.verdict == RuleVerdict::LessSpecific => {
                    format!("{}: would hold, too, and is less specific", rule.name)
                }
                None => self.terminal.paint(Style::Title, &rule.name),
                Some(difference) => {
                    let found =
                        difference.found.as_ref().map_or("nothing".to_owned(), |found| format!("{found:?}"));
                    format!("{}: wanted {}, found {found}", difference.field, difference.wanted)
                }
            };
            self.line(&format!("{:>number$}  {mark}  {:<origin$}  {why}", at + 1, rule.origin));
        }
        if reached < rules.len() {
            let rest = format!("{} more not reached", rules.len() - reached);
            self.line(&self.terminal.paint(Style::Faint, rest));
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        self.line("");
        match outcome {
            Outcome::Forward(forwarded) => self.forwarded(forwarded),
            Outcome::Tcp { destinations } => self.destinations("bytes to", destinations),
            Outcome::Redirect { status, location, headers } => {
                self.fact("redirect", &format!("{status} to {location}"));
                self.facts("headers", headers);
            }
            Outcome::Direct { status, body, headers } => {
                self.fact("answer", &format!("{status} {body:?}"));
                self.facts("headers", headers);
            }
            Outcome::Refused { status, reason } => {
                let text = self.terminal.paint(Style::Bad, format!("refused: {status}, {reason}"));
                self.line(&text);
            }
            Outcome::NoRoute { status, flag } => {
                let text =
                    self.terminal.paint(Style::Bad, format!("no rule takes it: {status}, flag {flag}"));
                self.line(&text);
            }
            Outcome::Closed { reason } => {
                let text = self.terminal.paint(Style::Bad, format!("{reason}: it is closed"));
                self.line(&text);
            }
        }
    }

    fn forwarded(&mut self, forwarded: &Forwarded) {
        self.destinations("forward", &forwarded.destinations);
        if forwarded.rewritten {
            self.fact("rewrite", &format!("{}{}", forwarded.authority, forwarded.path));
        }
        self.fact("timeout", forwarded.timeout.as_deref().unwrap_or("none"));
        self.fact("retries", forwarded.retries.as_deref().unwrap_or("none"));
        self.facts("headers", &forwarded.headers);
        self.facts("hash of", &forwarded.hash);
        self.facts("mirror", &forwarded.mirrors);
        self.facts("fault", &forwarded.faults);
        self.facts("cors", forwarded.cors.as_slice());
    }

    fn destinations(&mut self, name: &str, destinations: &[Destination]) {
        let width = destinations.iter().map(|one| one.cluster.chars().count()).max().unwrap_or(0);
        for (at, one) in destinations.iter().enumerate() {
            let percent = format!("{:>5} %", (one.percent * 10.0).round() / 10.0);
            let tls = if one.tls.is_empty() { String::new() } else { format!("  {}", one.tls) };
            let line = format!("{percent}  {:<width$}  {}{tls}", one.cluster, one.load_balancer);
            self.fact(if at == 0 { name } else { "" }, &line);
            let indent = " ".repeat(9);
            match one.endpoints.as_slice() {
                [] => self.fact("", &format!("{indent}{}", self.terminal.paint(Style::Bad, "no endpoints"))),
                endpoints => self.endpoints(&indent, endpoints),
            }
            let further = [&one.limits, &one.concurrency].into_iter().filter(|line| !line.is_empty());
            for line in further.cloned().chain(one.faults.iter().map(|fault| format!("fault: {fault}"))) {
                self.fact("", &format!("{indent}{}", self.terminal.paint(Style::Faint, line)));
            }
            for change in
                one.authority.iter().map(|host| format!("authority {host}")).chain(one.headers.clone())
            {
                self.fact("", &format!("{indent}{change}"));
            }
        }
    }

    /// The first few: a service may have thousands.
    fn endpoints(&mut self, indent: &str, endpoints: &[String]) {
        const SHOWN: usize = 8;
        for endpoint in endpoints.iter().take(SHOWN) {
            self.fact("", &format!("{indent}{endpoint}"));
        }
        if endpoints.len() > SHOWN {
            self.fact("", &format!("{indent}and {} more", endpoints.len() - SHOWN));
        }
    }
}
