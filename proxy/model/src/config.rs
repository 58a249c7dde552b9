//! What was read, typed: every resource with its metadata and its place in the files.
//!
//! In:  documents (`crate::manifest`).   Out: a [`Config`] for `crate::check` and `crate::lower`.
//! Invariants: resources stand in file order; every namespace is filled in.
//! Not here: which of several resources wins (`crate::lower`), except for [`age_order`], which all ties use.

use crate::{
    Map,
    diagnostic::{Code, Diagnostic, Severity},
    ir::Origin,
    istio, kubernetes, pause, sidle,
    yaml::{Document, NodeId, Part},
};
use std::{cmp::Ordering, sync::Arc, time::SystemTime};

/// All resources, by kind, each list in file order.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each list holds the kind of its type")]
pub struct Config {
    pub virtual_services: Vec<Resource<istio::VirtualService>>,
    pub destination_rules: Vec<Resource<istio::DestinationRule>>,
    pub service_entries: Vec<Resource<istio::ServiceEntry>>,
    pub workload_entries: Vec<Resource<istio::WorkloadEntry>>,
    pub workload_groups: Vec<Resource<istio::WorkloadGroup>>,
    pub gateways: Vec<Resource<istio::Gateway>>,
    pub sidecars: Vec<Resource<istio::Sidecar>>,
    pub request_authentications: Vec<Resource<istio::RequestAuthentication>>,
    pub peer_authentications: Vec<Resource<istio::PeerAuthentication>>,
    pub authorization_policies: Vec<Resource<istio::AuthorizationPolicy>>,
    pub services: Vec<Resource<kubernetes::Service>>,
    pub endpoints: Vec<Resource<kubernetes::Endpoints>>,
    pub endpoint_slices: Vec<Resource<kubernetes::EndpointSlice>>,
    pub pods: Vec<Resource<kubernetes::Pod>>,
    /// Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs; [`Resource::kind`] tells them apart.
    pub workloads: Vec<Resource<kubernetes::Workload>>,
    pub proxies: Vec<Resource<sidle::Proxy>>,
    pub health_policies: Vec<Resource<sidle::HealthPolicy>>,
    pub concurrency_policies: Vec<Resource<sidle::ConcurrencyPolicy>>,
    pub upstream_policies: Vec<Resource<sidle::UpstreamPolicy>>,
    pub rate_limit_policies: Vec<Resource<sidle::RateLimitPolicy>>,
    pub fault_policies: Vec<Resource<sidle::FaultPolicy>>,
    pub secrets: Vec<Resource<kubernetes::Secret>>,
}

/// One manifest. Its parts are shared, so that a file that did not change is read once and is part of each configuration
/// that follows.
#[derive(Debug)]
pub struct Resource<T> {
    /// `VirtualService`, …
    pub kind: &'static str,
    /// Name, namespace, labels.
    pub metadata: Arc<Metadata>,
    /// Its `spec`; the whole manifest for kinds without one.
    pub spec: Arc<T>,
    /// Place in the whole set of files, from 0.
    pub order: usize,
    /// Where it was written.
    pub document: Arc<Document>,
    /// The manifest in `document`.
    pub(crate) root: NodeId,
    /// What [`Self::spec`] was read from.
    pub(crate) body: NodeId,
    /// Where it could not be read as it was written; those parts are left out, and told.
    pub(crate) mistaken: Arc<[NodeId]>,
}

/// Name, namespace, labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; the default one where the file says none.
    pub namespace: String,
    /// Labels.
    pub labels: Map<String>,
    /// Annotations.
    pub annotations: Map<String>,
    /// When the API server stored it; files usually do not say.
    pub creation_timestamp: Option<SystemTime>,
}

/// A step from a value to a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// To a field, by its name in the file (`exportTo`).
    Key(&'a str),
    /// To an item of a list, from 0.
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Step::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// Does something with each list of a [`Config`].
macro_rules! each_list {
    ($does:ident) => {
        $does!(
            virtual_services,
            destination_rules,
            service_entries,
            workload_entries,
            workload_groups,
            gateways
        );
        $does!(request_authentications, peer_authentications, authorization_policies, secrets);
        $does!(concurrency_policies, rate_limit_policies, upstream_policies, fault_policies);
        $does!(sidecars, services, endpoints, endpoint_slices, pods, workloads, proxies, health_policies);
    };
}

impl Config {
    /// Adds the resources of `other`, the first of which has the place `first` in the whole set of files.
    pub(crate) fn append(&mut self, other: &Config, first: usize) {
        macro_rules! append {
            ($($list:ident),*) => {
                $(self.$list.extend(other.$list.iter().map(|resource| resource.moved_by(first)));)*
            };
        }
        each_list!(append);
    }
}

/// Large: whoever takes it apart may pause.
impl Drop for Config {
    fn drop(&mut self) {
        macro_rules! drop {
            ($($list:ident),*) => {
                $(pause::drop_each(std::mem::take(&mut self.$list));)*
            };
        }
        each_list!(drop);
    }
}

impl<T> Resource<T> {
    fn moved_by(&self, places: usize) -> Self {
        Resource {
            kind: self.kind,
            metadata: self.metadata.clone(),
            spec: self.spec.clone(),
            order: self.order + places,
            document: self.document.clone(),
            root: self.root,
            body: self.body,
            mistaken: self.mistaken.clone(),
        }
    }

    /// `VirtualService default/reviews`.
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.metadata.namespace, self.metadata.name)
    }

    /// Where the part at `path` below the `spec` was written, or its nearest ancestor that was.
    pub fn origin(&self, path: &[Step<'_>]) -> Origin {
        self.origin_titled(self.title().into(), path)
    }

    /// As [`Self::origin`], with a title that the caller already has, so that many origins share it.
    pub fn origin_titled(&self, resource: Arc<str>, path: &[Step<'_>]) -> Origin {
        let span = self.document.span_at(self.body, path, Part::Value);
        Origin { resource, file: self.document.file().clone(), line: span.line, column: span.column }
    }

    /// A diagnostic that points at the part at `path` below the `spec`, or at its nearest ancestor.
    pub fn diagnostic(
        &self,
        severity: Severity,
        code: Code,
        path: &[Step<'_>],
        message: impl Into<String>,
    ) -> Diagnostic {
        self.pointing_at(self.body, path, Part::Value, severity, code, message)
    }

    /// As [`Self::diagnostic`], at the key of the last step in place of its value.
    pub fn diagnostic_at_key(
        &self,
        severity: Severity,
        code: Code,
        path: &[Step<'_>],
        message: impl Into<String>,
    ) -> Diagnostic {
        self.pointing_at(self.body, path, Part::Key, severity, code, message)
    }

    /// As [`Self::diagnostic`], with a path from the manifest (`metadata`, `name`) in place of the `spec`.
    pub fn diagnostic_at_manifest(
        &self,
        severity: Severity,
        code: Code,
        path: &[Step<'_>],
        message: impl Into<String>,
    ) -> Diagnostic {
        self.pointing_at(self.root, path, Part::Value, severity, code, message)
    }

    fn pointing_at(
        &self,
        node: NodeId,
        path: &[Step<'_>],
        part: Part,
        severity: Severity,
        code: Code,
        message: impl Into<String>,
    ) -> Diagnostic {
        let span = self.document.span_at(node, path, part);
        Diagnostic::new(severity, code, message).at(self.document.file().clone(), span)
    }
}

/// Which of two resources is older: the order that decides every tie (R3, R6, R20).
///
/// By `creationTimestamp` where both have one; one that has it is older than one that has not; then by place in the files,
/// then by name and namespace.
pub fn age_order<A, B>(a: &Resource<A>, b: &Resource<B>) -> Ordering {
    pause::here(); // thousands are sorted by it
    let time = match (a.metadata.creation_timestamp, b.metadata.creation_timestamp) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.order.cmp(&b.order),
    };
    time.then_with(|| a.metadata.name.cmp(&b.metadata.name))
        .then_with(|| a.metadata.namespace.cmp(&b.metadata.namespace))
        .then_with(|| a.order.cmp(&b.order))
}
