//! Texts in, texts out.

use super::*;

fn options() -> Options {
    Options {
        image: "sidle:1".into(),
        intercept_image: "sidle-intercept:1".into(),
        intercept: true,
        config_map: "mesh".into(),
        identity_secret: None,
    }
}

fn run(content: &str, options: &Options) -> Outcome {
    inject(&[Text { name: "a.yaml".into(), content: content.into() }], options)
}

/// The text, which has no errors; injected once more it stays as it is.
#[track_caller]
fn injected(content: &str) -> String {
    let outcome = run(content, &options());
    assert!(!outcome.diagnostics.iter().any(Diagnostic::is_error), "{:#?}", outcome.diagnostics);
    assert_eq!(run(&outcome.text, &options()).text, outcome.text);
    outcome.text
}

fn deployment(annotations: &str, spec: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template:\n    metadata:\n      labels: {{version: v1, app: web}}\n      \
         annotations:\n{annotations}    spec:\n{spec}      containers: [{{name: web, image: web}}]\n"
    )
}

const INJECTED: &str = r#"# The shop.
---
# Its front.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    metadata:
      labels:
        app: web
        version: v1
    spec:
      terminationGracePeriodSeconds: 40
      initContainers:
      - name: sidle-intercept
        image: sidle-intercept:1
        args:
        - intercept
        - apply
        - --mode=REDIRECT
        resources:
          requests:
            cpu: "10m"
            memory: "16Mi"
          limits:
            memory: "64Mi"
        securityContext:
          runAsUser: 0
          runAsGroup: 0
          runAsNonRoot: false
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities:
            drop:
            - ALL
            add:
            - NET_ADMIN
          seccompProfile:
            type: RuntimeDefault
      - name: sidle
        image: sidle:1
        args:
        - run
        - --config
        - /etc/sidle
        restartPolicy: Always
        env:
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        - name: SIDLE_WORKLOAD
          value: web
        - name: SIDLE_LABELS
          value: app=web,version=v1
        ports:
        - name: inbound
          containerPort: 15006
        - name: metrics
          containerPort: 15090
        - name: health
          containerPort: 15021
        startupProbe:
          httpGet:
            path: /healthz/ready
            port: health
          periodSeconds: 1
          failureThreshold: 120
        readinessProbe:
          httpGet:
            path: /healthz/ready
            port: health
          periodSeconds: 5
          failureThreshold: 2
        resources:
          requests:
            cpu: "50m"
            memory: "64Mi"
          limits:
            memory: "256Mi"
        securityContext:
          runAsUser: 1337
          runAsGroup: 1337
          runAsNonRoot: true
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities:
            drop:
            - ALL
          seccompProfile:
            type: RuntimeDefault
        volumeMounts:
        - name: sidle-config
          mountPath: /etc/sidle
          readOnly: true
      - name: migrate
        image: web:1
      containers:
      - name: web
        image: web:1
        command:
        - sh
        - -c
        - |
          set -e
          exec web
      volumes:
      - name: sidle-config
        configMap:
          name: mesh
---
# Kept,   as it is.
apiVersion: v1
kind: Service
metadata: { name: web }
"#;

#[test]
fn a_workload_gets_its_sidecar_and_the_rest_keeps_its_bytes() {
    let text = "# The shop.\n---\n# Its front.\napiVersion: apps/v1 # lost\nkind: Deployment\nmetadata: { name: web }\nspec:\n  template:\n    metadata: { labels: { app: web, version: v1 } }\n    \
                spec:\n      initContainers: [{ name: migrate, image: 'web:1' }]\n      containers:\n        - name: web\n          image: \"web:1\"\n          command: [sh, -c, \"set -e\\nexec web\\n\"]\n\
                ---\n# Kept,   as it is.\napiVersion: v1\nkind: Service\nmetadata: { name: web }\n";
    assert_eq!(injected(text), INJECTED);
}

#[test]
fn an_upgrade_changes_the_image_alone() {
    let before = injected(&deployment("", ""));
    let newer = Options { image: "sidle:2".into(), ..options() };
    assert_eq!(
        run(&before, &newer).text,
        before
            .replace("image: \"sidle:1\"", "image: \"sidle:2\"")
            .replace("image: sidle:1\n", "image: sidle:2\n")
    );
    assert_ne!(run(&before, &newer).text, before);
    let done = Done { workload: "deployment/web".into(), left_alone: None };
    assert_eq!(run(&before, &newer).done, [done]);
}

#[test]
fn every_kind_that_has_pods() {
    let pod = "spec: {containers: [{name: a, image: a}]}";
    for (api_version, kind, spec) in [
        ("v1", "Pod", pod.to_owned()),
        ("apps/v1", "StatefulSet", format!("spec: {{template: {{{pod}}}}}")),
        ("apps/v1", "DaemonSet", format!("spec: {{template: {{{pod}}}}}")),
        ("apps/v1", "ReplicaSet", format!("spec: {{template: {{{pod}}}}}")),
        ("v1", "ReplicationController", format!("spec: {{template: {{{pod}}}}}")),
        ("batch/v1", "Job", format!("spec: {{template: {{{pod}}}}}")),
        (
            "batch/v1",
            "CronJob",
            format!("spec: {{schedule: '@daily', jobTemplate: {{spec: {{template: {{{pod}}}}}}}}}"),
        ),
    ] {
        let document =
            format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{generateName: a-}}\n{spec}\n");
        let text = injected(&document);
        assert!(text.contains("- name: sidle\n") && text.contains("value: a\n"), "{text}");
        let json = format!(
            "{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n{{\"apiVersion\": \"x/v1\", \"kind\": \"Job\"}}, {}]}}",
            serde_json::json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"},
                "spec": {"containers": [{"name": "a"}], "template": {"spec": {"containers": [{"name": "a"}]}},
                         "jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}}}})
        );
        assert!(injected(&json).contains("  - name: sidle\n"), "{json}");
    }
    // Of somebody else's.
    for other in [
        "apiVersion: jobs.example/v1\nkind: Job\nspec: {template: {}}\n",
        "a: 1\n",
        "",
        "[1, 2]\n",
        "---\n# nothing\n",
    ] {
        assert_eq!(injected(other), other);
    }
}

#[test]
fn texts_are_joined_as_documents() {
    let texts =
        ["a: 1", "b: 2\n", "---\nc: 3\n"].map(|content| Text { name: "f".into(), content: content.into() });
    assert_eq!(inject(&texts, &options()).text, "a: 1\n---\nb: 2\n---\nc: 3\n");
    let two = format!("--- # first\n{}...\n{}", deployment("", ""), "kind: Other\n");
    let text = injected(&two);
    assert!(text.starts_with("--- # first\napiVersion") && text.ends_with("---\nkind: Other\n"), "{text}");
}

/// Annotations, and lines of what comes of them.
#[test]
fn annotations_are_honoured() {
    for (annotations, wanted, absent) in [
        (
            "traffic.sidecar.istio.io/includeOutboundIPRanges: '10.0.0.0/8,fd00::/8'",
            &["--outbound-ranges=10.0.0.0/8,fd00::/8"][..],
            "",
        ),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges: ''", &["--outbound-ranges="], ""),
        (
            "traffic.sidecar.istio.io/excludeOutboundIPRanges: 10.1.0.0/16",
            &["--exclude-outbound-ranges=10.1.0.0/16"],
            "",
        ),
        ("traffic.sidecar.istio.io/includeOutboundPorts: '443'", &["--outbound-ports=443"], ""),
        (
            "traffic.sidecar.istio.io/excludeOutboundPorts: 5432,6379",
            &["--exclude-outbound-ports=5432,6379"],
            "",
        ),
        ("traffic.sidecar.istio.io/includeInboundPorts: '*'", &["\"--inbound-ports=*\""], ""),
        ("traffic.sidecar.istio.io/excludeInboundPorts: '9000'", &["--exclude-inbound-ports=9000"], ""),
        ("traffic.sidecar.istio.io/excludeInterfaces: net1", &["--exclude-interfaces=net1"], ""),
        ("sidecar.istio.io/interceptionMode: NONE", &["- name: sidle\n"], "sidle-intercept"),
        (
            "sidecar.istio.io/interceptionMode: TPROXY",
            &["--mode=TPROXY", "runAsUser: 0\n          runAsGroup: 1337"],
            "runAsUser: 1337",
        ),
        ("sidecar.istio.io/proxyImage: registry/sidle:9", &["image: registry/sidle:9\n"], "image: sidle:1"),
        ("sidecar.istio.io/proxyCPU: 200m", &["cpu: \"200m\"", "memory: \"256Mi\""], "cpu: \"50m\""),
        ("sidecar.istio.io/proxyMemoryLimit: 1Gi", &["memory: \"1Gi\"", "cpu: \"50m\""], "256Mi"),
        ("sidecar.istio.io/logLevel: warning", &["value: warn\n"], ""),
        (
            "proxy.istio.io/config: '{holdApplicationUntilProxyStarts: false, concurrency: 3}'",
            &["value: \"3\"", "readinessProbe"],
            "startupProbe",
        ),
        (
            "proxy.istio.io/config: |\n          holdApplicationUntilProxyStarts: true\n          proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}",
            &["--redirect-dns", "startupProbe"],
            "",
        ),
        (
            "config.linkerd.io/skip-inbound-ports: 25,4000-4002",
            &["--exclude-inbound-ports=25,4000,4001,4002"],
            "",
        ),
        (
            "config.linkerd.io/skip-outbound-ports: '3306'\n        traffic.sidecar.istio.io/excludeOutboundPorts: '25'",
            &["--exclude-outbound-ports=3306,25"],
            "",
        ),
        ("config.linkerd.io/skip-subnets: 10.2.0.0/16", &["--exclude-outbound-ranges=10.2.0.0/16"], ""),
        (
            "config.linkerd.io/proxy-cpu-request: 1\n        config.linkerd.io/proxy-memory-limit: 99Mi",
            &[],
            "",
        ),
        (
            "config.linkerd.io/proxy-cpu-request: '1'\n        config.linkerd.io/proxy-memory-limit: 99Mi",
            &["cpu: \"1\"", "memory: \"99Mi\""],
            "256Mi",
        ),
        (
            "config.linkerd.io/proxy-cpu-request: '1'\n        sidecar.istio.io/proxyCPU: '2'",
            &["cpu: \"2\""],
            "cpu: \"1\"",
        ),
        (
            "proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true'\n        config.linkerd.io/proxy-await: disabled",
            &["startupProbe"],
            "",
        ),
        (
            "config.linkerd.io/proxy-await: disabled\n        proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true'",
            &["startupProbe"],
            "",
        ),
        ("config.linkerd.io/proxy-await: disabled", &["readinessProbe"], "startupProbe"),
        ("linkerd.io/inject: enabled", &["- name: sidle\n"], ""),
        ("note: 'nobody''s'", &["- name: sidle\n"], ""),
    ] {
        let content = deployment(&format!("        {annotations}\n"), "");
        if wanted.is_empty() {
            assert!(
                run(&content, &options()).diagnostics[0].is_error(),
                "{annotations}: a number is no text"
            );
            continue;
        }
        let text = injected(&content);
        for line in wanted {
            assert!(text.contains(line), "{annotations}: {line} is not in\n{text}");
        }
        let (_, containers) = text.split_once("initContainers:").unwrap();
        assert!(absent.is_empty() || !containers.contains(absent), "{annotations}: {absent} is in\n{text}");
    }
}

#[test]
fn what_is_not_applied_is_said() {
    for annotation in [
        "sidecar.istio.io/rewriteAppHTTPProbers: 'true'",
        "sidecar.istio.io/userVolume: '[]'",
        "config.linkerd.io/opaque-ports: '25'",
        "proxy.istio.io/config: 'tracing: {}'",
        "proxy.istio.io/config: 'proxyMetadata: {X: y}'",
        "sidecar.istio.io/nativeSidecar: 'false'",
    ] {
        let outcome = run(&deployment(&format!("        {annotation}\n"), ""), &options());
        let [said] = &outcome.diagnostics[..] else { panic!("{annotation}: {:?}", outcome.diagnostics) };
        assert_eq!((said.severity, said.span.unwrap().line), (Severity::Warning, 9), "{said}");
        assert_eq!(outcome.done[0].left_alone, None);
    }
    for lines in [
        "      securityContext: {runAsUser: 1337}\n",
        "      securityContext: {runAsGroup: 1337}\n",
        "      initContainers: [{name: migrate, securityContext: {runAsUser: 1337}}]\n",
    ] {
        let outcome = run(&deployment("", lines), &options());
        let [said] = &outcome.diagnostics[..] else { panic!("{lines}: {:?}", outcome.diagnostics) };
        assert!(said.message.contains("captured by nobody"), "{said}");
    }
}

#[test]
fn some_are_left_alone() {
    let label = deployment("        sidecar.istio.io/inject: 'true'\n", "")
        .replace("app: web", "sidecar.istio.io/inject: 'false'");
    let taken = deployment("        sidecar.istio.io/inject: 'false'\n", "")
        .replace("app: web", "sidecar.istio.io/inject: 'true'");
    assert_eq!(run(&taken, &options()).done[0].left_alone, None, "the label goes first");
    for both in [
        "        linkerd.io/inject: disabled\n        sidecar.istio.io/inject: 'true'\n",
        "        sidecar.istio.io/inject: 'true'\n        linkerd.io/inject: disabled\n",
    ] {
        assert_eq!(run(&deployment(both, ""), &options()).done[0].left_alone, None, "Istio's goes first");
    }
    for (content, why) in [
        (deployment("        sidecar.istio.io/inject: 'false'\n", ""), "`sidecar.istio.io/inject` says so"),
        (deployment("        linkerd.io/inject: disabled\n", ""), "`linkerd.io/inject` says so"),
        (label, "`sidecar.istio.io/inject` says so"),
        (deployment("", "      hostNetwork: true\n"), "`hostNetwork`"),
        (deployment("", "      initContainers: [{name: istio-proxy}]\n"), "Istio's sidecar"),
        (deployment("", "").replace("name: web, image", "name: linkerd-proxy, image"), "Linkerd's sidecar"),
        (
            deployment("", "").replace("name: web, image", "name: sidle, image"),
            "ordinary container named `sidle`",
        ),
        (
            deployment("", "      volumes: [{name: sidle-config, emptyDir: {}}]\n"),
            "volume of its own named `sidle-config`",
        ),
        (
            deployment("", "      volumes: [{name: sidle-identity, emptyDir: {}}]\n"),
            "volume of its own named `sidle-identity`",
        ),
    ] {
        let outcome = run(&content, &options());
        assert_eq!(outcome.text, content);
        let said = outcome.done[0].left_alone.as_deref().unwrap_or_default();
        assert!(said.contains(why), "{said}");
        assert!(outcome.diagnostics.is_empty(), "{:?}", outcome.diagnostics);
    }
}

#[test]
fn mistakes_have_a_place() {
    let annotated = |annotation: &str| deployment(&format!("        {annotation}\n"), "");
    for (content, line, part) in [
        (annotated("sidecar.istio.io/inject: false"), 9, "put it into quotes"),
        (annotated("sidecar.istio.io/inject: maybe"), 9, "neither true nor false"),
        (annotated("linkerd.io/inject: maybe"), 9, "none of enabled"),
        (annotated("sidecar.istio.io/interceptionMode: tproxy"), 9, "none of REDIRECT"),
        (annotated("sidecar.istio.io/proxyCPU: lots"), 9, "no amount"),
        (annotated("sidecar.istio.io/proxyMemory: 1 Gi"), 9, "no amount"),
        (annotated("sidecar.istio.io/logLevel: loud"), 9, "none of trace"),
        (annotated("traffic.sidecar.istio.io/excludeInboundPorts: '*'"), 9, "no meaning"),
        (annotated("traffic.sidecar.istio.io/excludeInboundPorts: http"), 9, "`http`: expected a port"),
        (
            annotated("traffic.sidecar.istio.io/includeInboundPorts: '80,70000'"),
            9,
            "`70000`: expected a port",
        ),
        (
            annotated("traffic.sidecar.istio.io/includeOutboundIPRanges: 10.0.0.0/33"),
            9,
            "`10.0.0.0/33`: expected an address or a range",
        ),
        (annotated("config.linkerd.io/skip-inbound-ports: 80-http"), 9, "`80-http`: expected a port"),
        (annotated("config.linkerd.io/skip-inbound-ports: 1-65535"), 9, "1000 ports"),
        (annotated("config.linkerd.io/skip-inbound-ports: 5-4"), 9, "1000 ports"),
        (annotated("proxy.istio.io/config: '{'"), 9, "proxy.istio.io/config"),
        (annotated("proxy.istio.io/config: 'concurrency: many'"), 9, "`many` is no number of threads"),
        (deployment("", "").replace("version: v1", "version: 1"), 7, "put it into quotes"),
        (deployment("", "").replace("containers:", "container:"), 10, "lacks `containers`"),
        (deployment("", "      initContainers: {}\n"), 10, "no list"),
        (deployment("", "").replace("  template:", "  tempate:"), 1, "lacks `spec.template`"),
        ("a: 1\n---\n a: [\n".into(), 4, ""),
        ("a: 1\na: 2\n".into(), 2, "second time"),
    ] {
        let outcome = run(&content, &options());
        let error = outcome.diagnostics.iter().find(|one| one.is_error());
        let error = error.unwrap_or_else(|| panic!("no error in\n{content}"));
        assert_eq!(&*error.file, "a.yaml");
        assert_eq!(error.span.map(|span| span.line), Some(line), "{error}\n{content}");
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn an_identity_is_mounted_for_the_group() {
    let options = Options { identity_secret: Some("web-tls".into()), intercept: false, ..options() };
    let text = run(&deployment("", ""), &options).text;
    for part in
        ["secretName: web-tls", "fsGroup: 1337", "mountPath: /var/run/sidle/identity", "defaultMode: 288"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("sidle-intercept"));
    assert_eq!(run(&text, &options).text, text);
}
