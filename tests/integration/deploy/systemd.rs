//! The unit, under a real systemd: what it promises about readiness, reloads, ends, hangs and rights.

use super::{
    debian::installed,
    deploy,
    machine::{Machine, text},
};
use sidle_test_support::{peers::root, wait};

/// A mesh that the proxy answers itself.
const MESH: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: hello }
spec:
  hosts: [hello.test]
  http: [{ directResponse: { status: 200, body: { string: HELLO } } }]
"#;

/// A request to the mesh, through the proxy on the machine.
const ASK: &str = "curl --silent --show-error --fail --header 'host: hello.test' http://127.0.0.1:15001/";

fn started(drop_in: &str) -> Option<Machine> {
    let machine = installed()?;
    // There is no journal.
    let text = format!("[Service]\nStandardError=append:/run/sidle.log\n{drop_in}");
    machine.ok(&format!(
        "mkdir -p /etc/systemd/system/sidle.service.d && printf '%s' '{text}' \
         >/etc/systemd/system/sidle.service.d/test.conf && systemctl daemon-reload"
    ));
    write(&machine, MESH);
    machine.ok("systemctl start sidle");
    Some(machine)
}

fn write(machine: &Machine, manifests: &str) {
    machine.ok(&format!("cat >/etc/sidle/mesh.yaml <<'END'\n{manifests}\nEND"));
}

fn property(machine: &Machine, name: &str) -> String {
    machine.ok(&format!("systemctl show --value --property={name} sidle"))
}

#[test]
fn it_starts_reloads_and_stops() {
    let Some(machine) = started("") else { return };
    // No wait: it is ready when systemd says that it has started.
    machine.ok("curl --silent --show-error --fail http://127.0.0.1:15021/healthz/ready");
    assert_eq!(machine.ok(ASK), "HELLO");
    assert!(
        property(&machine, "StatusText").contains(".1, 2 resources"),
        "{}",
        property(&machine, "StatusText")
    );

    // A mistake: the reload fails and shows it, and what ran before goes on.
    let process = property(&machine, "MainPID");
    write(&machine, &MESH.replace("hosts", "hots"));
    assert!(!machine.run("systemctl reload sidle").status.success());
    // `sidle check` has refused it; the proxy, which sees the file change, may be later.
    machine.until("the mistake in the log", "grep --quiet hots /run/sidle.log");
    wait::until("the status", || property(&machine, "StatusText").contains("refused").then_some(()));
    assert_eq!(machine.ok(ASK), "HELLO");
    write(&machine, &MESH.replace("HELLO", "AGAIN"));
    machine.ok("systemctl reload sidle");
    machine.until("the change", &format!("[ \"$({ASK})\" = AGAIN ]"));
    assert_eq!(property(&machine, "MainPID"), process);
    assert_eq!(property(&machine, "ActiveState"), "active");

    // The access log is where the package says, and can be rotated.
    machine.until("the access log", "grep --quiet hello.test /var/log/sidle/access.log");
    machine.ok("mv /var/log/sidle/access.log /var/log/sidle/access.log.1");
    let rotate = std::fs::read_to_string(deploy("debian/sidle.logrotate")).unwrap();
    let rotate = rotate.lines().skip_while(|line| line.trim() != "postrotate").nth(1).unwrap();
    machine.ok(rotate);
    machine.until("a new access log", &format!("{ASK} && grep --quiet hello.test /var/log/sidle/access.log"));

    machine.ok("systemctl stop sidle");
    assert_eq!(property(&machine, "Result"), "success");
    assert_eq!(property(&machine, "ExecMainStatus"), "0");
    assert!(machine.ok("cat /run/sidle.log").contains("drained"));
}

#[test]
fn it_runs_with_no_more_rights_than_it_needs() {
    let Some(machine) = started("") else { return };
    let status = machine.ok("cat /proc/$(systemctl show --value --property=MainPID sidle)/status");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
    let user = machine.ok("id --user sidle");
    assert!(status.contains(&format!("Uid:\t{user}\t{user}\t{user}\t{user}")), "{status}");
    let limits = machine.ok("cat /proc/$(systemctl show --value --property=MainPID sidle)/limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    // systemd gives no more than it may itself.
    let most: u64 = machine.ok("ulimit -H -n").parse().unwrap_or(u64::MAX);
    assert_eq!(files.split_whitespace().nth(3), Some(most.min(1_048_576).to_string().as_str()), "{files}");

    // What it does under that filter of system calls: traffic, names, files, TLS of others, an end.
    assert_eq!(machine.ok(ASK), "HELLO");
    for name in ["verify --man=no --recursive-errors=yes", "security --offline=true --threshold=16"] {
        let output =
            machine.run(&format!("systemd-analyze {name} /usr/lib/systemd/system/sidle.service 2>&1"));
        assert!(output.status.success(), "{}", text(&output));
        assert!(!name.starts_with("verify") || output.stdout.is_empty(), "{}", text(&output));
    }
}

/// The program is replaced, and the new one takes over: the service stays active, and a connection stays open.
#[test]
fn an_upgrade_keeps_the_service_up() {
    let Some(machine) = started("") else { return };
    let before = property(&machine, "MainPID");
    machine.ok("cp /usr/bin/sidle /usr/bin/sidle.new && mv /usr/bin/sidle.new /usr/bin/sidle");
    machine.ok("systemctl kill --kill-whom=main --signal=USR2 sidle");
    wait::until("another main process", || {
        let now = property(&machine, "MainPID");
        (now != before && now != "0").then_some(())
    });
    assert_eq!(machine.ok(ASK), "HELLO");
    machine.until("the end of the old one", &format!("! kill -0 {before} 2>/dev/null"));
    assert_eq!(property(&machine, "ActiveState"), "active");
    assert_eq!(property(&machine, "NRestarts"), "0");
    assert!(property(&machine, "StatusText").contains(".1, 2 resources"));
    machine.ok("systemctl reload sidle && systemctl stop sidle");
    assert_eq!(property(&machine, "Result"), "success");
}

/// As a proxy whose workers hang would.
#[test]
fn one_that_hangs_or_crashes_is_started_again() {
    let Some(machine) = started("WatchdogSec=3s\n") else { return };
    for (signal, result) in [("STOP", "watchdog"), ("KILL", "signal")] {
        let process = property(&machine, "MainPID");
        machine.ok(&format!("systemctl kill --kill-whom=main --signal={signal} sidle"));
        wait::until(&format!("a new process after {result}"), || {
            let now = property(&machine, "MainPID");
            (now != process && now != "0" && property(&machine, "ActiveState") == "active").then_some(())
        });
        assert_eq!(machine.ok(ASK), "HELLO");
    }
    assert_eq!(property(&machine, "NRestarts"), "2");
}

/// An edge on a port that needs a right.
fn gateway() -> String {
    "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge }
spec:
  servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: [hello.test] }]
---"
    .to_owned()
        + &MESH.replace("  hosts", "  gateways: [edge]\n  hosts")
}

/// systemd has the port: the proxy needs no right, starts when somebody comes, and nobody is refused while it is away.
#[test]
fn a_port_that_systemd_has_bound_is_taken_up() {
    let Some(machine) = started("") else { return };
    machine.ok("systemctl stop sidle");
    write(&machine, &gateway());
    machine.give(&root().join("deploy/systemd/gateway.socket"), "sidle.socket");
    machine.ok("cmp /shared/sidle.socket /usr/share/doc/sidle/examples/systemd/gateway.socket");
    machine.ok("systemd-analyze verify --man=no /shared/sidle.socket");
    machine.ok("cp /shared/sidle.socket /etc/systemd/system/ && systemctl daemon-reload && systemctl start sidle.socket");
    assert_eq!(property(&machine, "ActiveState"), "inactive");
    let ask = ASK.replace("15001", "80");
    assert_eq!(machine.ok(&ask), "HELLO");
    assert_eq!(property(&machine, "ActiveState"), "active");
    let status = machine.ok("cat /proc/$(systemctl show --value --property=MainPID sidle)/status");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    // Whoever comes while it is away waits.
    machine.ok(&format!("systemctl restart --no-block sidle && {ask}"));
    // It may have been answered by the old one, which is about to end, or before the new one has said that it is ready.
    machine.until(
        "the end of the restart",
        "systemctl is-active sidle && ! systemctl list-jobs | grep sidle.service",
    );
    machine.ok("systemctl stop sidle");
    assert_eq!(machine.ok(&ask), "HELLO");
    assert_eq!(property(&machine, "NRestarts"), "0");
}

#[test]
fn a_gateway_needs_its_drop_in() {
    let Some(machine) = started("") else { return };
    let example = root().join("deploy/systemd/gateway.conf");
    let gateway = gateway();
    let ask = ASK.replace("15001", "80");
    write(&machine, &gateway);
    wait::until("the refusal", || property(&machine, "StatusText").contains("refused").then_some(()));
    assert!(machine.ok("cat /run/sidle.log").contains("CAP_NET_BIND_SERVICE"));
    machine.give(&example, "gateway.conf");
    machine.ok("cmp /shared/gateway.conf /usr/share/doc/sidle/examples/systemd/gateway.conf");
    machine.ok("cp /shared/gateway.conf /etc/systemd/system/sidle.service.d/ && systemctl daemon-reload");
    machine.ok("systemctl restart sidle");
    assert_eq!(machine.ok(&ask), "HELLO");
}
