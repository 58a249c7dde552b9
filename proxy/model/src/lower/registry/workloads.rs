//! Workloads that selectors pick: Pods and WorkloadEntries, by namespace and label.
//!
//! In:  Pods, WorkloadEntries, the templates of Deployments and their like.   Out: those that a selector picks.
//! Invariants: picking costs about as much as the rarest label of the selector has bearers, so many Services over many
//! Pods stay cheap; the order is that of the files, Pods first.
//! Not here: Services, ports of Services.

use super::super::locality;
use crate::{
    Map,
    config::{Config, Resource},
    ir,
    istio::WorkloadEntry,
    kubernetes::{Container, IntOrString, Pod},
};
use std::{collections::HashMap, sync::Arc};

/// Labels of a workload or of a selector.
pub(in crate::lower) type Labels = Map<String>;

/// Whether `labels` has everything that `selector` asks for. An empty selector picks everything.
pub(in crate::lower) fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A place where something listens.
#[derive(Debug)]
pub(super) struct Instance<'a> {
    /// IP address, name, or `unix:///path`.
    pub address: &'a str,
    /// By name: container ports of a Pod, `ports` of a WorkloadEntry.
    ports: HashMap<&'a str, u16>,
    /// Whether `ports` is keyed by names of Service ports (WorkloadEntry), not by names that `targetPort` uses (Pod).
    by_service_port: bool,
    pub weight: u32,
    pub locality: Arc<str>,
    pub workload: Arc<ir::Workload>,
    pub ready: bool,
}

impl<'a> Instance<'a> {
    /// From a WorkloadEntry or an inline endpoint of a ServiceEntry. `None` without an address.
    pub fn of_entry(entry: &'a WorkloadEntry, name: &str, namespace: &str, extra: &Labels) -> Option<Self> {
        let labels = extra.with(&entry.labels);
        Some(Instance {
            address: entry.address.as_deref()?,
            ports: entry.ports.iter().map(|(name, port)| (name.as_str(), *port)).collect(),
            by_service_port: true,
            weight: entry.weight.unwrap_or_default().max(1),
            locality: entry.locality.as_deref().map_or_else(|| locality::of_labels(&labels), Arc::from),
            workload: Arc::new(ir::Workload {
                name: name.into(),
                namespace: namespace.into(),
                labels,
                service_account: entry.service_account.clone().unwrap_or_default(),
            }),
            ready: true,
        })
    }

    fn of_pod(pod: &'a Resource<Pod>, address: &'a str, owner: String) -> Self {
        Instance {
            address,
            ports: named_ports(&pod.spec.spec.containers),
            by_service_port: false,
            weight: 1,
            locality: locality::of_labels(&pod.metadata.labels),
            workload: Arc::new(ir::Workload {
                name: owner,
                namespace: pod.metadata.namespace.clone(),
                labels: pod.metadata.labels.clone(),
                service_account: pod
                    .spec
                    .spec
                    .service_account_name
                    .clone()
                    .unwrap_or_else(|| "default".into()),
            }),
            ready: pod.spec.is_ready(),
        }
    }

    /// Whether it was written as a WorkloadEntry.
    pub fn is_entry(&self) -> bool {
        self.by_service_port
    }

    /// The port here that a Service's port leads to. `None`: there is no port of the name that `target` gives.
    pub fn port(&self, name: &str, number: u16, target: Option<&IntOrString>) -> Option<u16> {
        if self.by_service_port
            && let Some(port) = self.ports.get(name)
        {
            return Some(*port);
        }
        match target {
            None => Some(number),
            Some(IntOrString::Number(port)) => Some(*port),
            Some(IntOrString::Name(target)) => {
                self.ports.get(target.as_str()).copied().or(self.by_service_port.then_some(number))
            }
        }
    }
}

fn named_ports(containers: &[Container]) -> HashMap<&str, u16> {
    let ports = containers.iter().flat_map(|container| &container.ports);
    ports.filter_map(|port| Some((port.name.as_deref()?, port.container_port))).collect()
}

/// Every Pod with an address and every WorkloadEntry of the files.
#[derive(Debug, Default)]
pub(super) struct Workloads<'a> {
    instances: Vec<Instance<'a>>,
    /// Namespace, key and value of a label, to ascending places in `instances`.
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    /// Namespace to places.
    by_namespace: HashMap<&'a str, Vec<usize>>,
    /// Namespace and name of a Pod.
    by_pod: HashMap<(&'a str, &'a str), usize>,
    /// Namespace and address.
    by_address: HashMap<(&'a str, &'a str), usize>,
}

impl<'a> Workloads<'a> {
    pub fn new(config: &'a Config) -> Self {
        let mut workloads = Workloads::default();
        let owners = Owners::new(config);
        for pod in &config.pods {
            let Some(address) = pod.spec.address() else { continue };
            let at = workloads.instances.len();
            workloads.by_pod.insert((&pod.metadata.namespace, &pod.metadata.name), at);
            workloads.add(
                &pod.metadata.namespace,
                &[&pod.metadata.labels],
                Instance::of_pod(pod, address, owners.of(pod)),
            );
        }
        for entry in &config.workload_entries {
            let Resource { metadata, spec, .. } = entry;
            // Istio lets labels stand in the metadata or in the spec; the spec's win.
            if let Some(instance) =
                Instance::of_entry(spec, &metadata.name, &metadata.namespace, &metadata.labels)
            {
                workloads.add(&metadata.namespace, &[&spec.labels, &metadata.labels], instance);
            }
        }
        workloads
    }

    fn add(&mut self, namespace: &'a str, labels: &[&'a Labels], instance: Instance<'a>) {
        let at = self.instances.len();
        for (key, value) in labels.iter().copied().flatten() {
            if instance.workload.labels.get(key) == Some(value) {
                let places = self.by_label.entry((namespace, key, value)).or_default();
                if places.last() != Some(&at) {
                    places.push(at);
                }
            }
        }
        self.by_namespace.entry(namespace).or_default().push(at);
        self.by_address.entry((namespace, instance.address)).or_insert(at);
        self.instances.push(instance);
    }

    /// Those of `namespace` that a selector picks; an empty selector picks all.
    pub fn selected<'s>(
        &'s self,
        namespace: &'s str,
        selector: &'s Labels,
    ) -> impl Iterator<Item = &'s Instance<'a>> {
        let places = selector
            .iter()
            .map(|(key, value)| {
                self.by_label.get(&(namespace, key.as_str(), value.as_str())).map_or(&[][..], |p| &p[..])
            })
            .min_by_key(|places| places.len())
            .unwrap_or_else(|| self.by_namespace.get(namespace).map_or(&[], |p| &p[..]));
        places.iter().map(|at| &self.instances[*at]).filter(|i| selects(selector, &i.workload.labels))
    }

    /// Whether the files describe any workload of `namespace`.
    pub fn knows(&self, namespace: &str) -> bool {
        self.by_namespace.contains_key(namespace)
    }

    /// The Pod of this name, or whoever has this address.
    pub fn find(&self, namespace: &str, pod: Option<&str>, address: &str) -> Option<&Instance<'a>> {
        let by_name = pod.and_then(|pod| self.by_pod.get(&(namespace, pod)));
        by_name.or_else(|| self.by_address.get(&(namespace, address))).map(|at| &self.instances[*at])
    }
}

/// Who made a Pod: the workload's name in metrics.
struct Owners<'a> {
    /// By namespace: labels of the template, and the name. Deployments and their like are few.
    templates: HashMap<&'a str, Vec<(&'a Labels, &'a str)>>,
}

impl<'a> Owners<'a> {
    fn new(config: &'a Config) -> Self {
        let mut templates = HashMap::<_, Vec<_>>::new();
        for workload in &config.workloads {
            let labels = &workload.spec.pod_template().metadata.labels;
            if !labels.is_empty() && workload.kind != "ReplicaSet" {
                let list = templates.entry(workload.metadata.namespace.as_str()).or_default();
                list.push((labels, workload.metadata.name.as_str()));
            }
        }
        Owners { templates }
    }

    /// The Deployment of a Pod named `NAME-HASH-SUFFIX`, the workload whose template has its labels, or the Pod itself.
    fn of(&self, pod: &Resource<Pod>) -> String {
        let metadata = &pod.metadata;
        if let Some(hash) = metadata.labels.get("pod-template-hash")
            && let Some((deployment, _)) = metadata.name.rsplit_once(&format!("-{hash}-"))
        {
            return deployment.into();
        }
        let templates = self.templates.get(metadata.namespace.as_str()).map_or(&[][..], |list| &list[..]);
        let owner = templates
            .iter()
            .find(|(labels, name)| metadata.name.starts_with(name) && selects(labels, &metadata.labels));
        owner.map_or(&metadata.name[..], |(_, name)| name).into()
    }
}
