//! The Debian package: built, installed on a machine, upgraded and removed there.

use super::machine::{Machine, text};
use sidle_test_support::{
    peers::{self, root},
    sidle,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The package, built once from the `sidle` that is tested.
pub fn package() -> Option<&'static Path> {
    static PACKAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    PACKAGE.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    peers::find("dpkg")?;
    let cargo_deb = peers::find("cargo-deb")?;
    // As if the program that is tested, wherever it lies, had been built for release.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian");
    std::fs::create_dir_all(target.join("release")).unwrap();
    std::fs::copy(sidle::path(), target.join("release/sidle")).unwrap();
    let package = target.join("sidle.deb");
    let mut command = Command::new(cargo_deb);
    command
        .current_dir(root())
        .args(["--package", "sidle", "--no-build", "--fast"])
        .arg("--output")
        .arg(&package);
    let output = command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TARGET_DIR", &target).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    // A file of the list that is not there, say, is only warned of.
    assert!(!text(&output).contains("warning"), "{}", text(&output));
    Some(package)
}

/// A machine with the package on it.
pub fn installed() -> Option<Machine> {
    let package = package()?;
    let machine = Machine::boot()?;
    machine.give(package, "sidle.deb");
    machine.ok("dpkg --install /shared/sidle.deb 2>&1");
    Some(machine)
}

#[test]
fn it_holds_what_the_page_of_operations_says() {
    let Some(package) = package() else { return };
    let field = |name: &str| {
        let output = Command::new("dpkg-deb").arg("--field").arg(package).arg(name).output().unwrap();
        text(&output).trim().to_owned()
    };
    assert_eq!(field("Package"), "sidle");
    assert!(field("Depends").contains("libc6"), "{}", field("Depends"));
    let list = text(&Command::new("dpkg-deb").arg("--contents").arg(package).output().unwrap());
    for path in [
        "./usr/bin/sidle",
        "./usr/lib/systemd/system/sidle.service",
        "./usr/lib/sysusers.d/sidle.conf",
        "./etc/sidle/sidle.yaml",
        "./etc/default/sidle",
        "./etc/logrotate.d/sidle",
        "./usr/share/doc/sidle/README.md",
        "./usr/share/doc/sidle/copyright",
        "./usr/share/doc/sidle/examples/systemd/gateway.conf",
        "./usr/share/doc/sidle/examples/quickstart/services.yaml",
    ] {
        assert!(list.lines().any(|line| line.ends_with(&format!(" {path}"))), "{path} is not in\n{list}");
    }
    // Nobody but root may change what root runs.
    for line in list.lines().filter(|line| !line.starts_with('l')) {
        assert!(line.contains(" 0/0 ") || line.contains(" root/root "), "{line}");
        assert!(!line[5..6].contains('w') && !line[8..9].contains('w'), "{line}");
    }
}

#[test]
fn it_is_installed_upgraded_and_removed() {
    let (Some(package), Some(machine)) = (package(), Machine::boot()) else { return };
    machine.give(package, "sidle.deb");
    let traces = "find /etc /usr /var -xdev -name '*sidle*' | sort";
    let before = machine.ok(traces);

    machine.ok("dpkg --install /shared/sidle.deb 2>&1");
    assert!(machine.ok("sidle --version").starts_with("sidle "));
    assert!(machine.ok("getent passwd sidle").ends_with("nologin"));
    machine.ok("sidle check /etc/sidle");
    // Whoever installs it says when it starts.
    assert_eq!(text(&machine.run("systemctl is-enabled sidle")).trim(), "disabled");
    assert_eq!(text(&machine.run("systemctl is-active sidle")).trim(), "inactive");
    machine.ok("systemctl enable --now sidle 2>&1");
    machine.ok("curl --silent --show-error --fail http://127.0.0.1:15021/healthz/ready");

    // An upgrade restarts what runs, and keeps what was edited.
    let process = machine.ok("systemctl show --property=MainPID sidle");
    machine.ok("echo '# edited' >>/etc/sidle/sidle.yaml && dpkg --install /shared/sidle.deb 2>&1");
    assert_eq!(machine.ok("tail --lines=1 /etc/sidle/sidle.yaml"), "# edited");
    assert_eq!(machine.ok("systemctl is-active sidle"), "active");
    assert_ne!(machine.ok("systemctl show --property=MainPID sidle"), process);

    machine.ok("dpkg --remove sidle 2>&1");
    assert_ne!(text(&machine.run("systemctl is-active sidle")).trim(), "active");
    assert!(!machine.run("pgrep --exact sidle").status.success(), "it still runs");
    assert_eq!(machine.ok("tail --lines=1 /etc/sidle/sidle.yaml"), "# edited");
    machine.ok("dpkg --purge sidle 2>&1");
    assert_eq!(machine.ok(traces), before);
}
