//! The two containers: the sidecar, and the one that captures traffic for it.

use super::{
    Options,
    annotations::{Resource, Settings},
    pod::{CONFIG, IDENTITY},
    value::{Data, Value, list, map},
};
use crate::intercept::Mode;

/// The sidecar's name.
pub const SIDECAR: &str = "sidle";
/// The name of the container that writes the kernel's rules.
pub const INTERCEPT: &str = "sidle-intercept";
/// The proxy's account.
pub const ACCOUNT: u32 = 1337;

/// The proxy: ready before the application starts, and ended after it.
pub fn sidecar(workload: &str, labels: &str, settings: &Settings, options: &Options) -> Value {
    let field = |path: &str| map([("fieldRef", map([("fieldPath", path.into())]))]);
    let variable = |name: &str, value: &str| map([("name", name.into()), ("value", value.into())]);
    let mut environment = vec![
        map([("name", "POD_NAMESPACE".into()), ("valueFrom", field("metadata.namespace"))]),
        variable("SIDLE_WORKLOAD", workload),
        variable("SIDLE_LABELS", labels),
    ];
    environment.extend(settings.workers.map(|workers| variable("SIDLE_WORKERS", &workers.to_string())));
    environment.extend(settings.log.as_deref().map(|level| variable("SIDLE_LOG", level)));
    let port = |name: &str, port: u32| map([("name", name.into()), ("containerPort", port.into())]);
    let probe = |period: u32, failures: u32| {
        let get = map([("path", "/healthz/ready".into()), ("port", "health".into())]);
        map([("httpGet", get), ("periodSeconds", period.into()), ("failureThreshold", failures.into())])
    };
    let mount = |name: &str, path: &str| {
        map([("name", name.into()), ("mountPath", path.into()), ("readOnly", true.into())])
    };
    let mut mounts = vec![mount(CONFIG, "/etc/sidle")];
    mounts.extend(options.identity_secret.as_ref().map(|_| mount(IDENTITY, "/var/run/sidle/identity")));
    let mut entries = vec![
        ("name", SIDECAR.into()),
        ("image", settings.image.as_str().into()),
        ("args", list(["run", "--config", "/etc/sidle"])),
        ("restartPolicy", "Always".into()),
        ("env", list(environment)),
        ("ports", list([port("inbound", 15006), port("metrics", 15090), port("health", 15021)])),
    ];
    if settings.hold {
        entries.push(("startupProbe", probe(1, 120)));
    }
    entries.push(("readinessProbe", probe(5, 2)));
    entries.push(("resources", resources(&settings.cpu, &settings.memory)));
    // To take its client's address a proxy needs a right that only root can be given.
    let rights = (settings.mode == Some(Mode::Tproxy)).then_some("NET_ADMIN");
    entries.push(("securityContext", security(rights.map_or(ACCOUNT, |_| 0), ACCOUNT, rights)));
    entries.push(("volumeMounts", list(mounts)));
    object(entries)
}

/// Writes the rules before anything else of the Pod runs; none if nothing is captured.
pub fn intercept(settings: &Settings) -> Option<Value> {
    let mode = settings.mode?;
    let mut args = vec!["intercept".to_owned(), "apply".into()];
    args.push(format!("--mode={}", if mode == Mode::Tproxy { "TPROXY" } else { "REDIRECT" }));
    args.extend(settings.capture.iter().map(|(flag, value)| format!("--{flag}={value}")));
    if settings.dns {
        args.push("--redirect-dns".into());
    }
    let cpu = Resource { request: Some("10m".into()), limit: None };
    let memory = Resource { request: Some("16Mi".into()), limit: Some("64Mi".into()) };
    Some(object(vec![
        ("name", INTERCEPT.into()),
        ("image", settings.intercept_image.as_str().into()),
        ("args", list(args)),
        ("resources", resources(&cpu, &memory)),
        ("securityContext", security(0, 0, Some("NET_ADMIN"))),
    ]))
}

fn resources(cpu: &Resource, memory: &Resource) -> Value {
    let side = |of: fn(&Resource) -> &Option<String>| {
        let given =
            [("cpu", cpu), ("memory", memory)].map(|(name, resource)| Some((name, of(resource).clone()?)));
        object(given.into_iter().flatten().map(|(name, value)| (name, value.into())).collect())
    };
    let sides =
        [("requests", side(|resource| &resource.request)), ("limits", side(|resource| &resource.limit))];
    object(sides.into_iter().filter(|(_, side)| !side.entries().is_empty()).collect())
}

fn security(user: u32, group: u32, right: Option<&str>) -> Value {
    let mut capabilities = vec![("drop", list(["ALL"]))];
    capabilities.extend(right.map(|right| ("add", list([right]))));
    map([
        ("runAsUser", user.into()),
        ("runAsGroup", group.into()),
        ("runAsNonRoot", (user != 0).into()),
        ("readOnlyRootFilesystem", true.into()),
        ("allowPrivilegeEscalation", false.into()),
        ("capabilities", object(capabilities)),
        ("seccompProfile", map([("type", "RuntimeDefault".into())])),
    ])
}

fn object(entries: Vec<(&str, Value)>) -> Value {
    Data::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()).into()
}
