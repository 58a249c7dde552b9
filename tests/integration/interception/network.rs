//! Machines of their own with a cable to a switch, as Pods have networks of their own, and what runs on them.

use sidle_test_support::{peers, process::Process, sidle, wait};
use std::{
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

/// The proxy's account: all other traffic is captured.
const PROXY: u32 = 1337;

/// A network namespace. Ends with its value.
pub struct Space(Process);

impl Space {
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec sleep 900"]);
        let space = Space(Process::start(command));
        wait::until("a network", || {
            let own = |id: &str| std::fs::read_link(format!("/proc/{id}/ns/net")).ok();
            let apart = own(&space.0.id().to_string())? != own("self")?;
            let up = space.run("ip -brief link show lo | grep -q LOOPBACK,UP");
            (apart && up.status.success()).then_some(())
        });
        space
    }

    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// Something that runs in it, as root.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.id(), "--net", "--"]);
        command
    }

    /// Runs a script of the shell.
    pub fn run(&self, script: &str) -> Output {
        self.command().args(["sh", "-c", script]).output().unwrap()
    }

    /// Runs a script that has to succeed, and gives what it printed.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let output = self.run(script);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{error}");
        out.into_owned()
    }
}

/// Machines at one switch: the first is 10.77.0.1 and fd77::1.
pub struct Network {
    pub machines: Vec<Space>,
    _switch: Space,
}

/// The address of the machine at this place.
pub fn address(at: usize, v6: bool) -> IpAddr {
    let text = if v6 { format!("fd77::{}", at + 1) } else { format!("10.77.0.{}", at + 1) };
    text.parse().unwrap()
}

impl Network {
    pub fn new(machines: usize) -> Self {
        let switch = Space::new();
        switch.ok("ip link add switch type bridge && ip link set switch up");
        let machines = (0..machines).map(|at| {
            let space = Space::new();
            let (own, theirs) = (space.id(), switch.id());
            let cable =
                format!("ip link add eth0 netns {own} type veth peer name cable{at} netns {theirs}");
            assert!(Command::new("sh").args(["-c", &cable]).status().unwrap().success(), "{cable}");
            switch.ok(&format!("ip link set cable{at} master switch up"));
            let (v4, v6) = (address(at, false), address(at, true));
            space.ok(&format!(
                "ip address add {v4}/24 dev eth0 && ip address add {v6}/64 dev eth0 nodad && ip link set eth0 up \
                 && ip route add default dev eth0 && ip -6 route add default dev eth0"
            ));
            space
        });
        Network { machines: machines.collect(), _switch: switch }
    }
}

/// A place for files that every account may read.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("sidle-capture-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// `sidle …` on a machine, as root.
pub fn command_line(space: &Space, arguments: &str) -> Output {
    let mut command = space.command();
    let programs = peer("nft").parent().unwrap().display().to_string();
    command.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
    command.arg(sidle::path()).args(arguments.split_whitespace());
    command.output().unwrap()
}

/// The same, which has to succeed.
#[track_caller]
pub fn command_line_ok(space: &Space, arguments: &str) {
    let output = command_line(space, arguments);
    assert!(
        output.status.success(),
        "sidle {arguments}: {}\nWhat this kernel lacks for it is named above. It needs nf_tables with nat, redirect, tproxy, fib \
         and socket expressions, for IPv4 and IPv6.",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts a sidecar, under its own account and with the one right that mode TPROXY needs, and waits until it is ready.
pub fn sidecar(space: &Space, configuration: &Path, name: &str) -> Process {
    let mut command = space.command();
    let (account, rights) = (PROXY.to_string(), "+net_admin");
    command.args(["setpriv", "--reuid", &account, "--regid", &account, "--clear-groups"]);
    command.args(["--inh-caps", rights, "--ambient-caps", rights]).arg(sidle::path());
    command.args(["run", "-c"]).arg(configuration);
    command.args(["--labels", &format!("app={name}"), "--workload", name, "--workers", "2"]);
    let mut process = Process::start(command);
    wait::until("the sidecar", || {
        assert!(process.exit_status().is_none(), "{}", process.output());
        let ready = space.run("curl --silent --fail http://127.0.0.1:15021/healthz/ready");
        ready.status.success().then_some(())
    });
    process
}

/// Something that an application runs.
pub fn application(space: &Space, program: &Path, arguments: &[&str]) -> Command {
    let mut command = space.command();
    command.arg(program).args(arguments);
    command
}

/// What an application on `space` gets from `url`.
pub fn get(space: &Space, url: &str) -> Output {
    let arguments = ["--silent", "--show-error", "--globoff", "--max-time", "10", url];
    application(space, Path::new("curl"), &arguments).output().unwrap()
}

/// The same as JSON; it has to come.
#[track_caller]
pub fn get_json(space: &Space, url: &str) -> serde_json::Value {
    let output = get(space, url);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{url}: {out} {error}"))
}

/// The peer `name`, which root must have here.
pub fn peer(name: &str) -> std::path::PathBuf {
    peers::look(name).unwrap_or_else(|| panic!("{name} is not installed; `tests/run peers` installs it"))
}
