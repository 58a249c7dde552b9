//! Traffic capture: applications that know nothing of a proxy, and the kernel's rules between them and it.
//!
//! Three machines at a switch: `client`, `alpha`, `beta`, each with a sidecar and `sidle intercept`. With root these tests run or
//! fail; what they need of the kernel is named where it is missing.
//! Read: `network` (machines, and what runs on them) -> here.

mod network;

use network::{
    Network, Space, address, application, command_line, command_line_ok, folder, get, get_json, peer, sidecar,
};
use serde_json::Value;
use sidle_test_support::{
    peers::{self, root},
    process::Process,
    wait,
};
use std::{net::IpAddr, path::Path, process::Output};

/// The addresses of the services, which no machine has.
const ALPHA: [&str; 2] = ["10.99.0.1", "[fd99::1]"];
const BETA: [&str; 2] = ["10.99.0.2", "[fd99::2]"];

struct Stage {
    client: Space,
    alpha: Space,
    beta: Space,
    sidecars: Vec<Process>,
    _applications: Vec<Process>,
    _network: Network,
    folder: tempfile::TempDir,
    v6: bool,
}

/// Services with addresses of both families, endpoints of one.
fn mesh(mode: &str, v6: bool) -> String {
    let entry = |name: &str, last: u8, ports: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{name}.test]\n  \
             addresses: [10.99.0.{last}, 'fd99::{last}']\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             workloadSelector: {{labels: {{app: {name}}}}}\n  ports:\n  - {{number: 80, targetPort: 8080, name: http, protocol: HTTP}}\n{ports}---\n\
             apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\n\
             spec: {{address: '{}', labels: {{app: {name}}}}}\n---\n",
            address(usize::from(last), v6)
        )
    };
    let tcp =
        "  - {number: 7000, name: tcp, protocol: TCP}\n  - {number: 9000, name: grpc, protocol: GRPC}\n";
    let database = "  - {number: 3306, name: database, protocol: TCP}\n";
    entry("alpha", 1, tcp)
        + &entry("beta", 2, database)
        + &format!(
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: all}}\nspec: {{interceptionMode: {mode}, accessLogFile: /dev/stdout, dns: {{}}}}\n"
        )
}

impl Stage {
    /// `None`, after a line that says so, without root.
    fn new(mode: &str, v6: bool, program: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            peers::skip("root, to make namespaces");
            return None;
        }
        let mut network = Network::new(3);
        let (beta, alpha, client) = (
            network.machines.pop().unwrap(),
            network.machines.pop().unwrap(),
            network.machines.pop().unwrap(),
        );
        let folder = folder();
        std::fs::write(folder.path().join("mesh.yaml"), mesh(mode, v6)).unwrap();
        let mut stage = Stage {
            client,
            alpha,
            beta,
            sidecars: Vec::new(),
            _applications: Vec::new(),
            _network: network,
            folder,
            v6,
        };
        let script = root().join("tests/peers/application_peer.py");
        let script = script.to_str().unwrap();
        for (space, name) in [(&stage.client, "client"), (&stage.alpha, "alpha"), (&stage.beta, "beta")] {
            command_line_ok(
                space,
                &format!("intercept apply --redirect-dns --mode {mode} --program {program}"),
            );
            stage.sidecars.push(sidecar(space, &stage.folder.path().join("mesh.yaml"), name));
            for (http, tcp) in [("8080", "7000"), ("8081", "7001")].into_iter().filter(|_| name != "client") {
                let python = Path::new("python3");
                let mut process = Process::start(application(space, python, &[script, name, http, tcp]));
                wait::until("an application", || {
                    assert!(process.exit_status().is_none(), "{}", process.output());
                    process.output().contains("serving").then_some(())
                });
                stage._applications.push(process);
            }
        }
        Some(stage)
    }

    /// What the sidecars wrote, for whoever looks for a mistake.
    fn log(&self) -> String {
        self.sidecars.iter().map(Process::output).collect::<Vec<_>>().join("\n--\n")
    }

    fn service(&self, addresses: [&'static str; 2]) -> &'static str {
        addresses[usize::from(self.v6)]
    }
}

/// What a server that begins says, and what it makes of a line.
fn greeting(space: &Space, host: &str, port: u16) -> String {
    let talk = "import socket, sys\nwith socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as s:\n    \
                f = s.makefile('rw')\n    print(f.readline().strip())\n    f.write('hello\\n'); f.flush()\n    print(f.readline().strip())";
    let arguments = ["-c", talk, host.trim_matches(['[', ']']), &port.to_string()];
    let output = application(space, Path::new("python3"), &arguments).output().unwrap();
    text(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Whom an application sees as its client.
fn seen(mode: &str, v6: bool, client: IpAddr) -> String {
    match (mode, v6) {
        ("TPROXY", _) => client.to_string(),
        (_, false) => "127.0.0.6".to_owned(),
        (_, true) => "::6".to_owned(),
    }
}

fn captured_both_ways(mode: &str, v6: bool, program: &str) {
    let Some(stage) = Stage::new(mode, v6, program) else { return };
    let (alpha, beta) = (stage.service(ALPHA), stage.service(BETA));
    let (client, own) = (address(0, v6), address(1, v6));
    let shown = seen(mode, v6, client);

    // HTTP, and a call that the called one makes in its turn.
    let answer = get_json(&stage.client, &format!("http://{alpha}/call/http://{beta}/deep"));
    assert_eq!(
        (&answer["name"], &answer["client"]),
        (&"alpha".into(), &Value::from(&*shown)),
        "{}",
        stage.log()
    );
    let called = &answer["called"];
    assert_eq!((&called["name"], &called["path"]), (&"beta".into(), &"/deep".into()));
    assert_eq!(called["client"], seen(mode, v6, own));
    for (at, cluster) in
        [(0, "outbound|80||alpha.test"), (1, "inbound|8080||"), (1, "outbound|80||beta.test")]
    {
        let log = wait::until("the log", || {
            let log = stage.sidecars[at].output();
            log.contains(cluster).then_some(log)
        });
        assert!(log.contains("GET /"), "{log}");
    }

    // By a name that only the mesh knows: the application's questions are captured, too.
    assert_eq!(get_json(&stage.client, "http://alpha.test/by-name")["name"], "alpha", "{}", stage.log());

    // A server that speaks first.
    let said = greeting(&stage.client, alpha, 7000);
    assert_eq!(said, format!("alpha greets {shown}\nHELLO\n"), "{}", stage.log());

    // Ports that nobody declared, at the machine's own address.
    let machine = if v6 { format!("[{own}]") } else { own.to_string() };
    assert_eq!(
        get_json(&stage.client, &format!("http://{machine}:8081/"))["client"],
        *shown,
        "{}",
        stage.log()
    );
    assert_eq!(greeting(&stage.client, &machine, 7001), format!("alpha greets {shown}\nHELLO\n"));

    // A service that calls itself comes out and in again.
    let itself = get_json(&stage.alpha, &format!("http://{alpha}/itself"));
    assert_eq!(itself["client"], seen(mode, v6, own), "{}", stage.log());

    // The proxy's own ports are nobody's way to go round in circles.
    for port in [15001, 15006] {
        for space in [&stage.client, &stage.alpha] {
            let answered = get(space, &format!("http://{machine}:{port}/"));
            assert!(
                answered.stdout.is_empty() || !text(&answered).contains("\"name\""),
                "{}",
                text(&answered)
            );
        }
    }
    for sidecar in &stage.sidecars {
        let lines =
            sidecar.output().lines().filter(|line| line.contains("15001") && line.contains("GET")).count();
        assert!(lines < 20, "{}", sidecar.output());
    }

    grpc(&stage, alpha);
    removed(&stage, program);
}

fn grpc(stage: &Stage, alpha: &str) {
    let (python, script) = (peer("python"), root().join("tests/peers/grpc_peer.py"));
    let script = script.to_str().unwrap();
    let mut serve = application(&stage.alpha, &python, &[script, "serve", "9000", "[::]"]);
    serve.env("HOME", "/tmp");
    let server = Process::start(serve);
    wait::until("grpc", || server.output().contains("listening").then_some(()));
    let target = format!("{alpha}:9000");
    let checked =
        application(&stage.client, &python, &[script, "check", &target, "alpha.test"]).output().unwrap();
    assert!(checked.status.success(), "{}\n{}", text(&checked), stage.log());
}

/// `clean` leaves nothing, and then everybody is met directly.
fn removed(stage: &Stage, program: &str) {
    let spaces = [&stage.client, &stage.alpha, &stage.beta];
    let checked = |space, expected: &str| {
        let mode = if stage.log().contains("TPROXY") { "TPROXY" } else { "REDIRECT" };
        let output = command_line(space, &format!("intercept check --program {program} --mode {mode}"));
        assert!(text(&output).contains(expected), "{}", text(&output));
    };
    for space in spaces {
        for _ in 0..2 {
            command_line_ok(space, &format!("intercept clean --program {program}"));
        }
        checked(space, "nothing is captured");
        let mut left = space.ok("ip rule; ip -6 rule; ip -6 address show dev lo; ip route show table all");
        let lists: &[&str] = if program == "nft" { &["nft"] } else { &["iptables-save", "ip6tables-save"] };
        for list in lists {
            let mut command = space.command();
            command.arg(peer(list)).args(["list", "ruleset"].iter().filter(|_| *list == "nft"));
            left += &text(&command.output().unwrap());
        }
        for ours in ["sidle", "SIDLE", "fwmark", "table 133", "::6/128"] {
            assert!(!left.contains(ours), "{ours} in\n{left}");
        }
    }
    let own = address(1, stage.v6);
    let machine = if stage.v6 { format!("[{own}]") } else { own.to_string() };
    let met = get_json(&stage.client, &format!("http://{machine}:8080/"));
    assert_eq!(met["client"], address(0, stage.v6).to_string());
}

#[test]
fn redirected_over_ipv4() {
    captured_both_ways("REDIRECT", false, "nft");
}

#[test]
fn redirected_over_ipv6() {
    captured_both_ways("REDIRECT", true, "nft");
}

#[test]
fn tproxied_over_ipv4_with_the_clients_address() {
    captured_both_ways("TPROXY", false, "nft");
}

#[test]
fn tproxied_over_ipv6_with_the_clients_address() {
    captured_both_ways("TPROXY", true, "nft");
}

#[test]
fn iptables_does_it_where_there_is_no_nft() {
    captured_both_ways("REDIRECT", false, "iptables");
    captured_both_ways("TPROXY", false, "iptables");
    captured_both_ways("TPROXY", true, "iptables");
}

#[test]
fn a_database_that_speaks_first_is_reached_and_a_crash_heals() {
    let Some(mut stage) = Stage::new("REDIRECT", false, "nft") else { return };
    let data = folder();
    let path = data.path().to_str().unwrap();
    std::fs::create_dir(data.path().join("mysql")).unwrap();
    let socket = format!("--socket={path}/s");
    let data = format!("--datadir={path}");
    let arguments = [
        "--no-defaults",
        "--skip-grant-tables",
        "--user=root",
        "--bind-address=*",
        "--skip-networking=0",
        &socket,
        &data,
        "--port=3306",
        "--skip-name-resolve", // it would wait for an answer from DNS before it greets
    ];
    let database = Process::start(application(&stage.beta, &peer("mariadbd"), &arguments));
    let ask = |stage: &Stage| -> String {
        let mut client = application(&stage.client, &peer("mariadb"), &[]);
        client.args([
            "--no-defaults",
            "--skip-ssl",
            "--connect-timeout=5",
            "--host=10.99.0.2",
            "--execute=select 6*7",
        ]);
        text(&client.output().unwrap())
    };
    wait::until("the database", || {
        assert!(!database.output().contains("Aborting"), "{}", database.output());
        ask(&stage).contains("42").then_some(())
    });
    // Tries from before it had started are in the log, too.
    let carried = |line: &str| line.contains("inbound|3306||") && line.contains("127.0.0.6");
    wait::until("the log", || stage.sidecars[2].output().lines().any(carried).then_some(()));

    // What was captured has nowhere to go while there is no proxy, and goes on when there is one again.
    let mut crashed = stage.sidecars.remove(2);
    crashed.signal("KILL");
    crashed.wait();
    assert!(!ask(&stage).contains("42"));
    stage.sidecars.push(sidecar(&stage.beta, &stage.folder.path().join("mesh.yaml"), "beta"));
    wait::until("the database", || ask(&stage).contains("42").then_some(()));
}

/// Bound to all addresses, admin is no captured stranger's all the same: where he comes from, the application would seem to ask.
#[test]
fn what_is_captured_does_not_lead_to_admin() {
    if !rustix::process::geteuid().is_root() {
        return peers::skip("root, to make namespaces");
    }
    let network = Network::new(2);
    let [client, alpha] = &network.machines[..] else { unreachable!() };
    let folder = folder();
    let configuration = folder.path().join("mesh.yaml");
    let settings = "{admin: '0.0.0.0:15000', accessLogFile: /dev/stdout}";
    let proxy = format!("apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: all}}\nspec: {settings}\n");
    std::fs::write(&configuration, proxy).unwrap();
    command_line_ok(alpha, "intercept apply");
    let sidecar = sidecar(alpha, &configuration, "alpha");
    let admin = format!("http://{}:15000/ready", address(1, false));
    let refused = get(client, &admin);
    assert_eq!(text(&refused), "destination is this proxy's admin server", "{}", sidecar.output());
    wait::until("the log", || sidecar.output().contains(" NR destination_is_admin ").then_some(()));
    command_line_ok(alpha, "intercept apply --exclude-inbound-ports 15000");
    assert_eq!(text(&get(client, &admin)), "LIVE\n", "not captured: {}", sidecar.output());
}

/// As in the Pods of a cluster that has switched IPv6 off.
#[test]
fn a_network_without_ipv6_is_captured_too() {
    if !rustix::process::geteuid().is_root() {
        return peers::skip("root, to make namespaces");
    }
    let space = Space::new();
    space.ok("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
    for mode in ["REDIRECT", "TPROXY"] {
        command_line_ok(&space, &format!("intercept apply --mode {mode}"));
        let output = command_line(&space, &format!("intercept check --mode {mode}"));
        assert_eq!(text(&output), "in force\n");
    }
    command_line_ok(&space, "intercept clean");
    assert!(text(&command_line(&space, "intercept check")).contains("nothing is captured"));
}
