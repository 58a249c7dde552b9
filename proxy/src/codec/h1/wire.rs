//! One HTTP/1 connection: its socket, what was read ahead, what waits to be written.
//!
//! In:  a [`Stream`].   Out: heads as bytes, content as [`Incoming`] bodies.
//! Invariants: one message is read at a time; bytes behind it wait. A connection belongs to one thread: whoever reads a body
//! and whoever serves the connection take turns, and no borrow outlives a poll.
//! Not here: what others hold of it (`incoming`), what heads mean, whose side this is (`server`, `client`).

use super::{
    decode::{Decoded, Decoder, Malformed},
    incoming::Incoming,
    output::Output,
    upload::Upload,
};
use crate::{
    codec::{Body, BodyError, Stream, buffers::Size, portion},
    turn,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// Requests' heads are read into a buffer of the thread, and kept in one of their size as long as the request.
const SCRATCH: usize = 16 << 10;
/// What is left of a request's body below this is read as its head is.
const SMALL_BODY: u64 = 2 << 10;
/// Where much content is to come, it is read by so much: what is written before more is read stays in the processor's cache, and no other
/// connection waits long. A little less than a packet takes (65,483 bytes on loopback, 64 KiB to a network card): one byte more, and each
/// piece leaves as two, of which the small one costs as much.
const PIECE: usize = 60 << 10;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Reads what nobody wants to know.
pub(super) fn poll_read_over(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    SCRATCH_BUFFER.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    })
}

/// One HTTP/1 connection.
pub struct Wire {
    /// Gone once a tunnel has it.
    stream: Option<Stream>,
    /// Read, and not yet looked at.
    pub(super) input: BytesMut,
    /// Which of the thread's buffers that is, if it has one.
    input_size: Option<Size>,
    /// Heads are read together with what is behind them, where bodies are: those of answers, which nobody keeps while content goes by.
    ahead: bool,
    /// To be written.
    pub(super) output: Output,
    /// Content of the message that is being read.
    pub(super) decoder: Decoder,
    /// The message that is being read: a body of an earlier one reads nothing.
    pub(super) message: u64,
    /// Nobody will read the rest of the message.
    pub(super) abandoned: bool,
    /// The message that is sent while the other is read; a client's.
    upload: Option<Upload>,
    /// Messages sent so far: whoever drives an earlier one drives nothing.
    uploads: u64,
    /// Why its body failed, until whoever reads the other message is told.
    upload_failed: Option<BodyError>,
    /// An upload did not get to its end: the peer waits for the rest.
    upload_cut: bool,
    /// The peer closed while content was expected of it.
    pub(super) closed: bool,
    /// The peer closed its sending side: there is nothing more to read.
    ended: bool,
    /// The kernel asks the peer whether it is still there.
    pub(super) asked_by_kernel: bool,
    /// Bytes read.
    received: u64,
    /// Whoever waits for the message to be read whole, or abandoned.
    watcher: Option<Waker>,
}

/// Why an upload stopped.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The body failed, or has another length than it said.
    Body(BodyError),
    /// The socket takes no more.
    Closed,
}

impl Wire {
    /// A connection on which nothing was read yet.
    pub(super) fn new(stream: Stream) -> Self {
        Wire {
            stream: Some(stream),
            input: BytesMut::new(),
            input_size: None,
            ahead: false,
            output: Output::default(),
            decoder: Decoder::done(),
            message: 0,
            abandoned: false,
            upload: None,
            uploads: 0,
            upload_failed: None,
            upload_cut: false,
            closed: false,
            asked_by_kernel: false,
            ended: false,
            received: 0,
            watcher: None,
        }
    }

    /// The same, to a server.
    pub(super) fn to_server(stream: Stream) -> Self {
        Wire { ahead: true, ..Wire::new(stream) }
    }

    /// Begins to read the content of a message.
    pub(super) fn begin_message(wire: &Rc<RefCell<Wire>>, decoder: Decoder) -> Body {
        let mut this = wire.borrow_mut();
        this.message += 1;
        this.decoder = decoder;
        this.abandoned = false;
        if this.decoder.is_done() {
            return Body::Empty;
        }
        let size = this.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact);
        Body::Http1(Incoming::new(wire.clone(), this.message, size))
    }

    /// Begins to send a message's content.
    pub(super) fn begin_upload(&mut self, upload: Upload) {
        self.uploads += 1;
        self.upload = Some(upload);
    }

    /// Whether all that was to be sent is gone.
    pub(super) fn has_sent(&self) -> bool {
        self.upload.is_none() && !self.upload_cut && self.output.is_empty()
    }

    /// Bytes that came and went.
    pub(super) fn moved(&self) -> u64 {
        self.received + self.output.written()
    }

    /// Whether the peer closed its sending side, be it by TCP's FIN or TLS's close_notify.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it did, and all that it sent was looked at.
    pub(super) fn heard_all(&self) -> bool {
        self.ended && self.input.is_empty()
    }

    /// Stops sending: the socket takes no more.
    pub(super) fn cut_upload(&mut self) {
        self.upload = None;
        self.upload_cut = true;
    }

    /// Reads what there is of a head; 0 is the end.
    pub(super) fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ahead { self.poll_read_large(cx) } else { self.poll_read_small(cx) }
    }

    /// Reads content; 0 is the end.
    fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self.decoder.wanted() {
            ..=SMALL_BODY if !self.ahead => self.poll_read_small(cx),
            _ => self.poll_read_large(cx),
        }
    }

    fn poll_read_small(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.ended) else { return Poll::Ready(Ok(0)) };
        let read = SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
            if self.input_size.is_none() {
                self.input_size = Some(Size::Head);
                self.input = Size::Head.take_input();
            }
            self.input.extend_from_slice(buffer.filled());
            Poll::Ready(io::Result::Ok(buffer.filled().len()))
        });
        let read = ready!(read)?;
        self.note_read(read);
        Poll::Ready(Ok(read))
    }

    /// Reads straight into what the content's pieces will be. Once the piece before is gone, into the same bytes.
    fn poll_read_large(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.stream.is_none() || self.ended {
            return Poll::Ready(Ok(0));
        }
        let portion = portion::most();
        let size = if portion <= Size::Head.bytes() { Size::Head } else { Size::Content };
        if self.input_size != Some(size) && self.input.is_empty() {
            self.give_back_input();
            self.input_size = Some(size);
            self.input = size.take_input();
        } else {
            size.make_room(&mut self.input);
        }
        let ends_soon = self.decoder.remaining().is_some_and(|left| left <= Size::Content.bytes() as u64);
        let most = if ends_soon { Size::Content.bytes() } else { PIECE }.min(portion);
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(0)) };
        let read = pin!(stream.read_buf(&mut (&mut self.input).limit(most))).poll(cx);
        if read.is_pending() {
            self.give_back_input(); // what waits holds none
        }
        let read = ready!(read)?;
        self.note_read(read);
        Poll::Ready(Ok(read))
    }

    fn note_read(&mut self, read: usize) {
        self.ended |= read == 0;
        self.received += read as u64;
    }

    /// Lets go of the buffer if nothing is in it.
    fn give_back_input(&mut self) {
        if self.input.is_empty()
            && let Some(size) = self.input_size.take()
        {
            size.give_back_input(std::mem::take(&mut self.input));
        }
    }

    /// Writes what waits. While the stream is lent, whoever has it looks at the output.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // What was read leaves in the turn that paid for it, and its buffer is free for the next.
            Some(stream) => turn::paid(cx, |cx| self.output.poll_flush(stream, cx)),
            None if self.output.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    /// The stream; not there once a tunnel has it, or while it is lent.
    pub(super) fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    /// The stream, to be given back by [`Wire::take_back`]; meanwhile nothing is read or written.
    pub(super) fn lend(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    /// See [`Wire::lend`].
    pub(super) fn take_back(&mut self, stream: Stream) {
        self.stream = Some(stream);
    }

    /// Sends what the upload's body gives; ready when all of it is gone.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        loop {
            let mut pending = false;
            while let Some(upload) = self.upload.as_mut().filter(|upload| !upload.has_ended())
                && (self.output.has_room() || upload.has_little_left())
                && !pending
            {
                match upload.poll_frame(cx) {
                    Poll::Ready(frame) => upload.write(frame, &mut self.output).map_err(UploadError::Body)?,
                    Poll::Pending => pending = true,
                }
            }
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(UploadError::Closed)),
                Poll::Pending => return Poll::Pending,
            }
            match &self.upload {
                Some(upload) if !upload.has_ended() && pending => return Poll::Pending,
                Some(upload) if !upload.has_ended() => {}
                _ => {
                    self.upload = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// The number of the message that is sent while the other one is read, if there is one.
    pub(super) fn uploading(&self) -> Option<u64> {
        self.upload.as_ref().map(|_| self.uploads)
    }

    /// Whether no message was begun to be sent after the one with this number.
    pub(super) fn is_last_upload(&self, number: u64) -> bool {
        self.uploads == number
    }

    /// Sends what can be sent of that; ready when it failed, which reading the other message then says.
    pub(super) fn drive_upload(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.upload.is_some() {
            match self.poll_upload(cx) {
                // A server may answer before it has read everything, and then read no more: its answer is still whole.
                Poll::Ready(Err(UploadError::Closed)) => self.cut_upload(),
                Poll::Ready(Err(UploadError::Body(error))) => {
                    self.cut_upload();
                    self.upload_failed = Some(error);
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if self.upload_failed.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The next piece of the message that is being read.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let _ = self.drive_upload(cx);
        if let Some(error) = self.upload_failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let piece = match self.decoder.decode(&mut self.input) {
                Ok(Decoded::Incomplete) => None,
                Ok(Decoded::Data(data)) => Some(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => Some(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::End) => Some(None),
                Err(Malformed) => Some(Some(Err(BodyError::Malformed))),
            };
            if let Some(piece) = piece {
                if self.decoder.is_done() {
                    self.tell_watcher();
                }
                if portion::most() < usize::MAX {
                    self.give_back_input(); // it may be long until more is read
                }
                return Poll::Ready(piece);
            }
            match ready!(self.poll_read_body(cx)) {
                Ok(read) if read > 0 => {}
                Ok(_) if self.decoder.ends_with_connection() => {}
                Ok(_) | Err(_) => {
                    self.closed = true;
                    self.tell_watcher();
                    return Poll::Ready(Some(Err(BodyError::Closed)));
                }
            }
        }
    }

    /// Has `cx` woken when the message has been read whole, or nobody will.
    pub(super) fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.watcher {
            Some(watcher) => watcher.clone_from(cx.waker()),
            None => self.watcher = Some(cx.waker().clone()),
        }
    }

    pub(super) fn tell_watcher(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }

    /// Ends a TLS session, unless some of what was to be sent on it is missing: then the end must not look like one.
    pub(super) fn take_leave(&mut self) {
        if self.has_sent()
            && let Some(stream) = &mut self.stream
        {
            stream.take_leave();
        }
    }

    /// The connection itself, with what was read ahead put back.
    pub(super) fn take_stream(&mut self) -> Option<Stream> {
        let mut stream = self.stream.take()?;
        if !self.input.is_empty() {
            stream.unread(self.input.split().freeze());
        }
        Some(stream)
    }

    /// Lets go of buffers, as the connection will wait.
    pub(super) fn rest(&mut self) {
        self.output.rest();
        self.give_back_input();
    }
}
