//! A machine of its own with a real systemd, started by `peers/machine.sh`: all files of this one, copied when written.

use sidle_test_support::{
    peers::{self, root},
    process::Process,
    wait,
};
use std::{
    path::Path,
    process::{Command, Output},
};

pub struct Machine {
    process: Process,
    /// Its first process, as this machine numbers it.
    init: String,
    folder: tempfile::TempDir,
}

impl Machine {
    /// Boots one. `None`, after a line that says so, where that cannot be.
    pub fn boot() -> Option<Machine> {
        if !rustix::process::geteuid().is_root() {
            peers::skip("root, to make namespaces");
            return None;
        }
        if !Path::new("/lib/systemd/systemd").exists() {
            peers::skip("systemd");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("sidle-machine-").tempdir().unwrap();
        let mut command = Command::new("bash");
        command.arg(root().join("tests/peers/machine.sh")).arg(folder.path());
        let mut process = Process::start(command);
        let up = folder.path().join("up");
        wait::until("the machine", || {
            if let Some(status) = process.exit_status() {
                panic!("the machine ended with {status}:\n{}", process.output());
            }
            up.exists().then_some(())
        });
        let child = |parent: &str| std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let unshare = child(&process.id().to_string()).unwrap();
        let init = child(unshare.trim()).unwrap().trim().to_owned();
        Some(Machine { process, init, folder })
    }

    /// Puts a file onto it, as `/shared/NAME`.
    pub fn give(&self, file: &Path, name: &str) {
        std::fs::copy(file, self.folder.path().join(name)).unwrap();
    }

    /// Runs a script of the shell there.
    pub fn run(&self, script: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--all", "--root", "--wd", "--"]);
        command.args([
            "env",
            "LC_ALL=C",
            "SYSTEMD_COLORS=0",
            "SYSTEMD_PAGER=cat",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        command.args(["sh", "-c", script]).output().unwrap()
    }

    /// Runs a script that has to succeed, and gives what it printed.
    pub fn ok(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(output.status.success(), "{script}\n{}\n{}", text(&output), self.log());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until a script succeeds.
    pub fn until(&self, what: &str, script: &str) {
        wait::until(what, || self.run(script).status.success().then_some(()));
    }

    /// What the unit and its log say, for whoever looks for a mistake.
    fn log(&self) -> String {
        text(&self.run("systemctl --no-pager status sidle; tail -50 /run/sidle.log"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its control group goes with it.
        self.process.signal("TERM");
        self.process.wait();
    }
}

/// What a command printed, on both streams.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
