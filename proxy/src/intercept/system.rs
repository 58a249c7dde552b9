//! The programs that put rules into the kernel.
//!
//! Invariant: rules come last and go first, so that nothing is captured that has nowhere to go.

use super::{CLIENT_MARK, Mode, Rules, iptables, nft};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Which program does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    /// nftables
    Nft,
    /// iptables-restore and ip6tables-restore
    Iptables,
}

/// What [`check`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// These rules.
    These,
    /// Other ones.
    Others,
    /// None.
    Nothing,
}

/// The program that this machine has: `nft`, else iptables.
///
/// # Errors
/// It has neither.
pub fn program() -> Result<Program, String> {
    let there = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    match (there("nft"), there("iptables-restore")) {
        (true, _) => Ok(Program::Nft),
        (false, true) => Ok(Program::Iptables),
        (false, false) => Err("neither `nft` nor `iptables-restore` is installed".into()),
    }
}

/// The scripts, as they would be on a machine without rules.
pub fn text(rules: &Rules, program: Program) -> String {
    match program {
        Program::Nft => nft::script(rules),
        Program::Iptables => {
            let scripts = families(rules.ipv6)
                .map(|(v6, restore, _)| format!("# {restore}\n{}", iptables::script(rules, v6, "")));
            scripts.collect()
        }
    }
}

/// The scripts, each with the program that reads it.
fn scripts(rules: &Rules, program: Program) -> Result<Vec<(&'static str, String)>, String> {
    if program == Program::Nft {
        return Ok(vec![("nft", nft::script(rules))]);
    }
    let script = |(v6, restore, save)| Ok((restore, iptables::script(rules, v6, &run(save, &[], None)?)));
    families(rules.ipv6).map(script).collect()
}

fn families(ipv6: bool) -> impl Iterator<Item = (bool, &'static str, &'static str)> {
    let all = [(false, "iptables-restore", "iptables-save"), (true, "ip6tables-restore", "ip6tables-save")];
    all.into_iter().filter(move |(v6, ..)| ipv6 || !v6)
}

/// Puts the rules into force, in place of those of an earlier run.
///
/// # Errors
/// What a program said, and which one. Of iptables, one family's rules may then be in force.
pub fn apply(rules: &Rules, program: Program) -> Result<(), String> {
    let scripts = scripts(rules, program)?;
    // Where IPv6 is switched off nothing of it comes or goes: its rules do no harm, and addresses are refused.
    let ipv6 = rules.ipv6 && has_ipv6();
    for v6 in families(ipv6).map(|(v6, ..)| v6) {
        routes(rules, v6)?;
    }
    if ipv6 {
        // Where the proxy's connections to the application come from, as 127.0.0.6 is there by itself.
        run("ip", &["-6", "address", "replace", "::6/128", "dev", "lo"], None)?;
    }
    for (program, script) in scripts {
        load(program, &script)?;
    }
    Ok(())
}

/// Whether this network speaks IPv6.
fn has_ipv6() -> bool {
    let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
    off.is_ok_and(|off| off.trim() == "0")
}

fn load(program: &str, script: &str) -> Result<(), String> {
    let arguments: &[&str] = if program == "nft" { &["-f", "-"] } else { &["--noflush", "--wait"] };
    run(program, arguments, Some(script)).map(drop)
}

/// Answers to a client whose address the proxy took stay here.
fn routes(rules: &Rules, v6: bool) -> Result<(), String> {
    unroute(rules, v6);
    if rules.mode == Mode::Redirect {
        return Ok(());
    }
    let (family, all) = if v6 { ("-6", "::/0") } else { ("-4", "0.0.0.0/0") };
    let (table, mark) = (rules.route_table.to_string(), CLIENT_MARK.to_string());
    run("ip", &[family, "route", "replace", "local", all, "dev", "lo", "table", &table], None)?;
    run("ip", &[family, "rule", "add", "fwmark", &mark, "lookup", &table], None).map(drop)
}

fn unroute(rules: &Rules, v6: bool) {
    let (family, all) = if v6 { ("-6", "::/0") } else { ("-4", "0.0.0.0/0") };
    let (table, mark) = (rules.route_table.to_string(), CLIENT_MARK.to_string());
    while run("ip", &[family, "rule", "del", "fwmark", &mark, "lookup", &table], None).is_ok() {}
    // It may not be there.
    let _ = run("ip", &[family, "route", "del", "local", all, "dev", "lo", "table", &table], None);
}

/// Takes all away that [`apply`] did, if it did.
///
/// # Errors
/// What a program said.
pub fn clean(rules: &Rules, program: Program) -> Result<(), String> {
    match program {
        Program::Nft => load("nft", &nft::removal())?,
        Program::Iptables => {
            for (_, restore, save) in families(true) {
                let removal = iptables::removal(&run(save, &[], None)?);
                if !removal.is_empty() {
                    load(restore, &removal)?;
                }
            }
        }
    }
    for v6 in [false, true] {
        unroute(rules, v6);
    }
    // It may not be there.
    let _ = run("ip", &["-6", "address", "del", "::6/128", "dev", "lo"], None);
    Ok(())
}

/// Whether the rules are in force.
///
/// # Errors
/// It cannot be found out.
pub fn check(rules: &Rules, program: Program) -> Result<Found, String> {
    let (found, these) = match program {
        Program::Nft => {
            let tables = run("nft", &["list", "tables", "inet"], None)?;
            if !tables.lines().any(|line| line.trim() == format!("table {}", nft::TABLE)) {
                return Ok(Found::Nothing);
            }
            let table = run("nft", &["list", "table", "inet", "sidle"], None)?;
            (table.contains("chain output"), table.contains(&format!("\"sidle {}\"", nft::mark(rules))))
        }
        Program::Iptables => {
            let mark = format!(":SIDLE_{} ", iptables::mark(rules));
            let (mut found, mut these) = (false, true);
            for (.., save) in families(rules.ipv6) {
                let saved = run(save, &["-t", "nat"], None)?;
                found |= saved.contains("-j SIDLE_OUTPUT");
                these &= saved.contains(&mark);
            }
            (found, these)
        }
    };
    Ok(match (found, these) {
        (true, true) => Found::These,
        (true, false) => Found::Others,
        (false, _) => Found::Nothing,
    })
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
    let said = |error: std::io::Error| format!("cannot run `{program}`: {error}");
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(said)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A program that reads no further says why by itself.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(said)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("`{program} {}` failed: {why}", arguments.join(" ")))
}
