//! `extensionProviders`: services that policies name.

use super::{
    report::{At, Report},
    values,
};
use crate::{
    Duration,
    diagnostic::codes,
    ir::HeaderNameMatch,
    lower::status_code,
    sidle::{Asked, ExtAuthzHttp, ExtensionProvider},
};
use std::collections::HashSet;

pub(super) fn check(providers: &[ExtensionProvider], at: At<'_>, report: &mut Report<'_>) {
    let mut seen = HashSet::new();
    for (index, provider) in providers.iter().enumerate() {
        let at = at.to(index);
        if provider.name.is_empty() {
            report.error(at, codes::MISSING_FIELD, "a provider needs a `name`, by which policies call it");
        } else if !seen.insert(&provider.name) {
            let message = format!("there are two providers `{}`", provider.name);
            report.error(at.to("name"), codes::DUPLICATE_RESOURCE, message);
        }
        match (&provider.envoy_ext_authz_http, &provider.envoy_ext_authz_grpc) {
            (Some(by), None) => {
                let at = at.to("envoyExtAuthzHttp");
                asked(by.asked(), at, report);
                http(by, at, report);
            }
            (None, Some(by)) => asked(by.asked(), at.to("envoyExtAuthzGrpc"), report),
            _ => {
                let message = "a provider is either `envoyExtAuthzHttp` or `envoyExtAuthzGrpc`";
                report.error(at, codes::EXCLUSIVE_FIELDS, message);
            }
        }
    }
}

/// Where a service is asked, and for how long.
pub(super) fn place(
    service: &str,
    port: u16,
    timeout: Option<Duration>,
    at: At<'_>,
    report: &mut Report<'_>,
) {
    let host = service.split_once('/').map_or(service, |(_, host)| host);
    report.judge(at.to("service"), codes::BAD_HOST, values::host_name(host));
    if port == 0 {
        report.error(at.to("port"), codes::OUT_OF_RANGE, "a service is asked on a port from 1 to 65535");
    }
    if let Some(timeout) = timeout {
        let judgement = values::at_least_a_millisecond(timeout);
        report.judge(at.to("timeout"), codes::SHORT_DURATION, judgement);
    }
}

fn asked(asked: Asked<'_>, at: At<'_>, report: &mut Report<'_>) {
    place(asked.service, asked.port, asked.timeout, at, report);
    if let Some(status) = asked.status_on_error.filter(|status| status_code(status).is_none()) {
        let message = format!("`{status}` is not the status of an answer, 200 to 599");
        report.error(at.to("statusOnError"), codes::BAD_STATUS, message);
    }
    if asked.body.is_some_and(|body| body.max_request_bytes == 0) {
        let body = at.to("includeRequestBodyInCheck");
        report.error(body, codes::OUT_OF_RANGE, "`maxRequestBytes` says how much is shown, at least 1");
    }
}

fn http(by: &ExtAuthzHttp, at: At<'_>, report: &mut Report<'_>) {
    if let Some(prefix) = &by.path_prefix {
        report.judge(at.to("pathPrefix"), codes::BAD_VALUE, values::path_text(prefix));
    }
    let headers = [
        ("includeHeadersInCheck", &by.include_headers_in_check),
        ("includeRequestHeadersInCheck", &by.include_request_headers_in_check),
        ("headersToUpstreamOnAllow", &by.headers_to_upstream_on_allow),
        ("headersToDownstreamOnDeny", &by.headers_to_downstream_on_deny),
        ("headersToDownstreamOnAllow", &by.headers_to_downstream_on_allow),
    ];
    for (field, list) in headers {
        let at = at.to(field);
        for (index, name) in list.iter().enumerate() {
            if HeaderNameMatch::parse(name).is_none() {
                let message = format!("`{name}` is not a header name, `prefix*` or `*suffix`");
                report.error(at.to(index), codes::BAD_HEADER, message);
            }
        }
    }
    let additional = at.to("includeAdditionalHeadersInCheck");
    for (name, value) in &by.include_additional_headers_in_check {
        let at = additional.to(name.as_str());
        report.judge(at, codes::BAD_HEADER, values::header_name(name));
        report.judge(at, codes::BAD_HEADER, values::header_value(value));
    }
}
