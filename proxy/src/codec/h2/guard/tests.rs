//! Raw frames over a pipe in memory.

use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::Instant,
};

const ALLOWANCE: Allowance = Allowance { resets: Some(2), control: 3 };
const PATIENCE: Patience =
    Patience { frame: Some(Duration::from_secs(10)), write: Some(Duration::from_secs(60)) };
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn client(buffer: usize) -> (DuplexStream, Guarded<DuplexStream>, Rc<Watch>) {
    let (theirs, ours) = tokio::io::duplex(buffer);
    let (guarded, watch) = Guarded::client(ours, ALLOWANCE, PATIENCE);
    (theirs, guarded, watch)
}

/// What can be read until nothing more comes, or the watch has something to tell.
async fn read(guarded: &mut Guarded<DuplexStream>, watch: &Watch) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        tokio::select! {
            biased;
            more = guarded.read_buf(&mut read) => if more.unwrap() == 0 { return read },
            () = std::future::poll_fn(|_| watch.flood().map_or(Poll::Pending, |_| Poll::Ready(()))) => return read,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_passes_from_the_frame_that_was_too_much() {
    let (mut theirs, mut guarded, watch) = client(1 << 10);
    let sent = [PREFACE, PING, PING, PING, PING, PING].concat();
    theirs.write_all(&sent).await.unwrap();
    assert_eq!(read(&mut guarded, &watch).await, [PREFACE, PING, PING, PING].concat());
    assert_eq!(watch.flood(), Some(Http2Flood::Ping));
    theirs.write_all(PING).await.unwrap();
    assert_eq!(read(&mut guarded, &watch).await, b"", "nor later");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_floods_is_an_error() {
    let (mut theirs, ours) = tokio::io::duplex(1 << 10);
    let (mut guarded, watch) = Guarded::server(ours, ALLOWANCE, PATIENCE);
    theirs.write_all(&PING.repeat(4)).await.unwrap();
    let mut read = vec![0; 3 * PING.len()];
    guarded.read_exact(&mut read).await.unwrap();
    assert_eq!(guarded.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(watch.flood(), Some(Http2Flood::Ping));
}

#[tokio::test(start_paused = true)]
async fn resets_are_counted_whoever_sends_them() {
    const BY_THEM: &[u8] = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08";
    const BY_US: &[u8] = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x01";
    let (mut theirs, mut guarded, watch) = client(1 << 10);
    theirs.write_all(&[PREFACE, BY_THEM].concat()).await.unwrap();
    let mut passed = vec![0; PREFACE.len() + BY_THEM.len()];
    guarded.read_exact(&mut passed).await.unwrap();
    let (head, payload) = BY_US.split_at(11);
    let written = guarded.write_vectored(&[IoSlice::new(head), IoSlice::new(payload)]).await.unwrap();
    assert_eq!(written, BY_US.len());
    assert_eq!(watch.flood(), None);
    guarded.write_all(BY_US).await.unwrap();
    assert_eq!(watch.flood(), Some(Http2Flood::Resets));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_begun_must_be_finished() {
    for begun in [
        &b"\0\0\x08\x06"[..],              // a head
        b"\0\0\x08\x06\0\0\0\0\0abc",      // a payload
        b"\0\0\x01\x01\x01\0\0\0\x01\x82", // a block: no END_HEADERS
    ] {
        let (mut theirs, mut guarded, watch) = client(1 << 10);
        theirs.write_all(&[PREFACE, begun].concat()).await.unwrap();
        let began = Instant::now();
        read(&mut guarded, &watch).await;
        assert_eq!(watch.flood(), Some(Http2Flood::Stalled), "{begun:?}");
        assert!(began.elapsed() >= Duration::from_secs(10) && began.elapsed() < Duration::from_secs(11));
    }
}

#[tokio::test(start_paused = true)]
async fn data_and_silence_may_last() {
    for begun in [&b""[..], b"\0\0\x08\0\0\0\0\0\x01abc"] {
        let (mut theirs, mut guarded, watch) = client(1 << 10);
        theirs.write_all(&[PREFACE, begun].concat()).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(100), read(&mut guarded, &watch)).await;
        assert!(waited.is_err() && watch.flood().is_none(), "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_left() {
    let (mut theirs, mut guarded, _) = client(16);
    let writer = tokio::spawn(async move {
        let began = Instant::now();
        // Six bytes too many; it takes one each fifty seconds.
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            theirs.read_exact(&mut [0]).await.unwrap();
        }
        std::future::pending::<()>().await;
        drop((theirs, began));
    });
    let began = Instant::now();
    let error = guarded.write_all(&[0; 9 + 13]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(began.elapsed().as_secs(), 150 + 60, "since the last byte");
    writer.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_has_time_to_read_why() {
    let (mut theirs, mut guarded, _) = client(64);
    let sending = tokio::spawn(async move {
        theirs.write_all(&[1; 10_000]).await.unwrap();
        theirs
    });
    let began = Instant::now();
    guarded.shutdown().await.unwrap();
    assert_eq!(began.elapsed(), FAREWELL, "what it sends is read, and no longer than that");
    drop(sending.await.unwrap());

    let (theirs, mut guarded, watch) = client(64);
    watch.leaves_in_peace();
    let began = Instant::now();
    guarded.shutdown().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing to explain");
    drop(theirs);
}
