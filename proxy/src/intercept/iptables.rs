//! Rules as scripts for `iptables-restore` and `ip6tables-restore`, where there is no `nft`.
//!
//! A table is replaced in one transaction: what an earlier run left in it goes as the new comes.

use super::{CLIENT_MARK, Choice, Mode, Rules, SELF_MARK, family, fingerprint, join};

/// Begins the name of each chain of ours.
const PREFIX: &str = "SIDLE_";
/// Ports of one rule, at most.
const PORTS: usize = 15;

/// The script for one family, given what `iptables-save` says of it.
pub fn script(rules: &Rules, v6: bool, saved: &str) -> String {
    let mark = format!("{PREFIX}{}", mark(rules));
    let mut script = String::new();
    for (table, chains) in tables(rules, v6) {
        script.push_str(&section(table, saved, &chains, (table == "nat").then_some(&mark)));
    }
    if rules.mode == Mode::Redirect && !ours(saved, "mangle").0.is_empty() {
        script.push_str(&section("mangle", saved, &[], None)); // of mode TPROXY, before
    }
    script
}

/// The script that leaves nothing of ours.
pub fn removal(saved: &str) -> String {
    let sections = ["nat", "mangle"].into_iter().filter(|table| !ours(saved, table).0.is_empty());
    sections.map(|table| section(table, saved, &[], None)).collect()
}

/// The name of the chain that [`script`] leaves for whoever asks whether these rules are in force.
pub fn mark(rules: &Rules) -> String {
    let lines = [false, true].map(|v6| format!("{:?}", tables(rules, v6)));
    fingerprint(&lines.concat())
}

/// A chain of ours: its name, the built-in one that leads to it, its rules.
type Chain = (&'static str, &'static str, Vec<String>);

/// Our chains in a table, and the lines that lead to them.
fn ours<'a>(saved: &'a str, table: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let start = format!("*{table}");
    let lines = saved.lines().skip_while(move |line| *line != start).take_while(|line| *line != "COMMIT");
    let (mut chains, mut jumps) = (Vec::new(), Vec::new());
    for line in lines {
        if let Some(chain) = line.strip_prefix(':').and_then(|line| line.split(' ').next()) {
            chains.extend(Some(chain).filter(|chain| chain.starts_with(PREFIX)));
        } else if !line.starts_with(&format!("-A {PREFIX}")) && line.contains(&format!("-j {PREFIX}")) {
            jumps.extend(line.strip_prefix("-A "));
        }
    }
    (chains, jumps)
}

fn section(table: &str, saved: &str, chains: &[Chain], mark: Option<&String>) -> String {
    let (old, jumps) = ours(saved, table);
    let mut lines = vec![format!("*{table}")];
    lines.extend(old.iter().map(|chain| format!(":{chain} - [0:0]"))); // empties it
    lines.extend(jumps.iter().map(|jump| format!("-D {jump}")));
    lines.extend(old.iter().map(|chain| format!("-X {chain}")));
    lines.extend(mark.map(|mark| format!("-N {mark}")));
    for (name, hook, rules) in chains {
        lines.push(format!("-N {PREFIX}{name}"));
        lines.extend(rules.iter().map(|rule| format!("-A {PREFIX}{name} {rule}")));
        lines.push(format!("-A {hook} -j {PREFIX}{name}"));
    }
    lines.push("COMMIT\n".into());
    lines.join("\n")
}

fn tables(rules: &Rules, v6: bool) -> Vec<(&'static str, Vec<Chain>)> {
    let output = ("OUTPUT", "OUTPUT", output(rules, v6));
    let inbound = ("INBOUND", "PREROUTING", inbound(rules));
    match rules.mode {
        Mode::Redirect => vec![("nat", vec![output, inbound])],
        Mode::Tproxy => {
            vec![("nat", vec![output]), ("mangle", vec![inbound, ("MARK", "OUTPUT", marks(rules, v6))])]
        }
    }
}

fn owners(rules: &Rules) -> Vec<String> {
    let uids = rules.uids.iter().map(|uid| format!("-m owner --uid-owner {uid}"));
    let gids = rules.gids.iter().map(|gid| format!("-m owner --gid-owner {gid}"));
    let cgroups = rules.cgroups.iter().map(|group| format!("-m cgroup --path {}", group.trim_matches('/')));
    uids.chain(gids).chain(cgroups).collect()
}

fn to_application(v6: bool) -> String {
    format!("-o lo -s {} -j RETURN", if v6 { "::6/128" } else { "127.0.0.6/32" })
}

fn to_itself(rules: &Rules, v6: bool, target: &str) -> Vec<String> {
    let loopback = if v6 { "::1/128" } else { "127.0.0.0/8" };
    let of = |owner: String| format!("-o lo ! -d {loopback} -p tcp {owner} {target}");
    owners(rules).into_iter().map(of).collect()
}

fn ports(ports: &[u16], target: &str) -> Vec<String> {
    let rule = |ports: &[u16]| format!("-p tcp -m multiport --dports {} {target}", join(ports, ","));
    ports.chunks(PORTS).map(rule).collect()
}

fn output(rules: &Rules, v6: bool) -> Vec<String> {
    let mut lines: Vec<String> =
        rules.interfaces_excluded.iter().map(|name| format!("-o {name} -j RETURN")).collect();
    lines.push(to_application(v6));
    match rules.mode {
        Mode::Tproxy => lines.push(format!("-m mark --mark {CLIENT_MARK} -j RETURN")),
        Mode::Redirect => {
            let target = format!("-j REDIRECT --to-ports {}", rules.inbound_port);
            lines.extend(to_itself(rules, v6, &target));
        }
    }
    lines.extend(owners(rules).iter().map(|owner| format!("{owner} -j RETURN")));
    if let Some(port) = rules.dns_port {
        let servers = match &rules.dns_servers {
            Choice::All => vec![String::new()],
            Choice::Only(servers) => {
                family(servers, v6).iter().map(|server| format!("-d {server} ")).collect()
            }
        };
        for protocol in ["udp", "tcp"] {
            let question = |server| format!("{server}-p {protocol} --dport 53 -j REDIRECT --to-ports {port}");
            lines.extend(servers.iter().map(question));
        }
    }
    lines.push("-o lo -j RETURN".into());
    lines.extend(ports(&rules.outbound_ports_excluded, "-j RETURN"));
    lines.extend(family(&rules.outbound_excluded, v6).iter().map(|range| format!("-d {range} -j RETURN")));
    let target = format!("-j REDIRECT --to-ports {}", rules.outbound_port);
    lines.extend(ports(&rules.outbound_ports, &target));
    match &rules.outbound {
        Choice::All => lines.push(format!("-p tcp {target}")),
        Choice::Only(only) => {
            lines.extend(family(only, v6).iter().map(|range| format!("-d {range} -p tcp {target}")));
        }
    }
    lines
}

fn inbound(rules: &Rules) -> Vec<String> {
    let mut lines: Vec<String> =
        rules.interfaces_excluded.iter().map(|name| format!("-i {name} -j RETURN")).collect();
    let port = rules.inbound_port;
    // A router, or a host of containers, passes the rest on.
    let for_this_machine = "-m addrtype ! --dst-type LOCAL -j RETURN".to_owned();
    let target = match rules.mode {
        Mode::Redirect => {
            lines.push("-i lo -j RETURN".into());
            lines.push(for_this_machine);
            format!("-j REDIRECT --to-ports {port}")
        }
        Mode::Tproxy => {
            lines.push(format!("-i lo -m mark ! --mark {SELF_MARK} -j RETURN"));
            // Answers to what was begun here are not to be taken for anything else: TPROXY drops what has no socket of its kind.
            lines.push("-m conntrack --ctdir REPLY -j RETURN".into());
            lines.push(for_this_machine);
            format!("-j TPROXY --on-port {port}")
        }
    };
    lines.extend(ports(&rules.inbound_left_alone(), "-j RETURN"));
    match &rules.inbound {
        Choice::All => lines.push(format!("-p tcp {target}")),
        Choice::Only(only) => lines.extend(ports(only, &target)),
    }
    lines
}

fn marks(rules: &Rules, v6: bool) -> Vec<String> {
    let reply = format!("-p tcp -m conntrack --ctdir REPLY -m connmark --mark {CLIENT_MARK}");
    let sent = format!("-p tcp -m mark --mark {CLIENT_MARK}");
    let mut lines = vec![
        format!("{reply} -j MARK --set-mark {CLIENT_MARK}"),
        format!("{reply} -j RETURN"),
        format!("{sent} -j CONNMARK --set-mark {CLIENT_MARK}"),
        format!("{sent} -j RETURN"),
        to_application(v6),
    ];
    // Not its answers to the application, whose own address is the client's.
    let begun = format!("-m conntrack --ctdir ORIGINAL -j MARK --set-mark {SELF_MARK}");
    lines.extend(to_itself(rules, v6, &begun));
    lines
}
