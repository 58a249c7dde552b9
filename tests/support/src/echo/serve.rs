//! From a socket to requests: TLS, protocol, upgrades.

use super::{Received, State, body, reply};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const METHODS: [&[u8]; 9] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"TRAC", b"PRI "];

/// Serves every connection, for ever.
pub(super) async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (state, acceptor) = (state.clone(), acceptor.clone());
        tokio::spawn(async move {
            state.connections.fetch_add(1, Ordering::Relaxed);
            state.open_connections.fetch_add(1, Ordering::Relaxed);
            match acceptor {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        http(stream, peer, state.clone()).await;
                    }
                }
                None if speaks_http(&stream).await => http(stream, peer, state.clone()).await,
                None => {
                    let _ = opaque(stream, &state.version).await;
                }
            }
            state.open_connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn speaks_http(stream: &TcpStream) -> bool {
    let mut first = [0; 4];
    loop {
        match stream.peek(&mut first).await {
            Ok(4) => return METHODS.contains(&&first[..]),
            // A method cut short within its first four bytes: wait for the rest.
            Ok(read) if read > 0 && METHODS.iter().any(|method| method.starts_with(&first[..read])) => {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            _ => return false,
        }
    }
}

/// Sends back what comes, after the version's name.
async fn opaque(mut stream: TcpStream, version: &str) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut greeted = false;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        if !greeted {
            stream.write_all(format!("{version} ").as_bytes()).await?;
            greeted = true;
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    state: Arc<State>,
) {
    let service = service_fn(move |request| serve(request, peer, state.clone()));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).preserve_header_case(true);
    // More than the proxy takes: what is too large is for the proxy to say.
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1000).max_header_list_size(1 << 20);
    // A client that goes away is no error of the upstream's.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn serve(
    request: Request<Incoming>,
    peer: SocketAddr,
    state: Arc<State>,
) -> Result<Response<body::ReplyBody>, body::BoxError> {
    if request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
    {
        return upgrade(request, state);
    }
    let guard = body::CancelGuard(Some(state.clone()));
    let (head, incoming) = request.into_parts();
    let host = head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let received = Received {
        protocol: head.version,
        method: head.method,
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        authority: host.or(head.uri.authority().map(|a| a.as_str())).unwrap_or_default().to_owned(),
        headers: head.headers,
        body: Vec::new(),
        peer,
    };
    let response = reply::reply(&state, received, incoming).await?;
    Ok(response.map(|inner| body::Watched::new(inner, guard).boxed_unsync()))
}

/// Accepts a WebSocket and echoes its messages.
fn upgrade(
    mut request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<body::ReplyBody>, body::BoxError> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).ok_or("no sec-websocket-key")?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .header("x-version", &state.version)
        .body(body::full(""))?;
    state.requests.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            crate::websocket::echo(TokioIo::new(upgraded)).await;
        }
    });
    Ok(response)
}
