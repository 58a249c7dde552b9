//! nghttpx.

use super::{Reason, program};
use crate::compare::{
    scenarios::{HOST, Protocol, hosts},
    stage::Setup,
};
use std::{fmt::Write, process::Command};

/// nghttpx with one worker thread.
pub fn command(setup: &Setup<'_>) -> Result<Command, Reason> {
    let program = program("nghttpx")?;
    let (scenario, at) = (setup.scenario, setup.certificates.display());
    let protocol = match scenario.upstream {
        Protocol::Http1 => "",
        Protocol::Http2 => ";proto=h2",
    };
    let (frontend_tls, upstream_tls) = (scenario.clients.tls, scenario.upstream_tls);
    let tls = if upstream_tls { format!(";tls;sni={HOST}") } else { String::new() };
    let paths: Vec<_> = match scenario.clients.hosts {
        1 => vec!["/svc/".to_owned()],
        many => hosts(many).map(|host| format!("{host}/svc/")).collect(),
    };
    let (paths, [first, second]) = (paths.join(":"), setup.upstreams);
    // The last backend is one that has to be there: for what no other takes.
    let mut configuration = format!(
        "single-process=yes\nworkers=1\nno-ocsp=yes\nlog-level=ERROR\nfrontend=127.0.0.1,{port}{no_tls}\n\
         backend=127.0.0.1,{first};{paths}{protocol}{tls};group=a;group-weight=90\n\
         backend=127.0.0.1,{second};{paths}{protocol}{tls};group=b;group-weight=10\n\
         backend=127.0.0.1,{first};{protocol}{tls}\nfrontend-keep-alive-timeout=600s\n\
         backend-keep-alive-timeout=600s\n",
        port = setup.address.port(),
        no_tls = if frontend_tls { "" } else { ";no-tls" },
    );
    if frontend_tls {
        let _ = write!(
            configuration,
            "tls-min-proto-version=TLSv1.3\nprivate-key-file={at}/server.key\ncertificate-file={at}/server.pem\n"
        );
    }
    if upstream_tls {
        let _ = write!(
            configuration,
            "cacert={at}/ca.pem\nclient-cert-file={at}/client.pem\nclient-private-key-file={at}/client.key\n"
        );
    }
    if scenario.logs {
        let _ = writeln!(configuration, "accesslog-file={}", setup.log().display());
    }
    let mut command = Command::new(program);
    command.arg(format!("--conf={}", setup.file("nghttpx.conf", &configuration)?.display()));
    Ok(command)
}
