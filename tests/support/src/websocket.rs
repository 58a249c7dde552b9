//! WebSockets: a client, and what an upstream does with one.

use futures_util::{SinkExt, StreamExt};
use http::Uri;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::client::Response, protocol::Role},
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
pub struct WebSocket {
    stream: WebSocketStream<TcpStream>,
    /// The head of the 101.
    pub response: Response,
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
        Ok(WebSocket { stream, response })
    }

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
