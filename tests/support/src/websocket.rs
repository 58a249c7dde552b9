//! WebSockets: a client, and what an upstream does with one.

use crate::{
    client::{Client, request},
    echo::full,
};
use futures_util::{SinkExt, StreamExt};
use http::Uri;
use hyper::{ext::Protocol, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

/// Sends every message back until the client closes.
pub async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// An open WebSocket.
pub struct WebSocket<S = TcpStream> {
    stream: WebSocketStream<S>,
    /// The head of the answer: 101, or 200 over HTTP/2.
    pub response: http::Response<()>,
}

impl WebSocket {
    /// Opens `ws://authority/path` through the proxy at `proxy`.
    ///
    /// # Errors
    /// What the handshake says.
    pub async fn open(proxy: SocketAddr, authority: &str, path: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(proxy).await.map_err(|error| error.to_string())?;
        let uri: Uri =
            format!("ws://{authority}{path}").parse().map_err(|_| format!("not a path: {path}"))?;
        let opened = tokio_tungstenite::client_async(uri, stream).await;
        let (stream, response) = opened.map_err(|error| error.to_string())?;
        Ok(WebSocket { stream, response: response.map(drop) })
    }
}

impl WebSocket<TokioIo<Upgraded>> {
    /// Opens a WebSocket as one stream of an HTTP/2 connection (RFC 8441).
    ///
    /// # Errors
    /// When the answer is not a 200.
    pub async fn open_stream(client: &mut Client, authority: &str, path: &str) -> Result<Self, String> {
        let connect = request("CONNECT", authority, path)
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(full(""))
            .map_err(|error| error.to_string())?;
        let response = client.send(connect).await.map_err(|failure| failure.to_string())?;
        if response.status() != 200 {
            return Err(response.status().to_string());
        }
        let (head, body) = response.into_parts();
        let upgraded = hyper::upgrade::on(http::Response::from_parts(head.clone(), body)).await;
        let stream = TokioIo::new(upgraded.map_err(|error| error.to_string())?);
        let stream = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Ok(WebSocket { stream, response: http::Response::from_parts(head, ()) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Sends text and waits for the next message.
    ///
    /// # Errors
    /// When the connection was cut, or the message is not text.
    pub async fn exchange(&mut self, text: &str) -> Result<String, String> {
        self.stream.send(Message::text(text)).await.map_err(|error| error.to_string())?;
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(text.to_string()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Closes it, both ways.
    ///
    /// # Errors
    /// When the other side does not.
    pub async fn close(mut self) -> Result<(), String> {
        self.stream.close(None).await.map_err(|error| error.to_string())?;
        while let Some(message) = self.stream.next().await {
            message.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
