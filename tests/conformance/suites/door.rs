//! A gateway in front of one upstream: a port in clear, a port with TLS.

use sidle_test_support::{manifest, ports, sidle::Sidle, tls::Authority};
use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The name in its certificate.
pub const NAME: &str = "suite.example";

/// A running gateway.
pub struct Door {
    pub clear: SocketAddr,
    pub tls: SocketAddr,
    /// The certificate of the authority that its own is from, a file.
    pub trust: PathBuf,
    /// The process, with an outbound listener where the upstream is `suite.internal`.
    pub sidle: Sidle,
}

impl Door {
    /// Opens one to a port on loopback that speaks `protocol`; it takes both versions of HTTP.
    pub fn open(protocol: &str, upstream: u16) -> Self {
        Self::with("HTTP", protocol, upstream)
    }

    /// Opens one that takes `door` in clear.
    pub fn with(door: &str, protocol: &str, upstream: u16) -> Self {
        let (clear, tls) = (ports::free(), ports::free());
        let builder = Sidle::builder();
        let folder = builder.folder().to_owned();
        let authority = Authority::new();
        authority.issue(&[NAME]).write(&folder, "door");
        let trust = folder.join("authority.pem");
        std::fs::write(&trust, authority.pem()).unwrap();
        let manifests = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
             - port: {{ number: {}, name: main, protocol: {door} }}\n      hosts: ['*']\n    \
             - port: {{ number: {}, name: https, protocol: HTTPS }}\n      hosts: ['*']\n      \
             tls: {{ mode: SIMPLE, serverCertificate: {folder}/door.pem, privateKey: {folder}/door.key }}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['*']\n  \
             gateways: [door]\n  http:\n    - route: [{{ destination: {{ host: suite.internal }} }}]\n---\n",
            clear.port(),
            tls.port(),
            folder = folder.display(),
        );
        let service = manifest::service("suite", "suite.internal", protocol, &[("v1", upstream)]);
        let sidle = builder.file("door.yaml", &(manifests + &service)).start();
        Door { clear, tls, trust, sidle }
    }
}

/// Runs a program to its end: whether it succeeded, and what it printed on both streams.
pub fn run(command: &mut Command, input: &[u8]) -> (bool, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}
