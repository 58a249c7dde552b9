//! A Pod with a sidecar: what is put into its specification, and which Pods are left alone.

use super::{
    Options, Report,
    annotations::Settings,
    containers::{self, ACCOUNT, INTERCEPT, SIDECAR},
    value::{Data, Value, list, map},
};
use sidle_model::diagnostic::codes;

/// The volumes of the sidecar.
pub const CONFIG: &str = "sidle-config";
pub const IDENTITY: &str = "sidle-identity";
/// More than `drain.deadline` of the proxy.
const GRACE: u32 = 40;
/// The containers of others who would do the same.
const RIVALS: [(&str, &str); 2] = [("istio-proxy", "Istio's"), ("linkerd-proxy", "Linkerd's")];

/// Whose Pod it is.
pub struct Workload<'a> {
    pub kind: &'a str,
    pub name: &'a str,
}

/// Puts the sidecar in, or says why not. After an error that was reported the Pod may be changed in part.
pub fn inject(
    pod: &mut Value,
    workload: &Workload<'_>,
    settings: &Settings,
    options: &Options,
    report: &mut Report,
) -> Option<String> {
    let title = || format!("the {} `{}`", workload.kind, workload.name);
    let at = pod.at;
    if let Some(why) = pod.get("spec").and_then(reason_against) {
        return Some(why);
    }
    let labels = labels(pod, report);
    let Some(spec) = pod.at_path(&["spec"]) else {
        report.error(codes::MISSING_FIELD, at, format!("the Pod of {} lacks `spec`", title()));
        return Some("it has no Pod".into());
    };
    match spec.get("containers") {
        Some(containers) if !containers.items().is_empty() => {}
        found => {
            let at = found.map_or(spec.at, |found| found.at);
            report.error(codes::MISSING_FIELD, at, format!("the Pod of {} lacks `containers`", title()));
            return Some("it has no containers".into());
        }
    }
    accounts(spec, report);
    let mut own = Vec::new();
    own.extend(containers::intercept(settings));
    own.push(containers::sidecar(workload.name, &labels, settings, options));
    let mut volumes = vec![map([
        ("name", CONFIG.into()),
        ("configMap", map([("name", options.config_map.as_str().into())])),
    ])];
    if let Some(secret) = &options.identity_secret {
        // 0440: the proxy reads it by the Pod's group.
        let secret = map([("secretName", secret.as_str().into()), ("defaultMode", 0o440.into())]);
        volumes.push(map([("name", IDENTITY.into()), ("secret", secret)]));
        let context = spec.entry("securityContext", "initContainers", map([]));
        context.and_then(|context| context.entry("fsGroup", "", ACCOUNT.into()));
    }
    spec.entry("terminationGracePeriodSeconds", "initContainers", GRACE.into());
    for (key, before, names, own) in [
        ("initContainers", "containers", [INTERCEPT, SIDECAR], own),
        ("volumes", "", [CONFIG, IDENTITY], volumes),
    ] {
        let Some(Value { data: Data::List(items), .. }) = spec.entry(key, before, list::<Value>([])) else {
            let at = spec.get(key).and_then(|value| value.at);
            report.error(codes::WRONG_TYPE, at, format!("`{key}` of {} is no list", title()));
            return Some(format!("its `{key}` cannot be read"));
        };
        // Of an earlier run, where they stood; new ones of containers before all others.
        let is_own = |item: &Value| name(item).is_some_and(|name| names.contains(&name));
        let place = items.iter().position(is_own);
        items.retain(|item| !is_own(item));
        let place = if before.is_empty() { place.unwrap_or(items.len()) } else { 0 };
        items.splice(place..place, own);
    }
    None
}

fn name(container: &Value) -> Option<&str> {
    container.get("name").and_then(Value::text)
}

fn reason_against(spec: &Value) -> Option<String> {
    if spec.get("hostNetwork").and_then(Value::scalar).is_some_and(is_yes) {
        return Some("it uses the network of its node (`hostNetwork`)".into());
    }
    let of = |key| spec.get(key).map(Value::items).unwrap_or_default();
    for container in of("initContainers").iter().chain(of("containers")) {
        if let Some((_, whose)) = RIVALS.iter().find(|(rival, _)| name(container) == Some(rival)) {
            return Some(format!("it has {whose} sidecar already"));
        }
    }
    // Those of an earlier run stand beside its containers.
    let ours = of("initContainers").iter().filter_map(name).any(is_own);
    let volume = of("volumes").iter().filter_map(name).find(|name| [CONFIG, IDENTITY].contains(name));
    if let Some(volume) = volume.filter(|_| !ours) {
        return Some(format!("it has a volume of its own named `{volume}`"));
    }
    let own = of("containers").iter().filter_map(name).find(|name| is_own(name));
    own.map(|name| format!("it has an ordinary container named `{name}` already"))
}

/// As Kubernetes reads it, by YAML 1.1.
fn is_yes(text: &str) -> bool {
    ["true", "yes", "on", "y"].contains(&text.to_ascii_lowercase().as_str())
}

/// What runs under the proxy's account, by its user or by its group, passes it by.
fn accounts(spec: &Value, report: &mut Report) {
    let of = |key| spec.get(key).map(Value::items).unwrap_or_default();
    let others = of("initContainers").iter().filter(|one| !name(one).is_some_and(is_own));
    for owner in others.chain(of("containers")).chain([spec]) {
        let Some(context) = owner.get("securityContext") else { continue };
        for key in ["runAsUser", "runAsGroup"] {
            let Some(account) = context.get(key) else { continue };
            if account.scalar() == Some(&ACCOUNT.to_string()) {
                let message = format!(
                    "what runs with `{key}: {ACCOUNT}`, which is the proxy's account, is captured by nobody"
                );
                report.warning(codes::NOT_APPLIED, account.at, message);
            }
        }
    }
}

/// Whether a container of this name is ours.
fn is_own(name: &str) -> bool {
    [INTERCEPT, SIDECAR].contains(&name)
}

/// The Pod's labels as the proxy takes them: it knows itself by them.
fn labels(pod: &Value, report: &mut Report) -> String {
    let labels = pod.get("metadata").and_then(|metadata| metadata.get("labels"));
    let mut pairs = Vec::new();
    for (key, value) in labels.map(Value::entries).unwrap_or_default() {
        match value.text() {
            Some(text) => pairs.push(format!("{key}={text}")),
            None => report.error(
                codes::WRONG_TYPE,
                value.at,
                format!("the label `{key}` is no text: put it into quotes"),
            ),
        }
    }
    pairs.sort();
    pairs.join(",")
}
