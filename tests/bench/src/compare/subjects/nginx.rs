//! nginx.

use super::{Reason, program};
use crate::compare::{
    scenarios::{Protocol, hosts},
    stage::Setup,
};
use std::{fmt::Write, process::Command};

/// nginx with one worker process.
pub fn command(setup: &Setup<'_>) -> Result<Command, Reason> {
    let program = program("nginx")?;
    let (scenario, at, own) = (setup.scenario, setup.certificates.display(), setup.folder().display());
    if scenario.upstream == Protocol::Http2 && (!scenario.grpc() || scenario.upstream_tls) {
        return Err(Reason::Skip("speaks HTTP/2 to upstreams for gRPC only".to_owned()));
    }
    // Its workers are nobody, unless told otherwise, and may not enter a private folder.
    let user = if rustix::process::getuid().is_root() { "user root;\n" } else { "" };
    let log = if scenario.logs { format!("{} combined", setup.log().display()) } else { "off".to_owned() };
    let [first, second] = setup.upstreams;
    let mut configuration = format!(
        "daemon off;\n{user}worker_processes 1;\npid {own}/pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 2500; }}\nhttp {{\naccess_log {log};\ntcp_nodelay on;\nkeepalive_requests 1000000000;\n\
         keepalive_timeout 600s;\nserver_names_hash_max_size 65536;\nserver_names_hash_bucket_size 128;\n\
         proxy_buffer_size 16k;\nproxy_buffers 8 16k;\nproxy_busy_buffers_size 32k;\nproxy_max_temp_file_size 0;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(configuration, "{kind}_temp_path {own}/{kind};");
    }
    let _ = writeln!(
        configuration,
        "upstream service {{ server 127.0.0.1:{first} weight=9; server 127.0.0.1:{second} weight=1; keepalive 256; \
         keepalive_requests 1000000000; keepalive_timeout 600s; }}"
    );
    let mut listen = setup.address.to_string() + " backlog=4096";
    if scenario.clients.tls {
        listen += " ssl";
        let _ = writeln!(
            configuration,
            "ssl_certificate {at}/server.pem;\nssl_certificate_key {at}/server.key;\nssl_protocols TLSv1.3;"
        );
    }
    if scenario.clients.protocol == Protocol::Http2 {
        listen += " http2";
    }
    let pass = if scenario.grpc() {
        "grpc_pass grpc://service;"
    } else {
        "proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;"
    };
    for (number, host) in hosts(scenario.clients.hosts).enumerate() {
        // The options of a socket are said once.
        let listen = if number == 0 { listen.clone() } else { setup.address.to_string() };
        let _ = writeln!(
            configuration,
            "server {{ listen {listen}; server_name {host}; location /svc/ {{ {pass} }} location / {{ return 404; }} }}"
        );
    }
    let configuration = setup.file("nginx.conf", &(configuration + "}\n"))?;
    let mut command = Command::new(program);
    // The log that it is built with may not be writable: it is told of another before it reads its file.
    command.args(["-e", "stderr", "-p"]).arg(setup.folder()).arg("-c").arg(configuration);
    Ok(command)
}
