//! Every kind that may stand in a file, and what is done with it.

use crate::{
    config::{Config, Metadata, Resource},
    yaml::{
        Document, NodeId,
        serde::from_node,
        shape::{ObjectShape, Shape},
    },
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

/// What is done with a kind.
pub(super) enum Handling {
    /// It is read.
    Read(&'static Reader),
    /// It changes what a proxy does, and is not applied.
    NotApplied,
    /// A proxy has no use for it.
    Ignored,
    /// Its group is known and has no such kind or version; what was probably meant.
    Unknown(Option<String>),
}

/// How a kind is read.
pub(super) struct Reader {
    group: &'static str,
    versions: &'static [&'static str],
    pub kind: &'static str,
    /// Whether the content stands in `spec`, or beside `metadata`.
    pub in_spec: bool,
    /// Of the whole manifest; made when the first one of the kind is read, as most kinds are in no file.
    pub shape: LazyLock<Shape>,
    pub add: Box<Add>,
}

/// Adds a resource to the configuration, or says why it cannot be read.
pub(super) type Add = dyn Fn(&mut Config, Manifest<'_>) -> Result<(), String> + Send + Sync;

/// A manifest whose kind and metadata are known.
pub(super) struct Manifest<'a> {
    pub document: &'a Arc<Document>,
    pub root: NodeId,
    /// What the type is read from; `None`: an absent `spec`.
    pub body: Option<NodeId>,
    pub metadata: Metadata,
    pub order: usize,
    pub unusable: &'a HashMap<NodeId, Option<&'a Shape>>,
    pub mistaken: Vec<NodeId>,
}

static READERS: LazyLock<Vec<Reader>> = LazyLock::new(readers);

const ISTIO: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const SECURITY_VERSIONS: &[&str] = &["v1", "v1beta1"];
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

fn readers() -> Vec<Reader> {
    let istio = (ISTIO, ISTIO_VERSIONS);
    let core = ("", &["v1"][..]);
    let mut readers = vec![
        in_spec(istio, "VirtualService", |c| &mut c.virtual_services),
        in_spec(istio, "DestinationRule", |c| &mut c.destination_rules),
        in_spec(istio, "ServiceEntry", |c| &mut c.service_entries),
        in_spec(istio, "WorkloadEntry", |c| &mut c.workload_entries),
        in_spec(istio, "WorkloadGroup", |c| &mut c.workload_groups),
        in_spec(istio, "Gateway", |c| &mut c.gateways),
        in_spec(istio, "Sidecar", |c| &mut c.sidecars),
        in_spec((SECURITY, SECURITY_VERSIONS), "RequestAuthentication", |c| &mut c.request_authentications),
        in_spec((SECURITY, SECURITY_VERSIONS), "PeerAuthentication", |c| &mut c.peer_authentications),
        in_spec((SECURITY, SECURITY_VERSIONS), "AuthorizationPolicy", |c| &mut c.authorization_policies),
        in_spec(("sidle.dev", &["v1"]), "Proxy", |c| &mut c.proxies),
        in_spec(("sidle.dev", &["v1"]), "HealthPolicy", |c| &mut c.health_policies),
        in_spec(("sidle.dev", &["v1"]), "ConcurrencyPolicy", |c| &mut c.concurrency_policies),
        in_spec(("sidle.dev", &["v1"]), "RateLimitPolicy", |c| &mut c.rate_limit_policies),
        in_spec(("sidle.dev", &["v1"]), "UpstreamPolicy", |c| &mut c.upstream_policies),
        in_spec(("sidle.dev", &["v1"]), "FaultPolicy", |c| &mut c.fault_policies),
        in_spec(core, "Service", |c| &mut c.services),
        beside_metadata(core, "Endpoints", |c| &mut c.endpoints),
        beside_metadata(core, "Pod", |c| &mut c.pods),
        beside_metadata(core, "Secret", |c| &mut c.secrets),
        beside_metadata(("discovery.k8s.io", &["v1", "v1beta1"]), "EndpointSlice", |c| {
            &mut c.endpoint_slices
        }),
    ];
    for (api, kind) in [
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
        ("batch", "CronJob"),
    ] {
        readers.push(in_spec((api, &["v1", "v1beta1", "v1beta2"]), kind, |c| &mut c.workloads));
    }
    readers
}

type List<T> = fn(&mut Config) -> &mut Vec<Resource<T>>;
type Api = (&'static str, &'static [&'static str]);

fn in_spec<T: DeserializeOwned + JsonSchema + Default + 'static>(
    (group, versions): Api,
    kind: &'static str,
    list: List<T>,
) -> Reader {
    let shape = LazyLock::new(shape_in_spec::<T> as fn() -> Shape);
    Reader { group, versions, kind, in_spec: true, shape, add: Box::new(move |c, m| add(c, m, kind, list)) }
}

fn beside_metadata<T: DeserializeOwned + JsonSchema + Default + 'static>(
    (group, versions): Api,
    kind: &'static str,
    list: List<T>,
) -> Reader {
    let shape = LazyLock::new(shape_beside_metadata::<T> as fn() -> Shape);
    Reader { group, versions, kind, in_spec: false, shape, add: Box::new(move |c, m| add(c, m, kind, list)) }
}

fn shape_in_spec<T: JsonSchema>() -> Shape {
    let spec = Shape::of::<T>();
    let open = spec.object().is_none_or(|object| object.open);
    let mut required = vec!["metadata".to_owned()];
    if !open {
        required.push("spec".to_owned());
    }
    let fields = [("spec", spec), ("status", Shape::Any)];
    envelope(fields.map(|(name, shape)| (name.to_owned(), shape)).into(), required, open)
}

fn shape_beside_metadata<T: JsonSchema>() -> Shape {
    let fields = match Shape::of::<T>() {
        Shape::Object(object) => object.fields,
        _ => BTreeMap::new(),
    };
    envelope(fields, vec!["metadata".to_owned()], true)
}

fn add<T: DeserializeOwned + Default>(
    config: &mut Config,
    manifest: Manifest<'_>,
    kind: &'static str,
    list: List<T>,
) -> Result<(), String> {
    let Manifest { document, root, body, metadata, order, unusable, mistaken } = manifest;
    let spec = match body {
        Some(body) => from_node(document, body, unusable)?,
        None => T::default(),
    };
    let body = body.unwrap_or(root);
    list(config).push(Resource {
        kind,
        metadata: metadata.into(),
        spec: spec.into(),
        order,
        document: document.clone(),
        root,
        body,
        mistaken: mistaken.into(),
    });
    Ok(())
}

/// The shape of a whole manifest.
fn envelope(mut fields: BTreeMap<String, Shape>, required: Vec<String>, open: bool) -> Shape {
    fields.insert("apiVersion".into(), Shape::Text);
    fields.insert("kind".into(), Shape::Text);
    fields.insert("metadata".into(), metadata(open));
    Shape::Object(ObjectShape { fields, required, open, ..ObjectShape::default() })
}

/// `ObjectMeta`; what a proxy does not read may be anything.
fn metadata(open: bool) -> Shape {
    let texts = || Shape::Map(Box::new(Shape::Text));
    let mut fields: BTreeMap<String, Shape> =
        [("name", Shape::Text), ("namespace", Shape::Text), ("labels", texts()), ("annotations", texts())]
            .map(|(name, shape)| (name.to_owned(), shape))
            .into();
    for unread in [
        "generateName",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "finalizers",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        fields.insert(unread.into(), Shape::Any);
    }
    let required = if open { Vec::new() } else { vec!["name".to_owned()] };
    Shape::Object(ObjectShape { fields, required, open, ..ObjectShape::default() })
}

/// What is done with `kind` of `api_version`.
pub(super) fn handling(api_version: &str, kind: &str) -> Handling {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if let Some(reader) = READERS.iter().find(|r| r.group == group && r.kind == kind) {
        return match reader.versions.contains(&version) {
            true => Handling::Read(reader),
            false => Handling::Unknown(Some(meant((reader.group, reader.versions[0], reader.kind)))),
        };
    }
    match (group, kind) {
        (ISTIO, "EnvoyFilter" | "ProxyConfig")
        | ("telemetry.istio.io", "Telemetry")
        | ("extensions.istio.io", "WasmPlugin" | "TrafficExtension") => Handling::NotApplied,
        ("gateway.networking.k8s.io" | "gateway.networking.x-k8s.io", _) => Handling::NotApplied,
        (ISTIO | SECURITY | "telemetry.istio.io" | "extensions.istio.io" | "sidle.dev", _) => {
            Handling::Unknown(meant_in(group, kind).or_else(|| meant_anywhere(kind)))
        }
        _ => elsewhere(group, kind),
    }
}

/// A kind of a group that is not Istio's: a typing error, or somebody else's.
fn elsewhere(group: &str, kind: &str) -> Handling {
    let is_known_group = known().any(|(known, ..)| known == group);
    let meant = match is_known_group {
        true => meant_in(group, kind).or_else(|| meant_anywhere(kind)),
        false => {
            crate::yaml::nearest(group, known().map(|(group, ..)| group).filter(|group| !group.is_empty()))
                .and_then(|near| meant_in(near, kind))
        }
    };
    meant.map_or(Handling::Ignored, |meant| Handling::Unknown(Some(meant)))
}

/// Kinds that are named here and have no reader.
const NAMED: [Named; 6] = [
    (ISTIO, "v1alpha3", "EnvoyFilter"),
    (ISTIO, "v1beta1", "ProxyConfig"),
    ("telemetry.istio.io", "v1", "Telemetry"),
    ("extensions.istio.io", "v1alpha1", "WasmPlugin"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
    ("gateway.networking.k8s.io", "v1", "GRPCRoute"),
];

/// Group, version and kind.
type Named = (&'static str, &'static str, &'static str);

fn known() -> impl Iterator<Item = Named> {
    READERS.iter().map(|reader| (reader.group, reader.versions[0], reader.kind)).chain(NAMED)
}

/// The kind of `group` that was most likely meant.
fn meant_in(group: &str, kind: &str) -> Option<String> {
    let kinds = || known().filter(|(known, ..)| *known == group);
    let name = crate::yaml::nearest(kind, kinds().map(|(.., kind)| kind))?;
    kinds().find(|(.., kind)| *kind == name).map(meant)
}

/// A kind that stands under the wrong group; only Istio's are looked for by a misspelt name.
fn meant_anywhere(kind: &str) -> Option<String> {
    let istio = || known().filter(|(group, ..)| group.ends_with("istio.io"));
    let near = || crate::yaml::nearest(kind, istio().map(|(.., kind)| kind));
    let same = known().find(|(.., known)| *known == kind);
    same.or_else(|| near().and_then(|name| istio().find(|(.., kind)| *kind == name))).map(meant)
}

fn meant((group, version, kind): Named) -> String {
    let slash = if group.is_empty() { "" } else { "/" };
    format!("did you mean `apiVersion: {group}{slash}{version}`, `kind: {kind}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(api_version: &str, kind: &str) -> Option<String> {
        match handling(api_version, kind) {
            Handling::Unknown(meant) => Some(meant.unwrap_or_default()),
            _ => None,
        }
    }

    #[test]
    fn misspelt_kinds_and_groups() {
        for (version, kind, expected) in [
            ("networking.istio.io/v1", "VirtualServices", "networking.istio.io/v1`, `kind: VirtualService`"),
            ("networking.istio.io/v1", "Service", "`apiVersion: v1`, `kind: Service`"),
            ("networking.istio.io/v1", "AuthorizationPolicy", "security.istio.io/v1`"),
            ("security.istio.io/v1", "AuthorisationPolicy", "`kind: AuthorizationPolicy`"),
            ("securty.istio.io/v1", "AuthorizationPolicy", "security.istio.io/v1`"),
            ("networking.istio.oi/v1", "DestinationRule", "networking.istio.io/v1`"),
            ("apps/v1", "Deploymet", "`apiVersion: apps/v1`, `kind: Deployment`"),
            ("v1", "Deployment", "`apiVersion: apps/v1`, `kind: Deployment`"),
            ("v1", "Servce", "`apiVersion: v1`, `kind: Service`"),
            ("v1", "VirtualServce", "networking.istio.io/v1`"),
            ("v1beta1", "Service", "`apiVersion: v1`"),
            ("discovery.k8s.io/v1", "EndpointSlices", "`kind: EndpointSlice`"),
            ("discovery.k8s.io/v1", "Endpoints", "`apiVersion: v1`"),
            ("sidle.dev/v1", "Proxi", "sidle.dev/v1`"),
        ] {
            let found = meant(version, kind);
            assert!(
                found.as_ref().is_some_and(|text| text.contains(expected)),
                "{version} {kind}: {found:?}"
            );
        }
    }

    #[test]
    fn kinds_of_others_are_left_alone() {
        for (version, kinds) in [
            (
                "v1",
                "Binding ComponentStatus ConfigMap Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim \
                 PodTemplate ReplicationController ResourceQuota ServiceAccount",
            ),
            ("apps/v1", "ControllerRevision"),
            ("extensions/v1beta1", "Ingress Deployment"),
            ("networking.k8s.io/v1", "Ingress IngressClass NetworkPolicy IPAddress ServiceCIDR"),
            ("rbac.authorization.k8s.io/v1", "Role RoleBinding ClusterRole ClusterRoleBinding"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("policy/v1", "PodDisruptionBudget"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("serving.knative.dev/v1", "Service"),
            ("install.istio.io/v1alpha1", "IstioOperator"),
            ("networking.gke.io/v1", "ManagedCertificate"),
            ("monitoring.coreos.com/v1", "ServiceMonitor"),
            ("argoproj.io/v1alpha1", "Rollout"),
        ] {
            for kind in kinds.split_whitespace() {
                assert_eq!(meant(version, kind), None, "{version} {kind}");
            }
        }
    }
}
