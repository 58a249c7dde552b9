//! A workload with more to do than it can: with a ConcurrencyPolicy it serves what it can, and without one nobody is served in time.

use sidle_test_support::{
    client::{Client, request},
    echo::full,
    sidle::{Builder, Sidle},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

/// Requests that the workload serves at once, and how long each takes: 200 a second.
const PLACES: usize = 4;
const SERVICE: Duration = Duration::from_millis(20);
const CAPACITY: f64 = 200.0;
/// Whoever waits longer has no use for the answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the workload did.
#[derive(Default)]
struct Work {
    served: AtomicU64,
    microseconds: AtomicU64,
}

impl Work {
    /// Requests a second that it can serve: a machine whose timers are late makes them fewer.
    fn capacity(&self) -> f64 {
        let seconds = self.microseconds.load(Relaxed) as f64 / 1e6;
        PLACES as f64 * self.served.load(Relaxed) as f64 / seconds
    }
}

/// A workload that queues what it cannot serve at once; its port.
async fn workload() -> (u16, Arc<Work>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (places, work) = (Arc::new(Semaphore::new(PLACES)), Arc::new(Work::default()));
    let done = work.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, places.clone(), work.clone()));
        }
    });
    (port, done)
}

async fn serve(mut stream: TcpStream, places: Arc<Semaphore>, work: Arc<Work>) {
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        input.extend_from_slice(&buffer[..read]);
        if !input.ends_with(b"\r\n\r\n") {
            continue;
        }
        let is_health_check = input.starts_with(b"GET /healthz ");
        input.clear();
        if !is_health_check {
            let _place = places.acquire().await.unwrap();
            let began = Instant::now();
            tokio::time::sleep(SERVICE).await;
            work.served.fetch_add(1, Relaxed);
            work.microseconds.fetch_add(began.elapsed().as_micros() as u64, Relaxed);
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

fn sidecar(port: u16, policy: &str) -> Builder {
    let manifests = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80, targetPort: {port} }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: shop-1 }}\nspec:\n  \
         address: 127.0.0.1\n  labels: {{ app: shop }}\n{policy}"
    );
    let log = "  accessLogFile: /dev/stdout\n  accessLogFormat: \"LOG %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n\"\n";
    Sidle::builder().file("s.yaml", &manifests).settings(log).arguments(&["--labels", "app=shop"])
}

const POLICY: &str = "---\napiVersion: sidle.dev/v1\nkind: ConcurrencyPolicy\nmetadata: { name: shop }\nspec:\n  \
                      selector: { app: shop }\n  healthCheckPaths: [/healthz]\n";

/// What clients saw from when the policy had settled.
#[derive(Default)]
struct Seen {
    latencies: Mutex<Vec<Duration>>,
    shed: AtomicU64,
    other: AtomicU64,
}

/// Three times what the workload can serve, each request at its time, whatever became of those before.
async fn overload(address: SocketAddr, work: &Work, seconds: u32) -> (f64, Duration, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    let pool = Arc::new(Mutex::new(Vec::<Client>::new()));
    let pause = Duration::from_secs_f64(1.0 / (CAPACITY * 3.0));
    let begin = tokio::time::Instant::now();
    let warm = Duration::from_secs(2);
    for number in 0..((seconds + 2) * (CAPACITY as u32) * 3) {
        tokio::time::sleep_until(begin + pause * number).await;
        let counts = begin.elapsed() >= warm;
        let (seen, pool) = (seen.clone(), pool.clone());
        clients.spawn(async move {
            let known = pool.lock().await.pop();
            let mut client = match known {
                Some(client) if !client.is_closed() => client,
                _ => Client::http1(address).await,
            };
            let sent = Instant::now();
            let asked = client.try_exchange(request("GET", "shop", "/").body(full("")).unwrap());
            let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, asked).await else { return };
            pool.lock().await.push(client);
            match answer.status.as_u16() {
                _ if !counts => {}
                200 => seen.latencies.lock().await.push(sent.elapsed()),
                503 => {
                    assert_eq!(answer.header("retry-after"), "1");
                    seen.shed.fetch_add(1, Relaxed);
                }
                _ => _ = seen.other.fetch_add(1, Relaxed),
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let mut latencies = seen.latencies.lock().await.clone();
    latencies.sort_unstable();
    let goodput = latencies.len() as f64 / f64::from(seconds) / work.capacity();
    let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(PATIENCE);
    (goodput, p99, seen)
}

#[tokio::test]
async fn at_three_times_its_capacity_a_workload_serves_what_it_can() {
    let _machine = crate::MACHINE.lock().await;
    let (port, work) = workload().await;
    let sidle = sidecar(port, POLICY).start();
    let inbound = sidle.ports.inbound;
    let checks = tokio::spawn(async move {
        let mut client = Client::http1(inbound).await;
        for _ in 0..60 {
            let answer = client.get("shop", "/healthz").await;
            assert_eq!(answer.status, 200, "a health check is never turned away");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let (goodput, p99, seen) = overload(inbound, &work, 8).await;
    checks.await.unwrap();
    let metrics = sidle.metrics();
    println!("with: {goodput:.3} of the capacity, p99 {p99:?}, {} shed", seen.shed.load(Relaxed));
    assert!(goodput >= 0.9, "{goodput}\n{}", metrics.text);
    assert!(p99 < PATIENCE / 2, "{p99:?}");
    assert_eq!(seen.other.load(Relaxed), 0);
    let port = [("cluster", format!("inbound|{}||", port_of(&metrics.text)))];
    let port: Vec<_> = port.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(metrics.sum("sidle_cluster_concurrency_shed_total", &port) >= seen.shed.load(Relaxed) as f64);
    let min_rtt = metrics.sum("sidle_cluster_concurrency_min_rtt_seconds", &port);
    assert!((0.019..0.1).contains(&min_rtt), "{min_rtt}");
    let clusters = sidle.admin("/clusters").body;
    assert!(clusters.contains("::adaptive_concurrency::concurrency_limit::"), "{clusters}");
    assert!(sidle.output().contains("LOG DO reached_concurrency_limit"));
    assert!(sidle.admin("/ready").status == 200, "nor are the proxy's own servers");
}

/// The port of the only cluster with a limit.
fn port_of(metrics: &str) -> String {
    let line = metrics.lines().find(|line| line.starts_with("sidle_cluster_concurrency_limit{")).unwrap();
    line.split('|').nth(1).unwrap().to_owned()
}

/// What the policy is good for.
#[tokio::test]
async fn without_a_policy_nobody_is_served_in_time() {
    let _machine = crate::MACHINE.lock().await;
    let (port, work) = workload().await;
    let sidle = sidecar(port, "").start();
    let (goodput, p99, _) = overload(sidle.ports.inbound, &work, 8).await;
    println!("without: {goodput:.3} of the capacity, p99 {p99:?}");
    assert!(goodput < 0.5, "{goodput}");
    assert!(!sidle.metrics().text.contains("sidle_cluster_concurrency"));
}
