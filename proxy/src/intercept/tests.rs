//! The texts of the rules, as a reader of them would check them. What the kernel makes of them: `tests/integration/interception`.

use super::*;

/// Whatever there is to ask for.
fn all() -> Rules {
    Rules {
        mode: Mode::Tproxy,
        uids: vec![1337],
        gids: vec![991],
        cgroups: vec!["system.slice/sidle.service".into()],
        inbound: "80,443".parse().unwrap(),
        inbound_excluded: vec![22, 9000],
        outbound: "10.0.0.0/8,fd00::/8".parse().unwrap(),
        outbound_excluded: vec!["10.1.0.0/16".parse().unwrap()],
        outbound_ports: vec![5432],
        outbound_ports_excluded: vec![25],
        interfaces_excluded: vec!["docker0".into()],
        dns_port: Some(15053),
        ..Rules::default()
    }
}

/// As the command line has it when nothing is asked for.
fn plain() -> Rules {
    Rules { inbound_excluded: vec![22], ..Rules::default() }
}

/// A text, without the mark that only [`check`] reads.
fn printed(rules: &Rules, program: Program) -> String {
    let (nft, iptables) = (nft::mark(rules), iptables::mark(rules));
    text(rules, program).replace(&nft, "MARK").replace(&format!("SIDLE_{iptables}"), "SIDLE_MARK_OF_THESE")
}

#[test]
fn nft_is_told_what_is_captured() {
    assert_eq!(printed(&plain(), Program::Nft), NFT);
    assert_eq!(printed(&all(), Program::Nft), NFT_ALL);
}

#[test]
fn iptables_is_told_the_same() {
    assert_eq!(printed(&plain(), Program::Iptables), IPTABLES);
    assert_eq!(printed(&all(), Program::Iptables), IPTABLES_ALL);
}

/// Lists that are empty, and a family that is left alone.
#[test]
fn what_is_not_asked_for_is_not_captured() {
    let none =
        Rules { inbound: Choice::Only(vec![]), outbound: Choice::Only(vec![]), ipv6: false, ..plain() };
    let nft = text(&none, Program::Nft);
    // But for the proxy that calls the workload itself.
    let captured = nft
        .lines()
        .filter(|line| line.contains("redirect") && !line.contains("skuid") && !line.contains("skgid"));
    assert_eq!(captured.count(), 0, "{nft}");
    assert_eq!(nft.matches("meta nfproto ipv6 return").count(), 2, "{nft}");
    let iptables = text(&none, Program::Iptables);
    assert!(!iptables.contains("ip6tables") && !iptables.contains("--to-ports 15001"), "{iptables}");
    let servers = Rules { dns_port: Some(53), dns_servers: "10.0.0.2,fd00::2".parse().unwrap(), ..plain() };
    let nft = text(&servers, Program::Nft);
    for line in [
        "ip daddr { 10.0.0.2/32 } meta l4proto { tcp, udp } th dport 53 redirect to :53",
        "ip6 daddr { fd00::2/128 }",
    ] {
        assert!(nft.contains(line), "{line} is not in\n{nft}");
    }
}

/// `multiport` takes fifteen.
#[test]
fn long_lists_of_ports_are_several_rules() {
    let many = Rules { outbound_ports_excluded: (1..=31).collect(), ..plain() };
    let text = text(&many, Program::Iptables);
    let rules: Vec<_> =
        text.lines().filter(|line| line.contains("SIDLE_OUTPUT -p tcp -m multiport")).collect();
    assert_eq!(rules.len(), 2 * 3, "{text}");
    assert!(rules.iter().all(|rule| rule.matches(',').count() < 15), "{text}");
}

#[test]
fn an_earlier_run_is_replaced_in_the_same_transaction() {
    let saved = "*nat\n:PREROUTING ACCEPT [0:0]\n:SIDLE_OUTPUT - [0:0]\n-A OUTPUT -j SIDLE_OUTPUT\n-A SIDLE_OUTPUT -j RETURN\nCOMMIT\n";
    let script = iptables::script(&plain(), false, saved);
    let begin = "*nat\n:SIDLE_OUTPUT - [0:0]\n-D OUTPUT -j SIDLE_OUTPUT\n-X SIDLE_OUTPUT\n-N SIDLE_";
    assert!(script.starts_with(begin), "{script}");
    assert_eq!(script.matches("COMMIT").count(), 1);
    let removal = iptables::removal(saved);
    assert_eq!(removal, "*nat\n:SIDLE_OUTPUT - [0:0]\n-D OUTPUT -j SIDLE_OUTPUT\n-X SIDLE_OUTPUT\nCOMMIT\n");
    assert_eq!(iptables::removal("*nat\n-A OUTPUT -j OTHERS\nCOMMIT\n"), "");
}

/// `check` tells one set from another by it.
#[test]
fn a_mark_is_that_of_its_rules() {
    let others = [
        Rules { outbound_port: 1, ..plain() },
        Rules { uids: vec![1], ..plain() },
        Rules { mode: Mode::Tproxy, ..plain() },
        all(),
    ];
    for other in others {
        assert_ne!(nft::mark(&plain()), nft::mark(&other), "{other:?}");
        assert_ne!(iptables::mark(&plain()), iptables::mark(&other), "{other:?}");
    }
    assert_eq!(nft::mark(&plain()), nft::mark(&plain()));
}

const NFT: &str = r#"table inet sidle
delete table inet sidle
table inet sidle {
    comment "sidle MARK"
    chain output {
        type nat hook output priority -100; policy accept;
        oifname "lo" ip saddr 127.0.0.6 return
        oifname "lo" ip6 saddr ::6 return
        oifname "lo" ip daddr != 127.0.0.0/8 meta skuid 1337 meta l4proto tcp redirect to :15006
        oifname "lo" ip6 daddr != ::1 meta skuid 1337 meta l4proto tcp redirect to :15006
        oifname "lo" ip daddr != 127.0.0.0/8 meta skgid 1337 meta l4proto tcp redirect to :15006
        oifname "lo" ip6 daddr != ::1 meta skgid 1337 meta l4proto tcp redirect to :15006
        meta skuid 1337 return
        meta skgid 1337 return
        oifname "lo" return
        meta l4proto tcp redirect to :15001
    }
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        iifname "lo" return
        fib daddr type != local return
        tcp dport { 22, 15008, 15020, 15021, 15090 } return
        meta l4proto tcp redirect to :15006
    }
}
"#;

const NFT_ALL: &str = r#"table inet sidle
delete table inet sidle
table inet sidle {
    comment "sidle MARK"
    chain output {
        type nat hook output priority -100; policy accept;
        oifname { "docker0" } return
        oifname "lo" ip saddr 127.0.0.6 return
        oifname "lo" ip6 saddr ::6 return
        meta mark 1337 return
        meta skuid 1337 return
        meta skgid 991 return
        socket cgroupv2 level 2 "system.slice/sidle.service" return
        meta l4proto { tcp, udp } th dport 53 redirect to :15053
        oifname "lo" return
        tcp dport { 25 } return
        ip daddr { 10.1.0.0/16 } return
        tcp dport { 5432 } redirect to :15001
        ip daddr { 10.0.0.0/8 } meta l4proto tcp redirect to :15001
        ip6 daddr { fd00::/8 } meta l4proto tcp redirect to :15001
    }
    chain prerouting {
        type filter hook prerouting priority -150; policy accept;
        iifname { "docker0" } return
        iifname "lo" meta mark != 1338 return
        ct direction reply return
        fib daddr type != local return
        tcp dport { 22, 9000, 15008, 15020, 15021, 15090 } return
        tcp dport { 80, 443 } tproxy to :15006 accept
    }
    chain replies {
        type route hook output priority -150; policy accept;
        ct direction reply ct mark 1337 meta mark set 1337 return
        meta l4proto tcp meta mark 1337 ct mark set 1337 return
        oifname "lo" ip saddr 127.0.0.6 return
        oifname "lo" ip6 saddr ::6 return
        oifname "lo" ip daddr != 127.0.0.0/8 meta skuid 1337 meta l4proto tcp ct direction original meta mark set 1338 return
        oifname "lo" ip6 daddr != ::1 meta skuid 1337 meta l4proto tcp ct direction original meta mark set 1338 return
        oifname "lo" ip daddr != 127.0.0.0/8 meta skgid 991 meta l4proto tcp ct direction original meta mark set 1338 return
        oifname "lo" ip6 daddr != ::1 meta skgid 991 meta l4proto tcp ct direction original meta mark set 1338 return
        oifname "lo" ip daddr != 127.0.0.0/8 socket cgroupv2 level 2 "system.slice/sidle.service" meta l4proto tcp ct direction original meta mark set 1338 return
        oifname "lo" ip6 daddr != ::1 socket cgroupv2 level 2 "system.slice/sidle.service" meta l4proto tcp ct direction original meta mark set 1338 return
    }
}
"#;

const IPTABLES: &str = r#"# iptables-restore
*nat
-N SIDLE_MARK_OF_THESE
-N SIDLE_OUTPUT
-A SIDLE_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A SIDLE_OUTPUT -o lo ! -d 127.0.0.0/8 -p tcp -m owner --uid-owner 1337 -j REDIRECT --to-ports 15006
-A SIDLE_OUTPUT -o lo ! -d 127.0.0.0/8 -p tcp -m owner --gid-owner 1337 -j REDIRECT --to-ports 15006
-A SIDLE_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A SIDLE_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A SIDLE_OUTPUT -o lo -j RETURN
-A SIDLE_OUTPUT -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -j SIDLE_OUTPUT
-N SIDLE_INBOUND
-A SIDLE_INBOUND -i lo -j RETURN
-A SIDLE_INBOUND -m addrtype ! --dst-type LOCAL -j RETURN
-A SIDLE_INBOUND -p tcp -m multiport --dports 22,15008,15020,15021,15090 -j RETURN
-A SIDLE_INBOUND -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -j SIDLE_INBOUND
COMMIT
# ip6tables-restore
*nat
-N SIDLE_MARK_OF_THESE
-N SIDLE_OUTPUT
-A SIDLE_OUTPUT -o lo -s ::6/128 -j RETURN
-A SIDLE_OUTPUT -o lo ! -d ::1/128 -p tcp -m owner --uid-owner 1337 -j REDIRECT --to-ports 15006
-A SIDLE_OUTPUT -o lo ! -d ::1/128 -p tcp -m owner --gid-owner 1337 -j REDIRECT --to-ports 15006
-A SIDLE_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A SIDLE_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A SIDLE_OUTPUT -o lo -j RETURN
-A SIDLE_OUTPUT -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -j SIDLE_OUTPUT
-N SIDLE_INBOUND
-A SIDLE_INBOUND -i lo -j RETURN
-A SIDLE_INBOUND -m addrtype ! --dst-type LOCAL -j RETURN
-A SIDLE_INBOUND -p tcp -m multiport --dports 22,15008,15020,15021,15090 -j RETURN
-A SIDLE_INBOUND -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -j SIDLE_INBOUND
COMMIT
"#;

const IPTABLES_ALL: &str = r#"# iptables-restore
*nat
-N SIDLE_MARK_OF_THESE
-N SIDLE_OUTPUT
-A SIDLE_OUTPUT -o docker0 -j RETURN
-A SIDLE_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A SIDLE_OUTPUT -m mark --mark 1337 -j RETURN
-A SIDLE_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A SIDLE_OUTPUT -m owner --gid-owner 991 -j RETURN
-A SIDLE_OUTPUT -m cgroup --path system.slice/sidle.service -j RETURN
-A SIDLE_OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053
-A SIDLE_OUTPUT -p tcp --dport 53 -j REDIRECT --to-ports 15053
-A SIDLE_OUTPUT -o lo -j RETURN
-A SIDLE_OUTPUT -p tcp -m multiport --dports 25 -j RETURN
-A SIDLE_OUTPUT -d 10.1.0.0/16 -j RETURN
-A SIDLE_OUTPUT -p tcp -m multiport --dports 5432 -j REDIRECT --to-ports 15001
-A SIDLE_OUTPUT -d 10.0.0.0/8 -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -j SIDLE_OUTPUT
COMMIT
*mangle
-N SIDLE_INBOUND
-A SIDLE_INBOUND -i docker0 -j RETURN
-A SIDLE_INBOUND -i lo -m mark ! --mark 1338 -j RETURN
-A SIDLE_INBOUND -m conntrack --ctdir REPLY -j RETURN
-A SIDLE_INBOUND -m addrtype ! --dst-type LOCAL -j RETURN
-A SIDLE_INBOUND -p tcp -m multiport --dports 22,9000,15008,15020,15021,15090 -j RETURN
-A SIDLE_INBOUND -p tcp -m multiport --dports 80,443 -j TPROXY --on-port 15006
-A PREROUTING -j SIDLE_INBOUND
-N SIDLE_MARK
-A SIDLE_MARK -p tcp -m conntrack --ctdir REPLY -m connmark --mark 1337 -j MARK --set-mark 1337
-A SIDLE_MARK -p tcp -m conntrack --ctdir REPLY -m connmark --mark 1337 -j RETURN
-A SIDLE_MARK -p tcp -m mark --mark 1337 -j CONNMARK --set-mark 1337
-A SIDLE_MARK -p tcp -m mark --mark 1337 -j RETURN
-A SIDLE_MARK -o lo -s 127.0.0.6/32 -j RETURN
-A SIDLE_MARK -o lo ! -d 127.0.0.0/8 -p tcp -m owner --uid-owner 1337 -m conntrack --ctdir ORIGINAL -j MARK --set-mark 1338
-A SIDLE_MARK -o lo ! -d 127.0.0.0/8 -p tcp -m owner --gid-owner 991 -m conntrack --ctdir ORIGINAL -j MARK --set-mark 1338
-A SIDLE_MARK -o lo ! -d 127.0.0.0/8 -p tcp -m cgroup --path system.slice/sidle.service -m conntrack --ctdir ORIGINAL -j MARK --set-mark 1338
-A OUTPUT -j SIDLE_MARK
COMMIT
# ip6tables-restore
*nat
-N SIDLE_MARK_OF_THESE
-N SIDLE_OUTPUT
-A SIDLE_OUTPUT -o docker0 -j RETURN
-A SIDLE_OUTPUT -o lo -s ::6/128 -j RETURN
-A SIDLE_OUTPUT -m mark --mark 1337 -j RETURN
-A SIDLE_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A SIDLE_OUTPUT -m owner --gid-owner 991 -j RETURN
-A SIDLE_OUTPUT -m cgroup --path system.slice/sidle.service -j RETURN
-A SIDLE_OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053
-A SIDLE_OUTPUT -p tcp --dport 53 -j REDIRECT --to-ports 15053
-A SIDLE_OUTPUT -o lo -j RETURN
-A SIDLE_OUTPUT -p tcp -m multiport --dports 25 -j RETURN
-A SIDLE_OUTPUT -p tcp -m multiport --dports 5432 -j REDIRECT --to-ports 15001
-A SIDLE_OUTPUT -d fd00::/8 -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -j SIDLE_OUTPUT
COMMIT
*mangle
-N SIDLE_INBOUND
-A SIDLE_INBOUND -i docker0 -j RETURN
-A SIDLE_INBOUND -i lo -m mark ! --mark 1338 -j RETURN
-A SIDLE_INBOUND -m conntrack --ctdir REPLY -j RETURN
-A SIDLE_INBOUND -m addrtype ! --dst-type LOCAL -j RETURN
-A SIDLE_INBOUND -p tcp -m multiport --dports 22,9000,15008,15020,15021,15090 -j RETURN
-A SIDLE_INBOUND -p tcp -m multiport --dports 80,443 -j TPROXY --on-port 15006
-A PREROUTING -j SIDLE_INBOUND
-N SIDLE_MARK
-A SIDLE_MARK -p tcp -m conntrack --ctdir REPLY -m connmark --mark 1337 -j MARK --set-mark 1337
-A SIDLE_MARK -p tcp -m conntrack --ctdir REPLY -m connmark --mark 1337 -j RETURN
-A SIDLE_MARK -p tcp -m mark --mark 1337 -j CONNMARK --set-mark 1337
-A SIDLE_MARK -p tcp -m mark --mark 1337 -j RETURN
-A SIDLE_MARK -o lo -s ::6/128 -j RETURN
-A SIDLE_MARK -o lo ! -d ::1/128 -p tcp -m owner --uid-owner 1337 -m conntrack --ctdir ORIGINAL -j MARK --set-mark 1338
-A SIDLE_MARK -o lo ! -d ::1/128 -p tcp -m owner --gid-owner 991 -m conntrack --ctdir ORIGINAL -j MARK --set-mark 1338
-A SIDLE_MARK -o lo ! -d ::1/128 -p tcp -m cgroup --path system.slice/sidle.service -m conntrack --ctdir ORIGINAL -j MARK --set-mark 1338
-A OUTPUT -j SIDLE_MARK
COMMIT
"#;

#[test]
fn names_of_interfaces_break_no_rule() {
    for name in ["eth0", "br-1a2b", "veth_x.100", "wg@0", "lan:1"] {
        assert!(is_interface(name), "{name}");
    }
    for name in ["", "a\" } return; #", "eth0;drop", "a b", "sixteen-letters-x", "../x"] {
        assert!(!is_interface(name), "{name}");
    }
}
