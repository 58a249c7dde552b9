//! Every metric of the proxy: name, help, kind and labels, each once.
//!
//! Out: [`Family`] constants, and [`ALL`] of them for the table in the crate's README.
//! Invariants: `istio_*` names, labels and their order are Istio's standard metrics; `envoy_*` names and labels are Envoy's, whose
//! counters have no suffix; own names start with `sidle_`; `process_*` are Prometheus' conventions. Not here: values (`metrics`).
//! Source: Istio "Standard Metrics" reference.

/// What kind of number a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A metric with all its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Unique.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Which kind.
    pub kind: Kind,
    /// Names of labels, in the order of the output.
    pub labels: &'static [&'static str],
}

/// Upper bounds of all histograms, in milliseconds and in bytes; a value equal to a bound is in its bucket.
pub const BUCKETS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0,
    300000.0, 600000.0, 1800000.0, 3600000.0,
];

/// Labels of `istio_tcp_*`.
pub const TCP_LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "connection_security_policy",
    "request_protocol",
    "response_flags",
];

/// Labels of `istio_requests_total` and its histograms.
pub const REQUEST_LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "connection_security_policy",
    "request_protocol",
    "response_flags",
    "response_code",
    "grpc_response_status",
];

/// Declares families and lists them all, so that none can be left out of the list.
macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Family =
            Family { name: $name, help: $help, kind: Kind::$kind, labels: $labels };)*
        /// Every family, in the order of the README.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    REQUESTS = Counter "istio_requests_total" REQUEST_LABELS, "Requests that have ended.";
    REQUEST_DURATION = Histogram "istio_request_duration_milliseconds" REQUEST_LABELS, "From the first byte of the request to the last byte of the response.";
    REQUEST_BYTES = Histogram "istio_request_bytes" REQUEST_LABELS, "Bytes of request bodies.";
    RESPONSE_BYTES = Histogram "istio_response_bytes" REQUEST_LABELS, "Bytes of response bodies.";
    REQUEST_MESSAGES = Counter "istio_request_messages_total" REQUEST_LABELS, "gRPC messages from clients.";
    RESPONSE_MESSAGES = Counter "istio_response_messages_total" REQUEST_LABELS, "gRPC messages from servers.";
    TCP_SENT_BYTES = Counter "istio_tcp_sent_bytes_total" TCP_LABELS, "Bytes sent to clients of TCP connections.";
    TCP_RECEIVED_BYTES = Counter "istio_tcp_received_bytes_total" TCP_LABELS, "Bytes received from clients of TCP connections.";
    TCP_OPENED = Counter "istio_tcp_connections_opened_total" TCP_LABELS, "TCP connections that were opened.";
    TCP_CLOSED = Counter "istio_tcp_connections_closed_total" TCP_LABELS, "TCP connections that were closed.";

    BUILD_INFO = Gauge "sidle_build_info" &["version"], "Always 1; tells which version runs.";
    UPTIME = Gauge "sidle_uptime_seconds" &[], "Since the process started.";
    WORKERS = Gauge "sidle_workers" &[], "Worker threads.";
    READY = Gauge "sidle_ready" &[], "Whether /ready answers 200.";
    DRAINING = Gauge "sidle_draining" &[], "Whether the process is on its way out.";
    DNS_FAILURES = Counter "sidle_dns_failures_total" &[], "Name look-ups that failed; the last good addresses stay in use.";
    MEMORY_PRESSURE = Gauge "sidle_memory_pressure" &[], "Share of the memory that the process may have which it has, from 0 to 1; 0 when there is no limit.";
    TAKEOVERS = Counter "sidle_takeovers_total" &["result"], "Sockets that went from one process to the next: taken by this one; failed or refused, so that this one went on.";
    PANICS = Counter "sidle_panics_total" &[], "Panics that cost one exchange; each is a bug.";
    CONFIG_SUCCESSFUL = Gauge "sidle_config_last_reload_successful" &[], "Whether the last attempt to load the configuration succeeded.";
    CONFIG_SUCCESS_TIME = Gauge "sidle_config_last_reload_success_timestamp_seconds" &[], "When the configuration was last loaded with success.";
    CONFIG_RELOADS = Counter "sidle_config_reloads_total" &["result"], "Attempts to load the configuration: applied, unchanged or rejected.";
    CONFIG_INFO = Gauge "sidle_config_info" &["version"], "Always 1; tells which configuration is in force.";

    CERTIFICATE_LEFT = Gauge "istio_agent_cert_expiry_seconds" &["resource_name"], "Until the workload's certificate (default) or the first of its roots (ROOTCA) runs out; negative when it has.";
    IDENTITY_ROTATIONS = Counter "sidle_identity_rotations_total" &[], "Times that the workload was given another certificate or other roots, the first included.";
    IDENTITY_FAILURES = Counter "sidle_identity_failures_total" &[], "Attempts to get the workload's identity that failed; what was had stays in use.";
    TLS_FILES = Counter "sidle_tls_files_reloads_total" &["result"], "Changes of certificate files that the configuration names: applied, or rejected because they cannot be used.";

    LISTENER_ACTIVE = Gauge "sidle_listener_connections_active" &["listener"], "Downstream connections that are open.";
    LISTENER_ACCEPTED = Counter "sidle_listener_connections_total" &["listener"], "Downstream connections that were accepted.";
    LISTENER_REFUSED = Counter "sidle_listener_connections_refused_total" &["listener", "limit"], "Downstream connections that a limit kept out: connections, source, descriptors or memory.";
    PROXY_FAILURES = Counter "sidle_listener_proxy_protocol_failures_total" &["listener"], "Downstream connections that were closed because they did not begin with a PROXY protocol header.";
    DETECT_TIMEOUTS = Counter "sidle_protocol_detect_timeouts_total" &["listener"], "Connections that sent too little, too late to tell their protocol, and were taken as TCP.";
    TLS_FAILURES = Counter "sidle_listener_tls_handshake_failures_total" &["listener"], "Downstream TLS handshakes that failed or timed out.";
    PROTOCOL_ERRORS = Counter "sidle_listener_protocol_errors_total" &["listener"], "Downstream connections that ended because the client broke its protocol.";
    NO_CHAIN = Counter "sidle_listener_no_filter_chain_match_total" &["listener"], "Downstream connections that were closed because the port takes none of their kind, such as plain text where mTLS is demanded.";
    HTTP2_REFUSED = Counter "sidle_http2_streams_refused_total" &["listener"], "Downstream HTTP/2 streams that were refused (REFUSED_STREAM) because their client had as many as it may.";
    HTTP2_FLOODS = Counter "sidle_http2_floods_total" &["listener", "kind"], "Downstream HTTP/2 connections that ended because the client sent too much of one kind of frame.";
    AUTHORIZATIONS = Counter "sidle_authorizations_total" &["listener", "result"], "Decisions of authorization policies: allowed, denied, audited; of those that are only tried: dry_run_allowed, dry_run_denied.";

    EXT_AUTHZ_HTTP_OK = Counter "envoy_http_ext_authz_ok" &["envoy_ext_authz_prefix"], "Requests that were let through, by external authorization provider.";
    EXT_AUTHZ_HTTP_DENIED = Counter "envoy_http_ext_authz_denied" &["envoy_ext_authz_prefix"], "Requests that were refused, by external authorization provider.";
    EXT_AUTHZ_HTTP_ERROR = Counter "envoy_http_ext_authz_error" &["envoy_ext_authz_prefix"], "Requests that went without an answer that could be understood, timeouts included, by external authorization provider.";
    EXT_AUTHZ_HTTP_TIMEOUT = Counter "envoy_http_ext_authz_timeout" &["envoy_ext_authz_prefix"], "Requests that went without an answer in time, by external authorization provider.";
    EXT_AUTHZ_HTTP_FAILURE_MODE_ALLOWED = Counter "envoy_http_ext_authz_failure_mode_allowed" &["envoy_ext_authz_prefix"], "Requests that passed without an answer, because the provider may fail open, by external authorization provider.";
    EXT_AUTHZ_HTTP_DISABLED = Counter "envoy_http_ext_authz_disabled" &["envoy_ext_authz_prefix"], "Requests that no rule asks the provider about, by external authorization provider.";
    EXT_AUTHZ_BYTES_OK = Counter "envoy_ext_authz_ok" &["envoy_ext_authz_prefix"], "Connections of bytes that were let through, by external authorization provider.";
    EXT_AUTHZ_BYTES_DENIED = Counter "envoy_ext_authz_denied" &["envoy_ext_authz_prefix"], "Connections of bytes that were refused, by external authorization provider.";
    EXT_AUTHZ_BYTES_ERROR = Counter "envoy_ext_authz_error" &["envoy_ext_authz_prefix"], "Connections of bytes that went without an answer that could be understood, timeouts included, by external authorization provider.";
    EXT_AUTHZ_BYTES_TIMEOUT = Counter "envoy_ext_authz_timeout" &["envoy_ext_authz_prefix"], "Connections of bytes that went without an answer in time, by external authorization provider.";
    EXT_AUTHZ_BYTES_FAILURE_MODE_ALLOWED = Counter "envoy_ext_authz_failure_mode_allowed" &["envoy_ext_authz_prefix"], "Connections of bytes that passed without an answer, because the provider may fail open, by external authorization provider.";
    EXT_AUTHZ_BYTES_DISABLED = Counter "envoy_ext_authz_disabled" &["envoy_ext_authz_prefix"], "Connections of bytes that no rule asks the provider about, by external authorization provider.";

    CLUSTER_ACTIVE = Gauge "sidle_cluster_connections_active" &["cluster"], "Upstream connections that are open.";
    CLUSTER_CONNECTIONS = Counter "sidle_cluster_connections_total" &["cluster"], "Upstream connections that were opened.";
    CLUSTER_CONNECT_FAILURES = Counter "sidle_cluster_connect_failures_total" &["cluster"], "Upstream connections that could not be opened.";
    CLUSTER_REQUESTS_ACTIVE = Gauge "sidle_cluster_requests_active" &["cluster"], "Requests that wait for an upstream's response or its end.";
    CLUSTER_REQUESTS = Counter "sidle_cluster_requests_total" &["cluster"], "Tries sent to upstreams, retries included.";
    CLUSTER_RETRIES = Counter "sidle_cluster_retries_total" &["cluster"], "Tries after the first.";
    CLUSTER_PENDING = Gauge "sidle_cluster_requests_pending" &["cluster"], "Requests that wait for an upstream connection.";
    CLUSTER_OVERFLOWS = Counter "sidle_cluster_overflows_total" &["cluster", "limit"], "Requests refused by a limit: connections, pending, requests or retries.";
    CLUSTER_TIMEOUTS = Counter "sidle_cluster_timeouts_total" &["cluster"], "Requests that ran into the route's timeout or a try's.";
    CLUSTER_HEDGES = Counter "sidle_cluster_hedges_total" &["cluster"], "Tries sent because the first took long and while it was under way.";
    CLUSTER_HEDGES_WON = Counter "sidle_cluster_hedges_won_total" &["cluster"], "Those whose answer was the one that counted.";
    RATE_LIMIT_OK = Counter "envoy_http_local_rate_limit_ok" &["envoy_local_http_ratelimit_prefix"], "Requests that a RateLimitPolicy had a token for.";
    RATE_LIMITED = Counter "envoy_http_local_rate_limit_rate_limited" &["envoy_local_http_ratelimit_prefix"], "Requests that a RateLimitPolicy had no token for.";
    RATE_LIMIT_KEYS = Gauge "sidle_rate_limit_keys" &["policy"], "Keys that have a bucket of a RateLimitPolicy; 0 where everybody shares one.";
    RATE_LIMIT_SERVICE_OK = Counter "envoy_cluster_ratelimit_ok" &["envoy_cluster_name"], "Requests that a rate limit service let through, by the cluster that they go to.";
    RATE_LIMIT_SERVICE_OVER_LIMIT = Counter "envoy_cluster_ratelimit_over_limit" &["envoy_cluster_name"], "Requests that a rate limit service refused, by the cluster that they would go to.";
    RATE_LIMIT_SERVICE_ERROR = Counter "envoy_cluster_ratelimit_error" &["envoy_cluster_name"], "Requests about which a rate limit service gave no answer that could be understood, timeouts included, by the cluster that they go to.";
    RATE_LIMIT_SERVICE_FAILURE_MODE_ALLOWED = Counter "envoy_cluster_ratelimit_failure_mode_allowed" &["envoy_cluster_name"], "Requests that passed without an answer of a rate limit service, by the cluster that they go to.";
    CONCURRENCY_LIMIT = Gauge "sidle_cluster_concurrency_limit" &["cluster"], "Requests that a workload's port takes at once, as its ConcurrencyPolicy finds.";
    CONCURRENCY_ACTIVE = Gauge "sidle_cluster_concurrency_active" &["cluster"], "Requests under way that count towards that limit.";
    CONCURRENCY_SHED = Counter "sidle_cluster_concurrency_shed_total" &["cluster"], "Requests that were turned away because of that limit.";
    CONCURRENCY_MIN_RTT = Gauge "sidle_cluster_concurrency_min_rtt_seconds" &["cluster"], "How long an answer takes when few are under way.";
    CONCURRENCY_SAMPLE_RTT = Gauge "sidle_cluster_concurrency_sample_rtt_seconds" &["cluster"], "How long an answer took in the last interval.";
    MIRROR_COMPARISONS = Counter "sidle_cluster_mirror_comparisons_total" &["cluster", "result"], "Answers to copies of requests, beside those to the requests: same, another status, another body; broken if one did not come whole.";
    CLUSTER_ENDPOINTS = Gauge "sidle_cluster_endpoints" &["cluster"], "Endpoints that are known.";

    MEMBERSHIP_TOTAL = Gauge "envoy_cluster_membership_total" &["envoy_cluster_name"], "Endpoints of a cluster that looks at their health.";
    MEMBERSHIP_HEALTHY = Gauge "envoy_cluster_membership_healthy" &["envoy_cluster_name"], "Those that neither outlier detection nor health checks keep out.";
    HEALTH_CHECK_ATTEMPT = Counter "envoy_cluster_health_check_attempt" &["envoy_cluster_name"], "Health checks.";
    HEALTH_CHECK_SUCCESS = Counter "envoy_cluster_health_check_success" &["envoy_cluster_name"], "Health checks that passed.";
    HEALTH_CHECK_FAILURE = Counter "envoy_cluster_health_check_failure" &["envoy_cluster_name"], "Health checks that failed.";
    HEALTH_CHECK_NETWORK_FAILURE = Counter "envoy_cluster_health_check_network_failure" &["envoy_cluster_name"], "Health checks that failed for want of an answer.";
    HEALTH_CHECK_HEALTHY = Gauge "envoy_cluster_health_check_healthy" &["envoy_cluster_name"], "Endpoints that pass their health checks.";

    EJECTIONS_ACTIVE = Gauge "envoy_cluster_outlier_detection_ejections_active" &["envoy_cluster_name"], "Endpoints that outlier detection keeps out.";
    EJECTIONS_ENFORCED = Counter "envoy_cluster_outlier_detection_ejections_enforced_total" &["envoy_cluster_name"], "Ejections, whatever the reason.";
    EJECTIONS_OVERFLOW = Counter "envoy_cluster_outlier_detection_ejections_overflow" &["envoy_cluster_name"], "Endpoints that were not ejected because that would have been one too many.";
    DETECTED_CONSECUTIVE_5XX = Counter "envoy_cluster_outlier_detection_ejections_detected_consecutive_5xx" &["envoy_cluster_name"], "Endpoints that gave reason to eject them: errors in a row.";
    DETECTED_CONSECUTIVE_GATEWAY_FAILURE = Counter "envoy_cluster_outlier_detection_ejections_detected_consecutive_gateway_failure" &["envoy_cluster_name"], "Endpoints that gave reason to eject them: gateway errors in a row.";
    DETECTED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE = Counter "envoy_cluster_outlier_detection_ejections_detected_consecutive_local_origin_failure" &["envoy_cluster_name"], "Endpoints that gave reason to eject them: no answers in a row.";
    DETECTED_SUCCESS_RATE = Counter "envoy_cluster_outlier_detection_ejections_detected_success_rate" &["envoy_cluster_name"], "Endpoints that gave reason to eject them: fewer good answers than others.";
    DETECTED_FAILURE_PERCENTAGE = Counter "envoy_cluster_outlier_detection_ejections_detected_failure_percentage" &["envoy_cluster_name"], "Endpoints that gave reason to eject them: too many bad answers.";
    ENFORCED_CONSECUTIVE_5XX = Counter "envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx" &["envoy_cluster_name"], "Ejections because of errors in a row.";
    ENFORCED_CONSECUTIVE_GATEWAY_FAILURE = Counter "envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure" &["envoy_cluster_name"], "Ejections because of gateway errors in a row.";
    ENFORCED_CONSECUTIVE_LOCAL_ORIGIN_FAILURE = Counter "envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure" &["envoy_cluster_name"], "Ejections because of no answers in a row.";
    ENFORCED_SUCCESS_RATE = Counter "envoy_cluster_outlier_detection_ejections_enforced_success_rate" &["envoy_cluster_name"], "Ejections because of fewer good answers than others.";
    ENFORCED_FAILURE_PERCENTAGE = Counter "envoy_cluster_outlier_detection_ejections_enforced_failure_percentage" &["envoy_cluster_name"], "Ejections because of too many bad answers.";

    TOKENS = Counter "sidle_jwt_tokens_total" &["result"], "Requests that brought a token: believed or refused.";
    JWKS_FETCHES = Counter "sidle_jwks_fetches_total" &["uri", "result"], "Fetches of an issuer's keys: success or failure.";
    JWKS_SUCCESS_TIME = Gauge "sidle_jwks_last_success_timestamp_seconds" &["uri"], "When an issuer's keys were last fetched with success.";

    ACCESS_LOG_LINES = Counter "sidle_access_log_lines_total" &[], "Access log lines that were written.";
    ACCESS_LOG_DROPPED = Counter "sidle_access_log_dropped_total" &[], "Access log lines lost because the file is too slow, full or broken.";
    LOG_DROPPED = Counter "sidle_log_dropped_total" &[], "Lines of the proxy's own log lost because standard error is full, broken or not read.";
    SERIES = Gauge "sidle_metrics_series" &[], "Label sets of istio_* metrics in use; a histogram counts as one.";
    SERIES_DROPPED = Counter "sidle_metrics_series_dropped_total" &[], "Measurements counted under the labels \"other\" because the bound on series was reached.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" &[], "Processor time, user and system.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" &[], "Resident memory.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" &[], "Virtual memory.";
    PROCESS_FDS = Gauge "process_open_fds" &[], "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" &[], "Most file descriptors that may be open.";
    PROCESS_THREADS = Gauge "process_threads" &[], "Threads.";
    PROCESS_START = Gauge "process_start_time_seconds" &[], "When the process started, since the Unix epoch.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut seen = HashSet::new();
        for family in ALL {
            assert!(seen.insert(family.name), "{} twice", family.name);
            let of_envoy = family.name.starts_with("envoy_");
            let own = of_envoy || ["istio_", "sidle_", "process_"].iter().any(|p| family.name.starts_with(p));
            assert!(own, "{}", family.name);
            let counts = family.kind == Kind::Counter && !of_envoy;
            assert!(of_envoy || counts == family.name.ends_with("_total"), "{}", family.name);
            assert!(family.help.ends_with('.'), "{}", family.help);
        }
    }

    #[test]
    fn requests_have_the_labels_of_connections_and_three_more() {
        assert_eq!(REQUEST_LABELS[..TCP_LABELS.len()], *TCP_LABELS);
        assert_eq!(REQUEST_LABELS[TCP_LABELS.len()..], ["response_code", "grpc_response_status"]);
    }
}
