//! RateLimitPolicies whose requests are counted by a service for all proxies: Envoy's reference `ratelimit`, on a Redis.

use sidle_test_support::{
    client::{Answer, Client, request},
    echo::Echo,
    peers, ports,
    process::Process,
    sidle::{Sidle, http_get},
    wait,
};
use std::{
    net::{SocketAddr, TcpStream},
    process::Command,
};
use tempfile::TempDir;

/// What the service is set to. Years, so that no test sees the end of one.
const LIMITS: &str = "domain: shop
descriptors:
  - { key: generic_key, value: all, rate_limit: { name: all, unit: year, requests_per_unit: 5 } }
  - { key: user, rate_limit: { unit: year, requests_per_unit: 2 } }
  - { key: user, value: king, rate_limit: { unlimited: true } }
  - { key: remote_address, value: 127.0.0.1, rate_limit: { unit: year, requests_per_unit: 1 } }
  - { key: masked_remote_address, value: 127.0.0.0/8, rate_limit: { unit: year, requests_per_unit: 1 } }
  - { key: method, value: GET, rate_limit: { unit: year, requests_per_unit: 1 } }
  - { key: header_match, value: eager, rate_limit: { unit: year, requests_per_unit: 1 } }
  - key: source_cluster
    value: shop-1.default
    descriptors:
      - { key: destination_cluster, rate_limit: { unit: year, requests_per_unit: 1 } }
";

/// The service, and what it counts in.
struct Service {
    port: u16,
    process: Process,
    _redis: Process,
    _folder: TempDir,
}

impl Service {
    fn start() -> Option<Self> {
        let (redis, service) = (peers::find("redis-server")?, peers::find("ratelimit")?);
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("ratelimit/config");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("shop.yaml"), LIMITS).unwrap();
        let (stored, asked, health, debug) = (ports::free(), ports::free(), ports::free(), ports::free());
        let mut command = Command::new(redis);
        command.args(["--bind", "127.0.0.1", "--port", &stored.port().to_string(), "--save", ""]);
        command.current_dir(folder.path());
        let redis = Process::start(command);
        wait::until("Redis", || TcpStream::connect(stored).ok());
        let mut command = Command::new(service);
        command.env_clear().envs([
            ("USE_STATSD", "false"),
            ("REDIS_SOCKET_TYPE", "tcp"),
            ("REDIS_URL", &stored.to_string()),
            ("RUNTIME_ROOT", folder.path().to_str().unwrap()),
            ("RUNTIME_SUBDIRECTORY", "ratelimit"),
            ("RUNTIME_WATCH_ROOT", "false"),
            ("LIMIT_RESPONSE_HEADERS_ENABLED", "true"),
        ]);
        for (name, address) in [("", health), ("GRPC_", asked), ("DEBUG_", debug)] {
            command
                .env(format!("{name}HOST"), "127.0.0.1")
                .env(format!("{name}PORT"), address.port().to_string());
        }
        let process = Process::start(command);
        wait::until("the rate limit service", || {
            http_get(health, "/healthcheck").ok().filter(|answer| answer.status == 200)
        });
        // It is well before its port for gRPC is open.
        wait::until("its port", || TcpStream::connect(asked).ok());
        Some(Service { port: asked.port(), process, _redis: redis, _folder: folder })
    }
}

/// A sidecar of `shop` before `application`; each policy is what a `rateLimitService` says besides its address.
fn sidecar(application: &Echo, service: u16, policies: &[(&str, &str)]) -> Sidle {
    let mut manifests = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80, targetPort: {} }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: shop-1 }}\nspec:\n  \
         address: 127.0.0.1\n  labels: {{ app: shop }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: limits }}\nspec:\n  \
         hosts: [limits.test]\n  ports: [{{ number: 8081, name: grpc, targetPort: {service} }}]\n  \
         resolution: STATIC\n  endpoints: [{{ address: 127.0.0.1 }}]\n",
        application.port()
    );
    for (index, (host, policy)) in policies.iter().enumerate() {
        manifests += &format!(
            "---\napiVersion: sidle.dev/v1\nkind: RateLimitPolicy\nmetadata: {{ name: p{index} }}\nspec:\n  \
             hosts: ['{host}']\n  enableXRatelimitHeaders: true\n  rateLimitService:\n    service: limits.test\n    \
             port: 8081\n    domain: shop\n    timeout: 5s\n{policy}\n"
        );
    }
    let log = "  accessLogFile: /dev/stdout\n  accessLogFormat: \"LOG %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n\"\n";
    let arguments = ["--labels", "app=shop", "--workload", "shop-1"];
    Sidle::builder().file("s.yaml", &manifests).settings(log).arguments(&arguments).start()
}

async fn asked(at: SocketAddr, host: &str, user: Option<&str>) -> Answer {
    let request = request("GET", host, "/");
    let request = match user {
        Some(user) => request.header("x-user", user),
        None => request,
    };
    Client::http1(at).await.ask(request).await
}

async fn statuses(at: SocketAddr, host: &str, users: &[Option<&str>]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for user in users {
        statuses.push(asked(at, host, *user).await.status.as_u16());
    }
    statuses
}

const ALL: &str = "    rateLimits: [{ actions: [{ genericKey: { descriptorValue: all } }] }]";
const USER: &str =
    "    rateLimits: [{ actions: [{ requestHeaders: { headerName: x-user, descriptorKey: user } }] }]";

#[tokio::test]
async fn proxies_count_together_and_clients_are_told() {
    let Some(service) = Service::start() else { return };
    let application = Echo::start("application");
    let one = sidecar(&application, service.port, &[("*", ALL)]);
    let other = sidecar(&application, service.port, &[("*", ALL)]);
    for (at, left) in [(&one, "4"), (&other, "3"), (&one, "2"), (&other, "1"), (&one, "0")] {
        let answer = asked(at.ports.inbound, "shop", None).await;
        let limit = "5, 5;w=31536000;name=\"all\"";
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-limit")), (200, limit));
        assert_eq!(answer.header("x-ratelimit-remaining"), left);
        assert!(answer.header("x-ratelimit-reset").parse::<u64>().unwrap() > 0);
        // The service's own header, from its answer.
        assert!(answer.headers.contains_key("ratelimit-limit"), "{:?}", answer.headers);
    }
    let reached = application.requests();
    for sidle in [&one, &other] {
        let refused = asked(sidle.ports.inbound, "shop", None).await;
        assert_eq!((refused.status.as_u16(), refused.header("x-envoy-ratelimited")), (429, "true"));
        assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    }
    let grpc = request("POST", "shop", "/a.B/C").header("content-type", "application/grpc");
    let grpc = Client::http2(one.ports.inbound).await.ask(grpc).await;
    assert_eq!((grpc.status.as_u16(), grpc.header("grpc-status")), (200, "14"));
    assert_eq!(application.requests(), reached);
    let cluster = format!("inbound|{}||", application.port());
    let counted = |sidle: &Sidle, what: &str| {
        sidle.metrics().sum(&format!("envoy_cluster_ratelimit_{what}"), &[("envoy_cluster_name", &cluster)])
    };
    assert_eq!((counted(&one, "ok"), counted(&one, "over_limit"), counted(&one, "error")), (3.0, 2.0, 0.0));
    wait::until("the log", || one.output().contains("LOG RL request_rate_limited").then_some(()));
}

#[tokio::test]
async fn each_action_is_told_and_one_without_a_value_leaves_its_descriptor_out() {
    let Some(service) = Service::start() else { return };
    let application = Echo::start("application");
    let once = |actions: &str| format!("    rateLimits: [{{ actions: [{actions}] }}]");
    let policies = [
        ("user", USER.to_owned()),
        ("address", once("{ remoteAddress: {} }")),
        ("range", once("{ maskedRemoteAddress: { v4PrefixMaskLen: 8 } }")),
        ("method", once("{ requestHeaders: { headerName: ':method', descriptorKey: method } }")),
        (
            "match",
            once("{ headerValueMatch: { descriptorValue: eager, headers: { x-user: { prefix: ea } } } }"),
        ),
        ("clusters", once("{ sourceCluster: {} }, { destinationCluster: {} }")),
        (
            "skips",
            once(
                "{ requestHeaders: { headerName: x-user, descriptorKey: user, skipIfAbsent: true } }, \
                 { requestHeaders: { headerName: ':method', descriptorKey: method } }",
            ),
        ),
    ];
    let policies: Vec<_> = policies.iter().map(|(host, policy)| (*host, policy.as_str())).collect();
    let sidle = sidecar(&application, service.port, &policies);
    let at = sidle.ports.inbound;
    let [ann, king, none] = [Some("ann"), Some("king"), None];
    assert_eq!(statuses(at, "user", &[ann, ann, ann, none, Some("ben")]).await, [200, 200, 429, 200, 200]);
    assert_eq!(statuses(at, "user", &[king; 5]).await, [200; 5]);
    for host in ["address", "range", "method", "clusters"] {
        assert_eq!(statuses(at, host, &[none; 2]).await, [200, 429], "{host}");
    }
    let eager = Some("eager");
    assert_eq!(statuses(at, "match", &[ann, ann, eager, eager]).await, [200, 200, 200, 429]);
    // The method's one is spent; with a user there is a descriptor of two entries, which has no limit.
    assert_eq!(statuses(at, "skips", &[none, ann, ann]).await, [429, 200, 200]);
    assert_eq!(statuses(at, "elsewhere", &[none; 2]).await, [200; 2]);
}

#[tokio::test]
async fn a_service_that_fails_lets_pass_unless_it_is_to_deny() {
    let Some(mut service) = Service::start() else { return };
    let application = Echo::start("application");
    let deny = format!("{ALL}\n    failureModeDeny: true");
    let sidle = sidecar(&application, service.port, &[("open", ALL), ("closed", &deny)]);
    let at = sidle.ports.inbound;
    assert_eq!(statuses(at, "open", &[None]).await, [200]);
    assert_eq!(statuses(at, "closed", &[None]).await, [200]);
    service.process.signal("KILL");
    service.process.wait();
    assert_eq!(statuses(at, "open", &[None]).await, [200]);
    let refused = asked(at, "closed", None).await;
    assert_eq!((refused.status.as_u16(), refused.header("x-envoy-ratelimited")), (500, ""));
    let metrics = sidle.metrics();
    assert_eq!(metrics.sum("envoy_cluster_ratelimit_error", &[]), 2.0, "{}", metrics.text);
    assert_eq!(metrics.sum("envoy_cluster_ratelimit_failure_mode_allowed", &[]), 1.0);
    wait::until("the log", || sidle.output().contains("LOG RLSE rate_limiter_error").then_some(()));
}
