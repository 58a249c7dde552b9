//! The servers of `config-examples/`: `echo [--print] NAME=PORT[,PORT…]…`.

use sidle_test_support::echo::{Echo, Options};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

fn main() {
    let mut print = false;
    let mut servers = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.split_once('=').map(|(name, ports)| (name, listed(ports))) {
            Some((name, Some(ports))) => {
                servers.extend(ports.into_iter().map(|port| (name.to_owned(), port)))
            }
            None if argument == "--print" => print = true,
            _ => usage(),
        }
    }
    if servers.is_empty() {
        usage();
    }
    let running: Vec<Echo> = servers
        .into_iter()
        .map(|(version, port)| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if let Err(error) = TcpListener::bind(address) {
                eprintln!("cannot listen on {address}: {error}");
                std::process::exit(1);
            }
            println!("{version} listens on {address}");
            Echo::with(Options { version, address, tls: None, print })
        })
        .collect();
    for echo in running {
        echo.forever();
    }
}

fn listed(ports: &str) -> Option<Vec<u16>> {
    ports.split(',').map(|port| port.parse().ok()).collect()
}

fn usage() -> ! {
    eprintln!("usage: echo [--print] NAME=PORT[,PORT...]...   for example: echo v1=18081 v2=18082");
    std::process::exit(2);
}
