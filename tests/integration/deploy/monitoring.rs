//! The rules and the dashboard: every name in them is one that the proxy exports, and every panel shows something of a mesh where
//! everything happens that there is to see.

use super::{deploy, machine::text};
use crate::mtls::{SHOP, TAKES_MTLS, WEB, server, service_of, with_identity};
use serde_json::Value;
use sidle_test_support::{
    client::Client,
    echo::Echo,
    manifest::{service, service_on},
    peers, ports,
    process::Process,
    sidle::{Sidle, http_get},
    tcp::TcpServer,
    tls::Authority,
    wait,
};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/sidle.json")).unwrap()
}

/// The panels that show something: title and queries.
fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard = dashboard();
    let shown = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let one = |panel: &Value| {
        let queries = panel["targets"].as_array().unwrap().iter();
        let queries = queries.map(|target| target["expr"].as_str().unwrap().to_owned());
        (panel["title"].as_str().unwrap().to_owned(), queries.collect())
    };
    shown.map(one).collect()
}

fn promtool(arguments: &[&str]) -> Option<String> {
    let promtool = peers::find("promtool")?;
    let output = Command::new(promtool).current_dir(deploy("prometheus")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{}", text(&output));
    Some(text(&output))
}

#[test]
fn prometheus_takes_the_configuration_and_the_rules_do_what_their_tests_say() {
    if promtool(&["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]).is_none() {
        return;
    }
    promtool(&["test", "rules", "tests.yml"]);
    let (alerts, tests) = (read("prometheus/alerts.yml"), read("prometheus/tests.yml"));
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let uses: Vec<_> = tests.match_indices(&format!("alertname: {alert}")).collect();
        assert!(uses.len() >= 2, "{alert} is not shown to fire, and not to");
    }
    // Debian's Prometheus has no discovery in Kubernetes: the rest is judged without it.
    let discovery = read("prometheus/kubernetes.yml");
    let discovery: Vec<_> = discovery
        .lines()
        .map(|line| match line.trim_start().starts_with("kubernetes_sd_configs:") {
            true => "    static_configs: [{ targets: [pod] }]",
            false => line,
        })
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), discovery.join("\n")).unwrap();
    promtool(&["check", "config", file.path().to_str().unwrap()]);
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids come twice");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies over another", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{}", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
        }
    }
    // Each variable that a query asks for is declared, and each that is declared is asked for.
    let declared = dashboard["templating"]["list"].as_array().unwrap();
    let declared: BTreeSet<_> = declared.iter().map(|one| one["name"].as_str().unwrap()).collect();
    let text = dashboard.to_string();
    let asked: BTreeSet<_> = text
        .split('$')
        .skip(1)
        .map(|rest| {
            rest.trim_start_matches('{').split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
        })
        .filter(|name| !name.starts_with("__"))
        .collect();
    assert_eq!(asked, declared);
}

/// A name that nobody exports is a panel or an alert that is silent for ever.
#[test]
fn rules_and_dashboard_name_metrics_that_exist() {
    let exported = std::fs::read_to_string(peers::root().join("proxy/telemetry/src/names.rs")).unwrap();
    let mut asked = panels().into_iter().flat_map(|(_, queries)| queries).collect::<Vec<_>>().join("\n");
    asked += &read("prometheus/alerts.yml");
    asked += &read("prometheus/recording.yml");
    asked += &read("prometheus/tests.yml");
    let words = asked.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let names: BTreeSet<_> = words
        .filter(|word| ["sidle_", "istio_", "process_", "envoy_"].iter().any(|start| word.starts_with(start)))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let is_exported = [name, family].iter().any(|name| exported.contains(&format!("\"{name}\"")));
        assert!(is_exported, "nobody exports {name}");
    }
    let recorded = read("prometheus/recording.yml");
    for rule in asked
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.starts_with("sidle:"))
    {
        assert!(recorded.contains(&format!("record: {rule}\n")), "nobody records {rule}");
    }
}

/// Two proxies that have met everything that there is to see.
struct World {
    web: Sidle,
    shop: Sidle,
    /// Where `web` serves a service of bytes.
    ledger: SocketAddr,
    _application: Echo,
    _upstream: Echo,
    _tcp: TcpServer,
}

impl World {
    fn new() -> Self {
        let (authority, application, upstream) = (Authority::new(), Echo::start("shop"), Echo::start("v1"));
        let (tcp, ledger) = (TcpServer::echo(), ports::free());
        let builder = with_identity(&authority, SHOP).settings("  limits: { maxConnections: 20 }\n").file(
            "policy.yaml",
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: shop }\nspec:\n  \
             selector: { matchLabels: { app: shop } }\n  action: DENY\n  rules: [{ to: [{ operation: { paths: [/private] } }] }]\n",
        );
        let shop = server(builder, &application, "{ mtls: { mode: STRICT } }");
        let manifests = [
            service_of("shop", shop.ports.inbound, "serviceAccount: shop,", TAKES_MTLS, ""),
            service("echo", "echo.test", "HTTP", &[("v1", upstream.port())]),
            service("dead", "dead.test", "HTTP", &[("v1", ports::free().port())]),
            service("narrow", "narrow.test", "HTTP", &[("v1", upstream.port())]),
            service("ill", "ill.test", "HTTP", &[("v1", upstream.port()), ("v2", ports::free().port())]),
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: ill }\nspec:\n  host: ill.test\n  \
             trafficPolicy: { outlierDetection: { consecutive5xxErrors: 1, baseEjectionTime: 10m, maxEjectionPercent: 100 } }\n"
                .into(),
            service_on("ledger", "ledger.test", ledger.port(), "TCP", &[("v1", tcp.port())]),
            format!(
                "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: web }}\nspec:\n  egress:\n    \
                 - port: {{ number: {}, name: tcp, protocol: TCP }}\n      bind: 127.0.0.1\n      captureMode: NONE\n      \
                 hosts: [\"*/ledger.test\"]\n    - hosts: [\"*/*\"]\n",
                ledger.port()
            ),
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: echo }\nspec:\n  hosts: [echo.test]\n  \
             http: [{ timeout: 1500ms, retries: { attempts: 2, retryOn: 5xx }, route: [{ destination: { host: echo.test } }] }]\n"
                .into(),
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: narrow }\nspec:\n  host: narrow.test\n  \
             trafficPolicy: { connectionPool: { tcp: { maxConnections: 1 }, http: { http1MaxPendingRequests: 1 } } }\n"
                .into(),
        ];
        let web = with_identity(&authority, WEB).file("mesh.yaml", &manifests.join("\n---\n")).start();
        World { web, shop, ledger, _application: application, _upstream: upstream, _tcp: tcp }
    }

    /// What happens once: each thing leaves its metric behind.
    async fn happen(&self) {
        let mut client = Client::http1(self.web.outbound()).await;
        for (host, path, status) in [
            ("shop.test", "/private", 403),
            ("echo.test", "/?status=500", 500),
            ("echo.test", "/?delay=4s", 504),
            ("dead.test", "/", 503),
        ] {
            assert_eq!(client.get(host, path).await.status, status, "{host}{path}");
        }
        let door = self.web.outbound();
        say_hello(self.ledger);
        let crowd = (0..8).map(|_| async move {
            Client::http1(door).await.get("narrow.test", "/?delay=300ms").await.status
        });
        let crowd = futures_util::future::join_all(crowd).await;
        assert!(crowd.iter().any(|status| *status == 503), "{crowd:?}");
        // Plain text, and what is no TLS, to a port that takes mTLS alone; then more connections than it takes.
        for bytes in
            [&b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"[..], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"]
        {
            let mut stream = TcpStream::connect(self.shop.ports.inbound).unwrap();
            stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
            stream.write_all(bytes).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let crowd: Vec<_> = (0..40).map(|_| TcpStream::connect(self.shop.ports.inbound).unwrap()).collect();
        wait::until("a refusal", || {
            let refused = self.shop.metrics().sum("sidle_listener_connections_refused_total", &[]);
            (refused > 0.0).then_some(())
        });
        drop(crowd);
    }

    /// What goes on all the time.
    async fn go_on(&self) {
        let mut client = Client::http1(self.web.outbound()).await;
        loop {
            for host in ["shop.test", "echo.test", "ill.test"] {
                client.get(host, "/").await;
            }
            client.get("echo.test", "/?status=500").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Sends some bytes, and reads what comes.
fn say_hello(ledger: SocketAddr) {
    let mut stream = TcpStream::connect(ledger).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello");
}

struct Prometheus {
    address: SocketAddr,
    process: Process,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// With the configuration of `deploy/`, but faster, and for these proxies.
    fn start(targets: &[SocketAddr]) -> Option<Self> {
        let program = peers::find("prometheus")?;
        let folder = tempfile::tempdir().unwrap();
        let targets: Vec<_> = targets.iter().map(|target| format!("'{target}'")).collect();
        let configuration = read("prometheus/prometheus.yml").replace("15s", "500ms");
        let configuration = configuration.replace("\"127.0.0.1:15090\"", &targets.join(", "));
        std::fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
        for rules in ["recording.yml", "alerts.yml"] {
            std::fs::copy(deploy("prometheus").join(rules), folder.path().join(rules)).unwrap();
        }
        let address = ports::free();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        Some(Prometheus { address, process: Process::start(command), _folder: folder })
    }

    /// How many numbers a query finds; what is not a number is none.
    fn finds(&self, query: &str) -> usize {
        let text: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let Ok(answer) = http_get(self.address, &format!("/api/v1/query?query={text}")) else { return 0 };
        if answer.status == 503 {
            return 0;
        }
        assert_eq!(answer.status, 200, "{query}\n{}\n{}", answer.body, self.process.output());
        let json = answer.json();
        let values = json["data"]["result"].as_array().unwrap().iter();
        values
            .filter(|one| {
                one["value"][1].as_str().is_some_and(|value| value.parse().is_ok_and(f64::is_finite))
            })
            .count()
    }
}

/// As the dashboard asks with its first choices.
fn filled_in(query: &str) -> String {
    query
        .replace("$__rate_interval", "5s")
        .replace("$job", "sidle")
        .replace("$instance", ".*")
        .replace("$reporter", "source")
        .replace("$service", ".*")
}

#[tokio::test]
async fn every_panel_shows_something() {
    let world = World::new();
    let Some(prometheus) = Prometheus::start(&[world.web.ports.metrics, world.shop.ports.metrics]) else {
        return;
    };
    world.happen().await;
    let asked = async {
        let mut open: Vec<_> = panels()
            .into_iter()
            .flat_map(|(title, queries)| {
                queries.into_iter().map(move |query| (title.clone(), filled_in(&query)))
            })
            .collect();
        let rules = read("prometheus/recording.yml");
        let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
        open.extend(rules.map(|rule| ("recording.yml".to_owned(), rule.to_owned())));
        assert!(open.len() > 45, "{}", open.len());
        // One of two endpoints answers nobody: the panel shows more than a zero.
        let ejected = panels().into_iter().find(|(title, _)| title == "Ejected").unwrap().1;
        open.push(("Ejected".to_owned(), format!("{} > 0", filled_in(&ejected[0]))));
        let begin = std::time::Instant::now();
        while !open.is_empty() {
            assert!(begin.elapsed() < 2 * wait::PATIENCE, "nothing is shown by {open:#?}");
            open.retain(|(_, query)| prometheus.finds(query) == 0);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = world.go_on() => {}
        () = asked => {}
    }
    // A query that finds nothing is seen as such.
    assert_eq!(prometheus.finds("sidle_ready{job=\"other\"}"), 0);
}
