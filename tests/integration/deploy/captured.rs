//! Workloads that know of no proxy: the chart, the overlay and `sidle inject`, with the container that captures traffic. What they make is judged
//! by Kubernetes' schemas, and run as a kubelet would.

use super::{
    deploy,
    kubernetes::{Container, documents, helm, judge, kustomize, of_kind, rendered, served},
    machine::text,
    pod::{Image, Pod},
};
use serde_json::{Value, json};
use sidle_test_support::{sidle, wait};
use std::{io::Write, process::Stdio};

const CAPTURED: &str = r#"
containers: [{ name: orders, image: "orders:1" }]
service: { ports: [{ name: http, port: 80, targetPort: 8080 }] }
"#;

/// Nothing but the right to write the rules.
fn assert_may_capture_alone(container: &Container) {
    let wanted = json!({
        "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    assert_eq!(container.spec["securityContext"], wanted);
}

/// `orders` and `web` of the manifests, each in a Pod of its own: `web` calls `orders` by its name, without knowing of a proxy.
fn assert_carried(documents: &[Value]) {
    let (Some(orders), Some(web)) = (Pod::new(), Pod::new()) else { return };
    let address = orders.join(&web);
    let image = Image::new(&format!("{address} orders.shop.svc.cluster.local\n"));
    let _application = orders.application();
    let mut sidecars = Vec::new();
    for (pod, name) in [(&orders, "orders"), (&web, "web")] {
        let deployment = of_kind(documents, "Deployment", name);
        let first = &deployment["spec"]["template"]["spec"]["initContainers"][0];
        assert_eq!(first["name"], "sidle-intercept", "something runs before traffic is captured");
        let intercept = Container::named(deployment, "sidle-intercept");
        assert_may_capture_alone(&intercept);
        pod.intercept(&intercept.arguments);
        let container = Container::of(deployment);
        container.assert_has_no_rights();
        assert_eq!(container.spec["restartPolicy"], "Always");
        container.configure(&image, documents);
        let mesh = of_kind(documents, "ConfigMap", "sidle-config")["data"]["mesh.yaml"].as_str().unwrap();
        served(&image, "/etc/sidle/mesh.yaml", mesh, "8080");
        sidecars.push(container.start(pod, &image));
    }
    let curl = "curl --silent --show-error --fail --max-time 5";
    // An address that nobody has: what leaves `web` is its sidecar's, which goes by the name.
    let ask = format!("{curl} --resolve orders.shop:80:10.99.0.9 http://orders.shop/README.md");
    wait::until("an answer", || web.run(&ask).status.success().then_some(()));
    // The application listens on loopback alone: it was reached through its sidecar.
    assert!(web.ok(&format!("{curl} http://{address}:8080/README.md")).contains("Sidle in operation"));
}

#[test]
fn the_overlay_captures_for_its_sidecars() {
    let Some(documents) = kustomize("kubernetes/captured") else { return };
    judge(&documents);
    assert_eq!(of_kind(&documents, "Service", "orders")["spec"]["ports"][0]["targetPort"], 8080);
    assert_carried(&documents);
}

#[test]
fn the_chart_captures_if_it_is_told_to() {
    let Some(off) = rendered(CAPTURED) else { return };
    let names = |documents: &[Value]| -> Vec<String> {
        let pod = &of_kind(documents, "Deployment", "shop")["spec"]["template"]["spec"];
        let containers = pod["initContainers"].as_array().unwrap().iter();
        containers.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&off), ["sidle"]);
    let on = rendered(&format!("{CAPTURED}intercept: {{ enabled: true }}")).unwrap();
    judge(&on);
    assert_eq!(names(&on), ["sidle-intercept", "sidle"]);
    let deployment = of_kind(&on, "Deployment", "shop");
    let container = Container::named(deployment, "sidle-intercept");
    assert_may_capture_alone(&container);
    Container::of(deployment).assert_has_no_rights();
    assert_eq!(container.arguments[2..], ["--mode=REDIRECT", "--inbound-ports=*", "--outbound-ranges=*"]);

    let all = "intercept: { enabled: true, image: { repository: r/i, tag: '9' }, mode: TPROXY, dns: true, inboundPorts: '8080', excludeInboundPorts: '22,9000', \
               outboundRanges: '10.0.0.0/8,fd00::/8', excludeOutboundRanges: 10.1.2.3, outboundPorts: '443', excludeOutboundPorts: '5432', resources: {} }";
    let all = rendered(&format!("{CAPTURED}{all}")).unwrap();
    judge(&all);
    let deployment = of_kind(&all, "Deployment", "shop");
    let container = Container::named(deployment, "sidle-intercept");
    assert_eq!(container.spec["image"], "r/i:9");
    // The program takes them.
    let mut print = sidle::command();
    let output = print.args(["intercept", "print"]).args(&container.arguments[2..]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    for part in [
        "tproxy to :15006",
        "tcp dport { 8080 }",
        "22, 9000",
        "10.0.0.0/8",
        "fd00::/8",
        "10.1.2.3/32",
        "{ 443 }",
        "{ 5432 }",
    ] {
        assert!(text(&output).contains(part), "{part} is not in\n{}", text(&output));
    }
    assert!(container.arguments.contains(&"--redirect-dns".to_owned()));
    let security = &Container::of(deployment).spec["securityContext"];
    assert_eq!((&security["runAsUser"], &security["runAsGroup"]), (&json!(0), &json!(1337)));
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"], "add": ["NET_ADMIN"] }));
    let own = of_kind(&all, "ConfigMap", "shop")["data"]["00-chart.yaml"].as_str().unwrap();
    assert!(own.contains("interceptionMode: TPROXY") && own.contains("dns: {}"), "{own}");
    let mut check = sidle::command();
    check.args(["check", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(own.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(text(&output).contains(" 0 errors"), "{}", text(&output));

    for (values, place) in [
        ("intercept: { mode: NONE }", "mode"),
        ("intercept: { inboundPorts: http }", "inboundPorts"),
        ("intercept: { outboundRanges: 'a b' }", "outboundRanges"),
        ("intercept: { ports: '1' }", "ports"),
        ("containers: [{ name: sidle-intercept, image: a }]", "containers"),
        ("containers: [{ name: a, image: a }]\nintercept: { enabled: true }", "targetPort"),
    ] {
        let output = helm(values).unwrap();
        assert!(!output.status.success(), "{values} is taken");
        assert!(text(&output).contains(place), "{values}: {}", text(&output));
    }
}

/// The example's services as their developers wrote them, and every other kind of workload.
#[test]
fn what_inject_makes_is_taken_and_runs() {
    let output = sidle::command()
        .args(["inject", "-f"])
        .args([deploy("kubernetes/example/orders.yaml"), deploy("kubernetes/example/web.yaml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "deployment/orders: has its sidecar\ndeployment/web: has its sidecar\n");
    let mut all = documents(&String::from_utf8_lossy(&output.stdout));
    judge(&all);
    let mesh = std::fs::read_to_string(deploy("kubernetes/example/mesh/mesh.yaml")).unwrap();
    all.push(
        json!({ "kind": "ConfigMap", "metadata": { "name": "sidle-config" }, "data": { "mesh.yaml": mesh } }),
    );
    assert_carried(&all);
}

const KINDS: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations:
    sidecar.istio.io/interceptionMode: TPROXY
    sidecar.istio.io/proxyCPULimit: "1"
    traffic.sidecar.istio.io/excludeOutboundPorts: "5432"
spec: &pod
  containers: [{ name: a, image: a, ports: [{ containerPort: 80 }], resources: {} }]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: b }
spec:
  selector: &selector { matchLabels: { app: b } }
  serviceName: b
  template: { metadata: { labels: { app: b } }, spec: { containers: [{ name: b, image: b }], securityContext: { fsGroup: 1 } } }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: c }
spec:
  selector: { matchLabels: { app: c } }
  template: { metadata: { labels: { app: c }, annotations: { config.linkerd.io/skip-outbound-ports: '25,4000-4002' } }, spec: { containers: [{ name: c, image: c }] } }
---
apiVersion: v1
kind: List
items:
  - apiVersion: batch/v1
    kind: Job
    metadata: { name: d }
    spec: { template: { spec: { restartPolicy: Never, containers: [{ name: d, image: d }], volumes: [{ name: v, emptyDir: {} }] } } }
  - apiVersion: batch/v1
    kind: CronJob
    metadata: { name: e }
    spec: { schedule: "0 0 * * *", jobTemplate: { spec: { template: { spec: { restartPolicy: Never, containers: [{ name: e, image: e }] } } } } }
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: { name: f }
spec:
  selector: { matchLabels: { app: f } }
  template: { metadata: { labels: { app: f } }, spec: { hostNetwork: true, containers: [{ name: f, image: f }] } }
"#;

#[test]
fn inject_reads_a_pipe_writes_a_file_and_may_come_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (once, twice) = (folder.path().join("once.yaml"), folder.path().join("twice.yaml"));
    let mut command = sidle::command();
    command.args(["inject", "--identity-secret", "id", "-f", "-", "-o"]).arg(&once);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(KINDS.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("replicaset/f: left alone, since it uses the network of its node"), "{said}");
    assert_eq!(said.matches("has its sidecar").count(), 5, "{said}");

    let mut again = sidle::command();
    again.args(["inject", "--identity-secret", "id", "-f"]).arg(&once).arg("-o").arg(&twice);
    assert!(again.output().unwrap().status.success());
    let [first, second] = [&once, &twice].map(|path| std::fs::read_to_string(path).unwrap());
    assert_eq!(first, second);
    let flat = documents(&first).into_iter().flat_map(|one| match one["kind"].as_str() {
        Some("List") => one["items"].as_array().unwrap().clone(),
        _ => vec![one],
    });
    let all: Vec<_> = flat.collect();
    judge(&all);
    assert_eq!(all.len(), 6);
    // The flags of every interception container are some that the program takes.
    let pods = ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    let mut seen = 0;
    for pod in all.iter().flat_map(|one| pods.iter().filter_map(|path| one.pointer(path))) {
        let Some(intercept) = pod["initContainers"].get(0) else { continue };
        let arguments: Vec<_> =
            intercept["args"].as_array().unwrap()[2..].iter().map(|one| one.as_str().unwrap()).collect();
        let output = sidle::command().args(["intercept", "print"]).args(&arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn a_mistake_is_shown_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("web.yaml"), folder.path().join("out.yaml"));
    std::fs::write(&from, KINDS.replace("\"5432\"", "\"postgres\"")).unwrap();
    let mut command = sidle::command();
    let output = command.arg("inject").arg("-f").arg(&from).arg("-o").arg(&to).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    for part in ["web.yaml:9:", "excludeOutboundPorts", "`postgres`", "what was to be injected has 1 error"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(!to.exists());
    let missing = sidle::command().args(["inject", "-f", "/nowhere.yaml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("/nowhere.yaml"));
}
