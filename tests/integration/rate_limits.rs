//! RateLimitPolicies: so many requests in a time, of everybody or of each.

use sidle_test_support::{
    client::{Answer, Client, request},
    echo::Echo,
    sidle::{Builder, Sidle},
    wait,
};
use std::time::{Duration, Instant};

/// A sidecar before `application`, and policies without their heads.
fn sidecar(application: &Echo, policies: &[&str]) -> Builder {
    let mut manifests = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80, targetPort: {} }}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: shop-1 }}\nspec:\n  \
         address: 127.0.0.1\n  labels: {{ app: shop }}\n",
        application.port()
    );
    for (index, policy) in policies.iter().enumerate() {
        manifests += &self::policy(index, policy);
    }
    let log = "  accessLogFile: /dev/stdout\n  accessLogFormat: \"LOG %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\\n\"\n";
    Sidle::builder().file("s.yaml", &manifests).settings(log).arguments(&["--labels", "app=shop"])
}

fn policy(index: usize, spec: &str) -> String {
    format!(
        "---\napiVersion: sidle.dev/v1\nkind: RateLimitPolicy\nmetadata: {{ name: p{index} }}\nspec:\n{spec}\n"
    )
}

/// Long enough that no test sees its end.
const THREE: &str = "  tokenBucket: { maxTokens: 3, fillInterval: 1h }";

async fn asked(client: &mut Client, user: Option<&str>) -> Answer {
    let request = request("GET", "shop", "/");
    client
        .ask(match user {
            Some(user) => request.header("x-user", user),
            None => request,
        })
        .await
}

async fn statuses(client: &mut Client, users: &[Option<&str>]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for user in users {
        statuses.push(asked(client, *user).await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn so_many_pass_and_the_others_are_told() {
    let application = Echo::start("application");
    let spec = format!("{THREE}\n  enableXRatelimitHeaders: true");
    let sidle = sidecar(&application, &[&spec]).arguments(&["--workers", "2"]).start();
    let mut left = Vec::new();
    for _ in 0..3 {
        // Another connection, maybe another worker: they share the bucket.
        let answer = asked(&mut Client::http1(sidle.ports.inbound).await, None).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-limit")), (200, "3"));
        let reset: u64 = answer.header("x-ratelimit-reset").parse().unwrap();
        assert!((3_500..=3_600).contains(&reset), "{reset}");
        left.push(answer.header("x-ratelimit-remaining").to_owned());
    }
    assert_eq!(left, ["2", "1", "0"]);
    let mut client = Client::http1(sidle.ports.inbound).await;
    let refused = asked(&mut client, None).await;
    assert_eq!((refused.status.as_u16(), refused.text().as_str()), (429, "local_rate_limited"));
    assert_eq!(
        (refused.header("x-envoy-ratelimited"), refused.header("x-ratelimit-remaining")),
        ("true", "0")
    );
    let grpc = request("POST", "shop", "/a.B/C").header("content-type", "application/grpc");
    let grpc = Client::http2(sidle.ports.inbound).await.ask(grpc).await;
    assert_eq!((grpc.status.as_u16(), grpc.header("grpc-status")), (200, "14"));
    // What the application sends goes out unhindered.
    let text = sidle.metrics().text;
    for line in [
        "envoy_http_local_rate_limit_ok{envoy_local_http_ratelimit_prefix=\"default/p0\"} 3",
        "envoy_http_local_rate_limit_rate_limited{envoy_local_http_ratelimit_prefix=\"default/p0\"} 2",
    ] {
        assert!(text.contains(line), "{text}");
    }
    drop(client);
    wait::until("the log", || sidle.output().contains("LOG RL local_rate_limited").then_some(()));
}

#[tokio::test]
async fn each_value_of_a_header_has_a_bucket_and_all_without_it_share_one() {
    let application = Echo::start("application");
    let spec = format!("{THREE}\n  key: {{ header: x-user }}\n  maxKeys: 500");
    let sidle = sidecar(&application, &[&spec]).start();
    let mut client = Client::http1(sidle.ports.inbound).await;
    for user in [Some("ann"), Some("ben"), None] {
        assert_eq!(statuses(&mut client, &[user; 4]).await, [200, 200, 200, 429], "{user:?}");
    }
    // A reload that changes nothing about it keeps what was counted; a change begins anew.
    sidle.write(
        "more.yaml",
        &policy(1, "  hosts: [elsewhere.test]\n  tokenBucket: { maxTokens: 1, fillInterval: 1h }"),
    );
    assert_eq!(sidle.admin_post("/reload").status, 200);
    assert_eq!(statuses(&mut client, &[Some("ann"), None]).await, [429, 429]);
    let keys = "sidle_rate_limit_keys{policy=\"default/p0\"} 3";
    assert!(sidle.metrics().text.contains(keys), "{}", sidle.metrics().text);
}

#[tokio::test]
async fn several_policies_hold_together_and_only_for_what_they_name() {
    let application = Echo::start("application");
    let two = "  hosts: [shop]\n  tokenBucket: { maxTokens: 2, fillInterval: 1h }";
    let others = "  hosts: ['*.test', other]\n  tokenBucket: { maxTokens: 1, fillInterval: 1h }";
    let workloads = "  selector: { app: web }\n  tokenBucket: { maxTokens: 1, fillInterval: 1h }";
    let routes = "  routes: [checkout]\n  tokenBucket: { maxTokens: 1, fillInterval: 1h }";
    let sidle = sidecar(&application, &[THREE, two, others, workloads, routes]).start();
    let mut client = Client::http1(sidle.ports.inbound).await;
    assert_eq!(statuses(&mut client, &[None; 3]).await, [200, 200, 429]);
    assert_eq!(client.get("other", "/").await.status, 429, "the first policy's bucket is empty, too");
}

#[tokio::test]
async fn a_gateways_route_has_a_limit_of_its_own_and_buckets_are_filled_again() {
    let application = Echo::start("application");
    let door = sidle_test_support::ports::free();
    let manifests = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: door }}\nspec:\n  servers:\n    \
         - {{ port: {{ number: {}, name: http, protocol: HTTP }}, hosts: ['*'] }}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: door }}\nspec:\n  hosts: ['*']\n  \
         gateways: [door]\n  http:\n    - {{ name: slow, match: [{{ uri: {{ prefix: /slow }} }}], directResponse: {{ status: 200 }} }}\n    \
         - {{ name: fast, directResponse: {{ status: 200 }} }}\n",
        door.port()
    );
    let limit = "  routes: [slow]\n  key: { source: ADDRESS }\n  tokenBucket: { maxTokens: 2, tokensPerFill: 1, fillInterval: 1s }";
    let _sidle = sidecar(&application, &[limit]).file("gateway.yaml", &manifests).start();
    let mut client = Client::http1(door).await;
    let mut passed = Vec::new();
    let begin = Instant::now();
    while passed.len() < 8 {
        if client.get("any.test", "/slow").await.status == 200 {
            passed.push(begin.elapsed());
        }
        assert_eq!(client.get("any.test", "/fast").await.status, 200);
        assert!(begin.elapsed() < wait::PATIENCE, "{passed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Two at first, and one each second, the first of which may have begun before. The machine may be late by seconds, and of one each two
    // seconds the last would be later still.
    for (seconds, at) in (0..).map(Duration::from_secs).zip(&passed[2..]) {
        assert!((seconds..seconds + Duration::from_secs(4)).contains(at), "{passed:?}");
    }
}
