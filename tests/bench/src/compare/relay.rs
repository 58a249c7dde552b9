//! The limit: a relay of bytes, which sees no requests. What a proxy costs beyond it is what it does for its users.

use super::upstream::listen;
use crate::void::Void;
use clap::Args;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{io::copy_bidirectional_with_sizes, net::TcpStream, task::LocalSet};

const BUFFER: usize = 16 << 10;

/// Where it stands.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Its own port
    #[arg(long)]
    listen: u16,
    /// The port of the one upstream
    #[arg(long)]
    to: u16,
}

/// Relays until it is killed.
///
/// # Errors
/// When the port is taken.
pub fn run(args: &RelayArgs) -> Result<(), Void> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, args.to));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        let listener = listen(args.listen)?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::task::spawn_local(relay(client, to));
        }
    }))
}

async fn relay(mut client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut upstream = TcpStream::connect(to).await?;
    upstream.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}
