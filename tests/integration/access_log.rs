//! The access log: Istio's line, and JSON.

use crate::stage::{HOST, Stage};
use sidle_test_support::{
    client::{Client, request},
    echo::full,
    http2::{Http2, frame, kind},
    manifest::virtual_service,
    sidle::Sidle,
    wait,
};

fn start(stage: &Stage, settings: &str) -> (tempfile::TempDir, Sidle) {
    let folder = tempfile::tempdir().unwrap();
    let route = format!("    - name: main\n      route: [{{ destination: {{ host: {HOST}, subset: v1 }} }}]");
    let settings = format!("  accessLogFile: {}\n{settings}", folder.path().join("log").display());
    let manifests = stage.manifests() + &virtual_service("echo", HOST, &route);
    let sidle = Sidle::builder().file("test.yaml", &manifests).settings(&settings).start();
    (folder, sidle)
}

async fn lines(folder: &tempfile::TempDir, count: usize) -> Vec<String> {
    wait::eventually("the log", || async {
        let text = std::fs::read_to_string(folder.path().join("log")).ok()?;
        // Without what stands behind the last end of a line: it is being written.
        let (whole, _) = text.rsplit_once('\n')?;
        let lines: Vec<_> = whole.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn the_default_line_is_istios() {
    let stage = Stage::new();
    let (folder, sidle) = start(&stage, "");
    let mut client = Client::http1(sidle.outbound()).await;
    let ask = request("POST", HOST, "/a?b").header("user-agent", "test/1").header("x-request-id", "id-1");
    client.exchange(ask.body(full("12345")).unwrap()).await;
    client.get("nobody.invalid", "/").await;
    let lines = lines(&folder, 2).await;
    let (time, rest) = lines[0].split_once("] ").unwrap();
    assert!(
        time.starts_with('[') && time.ends_with('Z') && time.len() == "[2026-01-01T00:00:00.000Z".len(),
        "{time}"
    );
    let upstream = format!("\"127.0.0.1:{}\" outbound|80|v1|{HOST} 127.0.0.1:", stage.v1.port());
    for part in [
        "\"POST /a?b HTTP/1.1\" 200 - via_upstream - \"-\" 5 ",
        " \"-\" \"test/1\" \"id-1\" \"echo.test\" ",
        &upstream,
        &format!(" {} 127.0.0.1:", sidle.outbound()),
    ] {
        assert!(rest.contains(part), "{part:?} in {rest}");
    }
    assert!(rest.ends_with(" - main"), "{rest}");
    assert!(lines[1].contains("\"GET / HTTP/1.1\" 503 "), "{}", lines[1]);
}

#[tokio::test]
async fn json_is_one_object_a_line() {
    let stage = Stage::new();
    let (folder, sidle) = start(&stage, "  accessLogEncoding: JSON\n");
    Client::http2(sidle.outbound()).await.get(HOST, "/quote\"?x").await;
    let line: serde_json::Value = serde_json::from_str(&lines(&folder, 1).await[0]).unwrap();
    assert_eq!(line["protocol"], "HTTP/2");
    assert_eq!(line["response_code"], 200);
    assert_eq!(line["response_flags"], "-");
    assert_eq!(line["upstream_cluster"], format!("outbound|80|v1|{HOST}"));
    assert_eq!(line["route_name"], "main");
    assert!(line["bytes_sent"].as_u64().unwrap() > 100);
}

#[tokio::test]
async fn a_format_of_ones_own_can_tell_the_rule_that_matched() {
    let stage = Stage::new();
    let settings = "  accessLogFormat: \"%REQ(X-A?X-B):3% %SIDLE_ROUTE_ORIGIN% %RESPONSE_CODE% 100%%\\n\"\n";
    let (folder, sidle) = start(&stage, settings);
    Client::http1(sidle.outbound()).await.ask(request("GET", HOST, "/").header("x-b", "abcdef")).await;
    let line = &lines(&folder, 1).await[0];
    assert!(line.starts_with("abc ") && line.contains("test.yaml:") && line.ends_with(" 200 100%"), "{line}");
}

#[tokio::test]
async fn the_line_of_a_client_that_left_has_the_fields_of_its_request() {
    let stage = Stage::new();
    let settings = "  accessLogFormat: \"%REQ(X-B)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS%\\n\"\n";
    let (folder, sidle) = start(&stage, settings);
    let mut client = Http2::connect(sidle.outbound(), &[]);
    let path = "/?delay=20s";
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", path), ("x-b", "b")];
    client.request(1, true, &fields);
    let asked = || async { (stage.v1.requests() + stage.v2.requests() > 0).then_some(()) };
    wait::eventually("the request", asked).await;
    client.send(&frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    assert_eq!(lines(&folder, 1).await, [format!("b {path} 0 DC")]);
}

#[tokio::test]
async fn a_line_can_name_the_trace_that_its_request_belongs_to() {
    let stage = Stage::new();
    let settings = "  accessLogFormat: \"%TRACE_ID% %STREAM_ID%\\n\"\n";
    let (folder, sidle) = start(&stage, settings);
    let mut client = Client::http1(sidle.outbound()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for parent in [format!("00-{trace}-00f067aa0ba902b7-01"), format!("00-{trace}-01")] {
        let ask = request("GET", HOST, "/").header("traceparent", parent).header("x-request-id", "id-1");
        client.ask(ask).await;
    }
    assert_eq!(lines(&folder, 2).await, [format!("{trace} id-1"), "- id-1".to_owned()]);
}
