//! Names, namespaces and labels of every resource; two of one name.

use super::{report::Report, values};
use crate::{
    config::{Config, Resource, Step},
    diagnostic::{Diagnostic, codes},
    yaml::{Document, NodeId},
};
use std::collections::HashMap;

pub(super) fn check(config: &Config, out: &mut Vec<Diagnostic>) {
    let mut seen = HashMap::with_capacity(config.virtual_services.len());
    macro_rules! each {
        ($($list:ident),*) => {
            $(config.$list.iter().for_each(|resource| one(resource, &mut seen, out));)*
        };
    }
    each!(
        virtual_services,
        destination_rules,
        service_entries,
        workload_entries,
        workload_groups,
        gateways,
        sidecars,
        authorization_policies
    );
    each!(concurrency_policies, rate_limit_policies, upstream_policies, fault_policies);
    each!(services, endpoints, endpoint_slices, pods, workloads, proxies, health_policies);
}

/// Kind, namespace and name.
type Identity<'a> = (&'static str, &'a str, &'a str);

fn one<'a, T>(
    resource: &'a Resource<T>,
    seen: &mut HashMap<Identity<'a>, (&'a Document, NodeId)>,
    out: &mut Vec<Diagnostic>,
) {
    let metadata = &resource.metadata;
    let mut report = Report::new(resource, out);
    if metadata.name.is_empty() {
        return;
    }
    let path = |field| [Step::Key("metadata"), Step::Key(field)];
    if let Err(message) = values::object_name(&metadata.name) {
        report.manifest_error(&path("name"), codes::BAD_NAME, message);
    }
    if let Err(message) = values::label_name(&metadata.namespace, "a namespace") {
        report.manifest_error(&path("namespace"), codes::BAD_NAME, message);
    }
    for (key, value) in &metadata.labels {
        if let Err(message) = values::label_key(key).and_then(|()| values::label_value(value)) {
            let path = [Step::Key("metadata"), Step::Key("labels"), Step::Key(key)];
            report.manifest_error(&path, codes::BAD_LABEL, message);
        }
    }
    let identity = (resource.kind, metadata.namespace.as_str(), metadata.name.as_str());
    if let Some((document, root)) = seen.get(&identity) {
        let (file, line) = (document.file(), document.span(*root).line);
        let message = format!("{} was defined before, at {file}:{line}", resource.title());
        report.manifest_error(&path("name"), codes::DUPLICATE_RESOURCE, message);
    } else {
        seen.insert(identity, (&resource.document, resource.root));
    }
}
