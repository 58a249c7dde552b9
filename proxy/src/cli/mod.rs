//! The command line: one file a command.
//!
//! In:  arguments and environment.   Out: an exit code.
//! Invariants: results go to standard output, errors to standard error; 0 is success, 1 failure, 2 usage.
//! Not here: the proxy itself (`app`), the meaning of configuration (`sidle-model`).
//! Read: `Command`, then the file of the command.

mod admin;
mod authz;
mod certs;
mod check;
mod client;
mod completions;
mod demo;
mod explain;
mod export;
mod inject;
mod inspect;
mod intercept;
mod node;
mod output;
mod received;
mod run;
mod tokens;
mod value;
mod version;
mod whole_file;

use clap::{Parser, Subcommand};
use output::Terminal;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the configuration has errors, or the command failed
  2  the command line is wrong
  `sidle run … -- CMD` exits with CMD's own code.

Flags beat environment variables, which beat files (`kind: Proxy`), which beat defaults.";

/// A sidecar proxy that runs Istio manifests from plain files.
#[derive(Debug, Parser)]
#[command(name = "sidle", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Line<C: Subcommand> {
    /// No escape sequences, also not on a terminal [env: NO_COLOR]
    #[arg(long, global = true)]
    no_color: bool,
    #[command(subcommand)]
    command: C,
}

/// The whole command line.
type Cli = Line<Command>;

/// `run` alone: a proxy does not keep in memory what describes the other commands.
#[derive(Debug, Subcommand)]
enum Proxy {
    /// Run the proxy
    Run(run::RunArgs),
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    Run(run::RunArgs),
    /// Check configuration files without running anything
    Check(check::CheckArgs),
    /// Say which route a request takes, and why not the others
    Explain(explain::ExplainArgs),
    /// Ask authorization policies without running anything
    #[command(subcommand)]
    Authz(authz::AuthzCommand),
    /// Write the configuration for another proxy
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Show the routes of a running proxy
    Routes(inspect::InspectArgs),
    /// Show the clusters of a running proxy
    Clusters(inspect::InspectArgs),
    /// Show the endpoints of a running proxy
    Endpoints(inspect::InspectArgs),
    /// Show the listeners of a running proxy
    Listeners(inspect::InspectArgs),
    /// Show which configuration a running proxy applied, and how its last reload went
    Config(inspect::ConfigArgs),
    /// Bring an application's connections to the proxy by rules of the kernel
    #[command(subcommand)]
    Intercept(intercept::InterceptCommand),
    /// Put a sidecar beside the containers of workload manifests, offline
    Inject(inject::InjectArgs),
    /// Make certificates for development, or show who certificates are for
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Show the proxy at work on this machine: a split, a change, a mistake
    Demo(demo::DemoArgs),
    /// Write a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Show what this binary is
    Version(version::VersionArgs),
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line or the environment is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Failed(String),
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let done = if std::env::args_os().nth(1).is_some_and(|command| command == "run") {
        let Proxy::Run(args) = Line::parse().command;
        run::run(args)
    } else {
        let cli = Cli::parse();
        cli.command.run(Terminal::of_stdout(cli.no_color))
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            output::complain(&format!("error: {error}\n"));
            match error {
                CliError::Usage(_) => ExitCode::from(2),
                CliError::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

impl Command {
    fn run(self, terminal: Terminal) -> Result<ExitCode, CliError> {
        match self {
            Command::Run(args) => run::run(args),
            Command::Check(args) => check::run(&args, terminal),
            Command::Explain(args) => explain::run(args, terminal),
            Command::Authz(command) => authz::run(command, terminal),
            Command::Export(command) => export::run(command),
            Command::Routes(args) => inspect::routes(&args, terminal),
            Command::Clusters(args) => inspect::clusters(&args, terminal),
            Command::Endpoints(args) => inspect::endpoints(&args, terminal),
            Command::Listeners(args) => inspect::listeners(&args, terminal),
            Command::Config(args) => inspect::config(&args, terminal),
            Command::Intercept(command) => intercept::run(command),
            Command::Inject(args) => inject::run(args),
            Command::Certs(command) => certs::run(command, terminal),
            Command::Demo(args) => demo::run(&args, terminal),
            Command::Completions(args) => completions::run(&args),
            Command::Version(args) => version::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_of_the_readme_parse() {
        for line in [
            "sidle run -c a.yaml b.yaml --namespace shop --labels app=a,version=v1 --admin 127.0.0.1:0 --workers 2",
            "sidle run -c a.yaml -- server --port 80",
            "sidle run -c a.yaml --takeover --takeover-socket /run/sidle/takeover.sock",
            "sidle check config-examples -o json",
            "sidle check -",
            "sidle explain -c a b GET http://x/ -H k:v --listener inbound",
            "sidle explain -c a POST http://x/ --namespace shop -o json",
            "sidle explain -c a --listener inbound --principal td/ns/a/sa/b --claim iss=me GET http://x/",
            "sidle authz simulate -c a b -f requests.yaml --labels app=web",
            "sidle export envoy -c a -o out.json",
            "sidle routes --admin 127.0.0.1:15000 -o json",
            "sidle clusters --no-color",
            "sidle config --dump",
            "sidle completions bash",
            "sidle certs init --service web --service reviews.shop/reader --out certs --trust-domain example.org",
            "sidle certs show certs -o json",
            "sidle intercept apply -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020",
            "sidle intercept print --mode tproxy --proxy-uid 1337,1 --exclude-outbound-ranges 10.0.0.0/8,::1 --redirect-dns",
            "sidle intercept check --istio-service-cidr 10.0.0.0/8 --program iptables",
            "sidle intercept clean",
            "sidle inject -f a.yaml b.yaml -f - -o out.yaml --image registry/sidle:1 --config-map mesh",
            "sidle inject --filename a.yaml --no-intercept --intercept-image i:1 --identity-secret web",
            "sidle demo --seconds 20",
            "sidle version -o json",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn run_is_the_same_alone() {
        let help = |mut command: clap::Command| {
            command.build();
            command.find_subcommand_mut("run").unwrap().render_long_help().to_string()
        };
        assert_eq!(help(Line::<Proxy>::command()), help(Cli::command()));
        let line = ["sidle", "run", "-c", "a", "--workers", "2", "--no-color", "--", "app", "run"];
        let Proxy::Run(alone) = Line::parse_from(line).command;
        let Command::Run(among) = Cli::parse_from(line).command else { panic!("another command") };
        assert_eq!(format!("{alone:?}"), format!("{among:?}"));
    }

    #[test]
    fn every_flag_and_argument_says_what_it_is() {
        fn silent(command: &clap::Command, found: &mut Vec<String>) {
            let arguments = command.get_arguments().filter(|argument| argument.get_help().is_none());
            found.extend(arguments.map(|argument| format!("{} {}", command.get_name(), argument.get_id())));
            if command.get_about().is_none() {
                found.push(command.get_name().to_owned());
            }
            command.get_subcommands().for_each(|command| silent(command, found));
        }
        let (mut found, mut command) = (Vec::new(), Cli::command());
        command.build();
        silent(&command, &mut found);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_wrong_line_is_a_usage_error() {
        for line in ["sidle", "sidle run --workers 0 -c a", "sidle check", "sidle completions cmd.exe"] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
