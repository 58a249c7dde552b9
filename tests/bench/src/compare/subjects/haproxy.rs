//! HAProxy.

use super::{Reason, program};
use crate::compare::{
    scenarios::{Content, HOST, Protocol, hosts},
    stage::Setup,
};
use std::process::Command;

/// HAProxy with one thread.
pub fn command(setup: &Setup<'_>) -> Result<Command, Reason> {
    let program = program("haproxy")?;
    let (scenario, at) = (setup.scenario, setup.certificates.display());
    let bind = match (scenario.clients.tls, scenario.clients.protocol) {
        (true, _) => format!("ssl crt {at}/server.both alpn h2,http/1.1 ssl-min-ver TLSv1.3"),
        (false, Protocol::Http1) => String::new(),
        (false, Protocol::Http2) => "proto h2".to_owned(),
    };
    let server = match (scenario.upstream_tls, scenario.upstream) {
        (true, _) => format!(
            "ssl verify required ca-file {at}/ca.pem crt {at}/client.both alpn h2 sni str({HOST}) ssl-min-ver TLSv1.3"
        ),
        (false, Protocol::Http1) => String::new(),
        (false, Protocol::Http2) => "proto h2".to_owned(),
    };
    let rule = if scenario.clients.hosts == 1 {
        "use_backend service if { path_beg /svc/ }".to_owned()
    } else {
        let map: String = hosts(scenario.clients.hosts).map(|host| format!("{host} service\n")).collect();
        let map = setup.file("hosts.map", &map)?;
        format!("use_backend %[req.hdr(host),lower,map({})] if {{ path_beg /svc/ }}", map.display())
    };
    let (log, log_global) = if scenario.logs {
        ("  log stdout format raw local0 info\n", "  log global\n  option httplog\n")
    } else {
        ("", "")
    };
    // From kernel to kernel: a tenth cheaper for a megabyte, and no cheaper for 64 KiB.
    let large = matches!(scenario.clients.content, Content::Bytes(length) if length > 64 << 10);
    let splice = if large { "  option splice-auto\n" } else { "" };
    let [first, second] = setup.upstreams;
    let configuration = format!(
        "global\n  nbthread 1\n  maxconn 2000\n{log}defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  option http-keep-alive\n  http-reuse always\n{splice}{log_global}frontend clients\n  \
         bind {address} {bind}\n  {rule}\nbackend service\n  balance roundrobin\n  \
         server a 127.0.0.1:{first} weight 90 {server}\n  server b 127.0.0.1:{second} weight 10 {server}\n",
        address = setup.address,
    );
    let configuration = setup.file("haproxy.cfg", &configuration)?;
    let mut command = Command::new("sh");
    // Its log goes to its standard output, as in a container.
    let output = if scenario.logs { setup.log() } else { "/dev/null".into() };
    command.args(["-c", "output=\"$1\"; shift; exec \"$0\" \"$@\" >\"$output\""]).arg(program).arg(output);
    command.args(["-db", "-f"]).arg(configuration);
    Ok(command)
}
