//! The old process: gives its sockets to whoever asks, and its place to whoever is ready.

use super::{
    door::{Door, is_ours},
    renew::irreplaceable,
    wire::{Channel, DESCRIPTORS, PROTOCOL, Use, Word},
};
use crate::{app::state::AppState, worker::Command};
use futures_util::future::join_all;
use sidle_telemetry::Takeover;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{net::UnixStream, sync::oneshot};

/// How long the new process may take until it is ready: to read its configuration and to get its identity.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to say a word that needs no thought.
pub const WORD_WITHIN: Duration = Duration::from_secs(5);
/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves the door until somebody has taken over.
///
/// `has_application`: this process has one, which ends with it.
pub async fn serve(door: Door, state: Arc<AppState>, has_application: bool) {
    let busy = Arc::new(AtomicBool::new(false));
    let mut successor = state.successor.subscribe();
    loop {
        let accepted = tokio::select! {
            _ = successor.wait_for(Option::is_some) => return,
            accepted = door.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let socket = door.listener.as_fd().try_clone_to_owned();
                let why = irreplaceable(has_application);
                tokio::spawn(visit(stream, socket, state.clone(), busy.clone(), why));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn visit(
    stream: UnixStream,
    door: io::Result<OwnedFd>,
    state: Arc<AppState>,
    busy: Arc<AtomicBool>,
    irreplaceable: Option<&'static str>,
) {
    let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
    if !is_ours(&stream).unwrap_or(false) {
        state.telemetry().taken_over(Takeover::Refused);
        return tracing::warn!(process, "another user's process asks for the sockets; it does not get them");
    }
    let mut channel = Channel::new(stream);
    let refusal = if irreplaceable.is_some() {
        irreplaceable
    } else if state.is_ending() {
        Some("the running process is ending")
    } else if busy.swap(true, SeqCst) {
        Some("another process is taking over already")
    } else {
        None
    };
    if let Some(why) = refusal {
        state.telemetry().taken_over(Takeover::Refused);
        tracing::warn!(process, why, "a takeover is refused");
        let _ = channel.say(&Word::Refused { why: why.into() }, &[]).await;
        return;
    }
    tracing::info!(process, "a process asks for the sockets");
    match converse(&mut channel, door, &state).await {
        Ok(()) => {
            state.manager.succeeded(process.and_then(|pid| u32::try_from(pid).ok())).await;
            let was_ending = state.is_ending();
            state.successor.send_replace(Some(process.unwrap_or_default()));
            // One that was told to end meanwhile goes on accepting until it has.
            if !was_ending {
                let mut succeeded = state.succeeded.subscribe();
                let _ = tokio::time::timeout(WORD_WITHIN, succeeded.wait_for(|succeeded| *succeeded)).await;
            }
            // It serves, whether it hears this or not.
            let _ = channel.say(&Word::Done, &[]).await;
            state.handed_over.notify_one();
        }
        Err(error) => {
            state.telemetry().taken_over(Takeover::Failed);
            tracing::warn!(process, %error, "the takeover failed; this process goes on");
            busy.store(false, SeqCst);
        }
    }
}

/// Gives the sockets, and waits for the other to be ready.
async fn converse(channel: &mut Channel, door: io::Result<OwnedFd>, state: &AppState) -> io::Result<()> {
    match within(WORD_WITHIN, channel.hear()).await? {
        Word::Hello { protocol: PROTOCOL } => {}
        _ => {
            let why = "the running process speaks another version of the takeover protocol";
            let _ = channel.say(&Word::Refused { why: why.into() }, &[]).await;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks another protocol"));
        }
    }
    let mut sockets = within(WORD_WITHIN, listening(state)).await?;
    sockets.push((Use::Takeover, door?));
    let words = sockets.len().div_ceil(DESCRIPTORS);
    for (at, some) in sockets.chunks(DESCRIPTORS).enumerate() {
        let uses = some.iter().map(|(of, _)| of.clone()).collect();
        let descriptors: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
        let word = Word::Sockets { uses, last: at + 1 == words };
        within(WORD_WITHIN, channel.say(&word, &descriptors)).await?;
    }
    // Kept no longer: a listener that goes meanwhile has to close.
    drop(sockets);
    match within(READY_WITHIN, channel.hear()).await? {
        Word::Ready => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it says what it should not")),
    }
}

/// Every socket that this process listens on, but for the door.
///
/// # Errors
/// One of them cannot be had once more: whoever waits in its queue would be lost.
async fn listening(state: &AppState) -> io::Result<Vec<(Use, OwnedFd)>> {
    let answers = state.workers().iter().map(|worker| {
        let (reply, answer) = oneshot::channel();
        // A worker that has gone has no sockets.
        let _ = worker.send(Command::Share(reply));
        answer
    });
    let mut sockets = Vec::new();
    for of_worker in join_all(answers).await.into_iter().flatten() {
        sockets.extend(of_worker?.into_iter().map(|socket| (Use::Listener, socket)));
    }
    sockets.extend(state.servers()?.into_iter().map(|(name, socket)| (Use::Server(name.into()), socket)));
    Ok(sockets)
}

async fn within<T>(limit: Duration, word: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, word).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the new process went away before it was ready"))
        }
        Ok(word) => word,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing was said for {limit:?}"))),
    }
}
