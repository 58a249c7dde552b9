//! A gRPC stream held open by hand: HTTP/2 with gRPC's frames, and no library in between.

use crate::{
    client::{Client, request},
    echo::BoxError,
    wait::within,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// A stream of messages in both directions.
pub struct GrpcStream {
    messages: mpsc::UnboundedSender<Bytes>,
    answers: Incoming,
    buffer: BytesMut,
}

impl GrpcStream {
    /// Calls `path` of `authority`.
    ///
    /// # Errors
    /// When there is no 200.
    pub async fn open(client: &mut Client, authority: &str, path: &str) -> Result<Self, String> {
        let (messages, receiver) = mpsc::unbounded_channel();
        let frames = stream::unfold(receiver, |mut receiver| async move {
            let message: Bytes = receiver.recv().await?;
            Some((Ok::<_, BoxError>(Frame::data(message)), receiver))
        });
        let call = request("POST", authority, path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(BodyExt::boxed_unsync(StreamBody::new(frames)))
            .map_err(|error| error.to_string())?;
        let response = client.send(call).await.map_err(|failure| failure.to_string())?;
        if response.status() != 200 || response.headers().contains_key("grpc-status") {
            return Err(format!("{response:?}"));
        }
        Ok(GrpcStream { messages, answers: response.into_body(), buffer: BytesMut::new() })
    }

    /// Sends a message and waits for one.
    ///
    /// # Errors
    /// When the stream was cut.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<Bytes, String> {
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(message.len() as u32);
        frame.put_slice(message);
        self.messages.send(frame.freeze()).map_err(|_| "the stream has ended".to_owned())?;
        loop {
            if let Some(answer) = self.take_message() {
                return Ok(answer);
            }
            match within("a message", self.answers.frame()).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => return Err(format!("trailers too early: {frame:?}")),
                },
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the stream ended".to_owned()),
            }
        }
    }

    /// Ends the sending half and waits for `grpc-status`.
    ///
    /// # Errors
    /// When the stream was cut, or there is no status.
    pub async fn finish(self) -> Result<String, String> {
        drop(self.messages);
        let body = within("the end of the stream", self.answers.collect()).await;
        let body = body.map_err(|error| error.to_string())?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        status.map(|status| format!("{status:?}")).ok_or_else(|| "no grpc-status".to_owned())
    }

    fn take_message(&mut self) -> Option<Bytes> {
        let head = self.buffer.first_chunk::<5>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        (self.buffer.len() >= 5 + length).then(|| self.buffer.split_to(5 + length).split_off(5).freeze())
    }
}
