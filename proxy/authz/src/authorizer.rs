//! The decision.
//!
//! Invariants: the order is CUSTOM, then AUDIT, which only tells, then DENY, then ALLOW. Rules of the root namespace refuse before others.
//! Without an ALLOW policy what is not refused passes; with one, even without rules, only what one of them holds for.
//! Source: Istio's `security/authz/builder`.

use crate::{
    condition::Lean,
    facts::Facts,
    rules::{Rule, Rules},
    subject::View,
};
use sidle_model::ir::{AuthorizationAction, AuthorizationPolicy};
use std::sync::Arc;

/// Policies, compiled.
#[derive(Debug)]
pub struct Authorizer {
    policies: Arc<Vec<AuthorizationPolicy>>,
    custom: Rules,
    audit: Rules,
    root_deny: Rules,
    deny: Rules,
    /// `None`: there is no such policy.
    allow: Option<Rules>,
    dry_run_deny: Option<Rules>,
    dry_run_allow: Option<Rules>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it may.
    pub verdict: Verdict<'a>,
    /// The AUDIT rule that holds.
    pub audited: Option<&'a str>,
    /// What the DENY policies that are only tried would say; `None`: there are none.
    pub dry_run_deny: Option<Verdict<'a>>,
    /// What the ALLOW policies that are only tried would say; `None`: there are none.
    pub dry_run_allow: Option<Verdict<'a>>,
}

/// Whether something may be done, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It may: by an ALLOW rule, or because there are none.
    Allowed(Option<&'a str>),
    /// It may not: by a DENY rule, or because no ALLOW rule holds.
    Denied(Option<&'a str>),
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Custom<'a> {
    /// Its name.
    pub provider: &'a str,
    /// The CUSTOM rule that holds.
    pub rule: &'a str,
}

impl Authorizer {
    /// Compiles.
    pub fn new(policies: Arc<Vec<AuthorizationPolicy>>) -> Self {
        use AuthorizationAction::{Allow, Audit, Custom, Deny};
        let of = |lean: Lean, wanted: &dyn Fn(&AuthorizationPolicy) -> bool| {
            let policies = policies.iter().filter(|policy| wanted(policy));
            let rules = policies.flat_map(|policy| {
                let provider = match &policy.action {
                    Custom(provider) => Some(provider.clone()),
                    _ => None,
                };
                policy.rules.iter().map(move |rule| (rule.clone(), provider.clone()))
            });
            Rules::new(rules.collect(), lean)
        };
        let if_any = |lean: Lean, wanted: &dyn Fn(&AuthorizationPolicy) -> bool| {
            policies.iter().any(wanted).then(|| of(lean, wanted))
        };
        Authorizer {
            // As in Istio, one that is only tried is asked all the same.
            custom: of(Lean::Any, &|policy| matches!(policy.action, Custom(_))),
            audit: of(Lean::Any, &|policy| policy.action == Audit && !policy.dry_run),
            root_deny: of(Lean::Any, &|policy| policy.action == Deny && policy.root && !policy.dry_run),
            deny: of(Lean::Any, &|policy| policy.action == Deny && !policy.root && !policy.dry_run),
            allow: if_any(Lean::All, &|policy| policy.action == Allow && !policy.dry_run),
            dry_run_deny: if_any(Lean::Any, &|policy| policy.action == Deny && policy.dry_run),
            dry_run_allow: if_any(Lean::All, &|policy| policy.action == Allow && policy.dry_run),
            policies,
        }
    }

    /// What it was compiled from.
    pub fn policies(&self) -> &Arc<Vec<AuthorizationPolicy>> {
        &self.policies
    }

    /// Whom to ask first, before tokens are looked at. `None`: nobody.
    pub fn custom(&self, facts: &impl Facts) -> Option<Custom<'_>> {
        let rule = self.custom.first(&View::new(facts))?;
        Some(Custom { provider: rule.provider.as_deref().unwrap_or_default(), rule: &rule.source.id })
    }

    /// Decides.
    pub fn decide(&self, facts: &impl Facts) -> Decision<'_> {
        let view = View::new(facts);
        let refused = self.root_deny.first(&view).or_else(|| self.deny.first(&view)).map(id);
        Decision {
            verdict: match (refused, &self.allow) {
                (Some(rule), _) => Verdict::Denied(Some(rule)),
                (None, None) => Verdict::Allowed(None),
                (None, Some(rules)) => passed(rules, &view),
            },
            audited: self.audit.first(&view).map(id),
            dry_run_deny: self.dry_run_deny.as_ref().map(|rules| match rules.first(&view) {
                Some(rule) => Verdict::Denied(Some(id(rule))),
                None => Verdict::Allowed(None),
            }),
            dry_run_allow: self.dry_run_allow.as_ref().map(|rules| passed(rules, &view)),
        }
    }
}

fn passed<'r, F: Facts>(rules: &'r Rules, view: &View<'_, F>) -> Verdict<'r> {
    match rules.first(view) {
        Some(rule) => Verdict::Allowed(Some(id(rule))),
        None => Verdict::Denied(None),
    }
}

fn id(rule: &Rule) -> &str {
    &rule.source.id
}
