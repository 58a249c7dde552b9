//! Rules as a script for `nft`: one table, replaced in one transaction.

use super::{CLIENT_MARK, Choice, Mode, Range, Rules, SELF_MARK, family, fingerprint, join};
use std::fmt::Write;

/// The table, of both families.
pub const TABLE: &str = "inet sidle";

/// Takes the table away, whether it is there or not.
pub fn removal() -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n")
}

/// Puts the rules into the table, whatever was in it.
pub fn script(rules: &Rules) -> String {
    let table = table(rules);
    let mark = fingerprint(&table);
    format!("{}table {TABLE} {{\n    comment \"sidle {mark}\"\n{table}}}\n", removal())
}

/// What [`script`] leaves in the table for whoever asks whether these rules are in force.
pub fn mark(rules: &Rules) -> String {
    fingerprint(&table(rules))
}

fn table(rules: &Rules) -> String {
    let mut text = String::new();
    chain(&mut text, "output", "nat hook output priority -100", &output(rules));
    match rules.mode {
        Mode::Redirect => {
            chain(&mut text, "prerouting", "nat hook prerouting priority -100", &inbound(rules))
        }
        Mode::Tproxy => {
            chain(&mut text, "prerouting", "filter hook prerouting priority -150", &inbound(rules));
            chain(&mut text, "replies", "route hook output priority -150", &marks(rules));
        }
    }
    text
}

fn chain(text: &mut String, name: &str, hook: &str, lines: &[String]) {
    // Writing to a string never fails.
    let _ = writeln!(text, "    chain {name} {{\n        type {hook}; policy accept;");
    lines.iter().for_each(|line| _ = writeln!(text, "        {line}"));
    let _ = writeln!(text, "    }}");
}

/// How packets of the proxy itself are known.
fn owners(rules: &Rules) -> Vec<String> {
    let uids = rules.uids.iter().map(|uid| format!("meta skuid {uid}"));
    let gids = rules.gids.iter().map(|gid| format!("meta skgid {gid}"));
    let cgroups = rules.cgroups.iter().map(|group| {
        let path = group.trim_matches('/');
        format!("socket cgroupv2 level {} \"{path}\"", path.split('/').count())
    });
    uids.chain(gids).chain(cgroups).collect()
}

/// The proxy to the application, in the name of nobody.
fn to_application() -> [String; 2] {
    ["oifname \"lo\" ip saddr 127.0.0.6 return".into(), "oifname \"lo\" ip6 saddr ::6 return".into()]
}

/// The proxy to the workload's own address.
fn to_itself(rules: &Rules, verdict: &str) -> Vec<String> {
    let of = |owner: String| {
        ["ip daddr != 127.0.0.0/8", "ip6 daddr != ::1"]
            .map(|other| format!("oifname \"lo\" {other} {owner} meta l4proto tcp {verdict}"))
    };
    owners(rules).into_iter().flat_map(of).collect()
}

fn names(names: &[String]) -> String {
    format!("{{ {} }}", join(names.iter().map(|name| format!("\"{name}\"")), ", "))
}

fn set<T: std::fmt::Display>(items: &[T]) -> String {
    format!("{{ {} }}", join(items, ", "))
}

/// `with` before each family's ranges.
fn ranges(ranges: &[Range], side: &str, rest: &str) -> Vec<String> {
    [(false, "ip"), (true, "ip6")]
        .into_iter()
        .map(|(v6, name)| (name, family(ranges, v6)))
        .filter(|(_, ranges)| !ranges.is_empty())
        .map(|(name, ranges)| format!("{name} {side} {} {rest}", set(&ranges)))
        .collect()
}

fn output(rules: &Rules) -> Vec<String> {
    let mut lines = Vec::new();
    if !rules.ipv6 {
        lines.push("meta nfproto ipv6 return".into());
    }
    if !rules.interfaces_excluded.is_empty() {
        lines.push(format!("oifname {} return", names(&rules.interfaces_excluded)));
    }
    lines.extend(to_application());
    match rules.mode {
        Mode::Tproxy => lines.push(format!("meta mark {CLIENT_MARK} return")),
        Mode::Redirect => {
            let port = rules.inbound_port;
            lines.extend(to_itself(rules, &format!("redirect to :{port}")));
        }
    }
    lines.extend(owners(rules).iter().map(|owner| format!("{owner} return")));
    if let Some(port) = rules.dns_port {
        let questions = format!("meta l4proto {{ tcp, udp }} th dport 53 redirect to :{port}");
        match &rules.dns_servers {
            Choice::All => lines.push(questions),
            Choice::Only(servers) => lines.extend(ranges(servers, "daddr", &questions)),
        }
    }
    lines.push("oifname \"lo\" return".into());
    if !rules.outbound_ports_excluded.is_empty() {
        lines.push(format!("tcp dport {} return", set(&rules.outbound_ports_excluded)));
    }
    lines.extend(ranges(&rules.outbound_excluded, "daddr", "return"));
    let captured = format!("redirect to :{}", rules.outbound_port);
    if !rules.outbound_ports.is_empty() {
        lines.push(format!("tcp dport {} {captured}", set(&rules.outbound_ports)));
    }
    match &rules.outbound {
        Choice::All => lines.push(format!("meta l4proto tcp {captured}")),
        Choice::Only(only) => lines.extend(ranges(only, "daddr", &format!("meta l4proto tcp {captured}"))),
    }
    lines
}

fn inbound(rules: &Rules) -> Vec<String> {
    let mut lines = Vec::new();
    if !rules.ipv6 {
        lines.push("meta nfproto ipv6 return".into());
    }
    if !rules.interfaces_excluded.is_empty() {
        lines.push(format!("iifname {} return", names(&rules.interfaces_excluded)));
    }
    // A router, or a host of containers, passes the rest on.
    let for_this_machine = "fib daddr type != local return".to_owned();
    let verdict = match rules.mode {
        Mode::Redirect => {
            lines.push("iifname \"lo\" return".into());
            lines.push(for_this_machine);
            format!("redirect to :{}", rules.inbound_port)
        }
        Mode::Tproxy => {
            lines.push(format!("iifname \"lo\" meta mark != {SELF_MARK} return"));
            lines.push("ct direction reply return".into());
            lines.push(for_this_machine);
            format!("tproxy to :{} accept", rules.inbound_port)
        }
    };
    lines.push(format!("tcp dport {} return", set(&rules.inbound_left_alone())));
    match &rules.inbound {
        Choice::All => lines.push(format!("meta l4proto tcp {verdict}")),
        Choice::Only(ports) if ports.is_empty() => {}
        Choice::Only(ports) => lines.push(format!("tcp dport {} {verdict}", set(ports))),
    }
    lines
}

/// What routing has to know of packets that leave.
fn marks(rules: &Rules) -> Vec<String> {
    let mut lines = vec![
        // The application to a client whose address the proxy took: back to the proxy.
        format!("ct direction reply ct mark {CLIENT_MARK} meta mark set {CLIENT_MARK} return"),
        format!("meta l4proto tcp meta mark {CLIENT_MARK} ct mark set {CLIENT_MARK} return"),
    ];
    lines.extend(to_application());
    // Not its answers to the application, whose own address is the client's.
    lines.extend(to_itself(rules, &format!("ct direction original meta mark set {SELF_MARK} return")));
    lines
}
