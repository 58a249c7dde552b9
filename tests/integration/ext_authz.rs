//! External authorisation: a service that decides, asked by HTTP and by gRPC.

use crate::raw::Raw;
use sidle_test_support::{
    client::{Answer, Client, request},
    echo::{self, Echo, full},
    manifest::service_on,
    peers, ports,
    process::Process,
    sidle::{self, Sidle},
    wait,
};
use std::process::Command;

pub const AUTHORISER: &str = "authorizer.test";

/// An application whose every request but those to `/free` is asked about.
pub struct Guarded {
    pub application: Echo,
    pub sidle: Sidle,
}

impl Guarded {
    /// `provider` holds the lines of the provider's block, each indented by eight.
    pub fn new(protocol: &str, port: u16, kind: &str, provider: &str) -> Self {
        let application = Echo::start("application");
        let shop = application.port();
        let manifests = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
             ports: [{{ name: http, port: 80, targetPort: {shop} }}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: shop-1 }}\nspec:\n  \
             address: 127.0.0.1\n  ports: {{ http: {shop} }}\n  labels: {{ app: shop }}\n---\n\
             apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: ask }}\nspec:\n  \
             selector: {{ matchLabels: {{ app: shop }} }}\n  action: CUSTOM\n  provider: {{ name: judge }}\n  \
             rules:\n    - to: [{{ operation: {{ notPaths: [/free] }} }}]\n---\n{}",
            service_on("authorizer", AUTHORISER, 8000, protocol, &[("v1", port)]),
        );
        let settings = format!(
            "  extensionProviders:\n    - name: judge\n      {kind}:\n        service: {AUTHORISER}\n        \
             port: 8000\n{provider}"
        );
        let builder = Sidle::builder().file("shop.yaml", &manifests).settings(&settings);
        let sidle = builder.arguments(&["--labels", "app=shop"]).start();
        Guarded { application, sidle }
    }

    async fn ask(&self, request: http::request::Builder, body: &str) -> Answer {
        let mut client = Client::http1(self.sidle.ports.inbound).await;
        client.exchange(request.body(full(body.to_owned())).unwrap()).await
    }
}

#[tokio::test]
async fn by_http_200_lets_pass_and_its_headers_reach_whom_they_are_for() {
    let authoriser = Echo::start("authoriser");
    let guarded = Guarded::new(
        "HTTP",
        authoriser.port(),
        "envoyExtAuthzHttp",
        "        pathPrefix: /check/\n        includeRequestHeadersInCheck: [x-decision, \"x-trace-*\"]\n        \
         includeAdditionalHeadersInCheck: { x-from: sidle }\n        \
         headersToUpstreamOnAllow: [x-user]\n        headersToDownstreamOnAllow: [set-cookie]\n",
    );
    authoriser.answer(|_| {
        let answer = echo::Answer::status(200).header("x-user", "alice").header("x-other", "no");
        Some(answer.header("set-cookie", "a=1").header("set-cookie", "b=2"))
    });
    let ask = request("POST", "shop", "/buy?x=1").header("x-decision", "allow").header("x-user", "mallory");
    let ask = ask.header("x-trace-id", "7").header("cookie", "c").header("authorization", "Bearer t");
    let answer = guarded.ask(ask, "hello").await;
    assert_eq!((answer.status.as_u16(), answer.version()), (200, "application"));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);

    let asked = authoriser.last();
    assert_eq!((asked.method.as_str(), &*asked.path, &*asked.authority), ("POST", "/check/buy?x=1", "shop"));
    for (name, value) in [
        ("x-decision", "allow"),
        ("x-trace-id", "7"),
        ("authorization", "Bearer t"),
        ("x-from", "sidle"),
        ("cookie", ""),
        ("x-user", ""),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    assert!(asked.body.is_empty(), "it was not to see the body");
    let received = guarded.application.last();
    assert_eq!((received.header("x-user"), received.header("x-other")), ("alice", ""));
    assert_eq!(received.body, b"hello");

    assert_eq!(guarded.ask(request("GET", "shop", "/free"), "").await.status, 200);
    assert_eq!(authoriser.requests(), 1, "no policy asks about this path");
    assert_eq!(counted(&guarded.sidle, "http_"), [1, 0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn by_http_all_else_refuses_and_the_client_gets_its_words() {
    let authoriser = Echo::start("authoriser");
    let guarded = Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", "");
    authoriser.answer(|_| {
        let mut answer = echo::Answer::status(302).header("location", "https://login.test/");
        answer.body = "log in first".into();
        Some(answer)
    });
    let answer = guarded.ask(request("GET", "shop", "/"), "").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, "https://login.test/"));
    assert_eq!(answer.text(), "log in first");
    assert_eq!(guarded.application.requests(), 0);
}

#[tokio::test]
async fn an_authoriser_that_fails_lets_nothing_pass_unless_it_was_said_to() {
    for (provider, expected) in [
        ("", 403),
        ("        statusOnError: \"503\"\n", 503),
        ("        failOpen: true\n        timeout: 100ms\n", 200),
        ("        timeout: 100ms\n", 403),
    ] {
        let authoriser = Echo::start("authoriser");
        let hangs = provider.contains("timeout");
        authoriser.answer(move |_| {
            let mut answer = echo::Answer::status(500);
            if hangs {
                answer = echo::Answer { delay: std::time::Duration::from_secs(5), ..echo::Answer::default() };
            }
            Some(answer)
        });
        let guarded = Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", provider);
        let answer = guarded.ask(request("GET", "shop", "/"), "").await;
        assert_eq!(answer.status.as_u16(), expected, "{provider:?}: {}", answer.text());
        if expected == 200 {
            let told = guarded.application.last().header("x-envoy-auth-failure-mode-allowed").to_owned();
            assert_eq!(told, "true");
        } else {
            assert_eq!(guarded.application.requests(), 0);
        }
        let open = u32::from(expected == 200);
        assert_eq!(counted(&guarded.sidle, "http_"), [0, 0, 1, u32::from(hangs), open, 0], "{provider:?}");
    }
}

/// Nothing behind the head is no answer; what has begun to come may be a refusal.
#[tokio::test]
async fn an_authoriser_that_stops_behind_its_head_has_not_answered() {
    // Where something has to come, a busy machine has time to bring it.
    for (begun, open, timeout, expected, counts) in [
        (&b""[..], true, "200ms", 200, [0, 0, 1, 1, 1, 0]),
        (b"", false, "200ms", 403, [0, 0, 1, 1, 0, 0]),
        (b"\0\0", true, "2s", 403, [0, 0, 1, 0, 0, 0]),
    ] {
        let authoriser = Echo::start("authoriser");
        authoriser.answer(move |_| {
            let answer = echo::Answer { body: begun.into(), hangs: true, ..echo::Answer::default() };
            Some(answer.header("content-type", "application/grpc"))
        });
        let provider = format!("        failOpen: {open}\n        timeout: {timeout}\n");
        let guarded = Guarded::new("GRPC", authoriser.port(), "envoyExtAuthzGrpc", &provider);
        let answer = guarded.ask(request("GET", "shop", "/"), "").await;
        assert_eq!(answer.status.as_u16(), expected, "{begun:?} {open}: {}", answer.text());
        assert_eq!(counted(&guarded.sidle, "http_"), counts, "{begun:?} {open}");
    }
}

#[tokio::test]
async fn a_refusal_is_one_however_long_its_words_are_and_whatever_becomes_of_them() {
    let authoriser = Echo::start("authoriser");
    let open = "        failOpen: true\n        timeout: 2s\n";
    let guarded = Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", open);
    authoriser
        .answer(|_| Some(echo::Answer { body: vec![b'x'; 1 << 20].into(), ..echo::Answer::status(403) }));
    assert_eq!(guarded.ask(request("GET", "shop", "/"), "").await.status, 403);
    authoriser.answer(|_| None);
    assert_eq!(guarded.ask(request("GET", "shop", "/"), "").await.status, 200, "and a 200 is none");
    assert_eq!(guarded.application.requests(), 1);
}

#[tokio::test]
async fn an_authoriser_takes_headers_away() {
    let authoriser = Echo::start("authoriser");
    let to = "        headersToUpstreamOnAllow: [x-user]\n";
    let guarded = Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", to);
    authoriser
        .answer(|_| Some(echo::Answer::status(200).header("x-envoy-auth-headers-to-remove", "x-user, host")));
    let answer = guarded.ask(request("GET", "shop", "/").header("x-user", "mallory"), "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(guarded.application.last().header("x-user"), "");
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let authoriser = Echo::start("authoriser");
    let whole = "        includeRequestBodyInCheck: { maxRequestBytes: 64 }\n";
    let guarded = Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", whole);
    let mut client = Raw::to(guarded.sidle.ports.inbound);
    client.send("POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.read(|text| text.contains("\r\n\r\n")), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").read(|text| text.starts_with("HTTP/1.1 200 OK"));
    assert_eq!((&*authoriser.last().body, &*guarded.application.last().body), (&b"hello"[..], &b"hello"[..]));
}

#[tokio::test]
async fn a_body_is_shown_as_far_as_it_was_said_and_sent_on_whole() {
    let authoriser = Echo::start("authoriser");
    let whole = "        includeRequestBodyInCheck: { maxRequestBytes: 8 }\n";
    let guarded = Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", whole);
    assert_eq!(guarded.ask(request("POST", "shop", "/"), "12345678").await.status, 200);
    let asked = authoriser.last();
    assert_eq!((&*asked.body, asked.header("x-envoy-auth-partial-body")), (&b"12345678"[..], "false"));
    assert_eq!(guarded.application.last().body, b"12345678");
    assert_eq!(guarded.ask(request("POST", "shop", "/"), "123456789").await.status, 413);
    assert_eq!((authoriser.requests(), guarded.application.requests()), (1, 1));

    let part = "        includeRequestBodyInCheck: { maxRequestBytes: 8, allowPartialMessage: true }\n";
    let guarded = Guarded::new("HTTP", authoriser.port(), "envoyExtAuthzHttp", part);
    assert_eq!(guarded.ask(request("POST", "shop", "/"), "123456789").await.status, 200);
    let asked = authoriser.last();
    assert_eq!((&*asked.body, asked.header("x-envoy-auth-partial-body")), (&b"12345678"[..], "true"));
    assert_eq!(guarded.application.last().body, b"123456789");
}

/// What Envoy's metrics of authorisers say, in the order of the list.
pub fn counted(sidle: &Sidle, of: &str) -> [u32; 6] {
    let metrics = sidle.metrics();
    ["ok", "denied", "error", "timeout", "failure_mode_allowed", "disabled"].map(|what| {
        let name = format!("envoy_{of}ext_authz_{what}");
        metrics.sum(&name, &[("envoy_ext_authz_prefix", "judge")]) as u32
    })
}

/// An authoriser in Python.
pub struct Authoriser {
    process: Process,
    pub port: u16,
    /// Holds what it says about connections of bytes.
    decision: tempfile::NamedTempFile,
}

impl Authoriser {
    /// `decision`: about connections of bytes.
    pub fn start(decision: &str) -> Option<Self> {
        let python = peers::find("python")?;
        let (port, file) = (ports::free().port(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(&file, decision).unwrap();
        let mut command = Command::new(python);
        command.arg(peers::root().join("tests/peers/authz_peer.py"));
        command.args(["serve", &port.to_string()]).arg(file.path());
        let process = Process::start(command);
        wait::until("the authoriser", || process.output().contains("ready").then_some(()));
        Some(Authoriser { process, port, decision: file })
    }

    /// What it says about connections of bytes from now on.
    pub fn decide(&self, decision: &str) {
        // One write at its place: nobody may find a part of it.
        let next = self.decision.path().with_extension("next");
        std::fs::write(&next, decision).unwrap();
        std::fs::rename(next, self.decision.path()).unwrap();
    }

    /// The question `at`, counted from 0, once it has come.
    pub fn question(&self, at: usize) -> serde_json::Value {
        wait::until("the question", || {
            let output = self.process.output();
            let questions = output.lines().filter_map(|line| serde_json::from_str(line).ok());
            questions.filter(serde_json::Value::is_object).nth(at)
        })
    }
}

/// The authoriser in Python, and the proxy that asks it.
fn by_grpc(provider: &str) -> Option<(Authoriser, Guarded)> {
    let server = Authoriser::start("")?;
    let guarded = Guarded::new("GRPC", server.port, "envoyExtAuthzGrpc", provider);
    Some((server, guarded))
}

#[tokio::test]
async fn by_grpc_an_authoriser_of_the_protocols_own_code_decides() {
    let body = "        includeRequestBodyInCheck: { maxRequestBytes: 64 }\n";
    let Some((server, guarded)) = by_grpc(body) else { return };
    let ask = request("POST", "shop", "/buy?token=t&x=1").header("x-decision", "allow");
    let ask = ask.header("x-secret", "s").header("x-many", "1").header("x-many", "2");
    let answer = guarded.ask(ask, "hello").await;
    assert_eq!((answer.status.as_u16(), answer.version()), (200, "application"), "{}", answer.text());
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let received = guarded.application.last();
    assert_eq!((received.header("x-user"), received.header("x-secret")), ("alice", ""));
    assert_eq!((&*received.path, &*received.body), ("/buy?x=1&by=authz", &b"hello"[..]));

    let question = server.question(0);
    let http = &question["attributes"]["request"]["http"];
    assert_eq!((&http["method"], &http["path"]), (&"POST".into(), &"/buy?token=t&x=1".into()));
    assert_eq!((&http["host"], &http["protocol"]), (&"shop".into(), &"HTTP/1.1".into()));
    assert_eq!((&http["body"], &http["size"]), (&"hello".into(), &"5".into()));
    assert_eq!((&http["headers"]["x-many"], &http["headers"][":path"]), (&"1,2".into(), &http["path"]));
    let source = &question["attributes"]["source"]["address"]["socketAddress"];
    assert_eq!(source["address"], "127.0.0.1");
}

#[tokio::test]
async fn by_grpc_a_refusal_and_a_failure() {
    // What is waited for takes longer; what is answered takes Python some time.
    let Some((_server, guarded)) = by_grpc("        timeout: 3s\n") else { return };
    let answer = guarded.ask(request("GET", "shop", "/").header("x-decision", "deny"), "").await;
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Sidle"));
    assert_eq!(answer.text(), "not you");
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    for decision in ["fail", "wait"] {
        let answer = guarded.ask(request("GET", "shop", "/").header("x-decision", decision), "").await;
        assert_eq!(answer.status, 403, "{decision}");
    }
    assert_eq!(guarded.application.requests(), 0);
}

/// What `sidle` prints of a policy that has `provider` asked about everything, where two providers are known.
fn told(provider: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let manifests = format!(
        "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{ name: proxy }}\nspec:\n  extensionProviders:\n    \
         - {{ name: g, envoyExtAuthzGrpc: {{ service: judge.test, port: 9 }} }}\n    \
         - {{ name: h, envoyExtAuthzHttp: {{ service: judge.test, port: 9 }} }}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{ name: shop }}\nspec:\n  selector: {{ app: shop }}\n  \
         ports: [{{ name: http, port: 80 }}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: ask }}\nspec:\n  \
         action: CUSTOM\n  provider: {{ name: {provider} }}\n  rules: [{{}}]\n---\n\
         apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: no }}\nspec:\n  \
         action: DENY\n  rules: [{{ to: [{{ operation: {{ paths: [/no], ports: ['80'] }} }}] }}]\n"
    );
    std::fs::write(folder.path().join("test.yaml"), manifests).unwrap();
    let table =
        "- { url: 'http://shop/' }\n- { url: 'http://shop/no', port: 80 }\n- { name: bytes, port: 90 }\n";
    std::fs::write(folder.path().join("table"), table).unwrap();
    let mut command = sidle::command();
    command.args(arguments).args(["--labels", "app=shop", "-c"]).arg(folder.path().join("test.yaml"));
    if arguments.contains(&"simulate") {
        command.arg("-f").arg(folder.path().join("table"));
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn what_is_told_beforehand_says_who_will_be_asked() {
    let explain = |provider| told(provider, &["explain", "--listener", "inbound", "GET", "http://shop/"]);
    assert!(explain("g").contains("provider g; what follows holds if it allows"), "{}", explain("g"));
    assert!(explain("x").contains("provider `x` cannot be asked"), "{}", explain("x"));
    let simulate = |provider| -> Vec<String> {
        let found = told(provider, &["authz", "simulate", "-o", "json"]);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap_or_else(|_| panic!("{found}"));
        found.as_array().unwrap().iter().map(|one| one["found"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(simulate("g"), ["ask", "deny", "ask"]);
    let table = told("g", &["authz", "simulate"]);
    let refused = table.lines().find(|line| line.contains("http://shop/no")).unwrap();
    assert!(refused.contains("policy[no]-rule[0]; g is asked first"), "{table}");
    let refused = told("g", &["explain", "--listener", "inbound", "GET", "http://shop/no"]);
    assert!(refused.contains("provider `g` is asked before"), "{refused}");
    assert_eq!(simulate("h"), ["ask", "deny", "deny"], "of bytes HTTP has no words");
    assert_eq!(simulate("x"), ["deny", "deny", "deny"]);
}
