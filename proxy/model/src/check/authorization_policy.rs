//! AuthorizationPolicies: everything that Istio would pass over, so that a rule means something else than it says.
//!
//! Invariants: a value, key or rule that passes without an error is part of the decision; so no DENY is ever weaker than it reads.
//! Not here: single values (`authorization_value`), what becomes of rules where bytes are served (`crate::lower`).
//! Source: Istio's `pkg/config/validation`, `pkg/config/security`; R10.

use super::{
    attachment, authorization_value,
    report::{At, Report},
};
use crate::{
    config::{Resource, Step},
    diagnostic::{Diagnostic, codes},
    ir::{PathPattern, TextPattern},
    istio::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Operation, RuleCondition, Source},
    lower::authorization::{DRY_RUN, attribute::Attribute, parse_bool},
};

pub(super) fn check(spec: &AuthorizationPolicy, report: &mut Report<'_>) {
    let root = At::SPEC;
    attachment::check(spec.attachment(), report);
    action(spec, report);
    let rules = root.to("rules");
    for (index, rule) in spec.rules.iter().enumerate() {
        check_rule(rule, spec.action, rules.to(index), report);
    }
}

/// The annotation that makes a policy's result only told.
pub(super) fn check_dry_run(resource: &Resource<AuthorizationPolicy>, out: &mut Vec<Diagnostic>) {
    let Some(text) = resource.metadata.annotations.get(DRY_RUN) else { return };
    let path = ["metadata", "annotations", DRY_RUN].map(Step::Key);
    let mut report = Report::new(resource, out);
    match parse_bool(text) {
        None => {
            let message = format!("`{text}` is neither `true` nor `false`: Istio would enforce the policy");
            report.manifest_error(&path, codes::BAD_VALUE, message);
        }
        Some(true) if resource.spec.action == AuthorizationAction::Custom => {
            let message = "CUSTOM cannot be tried without effect: the provider is asked all the same";
            report.manifest_error(&path, codes::BAD_VALUE, message);
        }
        Some(_) => {}
    }
}

fn action(spec: &AuthorizationPolicy, report: &mut Report<'_>) {
    let root = At::SPEC;
    let custom = spec.action == AuthorizationAction::Custom;
    let named = spec.provider.as_ref().is_some_and(|provider| !provider.name.is_empty());
    if custom && !named {
        report.error(root.to("provider"), codes::MISSING_FIELD, "CUSTOM needs a `provider` with a `name`");
    }
    if !custom && spec.provider.is_some() {
        report.error(root.to("provider"), codes::EXCLUSIVE_FIELDS, "only CUSTOM has a `provider`");
    }
    if spec.rules.is_empty() && spec.action != AuthorizationAction::Allow {
        let message = "without rules this policy never holds";
        report.error_help(
            root.to("rules"),
            codes::EMPTY_LIST,
            message,
            "write `rules: [{}]` for every request",
        );
    } else if spec.rules.is_empty() && report.is_written(root.to("rules")) {
        let message = "no rule: nothing is let through, as with `spec: {}`";
        report.warn(root.to("rules"), codes::EMPTY_LIST, message);
    }
}

fn check_rule(rule: &AuthorizationRule, action: AuthorizationAction, at: At<'_>, report: &mut Report<'_>) {
    for (list, empty) in
        [("from", rule.from.is_empty()), ("to", rule.to.is_empty()), ("when", rule.when.is_empty())]
    {
        if empty && report.is_written(at.to(list)) {
            let message = format!("an empty `{list}` would mean any: leave it out, or fill it");
            report.error(at.to(list), codes::EMPTY_LIST, message);
        }
    }
    let from = at.to("from");
    for (index, clause) in rule.from.iter().enumerate() {
        match &clause.source {
            Some(source) => check_source(source, action, from.to(index).to("source"), report),
            None => {
                report.error(from.to(index), codes::MISSING_FIELD, "`source` is missing: it would mean any")
            }
        }
    }
    let to = at.to("to");
    for (index, clause) in rule.to.iter().enumerate() {
        match &clause.operation {
            Some(operation) => check_operation(operation, action, to.to(index).to("operation"), report),
            None => {
                report.error(to.to(index), codes::MISSING_FIELD, "`operation` is missing: it would mean any")
            }
        }
    }
    let when = at.to("when");
    for (index, condition) in rule.when.iter().enumerate() {
        check_condition(condition, action, when.to(index), report);
    }
}

fn check_source(source: &Source, action: AuthorizationAction, at: At<'_>, report: &mut Report<'_>) {
    let lists = source.lists();
    check_lists(&lists, at, report);
    let has =
        |names: &[&str]| lists.iter().any(|(list, values, _)| !values.is_empty() && names.contains(list));
    let accounts = ["serviceAccounts", "notServiceAccounts"];
    if has(&accounts) && has(&["principals", "notPrincipals", "namespaces", "notNamespaces"]) {
        let list = accounts.into_iter().find(|list| has(&[list])).unwrap_or_default();
        let message = "`serviceAccounts` cannot stand beside `principals` or `namespaces`";
        report.error(at.to(list), codes::EXCLUSIVE_FIELDS, message);
    }
    if action == AuthorizationAction::Custom {
        for (list, values, _) in lists.iter().filter(|(list, ..)| !list.ends_with("pBlocks")) {
            if !values.is_empty() {
                not_for_custom(list, at.to(*list), report);
            }
        }
    }
}

fn check_operation(operation: &Operation, action: AuthorizationAction, at: At<'_>, report: &mut Report<'_>) {
    check_lists(&operation.lists(), at, report);
    let (list, paths) = match action {
        AuthorizationAction::Deny | AuthorizationAction::Custom => ("paths", &operation.paths),
        AuthorizationAction::Allow => ("notPaths", &operation.not_paths),
        AuthorizationAction::Audit => return,
    };
    let patterns: Vec<_> = paths.iter().filter_map(|path| PathPattern::parse(path).ok()).collect();
    for (index, path) in paths.iter().enumerate() {
        if let Some(other) = open_twin(path, &patterns) {
            let message = format!("`{other}` is another path, which many applications take for `{path}`");
            let help = format!("name both, or `{path}*`");
            report.warn_help(at.to(list).to(index), codes::NARROW_PATH, message, help);
        }
    }
}

/// The path with a slash at its end that a rule about `path` leaves open, if it is one whole path that none of `all` adds it to.
fn open_twin(path: &str, all: &[PathPattern]) -> Option<String> {
    let whole = matches!(PathPattern::parse(path), Ok(PathPattern::Text(TextPattern::Exact(_))));
    let last = path.rsplit('/').next().unwrap_or_default();
    // `/a/` says what it means, and behind `/robots.txt` nobody looks for a folder.
    if !whole || last.is_empty() || last.contains('.') {
        return None;
    }
    let other = format!("{path}/");
    let met = all.iter().any(|pattern| match pattern {
        PathPattern::Text(TextPattern::Exact(text)) => **text == *other,
        PathPattern::Text(TextPattern::Prefix(start)) => other.starts_with(&**start),
        PathPattern::Text(TextPattern::Suffix(end)) => other.ends_with(&**end),
        PathPattern::Text(TextPattern::Present) => true,
        PathPattern::Template(template) => template.matches(other.as_bytes()),
    });
    (!met).then_some(other)
}

fn check_lists(lists: &[(&'static str, &[String], bool)], at: At<'_>, report: &mut Report<'_>) {
    if lists.iter().all(|(_, values, _)| values.is_empty()) {
        report.error(at, codes::EMPTY_LIST, "nothing is asked for: it would mean any");
    }
    for (list, values, _) in lists {
        let Some(attribute) = Attribute::of_list(list) else { continue };
        check_values(&attribute, values, at.to(*list), report);
    }
}

fn check_condition(
    condition: &RuleCondition,
    action: AuthorizationAction,
    at: At<'_>,
    report: &mut Report<'_>,
) {
    let attribute = match Attribute::of_key(&condition.key) {
        Ok(attribute) => attribute,
        Err(message) => {
            let help = "Istio would pass over the rule, and a DENY would refuse nothing";
            return report.error_help(at.to("key"), codes::UNKNOWN_VALUE, message, help);
        }
    };
    if condition.values.is_empty() && condition.not_values.is_empty() {
        report.error(at, codes::EMPTY_LIST, "a condition needs `values` or `notValues`");
    }
    check_values(&attribute, &condition.values, at.to("values"), report);
    check_values(&attribute, &condition.not_values, at.to("notValues"), report);
    let of_peer = ["source.namespace", "source.principal", "source.serviceAccount", "source.trustDomain"];
    let key = &*condition.key;
    if action == AuthorizationAction::Custom && (of_peer.contains(&key) || key.starts_with("request.auth.")) {
        not_for_custom(key, at.to("key"), report);
    }
}

fn not_for_custom(what: &str, at: At<'_>, report: &mut Report<'_>) {
    let message =
        format!("CUSTOM rules cannot ask for `{what}`, as in Istio: they are asked before it is known");
    report.error(at, codes::BAD_VALUE, message);
}

fn check_values(attribute: &Attribute, values: &[String], at: At<'_>, report: &mut Report<'_>) {
    if values.is_empty() && report.is_written(at) {
        return report.error(at, codes::EMPTY_LIST, "an empty list would mean any: leave it out, or fill it");
    }
    for (index, value) in values.iter().enumerate() {
        match authorization_value::judge(attribute, value) {
            Ok(None) => {}
            Ok(Some(remark)) => report.warn(at.to(index), codes::BAD_VALUE, remark),
            Err(message) => report.error(at.to(index), codes::BAD_VALUE, message),
        }
    }
}
