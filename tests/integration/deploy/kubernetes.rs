//! The chart and the manifests: rendered by Helm and kustomize, judged by Kubernetes' own schemas, and run as a kubelet would.

use super::{
    deploy,
    machine::text,
    pod::{Image, Pod, exec},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sidle_test_support::{peers, process::Process, sidle, wait};
use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Output},
};

/// The oldest that has sidecars, and the newest of which the schemas are at hand.
const VERSIONS: [&str; 2] = ["1.29", "1.37"];

/// Everything that a value can ask for.
const ALL: &str = r#"
nameOverride: orders
replicas: 2
image: { repository: registry.test/sidle, tag: "1.2.3", pullPolicy: Always }
imagePullSecrets: [{ name: key }]
containers:
  - { name: orders, image: "orders:1", ports: [{ containerPort: 8080 }] }
initContainers:
  - { name: migrate, image: "orders:1" }
volumes: [{ name: scratch, emptyDir: {} }]
podLabels: { version: v2, app: orders, app.kubernetes.io/name: ignored }
podAnnotations: { note: "1" }
config:
  mesh.yaml: |
    apiVersion: networking.istio.io/v1
    kind: Sidecar
    metadata: { name: orders }
    spec:
      workloadSelector: { labels: { app: orders, version: v2 } }
      ingress:
        - port: { number: 8080, name: http, protocol: HTTP }
          defaultEndpoint: 127.0.0.1:8080
identitySecret: orders-identity
accessLog: true
drain: { deadlineSeconds: 50, minimumSeconds: 1 }
workers: 2
env: [{ name: SIDLE_LOG, value: debug }]
resources: { limits: { memory: 128Mi } }
service:
  type: LoadBalancer
  ports:
    - { name: http, port: 80, appProtocol: http }
    - { name: tcp, port: 9000, targetPort: 9000 }
serviceAccount: { name: orders, annotations: { a: b } }
podMonitor: { enabled: true, interval: 30s, labels: { release: prometheus } }
nodeSelector: { kubernetes.io/os: linux }
tolerations: [{ operator: Exists }]
affinity: { nodeAffinity: {} }
"#;

pub fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

pub fn of_kind<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = documents.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

pub fn helm(values: &str) -> Option<Output> {
    let helm = peers::find("helm")?;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(values.as_bytes()).unwrap();
    let mut command = Command::new(helm);
    command.args(["template", "shop", "--namespace", "shop", "--values"]).arg(file.path());
    Some(command.arg(deploy("helm/sidle")).output().unwrap())
}

pub fn rendered(values: &str) -> Option<Vec<Value>> {
    let output = helm(values)?;
    assert!(output.status.success(), "{}", text(&output));
    Some(documents(&String::from_utf8_lossy(&output.stdout)))
}

/// Fails if an API server would refuse one of them, or pass over a field.
pub fn judge(documents: &[Value]) {
    let Some(python) = peers::find("python") else { return };
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    for document in documents {
        writeln!(file, "---\n{}", serde_yaml::to_string(document).unwrap()).unwrap();
    }
    for version in VERSIONS {
        let mut command = Command::new(&python);
        command.args(["-m", "kubernetes_validate", "--strict", "--kubernetes-version", version]);
        let output = command.arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{version}: {}", text(&output));
        assert_eq!(text(&output).matches(" passed for ").count(), documents.len(), "{}", text(&output));
    }
}

/// A container as a kubelet starts it.
pub struct Container {
    pub arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    pub spec: Value,
    pod: Value,
}

impl Container {
    /// The one called `sidle` of a Deployment's Pods.
    pub fn of(deployment: &Value) -> Self {
        Self::named(deployment, "sidle")
    }

    /// The one of this name.
    pub fn named(deployment: &Value, name: &str) -> Self {
        let (template, namespace) = (&deployment["spec"]["template"], &deployment["metadata"]["namespace"]);
        let pod = template["spec"].clone();
        let all =
            ["initContainers", "containers"].map(|list| pod[list].as_array().cloned().unwrap_or_default());
        let spec = all.concat().into_iter().find(|one| one["name"] == name);
        let spec = spec.unwrap_or_else(|| panic!("no container {name}"));
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        for variable in spec["env"].as_array().into_iter().flatten() {
            let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().unwrap_or_default();
            let label = field.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']"));
            let mut value = match (field, label) {
                ("metadata.namespace", _) => namespace.as_str().unwrap_or("shop").to_owned(),
                (_, Some(label)) => template["metadata"]["labels"][label].as_str().unwrap().to_owned(),
                _ => variable["value"].as_str().unwrap().to_owned(),
            };
            for (name, known) in &environment {
                value = value.replace(&format!("$({name})"), known);
            }
            environment.insert(variable["name"].as_str().unwrap().to_owned(), value);
        }
        let arguments = spec["args"].as_array().unwrap().iter();
        let arguments = arguments.map(|one| one.as_str().unwrap().to_owned()).collect();
        Container { arguments, environment, spec, pod }
    }

    /// Where the volume of this name is mounted.
    fn mount(&self, name: &str) -> &str {
        let mounts = self.spec["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        mount["mountPath"].as_str().unwrap()
    }

    fn volume(&self, name: &str) -> &Value {
        let volumes = self.pod["volumes"].as_array().unwrap();
        volumes.iter().find(|volume| volume["name"] == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Mounts the ConfigMap that it names.
    pub fn configure(&self, image: &Image, documents: &[Value]) {
        let name = self.volume("sidle-config")["configMap"]["name"].as_str().unwrap();
        let data = of_kind(documents, "ConfigMap", name)["data"].as_object().unwrap();
        for (file, content) in data {
            image.file(&format!("{}/{file}", self.mount("sidle-config")), content.as_str().unwrap());
        }
    }

    pub fn start(&self, pod: &Pod, image: &Image) -> Process {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let sidecar = pod.sidecar(image, &arguments, &self.environment);
        // Its probes, at the ports of those names.
        for probe in ["startupProbe", "readinessProbe"] {
            let Some(get) = self.spec[probe]["httpGet"].as_object() else { continue };
            let ports = self.spec["ports"].as_array().unwrap();
            let port = ports.iter().find(|port| port["name"] == get["port"]).unwrap();
            let path = get["path"].as_str().unwrap();
            pod.ok(&format!(
                "curl --silent --show-error --fail http://127.0.0.1:{}{path}",
                port["containerPort"]
            ));
        }
        sidecar
    }

    /// What Pod Security's strictest level asks for, and a disk that cannot be written.
    pub fn assert_has_no_rights(&self) {
        let wanted = json!({
            "runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        assert_eq!(self.spec["securityContext"], wanted);
    }
}

#[test]
fn kubernetes_takes_what_the_chart_renders() {
    for values in
        ["", "containers: [{ name: a, image: a }]", "existingConfigMap: mine", "service: { enabled: false }"]
    {
        let Some(documents) = rendered(values) else { return };
        judge(&documents);
        Container::of(of_kind(&documents, "Deployment", "shop")).assert_has_no_rights();
    }
    let mut lint = Command::new(peers::find("helm").unwrap());
    let output = lint.args(["lint", "--strict", "--quiet"]).arg(deploy("helm/sidle")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let all = rendered(ALL).unwrap();
    // Of a kind that is not Kubernetes' own.
    let (monitors, own): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one["kind"] == "PodMonitor");
    judge(&own);
    let deployment = of_kind(&own, "Deployment", "orders");
    let pod = &deployment["spec"]["template"]["spec"];
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    // The proxy is up before anything else of the Pod runs, and stays.
    assert_eq!(names(&pod["initContainers"]), ["sidle", "migrate"]);
    assert_eq!(names(&pod["containers"]), ["orders"]);
    assert_eq!(pod["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(pod["terminationGracePeriodSeconds"], 60);
    assert_eq!(pod["initContainers"][0]["image"], "registry.test/sidle:1.2.3");
    let container = Container::of(deployment);
    container.assert_has_no_rights();
    for (label, value) in deployment["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(
            deployment["spec"]["template"]["metadata"]["labels"][label], *value,
            "nothing selects its Pods"
        );
    }
    let labels = "app=orders,app.kubernetes.io/instance=shop,app.kubernetes.io/name=orders,version=v2";
    assert_eq!(container.environment["SIDLE_LABELS"], labels);
    assert_eq!(container.environment["SIDLE_WORKERS"], "2");
    assert_eq!(of_kind(&own, "Service", "orders")["spec"]["ports"][0]["targetPort"], 15006);
    let endpoint = &monitors[0]["spec"]["podMetricsEndpoints"][0];
    let wanted = json!({
        "port": "metrics", "path": "/stats/prometheus", "interval": "30s",
        "relabelings": [{ "targetLabel": "job", "replacement": "sidle" }],
    });
    assert_eq!(*endpoint, wanted);
    assert_eq!(monitors[0]["spec"]["selector"]["matchLabels"], deployment["spec"]["selector"]["matchLabels"]);
    assert_eq!(monitors[0]["metadata"]["labels"]["release"], "prometheus");
}

#[test]
fn wrong_values_are_refused() {
    for (values, place) in [
        ("replica: 1", "replica"),
        ("replicas: many", "replicas"),
        ("image: { pullPolicy: Sometimes }", "pullPolicy"),
        ("containers: [{ name: a }]", "containers"),
        ("containers: [{ name: sidle, image: a }]", "containers"),
        ("drain: { deadlineSeconds: 0 }", "deadlineSeconds"),
        ("drain: { deadline: 30s }", "drain"),
        ("service: { ports: [{ name: http, port: 70000 }] }", "port"),
        ("service: { ports: [] }", "ports"),
        ("config: { mesh.txt: '' }", "mesh.txt"),
        ("config: { 00-chart.yaml: '' }", "00-chart.yaml"),
        ("config: { mesh.yaml: { kind: Gateway } }", "config"),
        ("podLabels: { app: 'not a label' }", "podLabels"),
        ("podMonitor: { interval: 15 }", "interval"),
        ("workers: -1", "workers"),
    ] {
        let Some(output) = helm(values) else { return };
        assert!(!output.status.success(), "{values} is taken");
        let said = text(&output);
        assert!(
            said.contains("values don't meet the specifications") && said.contains(place),
            "{values}: {said}"
        );
    }
}

/// The chart's sidecar with an identity, as its values say, on the image's files.
#[test]
fn the_sidecar_of_the_chart_runs() {
    let (Some(documents), Some(pod)) = (rendered(ALL), Pod::new()) else { return };
    let container = Container::of(of_kind(&documents, "Deployment", "orders"));
    let (image, certificates) = (Image::new(""), tempfile::tempdir().unwrap());
    let mut init = sidle::command();
    init.args(["certs", "init", "--service", "orders", "--out"]).arg(certificates.path());
    assert!(init.output().unwrap().status.success());
    image.secret(&certificates.path().join("orders"), container.mount("sidle-identity"));
    assert_eq!(container.volume("sidle-identity")["secret"]["secretName"], "orders-identity");
    assert_eq!(container.pod["securityContext"]["fsGroup"], 1337);
    container.configure(&image, &documents);
    let _application = pod.application();
    let mut sidecar = container.start(&pod, &image);

    let ask = "curl --silent --show-error --fail --header 'host: orders' http://127.0.0.1:15006/README.md";
    wait::until("the application", || pod.run(ask).status.success().then_some(()));
    // What the notes say; the files hold a proxy and one manifest.
    let config = exec(&sidecar, &["/usr/bin/sidle", "config"]);
    assert!(config.status.success(), "{}", text(&config));
    let certificates = pod.ok("curl --silent --fail http://127.0.0.1:15000/certs");
    assert!(certificates.contains("spiffe://cluster.local/ns/default/sa/orders"), "{certificates}");
    let metrics = pod.ok("curl --silent --fail http://127.0.0.1:15090/stats/prometheus");
    for line in ["sidle_workers 2", "destination_workload=\"orders\"", "destination_version=\"v2\""] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    wait::until("the access log", || sidecar.output().contains("GET /README.md").then_some(()));
    sidecar.signal("TERM");
    assert!(sidecar.wait().success());
}

pub fn kustomize(folder: &str) -> Option<Vec<Value>> {
    let kubectl = peers::find("kubectl")?;
    let output = Command::new(kubectl).arg("kustomize").arg(deploy(folder)).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    Some(documents(&String::from_utf8_lossy(&output.stdout)))
}

/// What a Service does: its port leads to that of its Pods.
pub fn served(image: &Image, path: &str, manifests: &str, port: &str) {
    let [from, to] = ["number: 80, name: http", &format!("number: 80, targetPort: {port}, name: http")];
    assert!(manifests.contains(from), "{manifests}");
    image.file(path, &manifests.replace(from, to));
}

#[test]
fn the_overlay_puts_a_sidecar_beside_each_service() {
    let (Some(documents), Some(orders), Some(web)) =
        (kustomize("kubernetes/example"), Pod::new(), Pod::new())
    else {
        return;
    };
    judge(&documents);
    let service = of_kind(&documents, "Service", "orders");
    let address = orders.join(&web);
    let image = Image::new(&format!("{address} orders.shop.svc.cluster.local\n"));
    let _application = orders.application();
    let mut sidecars = Vec::new();
    for (pod, name) in [(&orders, "orders"), (&web, "web")] {
        let container = Container::of(of_kind(&documents, "Deployment", name));
        container.assert_has_no_rights();
        assert_eq!(container.pod["initContainers"][0]["restartPolicy"], "Always");
        assert_eq!(container.environment["SIDLE_LABELS"], format!("app={name}"));
        container.configure(&image, &documents);
        let mesh = of_kind(&documents, "ConfigMap", "sidle-config")["data"]["mesh.yaml"].as_str().unwrap();
        let port = service["spec"]["ports"][0]["targetPort"].to_string();
        served(&image, "/etc/sidle/mesh.yaml", mesh, &port);
        sidecars.push(container.start(pod, &image));
    }
    let ask = "curl --silent --show-error --fail --proxy http://127.0.0.1:15001 http://orders.shop/README.md";
    wait::until("an answer", || web.run(ask).status.success().then_some(()));

    // The gateway, in the place of `web`.
    sidecars.pop();
    let manifests = std::fs::read_to_string(deploy("kubernetes/gateway.yaml")).unwrap();
    let manifests = self::documents(&manifests);
    judge(&manifests);
    let container = Container::of(of_kind(&manifests, "Deployment", "sidle-gateway"));
    container.assert_has_no_rights();
    let image = Image::new(&format!("{address} orders.shop.svc.cluster.local\n"));
    container.configure(&image, &manifests);
    let edge = of_kind(&manifests, "ConfigMap", "sidle-gateway")["data"]["gateway.yaml"].as_str().unwrap();
    let (path, port) = ("/etc/sidle/gateway.yaml", service["spec"]["ports"][0]["targetPort"].to_string());
    served(&image, path, edge, &port);
    let _gateway = container.start(&web, &image);
    let ask = "curl --silent --show-error --fail http://127.0.0.1:8080/README.md";
    wait::until("an answer at the edge", || web.run(ask).status.success().then_some(()));
}
