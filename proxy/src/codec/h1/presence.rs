//! Whether a client still waits for its answer.
//!
//! A client that closed its sending side after whole requests said that there will be no more of them, and gets its answers
//! (RFC 9112 section 9.6). One that closed its socket sent the same FIN; its kernel answers the next byte with RST. So RST, or
//! a write that fails, is what tells that a client is gone; where nothing is written for a while, [`Probe`] writes something.
//!
//! Invariants: after a FIN nothing is read; the next request is read ahead only once the one before it was read whole, and
//! one read at the most; RST is heard also while nothing is read, once nobody wants the rest of the request.
//! Not here: RST while a request's content waits for an upstream that does not take it; the stream's idle timeout ends that.

use super::{encode, wire::Wire};
use crate::codec::{
    Stream,
    patience::{self, Pause},
    timer::Timer,
};
use http::{StatusCode, Version};
use socket2::{SockRef, TcpKeepalive};
use std::{
    cell::RefCell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::time::Instant;

/// How long an answer may take before a client that sent FIN is asked whether it is still there.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the content of an answer may pause for a client that sent FIN. Most of those that did so meanwhile have gone: they waited for
/// no longer, and ask again. The kernel would take more than a minute to find out, and their first request would go on for as long.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// The kernel asks a client that nothing is read from after so long, and then as often; a socket whose process ended lives on for 60 s in
/// Linux, and answers for it.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// What can be told of a client whose answer is awaited.
enum Sign {
    Gone,
    /// Nothing more is to be read for now.
    Silent,
}

/// Why the wait with a lent stream ended.
enum Waited<T> {
    Done(T),
    /// There is something to write.
    Output,
    Gone,
}

/// Polls `work` until it is ready; `None`: the client went away first. It may be polled at any time.
///
/// The socket of a connection that has just come is not watched yet. It will be when the work takes longer than most.
pub(super) async fn while_there<T>(
    wire: &Rc<RefCell<Wire>>,
    mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let mut patience = patience::pause(patience::For::Answer);
    loop {
        let done = poll_fn(|cx| {
            if let Poll::Ready(done) = work(cx) {
                return Poll::Ready(Some(Waited::Done(done)));
            }
            let mut wire = wire.borrow_mut();
            if !wire.output.is_empty() {
                return Poll::Pending; // the write tells of RST
            }
            poll_sign(&mut wire, &mut patience, cx).map(|sign| match sign {
                Sign::Gone => Some(Waited::Gone),
                Sign::Silent => None,
            })
        });
        let waited = match done.await {
            Some(waited) => waited,
            // Boxed: most connections never need it.
            None => Box::pin(while_not_reset(wire, &mut work)).await,
        };
        match waited {
            Waited::Done(done) => return Some(done),
            Waited::Output => {}
            Waited::Gone => return None,
        }
    }
}

/// Has a look at a client that was not listened to, before his answer is begun: whether he sent FIN.
pub(super) fn look(wire: &RefCell<Wire>) {
    let mut wire = wire.borrow_mut();
    if wire.decoder.is_done()
        && wire.input.is_empty()
        && let Some(stream) = wire.stream()
        && !stream.is_watched()
    {
        stream.look_again();
        // Whatever comes of it is known to the wire, and whoever reads next has himself woken.
        let _ = wire.poll_read_head(&mut Context::from_waker(Waker::noop()));
    }
}

fn poll_sign(wire: &mut Wire, patience: &mut Pause, cx: &mut Context<'_>) -> Poll<Sign> {
    if wire.closed {
        return Poll::Ready(Sign::Gone);
    }
    if wire.abandoned {
        return Poll::Ready(Sign::Silent); // what is unread stays so
    }
    if !wire.decoder.is_done() {
        wire.watch(cx);
        return Poll::Pending;
    }
    if !wire.input.is_empty() || wire.has_ended() {
        return Poll::Ready(Sign::Silent);
    }
    if !wire.stream().is_none_or(Stream::is_watched) {
        ready!(Pin::new(patience).poll(cx));
    }
    let read = ready!(wire.poll_read_head(cx));
    Poll::Ready(if read.is_ok() { Sign::Silent } else { Sign::Gone })
}

/// Polls `work` while nothing is read from the client, nor written to it.
async fn while_not_reset<T>(
    wire: &Rc<RefCell<Wire>>,
    mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Waited<T> {
    let Some(mut stream) = wire.borrow_mut().lend() else { return Waited::Gone };
    if !std::mem::replace(&mut wire.borrow_mut().asked_by_kernel, true)
        && let Some(tcp) = stream.tcp()
    {
        // A FIN behind bytes that are not read is not seen, and one that was seen does not tell whether the client is there.
        let asking = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
        let _ = SockRef::from(&tcp).set_tcp_keepalive(&asking); // of a socket that has failed: it is asked next
    }
    let waited = {
        let mut reset = pin!(stream.reset());
        poll_fn(|cx| {
            if let Poll::Ready(done) = work(cx) {
                return Poll::Ready(Waited::Done(done));
            }
            if !wire.borrow().output.is_empty() {
                return Poll::Ready(Waited::Output);
            }
            reset.as_mut().poll(cx).map(|()| Waited::Gone)
        })
        .await
    };
    wire.borrow_mut().take_back(stream);
    waited
}

/// Asks a client that sent FIN whether it is still there, once.
pub(super) struct Probe {
    since: Option<Instant>,
    /// A client of HTTP/1.0 knows no interim answers.
    may_write: bool,
}

impl Probe {
    /// For an answer to a request of this version.
    pub(super) fn of(version: Version) -> Self {
        Probe { since: None, may_write: version == Version::HTTP_11 }
    }

    /// Has 100 (Continue) written when the answer takes its time. Every client has to take it for nothing when it did not ask
    /// (RFC 9110 section 15.2); the kernel of one that is gone does not.
    pub(super) fn poll(&mut self, wire: &mut Wire, timer: &mut Timer, cx: &mut Context<'_>) {
        if !wire.heard_all() || !wire.decoder.is_done() {
            return;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.may_write && timer.poll(since + PATIENCE, cx).is_ready() {
            self.may_write = false;
            let out = wire.output.small();
            encode::status_line(out, StatusCode::CONTINUE);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{
        Stream,
        h1::{decode::Decoder, framing::Framing},
    };
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    #[tokio::test]
    async fn a_reset_is_heard_behind_content_that_nobody_wants() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let wire = Rc::new(RefCell::new(Wire::new(Stream::from(ours))));
        let body = Wire::begin_message(&wire, Decoder::new(Framing::Length(1 << 20)));
        client.write_all(b"some of it").await.unwrap();
        let leave = async {
            drop(body);
            tokio::task::yield_now().await;
            client.set_zero_linger().unwrap();
            drop(client);
        };
        let waiting = while_there::<()>(&wire, |_| Poll::Pending);
        let (gone, ()) = tokio::join!(timeout(Duration::from_secs(10), waiting), leave);
        assert_eq!(gone, Ok(None));
    }

    #[tokio::test]
    async fn a_fin_that_nobody_waited_for_is_found_by_a_look() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let wire = Rc::new(RefCell::new(Wire::new(Stream::from(ours))));
        client.write_all(b"request").await.unwrap();
        poll_fn(|cx| wire.borrow_mut().poll_read_head(cx)).await.unwrap();
        wire.borrow_mut().input.clear();
        client.shutdown().await.unwrap();
        assert!(!wire.borrow().has_ended());
        look(&wire);
        assert!(wire.borrow().has_ended());
    }
}
