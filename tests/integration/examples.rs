//! The examples of `config-examples/`: each loads without a remark, and does what its comment says.
//!
//! They run on free ports here: every number that is one of an example's ports is replaced.

use sidle_model::{ir::Node, load};
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{Answer as EchoAnswer, Echo, full},
    grpc::GrpcStream,
    peers::root,
    ports,
    sidle::{self, Sidle, command},
    wait,
    websocket::WebSocket,
};
use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

/// An example that runs.
struct Example {
    v1: Echo,
    v2: Echo,
    /// In the place of the example's own listening port.
    door: SocketAddr,
    sidle: Sidle,
}

/// Runs `config-examples/FOLDER` with these labels; `own` is the port on which the example itself listens.
fn run(folder: &str, labels: &str, own: &str) -> Example {
    let (v1, v2, door) = (Echo::start("v1"), Echo::start("v2"), ports::free());
    let places = [
        ("18081", v1.port()),
        ("18083", v1.port()),
        ("18085", v1.port()),
        ("18082", v2.port()),
        ("18084", v2.port()),
        ("18086", v2.port()),
        (own, door.port()),
    ];
    let mut builder = Sidle::builder();
    for file in files(folder) {
        let text = std::fs::read_to_string(&file).unwrap();
        builder = builder.file(file.file_name().unwrap().to_str().unwrap(), &ports::replaced(&text, &places));
    }
    if !labels.is_empty() {
        builder = builder.arguments(&["--labels", labels]);
    }
    Example { v1, v2, door, sidle: builder.start() }
}

fn folders() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("config-examples")).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("config-examples").join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

impl Example {
    async fn client(&self) -> Client {
        Client::http1(self.sidle.outbound()).await
    }

    async fn get(&self, host: &str, path: &str) -> Answer {
        self.client().await.get(host, path).await
    }

    /// How many of `count` requests v2 answered.
    async fn second_of(&self, host: &str, count: usize) -> usize {
        let mut client = self.client().await;
        let mut second = 0;
        for _ in 0..count {
            let answer = client.get(host, "/").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            second += usize::from(answer.version() == "v2");
        }
        second
    }
}

#[test]
fn every_example_loads_and_lowers_without_a_remark() {
    let folders = folders();
    assert!(folders.len() >= 11, "{folders:?}");
    let mut sets: Vec<Vec<PathBuf>> =
        folders.iter().map(|folder| vec![root().join("config-examples").join(folder)]).collect();
    sets.push(vec![root().join("config-examples")]);
    for paths in sets {
        let loaded = load(&paths, &Node::default());
        assert!(loaded.diagnostics.is_empty(), "{paths:?}: {:#?}", loaded.diagnostics);
        let ir = loaded.ir.expect("an IR where there is no error");
        assert!(ir.clusters.len() > 2, "{paths:?} defines no cluster");
    }
}

#[test]
fn every_file_says_what_it_shows_and_how_to_try_it() {
    for folder in folders() {
        for file in files(&folder) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("# ") && text.contains("# Try it"), "{}", file.display());
        }
    }
}

#[tokio::test]
async fn quickstart() {
    let example = run("quickstart", "", "-");
    let second = example.second_of("echo.demo", 1_000).await;
    assert!((50..=158).contains(&second), "{second} of 1000");
    for host in ["echo-h2.demo", "echo-grpc.demo"] {
        assert_eq!(example.get(host, "/").await.status, 200);
        let seen = if example.v1.received().iter().any(|seen| seen.authority == host) {
            &example.v1
        } else {
            &example.v2
        };
        let seen = seen.received().into_iter().find(|seen| seen.authority == host).unwrap();
        assert_eq!(seen.protocol, http::Version::HTTP_2, "{host}");
    }
}

#[tokio::test]
async fn gateway_virtual_service() {
    let example = run("gateway-virtual-service", "istio=ingressgateway", "8080");
    let mut client = Client::http1(example.door).await;
    assert_eq!(client.get("any.example", "/api/orders").await.version(), "v1");
    assert_eq!(client.get("any.example", "/other").await.status, 404);
}

#[tokio::test]
async fn canary_weight() {
    let second = run("canary-weight", "", "-").second_of("orders.shop", 1_000).await;
    assert!((17..=92).contains(&second), "{second} of 1000");
}

#[tokio::test]
async fn canary_header() {
    let example = run("canary-header", "", "-");
    let mut client = example.client().await;
    let ask = || request("GET", "catalog.shop", "/");
    for (ask, version) in [
        (ask(), "v1"),
        (ask().header("x-canary", "always"), "v2"),
        (ask().header("x-canary", "never"), "v1"),
        (ask().header("cookie", "a=b; tester=yes"), "v2"),
        (ask().header("cookie", "nottester=yes"), "v1"),
    ] {
        assert_eq!(client.ask(ask).await.version(), version);
    }
}

#[tokio::test]
async fn grpc() {
    let example = run("grpc", "", "-");
    let mut client = Client::http2(example.sidle.outbound()).await;
    for (method, upstream) in [("/shop.Greeter/Hello", &example.v1), ("/shop.Greeter/Preview", &example.v2)] {
        let mut stream = GrpcStream::open(&mut client, "greeter.shop", method).await.unwrap();
        assert_eq!(stream.exchange(b"hello").await.unwrap(), "hello");
        assert_eq!(stream.finish().await.unwrap(), "\"0\"");
        assert_eq!(upstream.last().path, method);
    }
}

#[tokio::test]
async fn authorization() {
    let example = run("authorization", "app=library", "-");
    let mut client = Client::http1(example.sidle.ports.inbound).await;
    let ask = |method, path| request(method, "library.shop", path);
    for (ask, status) in [
        (ask("GET", "/books"), 200),
        (ask("POST", "/books"), 403),
        (ask("POST", "/books").header("x-role", "editor"), 200),
        (ask("GET", "/internal;x=1/books"), 403),
    ] {
        assert_eq!(client.ask(ask).await.status, status);
    }
    assert_eq!(
        example.sidle.metrics().sum("sidle_authorizations_total", &[("result", "dry_run_denied")]),
        4.0
    );
}

#[test]
fn the_table_of_authorization_is_as_expected() {
    let folder = root().join("config-examples/authorization");
    let simulate = |table: &std::path::Path, labels: &str| {
        let mut command = sidle::command();
        command.args(["authz", "simulate", "--labels", labels, "-c"]).arg(&folder);
        command.arg("-f").arg(table).output().unwrap()
    };
    let table = folder.join("requests.cases");
    let output = simulate(&table, "app=library");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.ends_with("10 requests, 0 not as expected\n"), "{text}");
    // For another workload there are no policies, so what should be refused passes.
    let output = simulate(&table, "app=other");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("WRONG"), "{text}");
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), "- urll: http://a/\n").unwrap();
    let output = simulate(broken.path(), "app=library");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains(":1:3: error[SDL0101]"), "{told}");
}

#[tokio::test]
async fn websocket() {
    let example = run("websocket", "", "-");
    let mut socket = WebSocket::open(example.sidle.outbound(), "chat.shop", "/chat").await.unwrap();
    assert_eq!(socket.response.headers()["x-version"], "v2");
    assert_eq!(socket.exchange("hello").await.unwrap(), "hello");
    assert_eq!(example.get("chat.shop", "/").await.version(), "v1");
}

#[test]
fn tcp_split() {
    let example = run("tcp-split", "app=ledger-client", "9000");
    let mut second = 0;
    for _ in 0..200 {
        let mut stream = std::net::TcpStream::connect(example.door).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer == "v1 hello" || answer == "v2 hello", "{answer:?}");
        second += u32::from(answer.starts_with("v2"));
    }
    assert!((12..=74).contains(&second), "{second} of 200");
    assert!(example.v1.connections() > example.v2.connections());
}

#[tokio::test]
async fn egress() {
    let example = run("egress", "app=billing", "7070");
    assert_eq!(example.get("api.partner.example", "/v1/rates").await.version(), "v1");
    let mut local = Client::http1(example.door).await;
    assert_eq!(local.get(&example.door.to_string(), "/v1/rates").await.version(), "v1");
    assert_eq!(example.get("other.example", "/").await.status, 502);
}

#[tokio::test]
async fn fault() {
    let example = run("fault", "", "-");
    let mut client = example.client().await;
    let broken = client.ask(request("GET", "stock.shop", "/").header("x-chaos", "broken")).await;
    assert_eq!((broken.status.as_u16(), broken.text().as_str()), (503, "fault filter abort"));
    for _ in 0..20 {
        let begin = Instant::now();
        assert_eq!(client.get("stock.shop", "/").await.status, 200);
        assert!(begin.elapsed().as_millis() < 1_900, "nobody else waits");
    }
}

#[tokio::test]
async fn mirror() {
    let example = run("mirror", "", "-");
    assert_eq!(example.second_of("search.shop", 400).await, 0);
    wait::eventually("the copies", || async { (example.v2.requests() >= 145).then_some(()) }).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let copies = example.v2.requests();
    assert!((145..=255).contains(&copies), "{copies} copies of 400");
}

#[tokio::test]
async fn retry() {
    let example = run("retry", "", "-");
    assert_eq!(example.get("payment.shop", "/?fail=2").await.status, 200);
    assert_eq!(example.v1.requests() + example.v2.requests(), 3);
    let begin = Instant::now();
    assert_eq!(example.get("payment.shop", "/?delay=15s").await.status, 504);
    assert!((1_900..10_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn unhealthy() {
    let example = run("unhealthy", "", "-");
    let clusters = || example.sidle.admin("/clusters").body;
    let says = |echo: &Echo, flags: &str| {
        clusters().contains(&format!("|parcel.shop::{}::health_flags::{flags}\n", echo.address()))
    };
    wait::until("checks that pass", || {
        (says(&example.v1, "healthy") && says(&example.v2, "healthy")).then_some(())
    });
    example.v2.answer(|request| (request.path != "/healthz").then(|| EchoAnswer::status(503)));
    while !says(&example.v2, "/failed_outlier_check") {
        example.get("parcel.shop", "/").await;
    }
    assert_eq!(example.second_of("parcel.shop", 10).await, 0);
    example.v1.answer(|request| (request.path == "/healthz").then(|| EchoAnswer::status(500)));
    wait::until("checks that fail", || says(&example.v1, "/failed_active_hc").then_some(()));
}

#[tokio::test]
async fn slow_endpoints() {
    let example = run("slow-endpoints", "", "-");
    for _ in 0..250 {
        assert_eq!(example.get("quote.shop", "/").await.status, 200);
    }
    assert_eq!(example.get("quote.shop", "/?delay=300ms").await.status, 200);
    assert!(example.sidle.metrics().sum("sidle_cluster_hedges_total", &[]) >= 1.0);
    example.v2.answer(|_| Some(EchoAnswer { delay: Duration::from_secs(15), ..EchoAnswer::default() }));
    let begin = Instant::now();
    assert_eq!(example.second_of("quote.shop", 20).await, 0, "its answers come too late");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn limits() {
    let example = run("limits", "app=warehouse", "-");
    let mut client = Client::http1(example.sidle.ports.inbound).await;
    for user in ["ann", "ben"] {
        let mut passed = 0;
        let begin = Instant::now();
        for _ in 0..8 {
            let ask = request("GET", "warehouse", "/").header("x-user", user);
            let answer = client.ask(ask).await;
            assert_eq!(answer.header("x-ratelimit-limit"), "5");
            passed += u64::from(answer.status == 200);
        }
        let more = begin.elapsed().as_secs() + 1;
        assert!((5..=5 + more).contains(&passed), "{passed} of {user}'s");
    }
    let clusters = example.sidle.admin("/clusters").body;
    assert!(clusters.contains("::adaptive_concurrency::"), "{clusters}");
    let mut explain = command();
    explain.args([
        "explain",
        "--labels",
        "app=warehouse",
        "--listener",
        "inbound",
        "GET",
        "http://warehouse/",
        "-c",
    ]);
    let said = explain.arg(&files("limits")[0]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("limited by default/warehouse: 1 each 1s, 5 at once, each x-user"), "{said}");
    assert!(said.contains("requests at once by latency, 3 to 1000"), "{said}");
}

#[tokio::test]
async fn jwt() {
    let example = run("jwt", "app=vault-gateway", "8090");
    let text = std::fs::read_to_string(files("jwt").remove(0)).unwrap();
    let tokens = text.split_whitespace().map(|word| word.trim_start_matches("TOKEN="));
    let tokens: Vec<_> = tokens.filter(|word| word.starts_with("eyJ")).collect();
    let mut client = Client::http1(example.door).await;
    for (token, version, user) in [(tokens[0], "v2", "anna"), (tokens[1], "v1", "jason")] {
        let ask = request("GET", "vault.shop", "/").header("authorization", format!("Bearer {token}"));
        let answer = client.ask(ask).await;
        assert_eq!((answer.version(), &answer.json()["headers"]["x-user"]), (version, &user.into()));
    }
    let broken = format!("Bearer {}x", tokens[0]);
    let broken = client.ask(request("GET", "vault.shop", "/").header("authorization", broken)).await;
    assert_eq!(broken.status, 401);
    assert_eq!(client.get("vault.shop", "/").await.text(), "who are you?");
}

#[tokio::test]
async fn cors() {
    let example = run("cors", "", "-");
    let preflight = request("OPTIONS", "profile.shop", "/")
        .header("origin", "https://www.shop.example")
        .header("access-control-request-method", "PUT");
    let answer = example.client().await.ask(preflight).await;
    assert_eq!((answer.status.as_u16(), answer.version()), (200, ""));
    assert_eq!(answer.header("access-control-allow-origin"), "https://www.shop.example");
    assert_eq!(answer.header("access-control-allow-methods"), "GET,PUT,DELETE");
}

#[tokio::test]
async fn redirect_rewrite() {
    let example = run("redirect-rewrite", "", "-");
    let moved = example.get("www.shop", "/old/page").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (301, "https://www.shop/new"));
    for (path, seen) in
        [("/api/v1/items?page=2", "/items?page=2"), ("/user/42/profile", "/profiles/42"), ("/rest", "/rest")]
    {
        assert_eq!(example.get("www.shop", path).await.json()["path"], seen);
    }
    let robots = example.get("www.shop", "/robots.txt").await;
    assert_eq!(
        (robots.header("content-type"), robots.text().as_str()),
        ("text/plain", "User-agent: *\nDisallow: /\n")
    );
}

#[tokio::test]
async fn sticky_session() {
    let example = run("sticky-session", "", "-");
    let first = example.get("cart.shop", "/").await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("cart="), "{cookie}");
    for _ in 0..10 {
        let again = request("GET", "cart.shop", "/").header("cookie", &cookie).body(full("")).unwrap();
        assert_eq!(example.client().await.exchange(again).await.version(), first.version());
    }
}

#[tokio::test]
async fn mtls() {
    let (application, certificates) = (Echo::start("v1"), tempfile::tempdir().unwrap());
    let mut init = command();
    init.args(["certs", "init", "--service", "till", "kiosk", "--out"]).arg(certificates.path());
    assert!(init.output().unwrap().status.success());
    let builders = [Sidle::builder(), Sidle::builder()];
    let [till, kiosk] = builders.each_ref().map(sidle_test_support::sidle::Builder::ports);
    let places = [
        ("18081", application.port()),
        ("15106", till.inbound.port()),
        ("15101", till.outbound.port()),
        ("15100", till.admin.port()),
        ("15190", till.metrics.port()),
        ("15121", till.health.port()),
        ("15206", kiosk.inbound.port()),
        ("15201", kiosk.outbound.port()),
        ("15200", kiosk.admin.port()),
        ("15290", kiosk.metrics.port()),
        ("15221", kiosk.health.port()),
    ];
    let text = std::fs::read_to_string(root().join("config-examples/mtls/mtls.yaml")).unwrap();
    let text =
        ports::replaced(&text, &places).replace(": certs/", &format!(": {}/", certificates.path().display()));
    let [till, kiosk] = builders.map(|builder| builder.file("mtls.yaml", &text));
    let till = till.arguments(&["--labels", "app=till"]).start();
    let kiosk = kiosk.arguments(&["--labels", "app=kiosk"]).start();
    let answer = Client::http1(kiosk.outbound()).await.get("till.shop", "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json()["headers"]["x-forwarded-client-cert"].as_str().unwrap_or_default().to_owned();
    assert!(
        told.ends_with("URI=spiffe://cluster.local/ns/default/sa/kiosk") || told.contains("/sa/kiosk;DNS="),
        "{told}"
    );
    let mut plain = Client::http1(till.ports.inbound).await;
    assert!(plain.try_exchange(request("GET", "till.shop", "/").body(full("")).unwrap()).await.is_err());
}
