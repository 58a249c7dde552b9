//! A frame that can be copied.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// A frame that can be copied.
#[derive(Clone)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The end's fields.
    Trailers(HeaderMap),
}

impl Piece {
    /// From a frame; one of an unknown kind becomes empty trailers.
    pub fn new(frame: Frame<Bytes>) -> Self {
        match frame.into_data() {
            Ok(data) => Piece::Data(data),
            Err(frame) => Piece::Trailers(frame.into_trailers().unwrap_or_default()),
        }
    }

    /// A copy of the frame.
    pub fn frame(&self) -> Frame<Bytes> {
        match self {
            Piece::Data(data) => Frame::data(data.clone()),
            Piece::Trailers(trailers) => Frame::trailers(trailers.clone()),
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
