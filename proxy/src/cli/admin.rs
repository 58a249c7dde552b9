//! Asking a running proxy's admin server.
//!
//! In:  its address and a path.   Out: the body of the answer, or why there is none.
//! Invariants: ends within [`TIMEOUT`], whatever is at the address; reads at most [`MAX_BODY`].
//! Not here: what the answers mean (`inspect`, `demo`).

use super::CliError;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A dump of the largest configurations is some tens of megabytes.
const MAX_BODY: usize = 1 << 30;

/// Where admin is unless something else is said.
pub const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15000);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Vec<u8>,
}

/// `GET path` from the admin server at `address`.
///
/// # Errors
/// When there is no whole HTTP answer in time.
pub async fn ask(address: SocketAddr, path: &str) -> Result<Answer, CliError> {
    let failed = |why: String| CliError::Failed(format!("admin at {address}: {why}"));
    match tokio::time::timeout(TIMEOUT, exchange(address, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {TIMEOUT:?}"))),
    }
}

/// `GET path` as JSON, on a runtime of its own.
///
/// # Errors
/// Also when the status is not 200 or the body is not JSON.
pub fn ask_json(address: SocketAddr, path: &str) -> Result<serde_json::Value, CliError> {
    let runtime = runtime()?;
    let answer = runtime.block_on(ask(address, path))?;
    if answer.status != StatusCode::OK {
        let text = String::from_utf8_lossy(&answer.body);
        let line = text.lines().next().unwrap_or_default();
        return Err(CliError::Failed(format!("admin at {address}: {path}: {}: {line}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        CliError::Failed(format!(
            "admin at {address}: {path}: not JSON ({error}); is this a sidle admin server?"
        ))
    })
}

/// The runtime of a command that waits for something.
pub fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("no runtime: {error}")))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(address: SocketAddr, path: &str) -> Result<Answer, BoxError> {
    let stream = TcpStream::connect(address).await?;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<&[u8]>::new())?;
    let answer = async {
        let response = send.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await?.to_bytes().to_vec();
        Ok(Answer { status, body })
    };
    // The connection is driven beside its only exchange and dropped with it.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn serve_once(reply: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            assert!(head[..length].starts_with(b"GET /x HTTP/1.1\r\n"));
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end() {
        let address = serve_once("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").await;
        let answer = ask(address, "/x").await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::NOT_FOUND, &b"no"[..]));
    }

    #[tokio::test]
    async fn a_body_that_ends_with_the_connection_is_whole() {
        let address = serve_once("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it").await;
        assert_eq!(ask(address, "/x").await.unwrap().body, b"all of it");
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_that_names_the_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = ask(address, "/x").await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}
