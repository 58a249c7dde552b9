//! The demo's configuration: a private copy of `config-examples/quickstart` that may be edited and broken.
//!
//! In:  the example as it was when this binary was built.   Out: a folder, and the addresses that it names.
//! Invariants: the example's own ports are used when they are free, others when not; the folder goes with the value.
//! Not here: who listens on the ports.

use super::{super::CliError, echo::Protocol, vault::Vault};
use std::{
    fs::{self, DirBuilder},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

const SERVICES: &str = include_str!("../../../../config-examples/quickstart/services.yaml");
const SPLIT: &str = include_str!("../../../../config-examples/quickstart/split.yaml");

/// Each service of the example: protocol, version, port.
const ECHOES: [(Protocol, &str, u16); 6] = [
    (Protocol::Http1, "v1", 18081),
    (Protocol::Http1, "v2", 18082),
    (Protocol::Http2, "v1", 18083),
    (Protocol::Http2, "v2", 18084),
    (Protocol::Grpc, "v1", 18085),
    (Protocol::Grpc, "v2", 18086),
];

/// What `split.yaml` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// As in the example.
    NinetyTen,
    /// Edited.
    FiftyFifty,
    /// Edited, with a typing error.
    Broken,
}

impl Split {
    /// The file's text.
    pub fn text(self) -> String {
        match self {
            Split::NinetyTen => SPLIT.to_owned(),
            Split::FiftyFifty => {
                SPLIT.replace("weight: 90", "weight: 50").replace("weight: 10", "weight: 50")
            }
            Split::Broken => Split::FiftyFifty.text().replacen("weight: 50", "wieght: 50", 1),
        }
    }

    /// The edit that leads here, for people.
    pub fn edit(self) -> &'static str {
        match self {
            Split::NinetyTen => "weight: 90, weight: 10",
            Split::FiftyFifty => "weight: 50, weight: 50",
            Split::Broken => "wieght: 50",
        }
    }
}

/// The folder and its addresses.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// Bound, for the services.
    pub echoes: Vec<(Protocol, &'static str, std::net::TcpListener)>,
    /// Of the proxy's outbound listener.
    pub outbound: SocketAddr,
    /// Of its admin server.
    pub admin: SocketAddr,
    /// The proxy beside it.
    pub vault: Vault,
}

impl Files {
    /// Binds the services' ports and writes the files.
    pub fn write() -> Result<Files, CliError> {
        let failed = |error: std::io::Error| CliError::Failed(format!("the demo's files: {error}"));
        let folder = std::env::temp_dir().join(format!("sidle-demo-{}", std::process::id()));
        // Fails if it is there already, so that nobody else's folder is used or removed.
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut echoes = Vec::new();
        let mut services = SERVICES.to_owned();
        for (protocol, version, port) in ECHOES {
            let socket = bind(port)?;
            let bound = socket.local_addr().map_err(failed)?.port();
            services = services.replace(&format!(": {port} }}"), &format!(": {bound} }}"));
            echoes.push((protocol, version, socket));
        }
        let application = echoes[0].2.local_addr().map_err(failed)?.port();
        let vault = Vault::write(&folder, application, free([0; 5])?)?;
        let mut files = Files { folder, echoes, outbound: nowhere, admin: nowhere, vault };
        fs::write(files.folder.join("services.yaml"), services).map_err(failed)?;
        files.place_proxy()?;
        files.edit(Split::NinetyTen)?;
        Ok(files)
    }

    /// Writes settings that keep the proxy to loopback and off ports in use. Somebody may still be quicker to take one of
    /// them; then it is time to do it again.
    pub fn place_proxy(&mut self) -> Result<(), CliError> {
        let [outbound, admin, metrics, health, inbound] = free([15001, 15000, 15090, 15021, 15006])?;
        (self.outbound, self.admin) = (outbound, admin);
        let settings = format!(
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata:\n  name: demo\nspec:\n  identity:\n    \
             directory: {identity}\n  admin: {admin}\n  metrics: {metrics}\n  health: {health}\n  outbound: {outbound}\n  inbound: {inbound}\n",
            identity = self.folder.join("identity").display()
        );
        let file = self.folder.join("proxy.yaml");
        fs::write(&file, settings).map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `split.yaml` as an editor does: beside it, then into place.
    pub fn edit(&self, split: Split) -> Result<(), CliError> {
        let (draft, file) = (self.folder.join(".split.yaml.draft"), self.folder.join("split.yaml"));
        fs::write(&draft, split.text())
            .and_then(|()| fs::rename(&draft, &file))
            .map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Left behind at worst, in the folder for such things.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Binds `port` on loopback, or a free one.
fn bind(port: u16) -> Result<std::net::TcpListener, CliError> {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    socket.map_err(|error| CliError::Failed(format!("no free port: {error}")))
}

/// `ports` on loopback, or free ones in their place; free, that is, a moment ago.
fn free<const N: usize>(ports: [u16; N]) -> Result<[SocketAddr; N], CliError> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    // All are held until all are found, so that no two are the same.
    let mut held = Vec::with_capacity(N);
    for (address, port) in addresses.iter_mut().zip(ports) {
        let socket = bind(port)?;
        *address = socket.local_addr().map_err(|error| CliError::Failed(format!("no free port: {error}")))?;
        held.push(socket);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edit_changes_what_it_says() {
        assert!(SPLIT.contains("weight: 90") && SPLIT.contains("weight: 10"));
        assert_eq!(Split::FiftyFifty.text().matches("weight: 50").count(), 2);
        assert_eq!(Split::Broken.text().matches("wieght: 50").count(), 1);
    }

    #[test]
    fn each_service_is_in_the_example() {
        for (_, version, port) in ECHOES {
            let at = SERVICES
                .find(&format!(": {port} }}"))
                .unwrap_or_else(|| panic!("{port} is not in the example"));
            assert!(SERVICES[at..].lines().nth(1).unwrap().contains(version));
        }
    }

    #[test]
    fn files_are_written_edited_and_removed() {
        let files = Files::write().unwrap();
        let folder = files.folder().to_owned();
        files.edit(Split::FiftyFifty).unwrap();
        assert_eq!(fs::read_to_string(folder.join("split.yaml")).unwrap(), Split::FiftyFifty.text());
        let services = fs::read_to_string(folder.join("services.yaml")).unwrap();
        for (_, _, socket) in &files.echoes {
            assert!(services.contains(&format!(": {} }}", socket.local_addr().unwrap().port())));
        }
        drop(files);
        assert!(!folder.exists());
    }
}
