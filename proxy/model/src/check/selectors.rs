//! Selectors that pick nothing, and resources of one kind that pick the same.

use super::report::{At, Report};
use crate::{
    Map,
    config::{Config, Resource, Step, age_order},
    diagnostic::{Diagnostic, codes},
    ir::Node,
};
use std::collections::HashMap;

type Labels = Map<String>;

fn has_all(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

pub(super) fn check(config: &Config, node: &Node, out: &mut Vec<Diagnostic>) {
    nothing_selected(config, node, out);
    gateways_of_others(config, node, out);
    only_one(
        &config.sidecars,
        "workloadSelector",
        |s| s.workload_selector.as_ref().map(|s| &s.labels),
        node,
        out,
    );
    only_one(&config.peer_authentications, "selector", |policy| policy.labels(), node, out);
    only_one(&config.proxies, "selector", |proxy| Some(&proxy.selector), node, out);
}

/// Labels of all workloads that the files describe, with their namespaces; empty if they describe none.
fn workloads<'a>(config: &'a Config, node: &'a Node) -> Vec<(&'a str, &'a Labels)> {
    let mut workloads: Vec<(&str, &Labels)> = Vec::new();
    workloads.extend(config.pods.iter().map(|pod| (&*pod.metadata.namespace, &pod.metadata.labels)));
    workloads
        .extend(config.workload_entries.iter().map(|entry| (&*entry.metadata.namespace, &entry.spec.labels)));
    workloads.extend(
        config.workloads.iter().map(|w| (&*w.metadata.namespace, &w.spec.pod_template().metadata.labels)),
    );
    if !workloads.is_empty() {
        workloads.push((&node.namespace, &node.labels));
    }
    workloads
}

/// Selectors that no workload has the labels for, where the files describe workloads at all.
fn nothing_selected(config: &Config, node: &Node, out: &mut Vec<Diagnostic>) {
    let workloads = workloads(config, node);
    if workloads.is_empty() {
        return;
    }
    let selects = |namespace: Option<&str>, selector: &Labels| {
        let inside = |other: &str| namespace.is_none_or(|namespace| namespace == other);
        selector.is_empty()
            || workloads.iter().any(|(other, labels)| inside(other) && has_all(selector, labels))
    };
    const MESSAGE: &str = "no workload in the files has these labels";
    let root = At::SPEC;
    for resource in &config.sidecars {
        let selector = resource.spec.workload_selector.as_ref().map(|selector| &selector.labels);
        if selector.is_some_and(|selector| !selects(Some(&resource.metadata.namespace), selector)) {
            Report::new(resource, out).info(root.to("workloadSelector"), codes::SELECTS_NOTHING, MESSAGE);
        }
    }
    for resource in &config.destination_rules {
        let selector = resource.spec.workload_selector.as_ref().map(|selector| &selector.match_labels);
        if selector.is_some_and(|selector| !selects(Some(&resource.metadata.namespace), selector)) {
            Report::new(resource, out).info(root.to("workloadSelector"), codes::SELECTS_NOTHING, MESSAGE);
        }
    }
    for resource in &config.peer_authentications {
        let selector = resource.spec.labels();
        if selector.is_some_and(|selector| !selects(Some(&resource.metadata.namespace), selector)) {
            Report::new(resource, out).info(root.to("selector"), codes::SELECTS_NOTHING, MESSAGE);
        }
    }
    for resource in &config.authorization_policies {
        let metadata = &resource.metadata;
        let namespace = Some(&*metadata.namespace).filter(|namespace| *namespace != node.root_namespace);
        let selector = resource.spec.selector.as_ref().map(|selector| &selector.match_labels);
        if selector.is_some_and(|selector| !selects(namespace, selector)) {
            Report::new(resource, out).warn(root.to("selector"), codes::SELECTS_NOTHING, MESSAGE);
        }
    }
    for resource in &config.request_authentications {
        // In the root namespace it is for the whole mesh.
        let namespace = &resource.metadata.namespace;
        let namespace = (*namespace != node.root_namespace).then_some(namespace.as_str());
        let selector = resource.spec.selector.as_ref().map(|selector| &selector.match_labels);
        if selector.is_some_and(|selector| !selects(namespace, selector)) {
            Report::new(resource, out).info(root.to("selector"), codes::SELECTS_NOTHING, MESSAGE);
        }
    }
    for resource in &config.gateways {
        if !selects(None, &resource.spec.selector) {
            Report::new(resource, out).info(root.to("selector"), codes::SELECTS_NOTHING, MESSAGE);
        }
    }
    for resource in &config.proxies {
        if !selects(Some(&resource.metadata.namespace), &resource.spec.selector) {
            Report::new(resource, out).info(root.to("selector"), codes::SELECTS_NOTHING, MESSAGE);
        }
    }
}

/// Gateways that are not for this proxy, where its labels are known and no workload of the files was found to have them.
fn gateways_of_others(config: &Config, node: &Node, out: &mut Vec<Diagnostic>) {
    if node.labels.is_empty() || !workloads(config, node).is_empty() {
        return;
    }
    for resource in config.gateways.iter().filter(|gateway| !has_all(&gateway.spec.selector, &node.labels)) {
        let message = "this proxy has not all of these labels: it does not open the Gateway's ports";
        Report::new(resource, out).info(At::SPEC.to("selector"), codes::SELECTS_NOTHING, message);
    }
}

/// Of several resources that pick the same workloads, the oldest holds (R20).
fn only_one<T>(
    resources: &[Resource<T>],
    field: &str,
    selector: impl Fn(&T) -> Option<&Labels>,
    node: &Node,
    out: &mut Vec<Diagnostic>,
) {
    let mut by_age: Vec<_> = resources.iter().collect();
    by_age.sort_by(|a, b| age_order(a, b));
    let none = Labels::new();
    let mut first: HashMap<(&str, &Labels), &Resource<T>> = HashMap::new();
    let mut of_node: Option<&Resource<T>> = None;
    for resource in by_age {
        let namespace = resource.metadata.namespace.as_str();
        let labels = selector(&resource.spec).unwrap_or(&none);
        let picks_node = !labels.is_empty() && namespace == node.namespace && has_all(labels, &node.labels);
        let same = *first.entry((namespace, labels)).or_insert(resource);
        let (older, what) = match of_node.filter(|_| picks_node) {
            _ if !std::ptr::eq(same, resource) => (same, "picks the same workloads"),
            Some(older) => (older, "picks this proxy too"),
            None => {
                of_node = of_node.or(picks_node.then_some(resource));
                continue;
            }
        };
        let place = older.origin(&[Step::Key(field)]);
        let message = format!(
            "{} ({}:{}) {what} and is older: this one is ignored",
            older.title(),
            place.file,
            place.line
        );
        let at = At::SPEC;
        Report::new(resource, out).warn(
            if labels.is_empty() { at } else { at.to(field) },
            codes::CONFLICT,
            message,
        );
    }
}
