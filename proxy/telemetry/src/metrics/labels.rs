//! Labels of the `istio_*` metrics.
//!
//! In:  workloads and services of the configuration.   Out: label values in the order of [`crate::names`].
//! Invariant: what is not known is `unknown`. Not here: response codes and flags, known only at the end (`series`).
//! Source: Istio "Standard Metrics"; its canonical service and revision rules.

use prometheus::proto::LabelPair;
use sidle_model::{Map, ir};
use std::sync::Arc;

const UNKNOWN: &str = "unknown";

/// Which side of a hop counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// An outbound proxy, or a gateway.
    Source,
    /// An inbound proxy.
    Destination,
}

/// What a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    /// HTTP of any version.
    Http,
    /// gRPC, by its content type.
    Grpc,
}

/// How a hop is protected; only the destination can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionSecurityPolicy {
    /// Both sides showed a certificate.
    MutualTls,
    /// Anything else.
    None,
    /// At the source.
    Unknown,
}

impl ConnectionSecurityPolicy {
    fn name(self) -> &'static str {
        match self {
            ConnectionSecurityPolicy::MutualTls => "mutual_tls",
            ConnectionSecurityPolicy::None => "none",
            ConnectionSecurityPolicy::Unknown => UNKNOWN,
        }
    }
}

/// All of them, in order.
pub(super) const REPORTERS: [Reporter; 2] = [Reporter::Source, Reporter::Destination];

impl Reporter {
    pub(super) fn name(self) -> &'static str {
        match self {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        }
    }
}

/// One end of a hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadLabels {
    /// `reviews-v1`.
    pub workload: Arc<str>,
    /// `default`.
    pub namespace: Arc<str>,
    /// `spiffe://cluster.local/ns/default/sa/reviews`, from a verified certificate only.
    pub principal: Arc<str>,
    /// Label `app`.
    pub app: Arc<str>,
    /// Label `version`.
    pub version: Arc<str>,
    /// Cluster of the mesh.
    pub cluster: Arc<str>,
    /// The service that a workload is part of, by its labels.
    pub canonical_service: Arc<str>,
    /// And its version.
    pub canonical_revision: Arc<str>,
}

impl WorkloadLabels {
    /// An end of which nothing is known.
    pub fn unknown() -> Self {
        let unknown: Arc<str> = UNKNOWN.into();
        WorkloadLabels {
            workload: unknown.clone(),
            namespace: unknown.clone(),
            principal: unknown.clone(),
            app: unknown.clone(),
            version: unknown.clone(),
            cluster: unknown.clone(),
            canonical_service: unknown.clone(),
            canonical_revision: unknown,
        }
    }

    /// The workload beside this proxy.
    pub fn of_node(node: &ir::Node) -> Self {
        Self::of(&node.workload, &node.namespace, &node.labels)
    }

    /// The workload of an endpoint.
    pub fn of_workload(workload: &ir::Workload) -> Self {
        if workload.name.is_empty() && workload.labels.is_empty() {
            return Self { namespace: known(&workload.namespace), ..Self::unknown() };
        }
        Self::of(&workload.name, &workload.namespace, &workload.labels)
    }

    /// The same workload, seen with this identity.
    pub fn with_principal(self, principal: &str) -> Self {
        Self { principal: known(principal), ..self }
    }

    fn of(name: &str, namespace: &str, labels: &Map<String>) -> Self {
        let first = |keys: &[&str], otherwise: &str| -> Arc<str> {
            keys.iter().find_map(|key| labels.get(key)).map_or(otherwise, String::as_str).into()
        };
        WorkloadLabels {
            workload: known(name),
            namespace: known(namespace),
            principal: UNKNOWN.into(),
            app: first(&["app"], UNKNOWN),
            version: first(&["version"], UNKNOWN),
            cluster: first(&["topology.istio.io/cluster"], UNKNOWN),
            canonical_service: first(
                &["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"],
                if name.is_empty() { UNKNOWN } else { name },
            ),
            canonical_revision: first(
                &["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"],
                "latest",
            ),
        }
    }

    fn values(&self) -> [&str; 8] {
        [
            &self.workload,
            &self.namespace,
            &self.principal,
            &self.app,
            &self.version,
            &self.cluster,
            &self.canonical_service,
            &self.canonical_revision,
        ]
    }
}

fn known(value: &str) -> Arc<str> {
    if value.is_empty() { UNKNOWN.into() } else { value.into() }
}

/// What is known of requests before they are answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestLabels {
    /// Which side this is.
    pub reporter: Reporter,
    /// The client's end.
    pub source: Arc<WorkloadLabels>,
    /// The server's end.
    pub destination: Arc<WorkloadLabels>,
    /// The service that was asked.
    pub service: ir::ServiceIdentity,
    /// What is spoken.
    pub request_protocol: RequestProtocol,
    /// How the hop is protected.
    pub connection_security_policy: ConnectionSecurityPolicy,
}

/// What is known of TCP connections before they end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpLabels {
    /// Which side this is.
    pub reporter: Reporter,
    /// The client's end.
    pub source: Arc<WorkloadLabels>,
    /// The server's end.
    pub destination: Arc<WorkloadLabels>,
    /// The service that was asked.
    pub service: ir::ServiceIdentity,
    /// How the hop is protected.
    pub connection_security_policy: ConnectionSecurityPolicy,
}

impl RequestLabels {
    /// Values in the order of [`crate::names::REQUEST_LABELS`], up to `request_protocol`.
    pub(super) fn values(&self) -> Vec<&str> {
        let protocol = match self.request_protocol {
            RequestProtocol::Http => "http",
            RequestProtocol::Grpc => "grpc",
        };
        hop(
            self.reporter,
            &self.source,
            &self.destination,
            &self.service,
            self.connection_security_policy,
            protocol,
        )
    }
}

impl TcpLabels {
    /// Values in the order of [`crate::names::TCP_LABELS`], up to `request_protocol`.
    pub(super) fn values(&self) -> Vec<&str> {
        hop(
            self.reporter,
            &self.source,
            &self.destination,
            &self.service,
            self.connection_security_policy,
            "tcp",
        )
    }
}

fn hop<'a>(
    reporter: Reporter,
    source: &'a WorkloadLabels,
    destination: &'a WorkloadLabels,
    service: &'a ir::ServiceIdentity,
    security: ConnectionSecurityPolicy,
    protocol: &'static str,
) -> Vec<&'a str> {
    let known = |value: &'a str| if value.is_empty() { UNKNOWN } else { value };
    let mut values = vec![reporter.name()];
    values.extend(source.values());
    values.extend(destination.values());
    values.extend([known(&service.host), known(&service.name), known(&service.namespace)]);
    values.extend([security.name(), protocol]);
    values
}

/// Names and values as the `prometheus` crate wants them; stops at the shorter list.
pub(super) fn pairs<'a>(names: &[&str], values: impl IntoIterator<Item = &'a str>) -> Vec<LabelPair> {
    let pair = |(name, value): (&&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    names.iter().zip(values).map(pair).collect()
}

/// Labels of an outcome: first the owner's `values`, then the outcome's; without an outcome, `other` for all that is left.
pub(super) fn with_outcome<const N: usize>(
    names: &[&str],
    values: &[&str],
    outcome: Option<[String; N]>,
) -> Vec<LabelPair> {
    let outcome = outcome.iter().flatten().map(String::as_str);
    pairs(names, values.iter().copied().chain(outcome).chain(std::iter::repeat("other")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(labels: &[(&str, &str)]) -> ir::Workload {
        ir::Workload {
            name: "reviews-v1".into(),
            namespace: "default".into(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            service_account: String::new(),
        }
    }

    #[test]
    fn canonical_names_come_from_the_most_specific_label() {
        let labels = WorkloadLabels::of_workload(&workload(&[("app", "reviews"), ("version", "v1")]));
        assert_eq!(
            (&*labels.app, &*labels.canonical_service, &*labels.canonical_revision),
            ("reviews", "reviews", "v1")
        );
        let labels =
            WorkloadLabels::of_workload(&workload(&[("app", "x"), ("service.istio.io/canonical-name", "y")]));
        assert_eq!(
            (&*labels.app, &*labels.canonical_service, &*labels.canonical_revision),
            ("x", "y", "latest")
        );
        let labels = WorkloadLabels::of_workload(&workload(&[]));
        assert_eq!((&*labels.app, &*labels.canonical_service), ("unknown", "reviews-v1"));
        assert_eq!(WorkloadLabels::of_workload(&ir::Workload::default()), WorkloadLabels::unknown());
    }

    #[test]
    fn values_stand_in_the_order_of_names() {
        let end =
            |name: &str| Arc::new(WorkloadLabels { workload: name.into(), ..WorkloadLabels::unknown() });
        let labels = TcpLabels {
            reporter: Reporter::Destination,
            source: end("a"),
            destination: end("b"),
            service: ir::ServiceIdentity { host: "h".into(), name: "n".into(), namespace: "ns".into() },
            connection_security_policy: ConnectionSecurityPolicy::MutualTls,
        };
        let values = labels.values();
        let value = |name: &str| values[crate::names::TCP_LABELS.iter().position(|n| *n == name).unwrap()];
        assert_eq!(value("reporter"), "destination");
        assert_eq!((value("source_workload"), value("destination_workload")), ("a", "b"));
        assert_eq!((value("destination_service"), value("destination_service_name")), ("h", "n"));
        assert_eq!(value("destination_service_namespace"), "ns");
        assert_eq!((value("connection_security_policy"), value("request_protocol")), ("mutual_tls", "tcp"));
        assert_eq!(values.len(), crate::names::TCP_LABELS.len() - 1, "response_flags come last");
    }
}
