//! `Pod`, and the kinds that hold a template of one.

use crate::Map;
use schemars::JsonSchema;
use serde::Deserialize;

/// A Pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// As wanted.
    pub spec: PodSpec,
    /// As it is.
    pub status: PodStatus,
}

/// A Pod as wanted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-unread" = ["serviceAccount", "initContainers"]))]
pub struct PodSpec {
    /// Containers.
    pub containers: Vec<Container>,
    /// Identity; `default` unless said.
    pub service_account_name: Option<String>,
    /// Of a StatefulSet's Pod.
    pub hostname: Option<String>,
    /// Whether it has the node's addresses.
    pub host_network: bool,
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Ports.
    pub ports: Vec<ContainerPort>,
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["containerPort"]))]
pub struct ContainerPort {
    /// For `targetPort`.
    pub name: Option<String>,
    /// Number.
    #[schemars(range(min = 1))]
    pub container_port: u16,
    /// `TCP` unless said.
    pub protocol: Option<String>,
}

/// A Pod as it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-unread" = ["hostIPs"]))]
pub struct PodStatus {
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Its addresses.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    /// Its node's address.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    /// `Running`, …
    pub phase: Option<String>,
    /// `Ready`, …
    pub conditions: Vec<PodCondition>,
}

/// An address of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodIp {
    /// IP.
    pub ip: String,
}

/// A condition of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// `Ready`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

impl Pod {
    /// Its address, if it has one.
    pub fn address(&self) -> Option<&str> {
        let first = self.status.pod_ips.first().map(|ip| ip.ip.as_str());
        self.status.pod_ip.as_deref().or(first).filter(|ip| !ip.is_empty())
    }

    /// Whether it may receive traffic. Without a phase and conditions it may, so that a Pod written by hand counts.
    pub fn is_ready(&self) -> bool {
        let phase = matches!(self.status.phase.as_deref(), None | Some("Running"));
        let condition = self.status.conditions.iter().find(|c| c.kind == "Ready");
        phase && condition.is_none_or(|c| c.status == "True")
    }
}

/// A template of Pods.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// Of the Pods.
    pub metadata: PodTemplateMetadata,
    /// Of the Pods.
    pub spec: PodSpec,
}

/// Labels and annotations of the Pods of a template.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplateMetadata {
    /// Labels.
    pub labels: Map<String>,
    /// Annotations.
    pub annotations: Map<String>,
}

/// The `spec` of a Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// Of its Pods; of a CronJob, see [`Workload::pod_template`].
    pub template: PodTemplate,
    /// Of a CronJob.
    pub job_template: Option<JobTemplate>,
    /// Pods wanted; 1 unless said.
    pub replicas: Option<u32>,
}

/// A CronJob's template of Jobs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobTemplate {
    /// Of the Jobs.
    pub spec: JobSpec,
}

/// A Job as wanted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// Of its Pods.
    pub template: PodTemplate,
}

impl Workload {
    /// The template of its Pods.
    pub fn pod_template(&self) -> &PodTemplate {
        self.job_template.as_ref().map_or(&self.template, |job| &job.spec.template)
    }
}
