//! What a container engine gives a sidecar, without an engine: a network that it shares with its application, the files of the
//! image and nothing else, on a disk that cannot be written, and no rights.

use super::{deploy, machine::text};
use sidle_test_support::{
    peers::{self, root},
    process::Process,
    sidle, wait,
};
use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Libraries that the base image has: Debian's libc6 and libgcc-s1.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
/// The image's account.
const ACCOUNT: u32 = 1337;

/// A network of its own, as the containers of a Pod share one.
pub struct Pod(Process);

impl Pod {
    /// `None`, after a line that says so, where it cannot be.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            peers::skip("root, to make namespaces");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec sleep 600"]);
        let pod = Pod(Process::start(command));
        wait::until("the network", || {
            let up = pod.run("ip -brief link show lo | grep LOOPBACK,UP");
            (up.status.success() && !same_network(pod.0.id())).then_some(())
        });
        Some(pod)
    }

    /// Joins two by a cable; the address of the first.
    pub fn join(&self, other: &Pod) -> &'static str {
        let addresses = ["10.99.0.1", "10.99.0.2"];
        let (own, theirs) = (self.0.id().to_string(), other.0.id().to_string());
        let mut cable = Command::new("ip");
        cable.args(["link", "add", "eth0", "netns", &own, "type", "veth", "peer"]);
        assert!(cable.args(["name", "eth0", "netns", &theirs]).status().unwrap().success());
        for (pod, address) in [self, other].into_iter().zip(addresses) {
            pod.ok(&format!("ip address add {address}/24 dev eth0 && ip link set eth0 up"));
        }
        addresses[0]
    }

    /// Something that runs in its network.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.id().to_string(), "--net", "--"]);
        command
    }

    /// Runs a script of the shell in its network.
    pub fn run(&self, script: &str) -> Output {
        self.command().args(["sh", "-c", script]).output().unwrap()
    }

    /// Runs a script that has to succeed, and gives what it printed.
    pub fn ok(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(output.status.success(), "{script}\n{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the container that captures traffic: as root, with the one right that its manifest gives it.
    pub fn intercept(&self, arguments: &[String]) {
        let nft = peers::look("nft").expect("nft is not installed; `tests/run peers` installs it");
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", nft.parent().unwrap().display());
        let mut command = self.command();
        command.args(["setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all,+net_admin"]);
        command.args(["--no-new-privs", "--"]).arg(sidle::path()).args(arguments);
        let output = command.env_clear().env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", text(&output));
    }

    /// Starts the sidecar from the files of its image, and waits until the probe says that it is ready.
    pub fn sidecar(
        &self,
        image: &Image,
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
    ) -> Process {
        let place = image.0.path().display();
        let script = format!(
            "mount --bind {place} {place} && mount -o remount,bind,ro {place} && \
             exec chroot --userspec={ACCOUNT}:{ACCOUNT} {place} /usr/bin/sidle \"$@\""
        );
        let mut command = self.command();
        command.args(["unshare", "--mount", "sh", "-c", &script, "sidle"]).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment);
        let mut sidecar = Process::start(command);
        wait::until("readiness", || {
            assert!(sidecar.exit_status().is_none(), "{}", sidecar.output());
            let ask = "curl --silent --fail http://127.0.0.1:15021/healthz/ready";
            self.run(ask).status.success().then_some(())
        });
        sidecar
    }

    /// Starts an application that serves `deploy/` on 127.0.0.1:8080.
    pub fn application(&self) -> Process {
        let mut application = self.command();
        application.args(["python3", "-m", "http.server", "--bind", "127.0.0.1", "8080", "--directory"]);
        application.arg(deploy(""));
        Process::start(application)
    }
}

/// Whether a process is still in the network of this one.
fn same_network(process: u32) -> bool {
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
    network(&process.to_string()) == network("self")
}

/// Runs a command line of the image in a sidecar's place, as `exec` of an engine does.
pub fn exec(sidecar: &Process, command: &[&str]) -> Output {
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &sidecar.id().to_string(), "--net", "--mount", "--root"]);
    enter.args(["--setuid", &ACCOUNT.to_string(), "--"]).args(command).output().unwrap()
}

/// The files of the image, with what an engine mounts into it.
pub struct Image(tempfile::TempDir);

impl Image {
    /// With these lines in `/etc/hosts`.
    pub fn new(hosts: &str) -> Self {
        let image = Image(tempfile::tempdir().unwrap());
        std::fs::set_permissions(image.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let program = sidle::path();
        std::fs::copy(program, image.place("usr/bin/sidle")).unwrap();
        let libraries = text(&Command::new("ldd").arg(program).output().unwrap());
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from) {
            let name = library.file_name().unwrap().to_str().unwrap();
            assert!(LIBRARIES.contains(&name), "the base image has no {name}");
            std::fs::copy(&library, image.place(library.to_str().unwrap())).unwrap();
        }
        image.file("/etc/hosts", &format!("127.0.0.1 localhost\n{hosts}"));
        image.file("/etc/resolv.conf", "nameserver 127.0.0.1\n");
        image
    }

    fn place(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Writes a file.
    pub fn file(&self, name: &str, content: &str) {
        std::fs::write(self.place(name), content).unwrap();
    }

    /// Copies the files of a folder; only the image's group may read them.
    pub fn secret(&self, folder: &Path, name: &str) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let to = self.place(&format!("{name}/{}", entry.file_name().display()));
            std::fs::copy(entry.path(), &to).unwrap();
            std::fs::set_permissions(&to, PermissionsExt::from_mode(0o440)).unwrap();
            std::os::unix::fs::chown(&to, Some(0), Some(ACCOUNT)).unwrap();
        }
    }

    /// Mounts a folder of the project.
    pub fn folder(&self, folder: &str, name: &str) {
        for entry in std::fs::read_dir(root().join(folder)).unwrap().map(Result::unwrap) {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            self.file(&format!("{name}/{}", entry.file_name().display()), &text);
        }
    }
}
