//! RequestAuthentications: issuers, keys, where tokens stand and where they go.

use super::{
    attachment,
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    istio::{JwtRule, RequestAuthentication},
};
use sidle_jwt::KeySet;
use std::collections::HashMap;

pub(super) fn check(spec: &RequestAuthentication, report: &mut Report<'_>) {
    let root = At::SPEC;
    attachment::check(spec.attachment(), report);
    let rules = root.to("jwtRules");
    if spec.jwt_rules.is_empty() {
        let message = "without `jwtRules` no token is looked at";
        report.warn_help(rules, codes::NO_ACTION, message, "name an issuer whose tokens are to be verified");
    }
    for (index, rule) in spec.jwt_rules.iter().enumerate() {
        check_rule(rule, rules.to(index), report);
    }
}

fn check_rule(rule: &JwtRule, at: At<'_>, report: &mut Report<'_>) {
    if rule.issuer.is_empty() && report.is_written(at.to("issuer")) {
        report.error(
            at.to("issuer"),
            codes::BAD_TOKEN_RULE,
            "an issuer cannot be empty: it is what `iss` has to say",
        );
    }
    for (index, _) in rule.audiences.iter().enumerate().filter(|(_, audience)| audience.is_empty()) {
        report.error(at.to("audiences").to(index), codes::BAD_TOKEN_RULE, "an audience cannot be empty");
    }
    keys(rule, at, report);
    places(rule, at, report);
    outputs(rule, at, report);
    if let Some(timeout) = rule.timeout {
        report.judge(at.to("timeout"), codes::SHORT_DURATION, values::at_least_a_millisecond(timeout));
    }
}

fn keys(rule: &JwtRule, at: At<'_>, report: &mut Report<'_>) {
    if let (Some(_), Some(_)) = (&rule.jwks, &rule.jwks_uri) {
        let message = "`jwks` and `jwksUri` exclude one another: only one can say which keys are believed";
        report.error(at.to("jwksUri"), codes::EXCLUSIVE_FIELDS, message);
    }
    if let Some(text) = &rule.jwks {
        inline(text, at.to("jwks"), report);
    }
    match &rule.jwks_uri {
        Some(address) => {
            let field = if report.is_written(at.to("jwks_uri")) { "jwks_uri" } else { "jwksUri" };
            uri(address, at.to(field), report);
        }
        None if rule.jwks.is_none() && !rule.issuer.is_empty() => {
            let discovered = rule.issuer.starts_with("https://") || rule.issuer.starts_with("http://");
            if !discovered {
                let message = "no `jwks`, no `jwksUri`, and the issuer is no URL that could be asked: no token can be verified";
                report.error_help(
                    at,
                    codes::BAD_TOKEN_RULE,
                    message,
                    "add `jwksUri`, or the keys themselves as `jwks`",
                );
            }
        }
        None => {}
    }
}

fn inline(text: &str, at: At<'_>, report: &mut Report<'_>) {
    match KeySet::parse(text.as_bytes()) {
        Err(error) => report.error(at, codes::BAD_TOKEN_RULE, error.to_string()),
        Ok(keys) => {
            if keys.holds_private() {
                let message =
                    "this holds a private key or a shared secret: whoever reads this file can make tokens";
                report.warn_help(
                    at,
                    codes::BAD_TOKEN_RULE,
                    message,
                    "leave the members `d`, `p`, `q` and `k` out, and change the key",
                );
            }
            for why in keys.left_out() {
                report.warn(at, codes::BAD_TOKEN_RULE, format!("{why}: no token is verified with it"));
            }
        }
    }
}

fn uri(address: &str, at: At<'_>, report: &mut Report<'_>) {
    let parsed =
        address.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    match parsed.as_ref().and_then(http::Uri::scheme_str) {
        Some("https") => {}
        Some("http") => {
            let message = "keys are fetched in the clear: whoever stands in between can make tokens";
            report.warn_help(at, codes::BAD_TOKEN_RULE, message, "use `https://`");
        }
        _ => {
            let message = format!("`{address}` is not the URL of a key set");
            report.error_help(
                at,
                codes::BAD_TOKEN_RULE,
                message,
                "for example https://issuer.example/keys.json",
            );
        }
    }
    if parsed.is_some_and(|uri| uri.authority().is_some_and(|authority| authority.as_str().contains('@'))) {
        report.error(at, codes::BAD_TOKEN_RULE, "a user and password in the URL are not sent");
    }
}

fn places(rule: &JwtRule, at: At<'_>, report: &mut Report<'_>) {
    for (index, header) in rule.from_headers.iter().enumerate() {
        let at = at.to("fromHeaders");
        let at = at.to(index);
        if report.is_written(at.to("name")) {
            report.judge(at.to("name"), codes::BAD_HEADER, values::header_name(&header.name));
        }
        let Some(prefix) = &header.prefix else {
            if header.name.eq_ignore_ascii_case("authorization") {
                let message =
                    "without a `prefix` the scheme is taken for part of the token, so that none is valid";
                report.warn_help(at, codes::BAD_TOKEN_RULE, message, "add `prefix: \"Bearer \"`");
            }
            continue;
        };
        report.judge(at.to("prefix"), codes::BAD_HEADER, values::header_value(prefix));
        if prefix.eq_ignore_ascii_case("bearer") {
            let message = format!(
                "`{prefix}` without a space: the space would be part of the token, and no token be valid"
            );
            report.warn_help(
                at.to("prefix"),
                codes::BAD_TOKEN_RULE,
                message,
                format!("write `\"{prefix} \"`"),
            );
        }
    }
    for (field, names) in [("fromParams", &rule.from_params), ("fromCookies", &rule.from_cookies)] {
        for (index, name) in names.iter().enumerate() {
            let at = at.to(field);
            if name.is_empty() {
                report.error(at.to(index), codes::BAD_TOKEN_RULE, "a name cannot be empty");
            } else if field == "fromCookies"
                && name.contains(|c: char| c.is_ascii_control() || "=;, \"".contains(c))
            {
                report.error(
                    at.to(index),
                    codes::BAD_TOKEN_RULE,
                    format!("`{name}` is not the name of a cookie"),
                );
            }
        }
    }
}

fn outputs(rule: &JwtRule, at: At<'_>, report: &mut Report<'_>) {
    let mut seen = HashMap::new();
    if let Some(name) = &rule.output_payload_to_header {
        output(name, at.to("outputPayloadToHeader"), report);
        seen.insert(name.to_ascii_lowercase(), "the payload");
    }
    for (index, to) in rule.output_claim_to_headers.iter().enumerate() {
        let at = at.to("outputClaimToHeaders");
        let at = at.to(index);
        if report.is_written(at.to("header")) {
            output(&to.header, at.to("header"), report);
        }
        if to.claim.split('.').any(str::is_empty) && report.is_written(at.to("claim")) {
            let message = format!("`{}` is not a claim, nor a path of claims", to.claim);
            report.error(at.to("claim"), codes::BAD_TOKEN_RULE, message);
        }
        if let Some(other) = seen.insert(to.header.to_ascii_lowercase(), "another claim") {
            let message = format!("the header `{}` already gets {other}", to.header);
            report.error(at.to("header"), codes::BAD_TOKEN_RULE, message);
        }
    }
}

/// Headers that steer or frame a message, or tell who its client is.
const RESERVED: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "x-forwarded-client-cert",
];

fn output(name: &str, at: At<'_>, report: &mut Report<'_>) {
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        report.error(
            at,
            codes::BAD_HEADER,
            format!("`{name}` has a meaning of its own, and cannot hold a claim"),
        );
    } else {
        report.judge(at, codes::BAD_HEADER, values::header_name(name));
    }
}
