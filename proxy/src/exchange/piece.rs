//! A frame that can be copied.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// A frame that can be copied.
#[derive(Clone)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The end's fields; boxed, as few have any.
    Trailers(Box<HeaderMap>),
}

impl Piece {
    /// From a frame; one of an unknown kind becomes empty trailers.
    pub fn new(frame: Frame<Bytes>) -> Self {
        match frame.into_data() {
            Ok(data) => Piece::Data(data),
            Err(frame) => Piece::Trailers(Box::new(frame.into_trailers().unwrap_or_default())),
        }
    }

    /// A copy of the frame.
    pub fn frame(&self) -> Frame<Bytes> {
        match self {
            Piece::Data(data) => Frame::data(data.clone()),
            Piece::Trailers(trailers) => Frame::trailers((**trailers).clone()),
        }
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        match self {
            Piece::Data(data) => data.len(),
            Piece::Trailers(_) => 0,
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Bodies for tests.

    use super::*;
    use crate::codec::{Body, BodyError};
    use http_body_util::{BodyExt, StreamBody};

    /// A body of these frames.
    pub fn frames<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Body {
        let data =
            |text: T| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(text.as_ref().as_bytes())));
        let frames: Vec<_> = texts.into_iter().map(data).collect();
        Body::Watched(Box::pin(StreamBody::new(futures_util::stream::iter(frames))))
    }

    /// The text of the next `count` frames, or of as many as there are.
    pub async fn read(body: &mut Body, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            let Some(Ok(frame)) = body.frame().await else { break };
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        text
    }
}
