use super::*;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

const HEAD_LIMIT: Duration = Duration::from_secs(10);
const IDLE_LIMIT: Duration = Duration::from_secs(300);

fn watched() -> (Watched, UnixStream, Clock) {
    let (ours, client) = UnixStream::pair().unwrap();
    let clock = Clock::new(HEAD_LIMIT, IDLE_LIMIT);
    (Watched::new(ours.into(), clock.clone()), client, clock)
}

fn about(elapsed: Duration, wanted: Duration) -> bool {
    (wanted..wanted + Duration::from_millis(20)).contains(&elapsed)
}

/// A body that does not end by itself.
fn endless() -> Body {
    let body =
        http_body_util::StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>());
    Body::Watched(Box::pin(body))
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_in_silence() {
    let (mut server, mut client, _clock) = watched();
    let began = Instant::now();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(about(began.elapsed(), IDLE_LIMIT));
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_answered_and_closed() {
    let (mut server, mut client, _clock) = watched();
    let trickle = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1".iter().cycle() {
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    });
    let began = Instant::now();
    let error = loop {
        if let Err(error) = server.read(&mut [0; 64]).await {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(about(began.elapsed(), HEAD_LIMIT), "{:?}", began.elapsed());
    drop(server);
    assert!(trickle.await.unwrap().starts_with(b"HTTP/1.1 408 "));
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_has_no_limit_here() {
    let (mut server, mut client, clock) = watched();
    client.write_all(b"GET").await.unwrap();
    assert!(server.read(&mut [0; 8]).await.unwrap() > 0);
    clock.request_begins();
    let body = clock.ends_with(endless());
    let waited = tokio::time::timeout(2 * IDLE_LIMIT, server.read(&mut [0; 8])).await;
    assert!(waited.is_err(), "{waited:?}");
    drop(body);
    let began = Instant::now();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(about(began.elapsed(), IDLE_LIMIT));
}

/// Timers are kept across requests; what is left of an old one must not end a new wait.
#[tokio::test(start_paused = true)]
async fn each_wait_has_the_whole_of_its_time() {
    let (mut server, mut client, clock) = watched();
    for _ in 0..3 {
        let wait = IDLE_LIMIT - Duration::from_secs(1);
        assert!(tokio::time::timeout(wait, server.read(&mut [0; 8])).await.is_err());
        client.write_all(b"G").await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 1);
        let wait = HEAD_LIMIT - Duration::from_secs(1);
        assert!(tokio::time::timeout(wait, server.read(&mut [0; 8])).await.is_err());
        clock.request_begins();
        clock.ends_with(Body::Empty);
    }
}

/// An upload that goes on after its early response is no slow head.
#[tokio::test(start_paused = true)]
async fn a_body_that_outlasts_its_response_is_not_a_head() {
    let (mut server, mut client, clock) = watched();
    client.write_all(b"POST").await.unwrap();
    assert!(server.read(&mut [0; 8]).await.unwrap() > 0);
    clock.request_begins();
    let upload = clock.waits_for(endless());
    clock.ends_with(Body::Empty);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        client.write_all(b"more").await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 4);
        assert!(tokio::time::timeout(Duration::from_secs(4), server.read(&mut [0; 8])).await.is_err());
    }
    drop(upload);
    let began = Instant::now();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(about(began.elapsed(), IDLE_LIMIT));
}

#[tokio::test(start_paused = true)]
async fn no_408_in_the_midst_of_a_response() {
    let (mut server, mut client, clock) = watched();
    clock.request_begins();
    clock.ends_with(Body::Empty);
    let chunk = [b'a'; 64 << 10];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), server.write(&chunk)).await {
        sent += written.unwrap();
    }
    client.write_all(b"GET").await.unwrap();
    assert!(server.read(&mut [0; 8]).await.unwrap() > 0);
    // Makes room for a 408 just before the time is over.
    let reader = tokio::spawn(async move {
        tokio::time::sleep(HEAD_LIMIT - Duration::from_secs(1)).await;
        let mut read = vec![0; sent - 1024];
        client.read_exact(&mut read).await.unwrap();
        tokio::time::sleep(HEAD_LIMIT).await;
        client.read_to_end(&mut read).await.unwrap();
        read
    });
    assert_eq!(server.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(server);
    let read = reader.await.unwrap();
    assert_eq!(read.len(), sent);
    assert!(read.iter().all(|&byte| byte == b'a'));
}

#[tokio::test]
async fn bodies_pass_unchanged() {
    let (_server, _client, clock) = watched();
    clock.request_begins();
    let body = clock.ends_with(Body::Full(Bytes::from_static(b"abc")));
    assert_eq!(body.size_hint().exact(), Some(3));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
}
