//! `identity` of `kind: Proxy`: one source, whole; trust domains that are such.

use super::{
    files,
    report::{At, Report},
    values,
};
use crate::{
    diagnostic::codes,
    sidle::{CertificateAuthority, Identity},
};
use std::{collections::HashSet, time::Duration};

/// Of a certificate: half of it is left for renewals that fail.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

pub(super) fn check(identity: &Identity, at: At<'_>, report: &mut Report<'_>) {
    sources(identity, at, report);
    if let Some(given) = &identity.certificate_authority {
        authority(given, at.to("certificateAuthority"), report);
    }
    let mut seen = HashSet::new();
    let list = at.to("trustBundles");
    for (index, bundle) in identity.trust_bundles.iter().enumerate() {
        let item = list.to(index);
        report.judge(item.to("trustDomain"), codes::BAD_NAME, values::trust_domain(&bundle.trust_domain));
        if !seen.insert(&bundle.trust_domain) {
            let message = format!("`{}` has a bundle already", bundle.trust_domain);
            report.error(item.to("trustDomain"), codes::BAD_VALUE, message);
        }
        files::exists(Some(&bundle.root_certificates), item.to("rootCertificates"), report);
    }
}

fn sources(identity: &Identity, at: At<'_>, report: &mut Report<'_>) {
    let files = [
        ("certificateChain", &identity.certificate_chain),
        ("privateKey", &identity.private_key),
        ("rootCertificates", &identity.root_certificates),
    ];
    let by_files = files.iter().any(|(_, file)| file.is_some());
    let given = [
        ("directory", identity.directory.is_some()),
        ("certificateChain", by_files),
        ("sds", identity.sds.is_some()),
        ("workloadApi", identity.workload_api.is_some()),
        ("certificateAuthority", identity.certificate_authority.is_some()),
    ];
    let mut given = given.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
    match (given.next(), given.next()) {
        (None, _) => report.error_help(
            at,
            codes::EXCLUSIVE_FIELDS,
            "`identity` names no source of a certificate",
            "set one of `directory`, `certificateChain` with `privateKey` and `rootCertificates`, `sds`, `workloadApi`, \
             `certificateAuthority`",
        ),
        (Some(first), Some(second)) => report.error(
            at.to(second),
            codes::EXCLUSIVE_FIELDS,
            format!("`identity` has one source, and `{first}` is one already"),
        ),
        _ => {}
    }
    if by_files {
        for (field, file) in files {
            match file {
                None => report.error(at, codes::MISSING_FIELD, format!("`identity` lacks `{field}`")),
                Some(file) => files::exists(Some(file), at.to(field), report),
            }
        }
    }
}

fn authority(authority: &CertificateAuthority, at: At<'_>, report: &mut Report<'_>) {
    if let Some(address) = &authority.address {
        let good = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !good {
            let message = format!("`{address}` is not a host and a port");
            report.error_help(
                at.to("address"),
                codes::BAD_ADDRESS,
                message,
                "for example istiod.istio-system.svc:15012",
            );
        }
    }
    if let Some(account) = &authority.service_account {
        let judgement =
            values::host_name(account).map_err(|_| format!("`{account}` is not a service account"));
        report.judge(at.to("serviceAccount"), codes::BAD_NAME, judgement);
    }
    if let Some(ttl) = authority.secret_ttl.filter(|ttl| ttl.0 < SHORTEST_LIFE) {
        let message = format!("{ttl} is too short a life: there would be no time to renew");
        report.error(at.to("secretTtl"), codes::SHORT_DURATION, message);
    }
    files::exists(authority.root_certificates.as_deref(), at.to("rootCertificates"), report);
    files::exists(authority.token_file.as_deref(), at.to("tokenFile"), report);
}

#[cfg(test)]
mod tests {
    use crate::{diagnostic::codes, ir::Node, load_texts, source::Text};

    fn findings(identity: &str) -> Vec<(u32, &'static str)> {
        let text = format!(
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: a}}\nspec:\n  identity:\n{identity}"
        );
        let loaded = load_texts(vec![Text { name: "f".into(), content: text.into() }], &Node::default());
        loaded.diagnostics.iter().map(|found| (found.span.unwrap().line, found.code)).collect()
    }

    #[test]
    fn one_source_and_whole() {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(findings("    directory: /etc/certs\n"), []);
        assert_eq!(findings("    trustBundles: []\n"), [(5, codes::EXCLUSIVE_FIELDS)]);
        let files = format!("    certificateChain: {own}\n    privateKey: {own}\n");
        let whole = format!("{files}    rootCertificates: {own}\n");
        assert_eq!(findings(&files), [(5, codes::MISSING_FIELD)]);
        assert_eq!(findings(&whole), []);
        assert_eq!(findings(&format!("{whole}    directory: /etc/certs\n")), [(6, codes::EXCLUSIVE_FIELDS)]);
        assert_eq!(
            findings("    certificateChain: /no/a\n    privateKey: /no/b\n    rootCertificates: /no/c\n")
                .len(),
            3
        );
    }

    #[test]
    fn authorities() {
        let with = |fields: &str| findings(&format!("    certificateAuthority: {{{fields}}}\n"));
        assert_eq!(with(""), []);
        assert_eq!(with("address: 'localhost:15012', serviceAccount: a, secretTtl: 1h"), []);
        assert_eq!(with("address: localhost"), [(6, codes::BAD_ADDRESS)]);
        assert_eq!(with("serviceAccount: a/b"), [(6, codes::BAD_NAME)]);
        assert_eq!(with("secretTtl: 1ms"), [(6, codes::SHORT_DURATION)]);
    }

    #[test]
    fn trust_domains() {
        let bundle = |domain: &str| {
            let own = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
            format!("    - trustDomain: {domain}\n      rootCertificates: {own}\n")
        };
        let with =
            |bundles: &str| findings(&format!("    directory: /etc/certs\n    trustBundles:\n{bundles}"));
        assert_eq!(with(&(bundle("a.example") + &bundle("b"))), []);
        assert_eq!(with(&bundle("spiffe://a")), [(8, codes::BAD_NAME)]);
        assert_eq!(with(&(bundle("a") + &bundle("a"))), [(10, codes::BAD_VALUE)]);
    }
}
