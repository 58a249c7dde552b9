//! What two processes say to each other, and the sockets that go with it.
//!
//! A word is its length in four bytes, lowest first, and JSON; its descriptors go along with its first byte (SCM_RIGHTS).

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tokio::{io::Interest, net::UnixStream};

/// The version of what is said here.
pub const PROTOCOL: u32 = 1;
/// Descriptors of one word; the kernel takes 253.
pub const DESCRIPTORS: usize = 64;
/// Bytes of one word.
const MAX_WORD: usize = 64 << 10;

/// One word.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Word {
    /// The new process asks for the sockets.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// The old one does not give them.
    Refused {
        /// For whoever started the new one.
        why: String,
    },
    /// Some of them; as many descriptors come along.
    Sockets {
        /// What each is for.
        uses: Vec<Use>,
        /// Whether these are the last.
        last: bool,
    },
    /// The new process serves.
    Ready,
    /// The old one has heard it, and accepts nobody any more; or it is ending anyway.
    Done,
}

/// What a socket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Use {
    /// Traffic. Which listener's it is, its address says.
    Listener,
    /// A server of the process' own, by name.
    Server(String),
    /// The next takeover.
    Takeover,
}

/// One end of the conversation.
pub struct Channel {
    stream: UnixStream,
    input: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Channel {
    /// The end that is `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Channel { stream, input: Vec::new(), descriptors: VecDeque::new() }
    }

    /// Says a word. At most [`DESCRIPTORS`].
    ///
    /// # Errors
    /// The other side has gone.
    pub async fn say(&mut self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(word)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let bytes = [length.to_le_bytes().as_slice(), &text].concat();
        let mut sent = 0;
        while sent < bytes.len() {
            self.stream.writable().await?;
            let along = if sent == 0 { descriptors } else { &[] };
            let attempt =
                self.stream.try_io(Interest::WRITABLE, || send(&self.stream, &bytes[sent..], along));
            match attempt {
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next word of the other side, and what came with it so far.
    ///
    /// # Errors
    /// It has gone, or says what is no word.
    pub async fn hear(&mut self) -> io::Result<Word> {
        loop {
            if let Some(word) = self.take()? {
                return Ok(word);
            }
            self.stream.readable().await?;
            let (stream, input, descriptors) = (&self.stream, &mut self.input, &mut self.descriptors);
            match stream.try_io(Interest::READABLE, || receive(stream, input, descriptors)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next descriptor that came.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    fn take(&mut self) -> io::Result<Option<Word>> {
        let Some(length) = self.input.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_WORD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no word is as long"));
        }
        let Some(text) = self.input.get(4..4 + length) else { return Ok(None) };
        let word = serde_json::from_slice(text)?;
        self.input.drain(..4 + length);
        Ok(Some(word))
    }
}

fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut along = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !along.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one word"));
    }
    Ok(sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut along, SendFlags::NOSIGNAL)?)
}

fn receive(
    stream: &UnixStream,
    input: &mut Vec<u8>,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream.as_fd(), &mut pieces, &mut along, RecvFlags::CMSG_CLOEXEC)?;
    for message in along.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    input.extend_from_slice(&bytes[..received.bytes]);
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Channel, Channel) {
        let (left, right) = UnixStream::pair().unwrap();
        (Channel::new(left), Channel::new(right))
    }

    #[tokio::test]
    async fn words_and_sockets_keep_their_order() {
        let (mut left, mut right) = pair();
        let sockets: Vec<_> = (0..150).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let said = async {
            left.say(&Word::Hello { protocol: PROTOCOL }, &[]).await.unwrap();
            for (at, some) in sockets.chunks(DESCRIPTORS).enumerate() {
                let uses = vec![Use::Server("a long name for a server".into()); some.len()];
                let descriptors: Vec<_> = some.iter().map(AsFd::as_fd).collect();
                left.say(&Word::Sockets { uses, last: at == 2 }, &descriptors).await.unwrap();
            }
        };
        let heard = async {
            assert_eq!(right.hear().await.unwrap(), Word::Hello { protocol: PROTOCOL });
            let mut addresses = Vec::new();
            loop {
                let Word::Sockets { uses, last } = right.hear().await.unwrap() else { panic!("sockets") };
                for _ in uses {
                    let socket = TcpListener::from(right.descriptor().unwrap());
                    addresses.push(socket.local_addr().unwrap());
                }
                if last {
                    return addresses;
                }
            }
        };
        let ((), addresses) = tokio::join!(said, heard);
        let sent: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(addresses, sent);
    }

    #[tokio::test]
    async fn what_is_no_word_is_an_error_and_an_end_is_one_too() {
        let (left, mut right) = pair();
        left.stream.writable().await.unwrap();
        left.stream.try_write(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(right.hear().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (left, mut right) = pair();
        drop(left);
        assert_eq!(right.hear().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
