//! The keep-alive race, very often: an upstream that closes connections at the moment of their reuse, in each way that there is.
//! No GET fails, and no POST is sent twice.

use sidle_test_support::{
    client::{Client, request},
    echo::full,
    manifest::{service, virtual_service},
    sidle::Sidle,
    tcp::{TcpServer, read_request},
};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

const HOST: &str = "echo.test";
const CLIENTS: u64 = 16;
/// Every so many requests is a POST.
const POST: u64 = 4;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// `REUSE_REQUESTS`, or what an unoptimised build can do while others use the machine.
fn requests() -> u64 {
    let asked = std::env::var("REUSE_REQUESTS").ok().and_then(|count| count.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { 10_000 } else { 100_000 })
}

/// How often each POST was seen, in whole or in part.
type Seen = Arc<Vec<AtomicU8>>;

/// Notes the POST that begins with these bytes.
fn note(begin: &[u8], seen: &Seen) {
    let text = String::from_utf8_lossy(begin);
    let id = text.strip_prefix("POST /").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    if let Some(id) = id {
        seen[id].fetch_add(1, Relaxed);
    }
}

/// Answers a few requests, and then closes in one of five ways.
fn serve(mut stream: TcpStream, number: u64, seen: &Seen) {
    for _ in 0..=number % 3 {
        let Some(head) = read_request(&mut stream) else { return };
        note(head.as_bytes(), seen);
        let _ = stream.write_all(OK);
    }
    match number % 5 {
        // As the first bytes of the next request come, the others unread: the proxy gets a reset.
        0 => {
            let mut begin = [0; 24];
            if let Ok(length) = stream.read(&mut begin) {
                note(&begin[..length], seen);
            }
        }
        // Once all of it has come: it may have been acted on.
        1 => {
            if let Some(head) = read_request(&mut stream) {
                note(head.as_bytes(), seen);
            }
        }
        // Says that it closes, and is sent what is under way.
        2 => {
            let _ = stream.shutdown(Shutdown::Write);
            if let Some(head) = read_request(&mut stream) {
                note(head.as_bytes(), seen);
            }
        }
        // At about the time that the next one comes, whether it does or not; what has come is then unread.
        3 => {
            std::thread::sleep(Duration::from_micros(number % 40 * 25));
            let mut begin = [0; 24];
            let _ = stream.set_nonblocking(true);
            if let Ok(length) = stream.peek(&mut begin) {
                note(&begin[..length], seen);
            }
        }
        // At once.
        _ => {}
    }
}

#[derive(Default)]
struct Told {
    gets: AtomicU64,
    failed_gets: AtomicU64,
    posts: AtomicU64,
    refused_posts: AtomicU64,
    odd: AtomicU64,
}

async fn ask(client: &mut Client, id: u64, told: &Told) {
    let is_post = id.is_multiple_of(POST);
    let method = if is_post { "POST" } else { "GET" };
    let body = full(if is_post { "pay" } else { "" });
    let answer = client.exchange(request(method, HOST, &format!("/{id}")).body(body).unwrap()).await;
    let (all, failed) =
        if is_post { (&told.posts, &told.refused_posts) } else { (&told.gets, &told.failed_gets) };
    all.fetch_add(1, Relaxed);
    match answer.status.as_u16() {
        200 => {}
        503 => {
            failed.fetch_add(1, Relaxed);
        }
        _ => {
            told.odd.fetch_add(1, Relaxed);
        }
    }
}

async fn race(retries: &str) {
    let _machine = crate::MACHINE.lock().await;
    let count = requests() / 2;
    let seen: Seen = Arc::new((0..count).map(|_| AtomicU8::new(0)).collect());
    let server = {
        let seen = seen.clone();
        TcpServer::start(move |stream, number| serve(stream, number, &seen))
    };
    let route = format!("    - retries: {retries}\n      route: [{{ destination: {{ host: {HOST} }} }}]");
    let manifests = service("echo", HOST, "HTTP", &[("v1", server.port())]);
    let sidle = Sidle::run(&(manifests + &virtual_service("echo", HOST, &route)));
    let (told, began) = (Arc::new(Told::default()), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..CLIENTS {
        let mut client = Client::http1(sidle.outbound()).await;
        let told = told.clone();
        tasks.spawn(async move {
            for id in (index..count).step_by(CLIENTS as usize) {
                ask(&mut client, id, &told).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let twice = seen.iter().filter(|seen| seen.load(Relaxed) > 1);
    let posts_twice = twice.count();
    let [gets, failed_gets, posts, refused_posts, odd] =
        [&told.gets, &told.failed_gets, &told.posts, &told.refused_posts, &told.odd]
            .map(|count| count.load(Relaxed));
    println!(
        "retries {retries}: {gets} GETs, {failed_gets} failed; {posts} POSTs, {refused_posts} answered with 503, \
         {posts_twice} sent twice; {odd} other answers; {} connections, {:.1?}",
        server.connections(),
        began.elapsed(),
    );
    assert_eq!((failed_gets, posts_twice, odd), (0, 0, 0));
    assert_eq!(gets + posts, count);
    assert!(refused_posts > 0, "the race was never met");
    // Only those that were written have no answer; each was seen by the upstream, but for those that came after it had closed.
    let unseen =
        (0..count).step_by(POST as usize).filter(|id| seen[*id as usize].load(Relaxed) == 0).count() as u64;
    assert!(unseen <= refused_posts, "{unseen} not seen, {refused_posts} refused");
}

#[tokio::test]
async fn no_get_fails_and_no_post_is_sent_twice_without_retries() {
    race("{ attempts: 0 }").await;
}

#[tokio::test]
async fn no_get_fails_and_no_post_is_sent_twice_with_retries_of_everything() {
    race("{ attempts: 3, retryOn: '5xx,reset,connect-failure,refused-stream' }").await;
}
