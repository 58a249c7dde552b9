//! Fields of Kubernetes that are not read.

use super::{judge, told};

/// Names that Kubernetes has besides those that are read: none is taken for a typing error.
#[test]
fn fields_of_kubernetes_are_known() {
    let fields = |names: &str| {
        names.split_whitespace().map(|name| format!("{name}: {{}}")).collect::<Vec<_>>().join(", ")
    };
    let pod = fields(
        "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks ephemeralContainers \
         hostAliases hostIPC hostPID hostUsers hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead \
         preemptionPolicy priority priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName \
         schedulerName schedulingGates securityContext serviceAccount setHostnameAsFQDN shareProcessNamespace subdomain \
         terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes",
    );
    let container = fields(
        "args command env envFrom image imagePullPolicy lifecycle livenessProbe readinessProbe resizePolicy resources restartPolicy \
         securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices \
         volumeMounts workingDir",
    );
    let status = fields(
        "containerStatuses ephemeralContainerStatuses hostIPs initContainerStatuses message nominatedNodeName \
         observedGeneration qosClass reason resize startTime",
    );
    let service = fields(
        "allocateLoadBalancerNodePorts externalTrafficPolicy healthCheckNodePort internalTrafficPolicy ipFamilies ipFamilyPolicy \
         loadBalancerClass loadBalancerIP loadBalancerSourceRanges sessionAffinityConfig topologyKeys",
    );
    let workload = fields(
        "minReadySeconds ordinals paused persistentVolumeClaimRetentionPolicy podManagementPolicy progressDeadlineSeconds \
         revisionHistoryLimit selector serviceName strategy updateStrategy volumeClaimTemplates backoffLimit completions \
         completionMode parallelism ttlSecondsAfterFinished schedule timeZone concurrencyPolicy suspend",
    );
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec: {{{pod}, containers: [{{name: x, {container}, ports: \
         [{{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}}]}}]}}\nstatus: {{{status}, conditions: [{{type: Ready, status: 'True', \
         lastProbeTime: x, lastTransitionTime: x, message: x, reason: x, observedGeneration: 1}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: x}}\nspec: {{{service}, ports: [{{port: 80, nodePort: 30000}}]}}\nstatus: {{}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\nspec: {{{workload}, template: {{metadata: {{name: x, \
         creationTimestamp: ~, finalizers: []}}, spec: {{}}}}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: x}}\naddressType: IPv4\nendpoints: [{{addresses: \
         [10.0.0.1], hints: {{}}, deprecatedTopology: {{}}, topology: {{}}, targetRef: {{kind: Pod, name: x, uid: x, fieldPath: x, \
         apiVersion: v1, resourceVersion: x}}}}]\nports: [{{port: 80}}]\n"
    );
    assert_eq!(judge(&text).1, []);
    let typed = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, label: {a: b}}\nspec: {container: [], serviceAcountName: x}\n";
    assert_eq!(told(typed), ["3:21 w0101", "4:8 w0101", "4:23 w0101"]);
}
