//! `identity` of `kind: Proxy`: one source, whole; trust domains that are such.

use super::{
    files,
    report::{At, Report},
};
use crate::{diagnostic::codes, sidle::Identity};
use std::collections::HashSet;

pub(super) fn check(identity: &Identity, at: At<'_>, report: &mut Report<'_>) {
    sources(identity, at, report);
    let mut seen = HashSet::new();
    let list = at.to("trustBundles");
    for (index, bundle) in identity.trust_bundles.iter().enumerate() {
        let item = list.to(index);
        report.judge(item.to("trustDomain"), codes::BAD_VALUE, trust_domain(&bundle.trust_domain));
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
    let given = [("directory", identity.directory.is_some()), ("certificateChain", by_files)];
    let mut given = given.into_iter().filter(|(_, given)| *given).map(|(field, _)| field);
    match (given.next(), given.next()) {
        (None, _) => report.error_help(
            at,
            codes::EXCLUSIVE_FIELDS,
            "`identity` names no source of a certificate",
            "set `directory`, or `certificateChain`, `privateKey` and `rootCertificates`",
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

/// SPIFFE ID section 2.1.
fn trust_domain(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    match (1..=255).contains(&text.len()) && text.bytes().all(allowed) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a trust domain: lower-case letters, digits, `.`, `-` and `_`")),
    }
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
        assert_eq!(findings("    trustBundles: []\n"), [(6, codes::EXCLUSIVE_FIELDS)]);
        let files = format!("    certificateChain: {own}\n    privateKey: {own}\n");
        let whole = format!("{files}    rootCertificates: {own}\n");
        assert_eq!(findings(&files), [(6, codes::MISSING_FIELD)]);
        assert_eq!(findings(&whole), []);
        assert_eq!(findings(&format!("{whole}    directory: /etc/certs\n")), [(6, codes::EXCLUSIVE_FIELDS)]);
        assert_eq!(
            findings("    certificateChain: /no/a\n    privateKey: /no/b\n    rootCertificates: /no/c\n")
                .len(),
            3
        );
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
        assert_eq!(with(&bundle("spiffe://a")), [(8, codes::BAD_VALUE)]);
        assert_eq!(with(&(bundle("a") + &bundle("a"))), [(10, codes::BAD_VALUE)]);
    }
}
