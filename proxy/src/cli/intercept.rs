//! `sidle intercept`: the kernel's rules that bring an application's connections to the proxy.
//!
//! In:  flags, under our names and those of istio-iptables.   Out: rules in force, or their text.
//! Not here: the rules (`intercept`).

use super::{CliError, output, value};
use crate::intercept::{self, Choice, Found, Mode, Program, Range, Rules, is_interface};
use ipnet::IpNet;
use std::{net::IpAddr, process::ExitCode};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum InterceptCommand {
    /// Put the rules into force, in place of those of an earlier run; needs CAP_NET_ADMIN
    Apply(InterceptArgs),
    /// Take the rules away, if there are any
    Clean(CleanArgs),
    /// Print the rules as the program would read them, and do nothing
    Print(InterceptArgs),
    /// Say whether these rules are in force; exit code 1 if not
    Check(InterceptArgs),
}

/// Arguments of `sidle intercept clean`.
#[derive(Debug, clap::Args)]
pub struct CleanArgs {
    /// The program that does it [default: nft, else iptables]
    #[arg(long, value_enum)]
    program: Option<Program>,
    /// The routing table that was used
    #[arg(
        short = 'r',
        long,
        default_value_t = 133,
        alias = "istio-inbound-tproxy-route-table",
        value_name = "TABLE",
        value_parser = |text: &str| value::whole::<u32>(text, 0..=u32::MAX.into())
    )]
    route_table: u32,
}

/// What is captured.
#[derive(Debug, clap::Args)]
pub struct InterceptArgs {
    /// How connections to the workload are captured
    #[arg(short, long, value_enum, default_value = "REDIRECT", ignore_case = true)]
    #[arg(alias = "istio-inbound-interception-mode")]
    mode: Mode,
    /// Port of the proxy's outbound listener
    #[arg(short = 'p', long, default_value_t = 15001, alias = "envoy-port", value_name = "PORT", value_parser = value::port)]
    outbound_port: u16,
    /// Port of the proxy's inbound listener
    #[arg(short = 'z', long, default_value_t = 15006, alias = "inbound-capture-port", value_name = "PORT", value_parser = value::port)]
    inbound_port: u16,
    /// Accounts whose connections are the proxy's own
    /// [default: 1337, and the account `sidle` if there is one]
    #[arg(short = 'u', long, value_delimiter = ',', value_name = "UID,…", value_parser = value::account)]
    proxy_uid: Option<Vec<u32>>,
    /// Groups whose connections are the proxy's own
    /// [default: 1337, and the group of the account `sidle` if there is one]
    #[arg(short = 'g', long, value_delimiter = ',', value_name = "GID,…", value_parser = value::account)]
    proxy_gid: Option<Vec<u32>>,
    /// Control groups (version 2) whose connections are the proxy's own, as `system.slice/sidle.service`; they must exist
    #[arg(long, value_delimiter = ',', value_name = "PATH,…")]
    proxy_cgroup: Vec<String>,
    /// Ports of the workload to capture: `*`, or a list; an empty one captures none
    #[arg(short = 'b', long, default_value = "*", alias = "istio-inbound-ports", value_name = "PORT,…")]
    inbound_ports: Choice<u16>,
    /// Ports of the workload to leave alone; those of the proxy itself always are
    #[arg(
        short = 'd',
        long,
        default_value = "22",
        alias = "istio-local-exclude-ports",
        value_name = "PORT,…"
    )]
    exclude_inbound_ports: Choice<u16>,
    /// Destinations of the application to capture: `*`, or addresses and ranges
    #[arg(short = 'i', long, default_value = "*", alias = "istio-service-cidr", value_name = "RANGE,…")]
    outbound_ranges: Choice<Range>,
    /// Destinations to leave alone
    #[arg(
        short = 'x',
        long,
        default_value = "",
        alias = "istio-service-exclude-cidr",
        value_name = "RANGE,…"
    )]
    exclude_outbound_ranges: Choice<Range>,
    /// Ports to capture whatever the address
    #[arg(short = 'q', long, default_value = "", alias = "istio-outbound-ports", value_name = "PORT,…")]
    outbound_ports: Choice<u16>,
    /// Ports to leave alone whatever the address
    #[arg(
        short = 'o',
        long,
        default_value = "",
        alias = "istio-local-outbound-ports-exclude",
        value_name = "PORT,…"
    )]
    exclude_outbound_ports: Choice<u16>,
    /// Network interfaces to leave alone
    #[arg(
        short = 'c',
        long,
        alias = "istio-exclude-interfaces",
        value_delimiter = ',',
        value_name = "NAME,…"
    )]
    exclude_interfaces: Vec<String>,
    /// Capture DNS questions to the servers of /etc/resolv.conf
    #[arg(long)]
    redirect_dns: bool,
    /// Capture DNS questions to any server
    #[arg(long)]
    capture_all_dns: bool,
    /// Port of the proxy's DNS server
    #[arg(long, default_value_t = 15053, value_name = "PORT", value_parser = value::port)]
    dns_port: u16,
    /// The routing table of mode TPROXY
    #[arg(
        short = 'r',
        long,
        default_value_t = 133,
        alias = "istio-inbound-tproxy-route-table",
        value_name = "TABLE",
        value_parser = |text: &str| value::whole::<u32>(text, 0..=u32::MAX.into())
    )]
    route_table: u32,
    /// Leave IPv6 alone
    #[arg(long)]
    no_ipv6: bool,
    /// The program that does it [default: nft, else iptables]
    #[arg(long, value_enum)]
    program: Option<Program>,
}

/// Does it.
pub fn run(command: InterceptCommand) -> Result<ExitCode, CliError> {
    let program = |wanted: Option<Program>| match wanted {
        Some(program) => Ok(program),
        None => intercept::program().map_err(CliError::Failed),
    };
    match command {
        InterceptCommand::Apply(args) => {
            intercept::apply(&args.rules()?, program(args.program)?).map_err(CliError::Failed)?;
        }
        InterceptCommand::Clean(args) => {
            let rules = Rules { route_table: args.route_table, ..Rules::default() };
            intercept::clean(&rules, program(args.program)?).map_err(CliError::Failed)?;
        }
        InterceptCommand::Print(args) => {
            let program = args.program.unwrap_or(Program::Nft);
            output::print(&intercept::text(&args.rules()?, program))?;
        }
        InterceptCommand::Check(args) => {
            let found = intercept::check(&args.rules()?, program(args.program)?).map_err(CliError::Failed)?;
            let (says, code) = match found {
                Found::These => ("in force", ExitCode::SUCCESS),
                Found::Others => ("other rules are in force", ExitCode::FAILURE),
                Found::Nothing => ("nothing is captured", ExitCode::FAILURE),
            };
            output::print(&format!("{says}\n"))?;
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a list has.
fn only<T>(choice: &Choice<T>, flag: &str) -> Result<Vec<T>, CliError>
where
    T: Clone,
{
    match choice {
        Choice::Only(items) => Ok(items.clone()),
        Choice::All => Err(CliError::Usage(format!("`--{flag} *` would capture nothing, or everything"))),
    }
}

impl InterceptArgs {
    fn rules(&self) -> Result<Rules, CliError> {
        if self.proxy_cgroup.iter().any(|group| group.trim_matches('/').is_empty()) {
            return Err(CliError::Usage("`--proxy-cgroup`: the root has everybody in it".into()));
        }
        if self.outbound_port == self.inbound_port {
            let message = format!("both directions cannot be captured to one port, {}", self.inbound_port);
            return Err(CliError::Usage(message));
        }
        if let Some(name) = self.exclude_interfaces.iter().find(|name| !is_interface(name)) {
            return Err(CliError::Usage(format!(
                "`--exclude-interfaces`: `{name}` is no network interface: 1 to 15 letters, digits and `._-@:`"
            )));
        }
        let servers = match self.redirect_dns && !self.capture_all_dns {
            true => Choice::Only(name_servers()?),
            false => Choice::All,
        };
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let (uid, gid) = account("sidle", &accounts).unzip();
        let defaults = Rules::default();
        let or_default = |given: &Option<Vec<u32>>, known: Vec<u32>, ours: Option<u32>| {
            given.clone().unwrap_or_else(|| known.into_iter().chain(ours).collect())
        };
        Ok(Rules {
            mode: self.mode,
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            uids: or_default(&self.proxy_uid, defaults.uids, uid),
            gids: or_default(&self.proxy_gid, defaults.gids, gid),
            cgroups: self.proxy_cgroup.clone(),
            inbound: self.inbound_ports.clone(),
            inbound_excluded: only(&self.exclude_inbound_ports, "exclude-inbound-ports")?,
            outbound: self.outbound_ranges.clone(),
            outbound_excluded: only(&self.exclude_outbound_ranges, "exclude-outbound-ranges")?,
            outbound_ports: only(&self.outbound_ports, "outbound-ports")?,
            outbound_ports_excluded: only(&self.exclude_outbound_ports, "exclude-outbound-ports")?,
            interfaces_excluded: self.exclude_interfaces.clone(),
            dns_port: (self.redirect_dns || self.capture_all_dns).then_some(self.dns_port),
            dns_servers: servers,
            route_table: self.route_table,
            ipv6: !self.no_ipv6,
        })
    }
}

/// An account's numbers, in the text of /etc/passwd: under that name the packages run the proxy.
fn account(name: &str, accounts: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// The name servers that this machine asks.
fn name_servers() -> Result<Vec<Range>, CliError> {
    let failed = |error| CliError::Failed(format!("/etc/resolv.conf: {error}"));
    let text = std::fs::read_to_string("/etc/resolv.conf").map_err(failed)?;
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = servers.filter_map(|server| server.trim().split('%').next()?.parse::<IpAddr>().ok());
    Ok(addresses.map(|address| Range(IpNet::from(address))).collect())
}

#[cfg(test)]
mod tests {
    use super::account;

    #[test]
    fn the_packages_account_is_found() {
        let accounts =
            "root:x:0:0:root:/root:/bin/sh\nsidle:x:991:992::/:/usr/sbin/nologin\nsidle2:x:1:1::/:\n";
        assert_eq!(account("sidle", accounts), Some((991, 992)));
        assert_eq!(account("sidl", accounts), None);
        assert_eq!(account("x", "x:x:a:1::/:"), None);
    }
}
