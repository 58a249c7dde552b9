//! A question by gRPC: one message there, one back.

use super::{Silence, reply};
use crate::{
    codec::{Authority, RequestHead, Scheme},
    error::ProxyError,
    exchange::{self, Asker, GRPC_STATUS},
    upstream::Cluster,
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version, header, uri::PathAndQuery};
use prost::Message;
use sidle_fields::Fields;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Flag and length in front of a message.
const PREFIX: usize = 5;

/// Who is asked what.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub cluster: &'a Arc<Cluster>,
    /// `host:port` of the service.
    pub authority: &'a str,
    /// `/package.Service/Method`.
    pub method: &'static str,
    pub deadline: Instant,
}

impl Call<'_> {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ask<A: Message + Default>(
        &self,
        asker: Asker<'_>,
        message: &impl Message,
    ) -> Result<A, Silence> {
        let question = self.question().ok_or(Silence::Unclear)?;
        let reply = reply(asker, self.cluster, &question, &framed(message), self.deadline).await?;
        let early = exchange::grpc_status(reply.head.headers.get(&GRPC_STATUS));
        if reply.head.status != StatusCode::OK {
            return Err(Silence::Failed(ProxyError::UpstreamProtocol));
        }
        let mut body = BytesMut::new();
        let trailers = match timeout_at(self.deadline, reply.read(&mut body)).await {
            Ok(Some(trailers)) => trailers,
            // What has begun may be a refusal.
            _ if !body.is_empty() => return Err(Silence::Unclear),
            Ok(None) => return Err(Silence::Failed(ProxyError::UpstreamProtocol)),
            Err(_) => return Err(Silence::Failed(ProxyError::ResponseTimeout)),
        };
        match exchange::grpc_status(trailers.get(&GRPC_STATUS)).or(early) {
            Some(0) => unframed(&body).ok_or(Silence::Unclear),
            Some(_) => Err(Silence::Failed(ProxyError::UpstreamProtocol)),
            None => Err(Silence::Unclear),
        }
    }

    fn question(&self) -> Option<RequestHead> {
        let mut headers = Fields::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        Some(RequestHead {
            method: Method::POST,
            scheme: Scheme::Http,
            authority: Some(Authority::from_config(self.authority)?),
            target: PathAndQuery::from_static(self.method),
            version: Version::HTTP_2,
            headers,
            upgrade: None,
            original_case: Default::default(),
            interim: None,
        })
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0); // not compressed
    bytes.put_u32(length as u32);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// The one message of an answer that says OK.
fn unframed<A: Message + Default>(body: &[u8]) -> Option<A> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 || length != message.len() {
        return None;
    }
    A::decode(message).ok()
}
