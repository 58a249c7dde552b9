//! Certificates and keys of Secrets.
//!
//! In:  Secrets of the files, by name.   Out: PEM for the IR.
//! Invariants: what a Secret lacks is an error that names it, never an empty certificate; nothing of a value is in a message.
//! Not here: parsing PEM (`sidle-identity`).
//! Source: Istio's `pilot/pkg/credentials/kube/secrets.go`: `tls.crt`, `tls.key` and `ca.crt`, or `cert`, `key` and `cacert`;
//! roots may stand in a Secret of their own, `NAME-cacert`.

use super::policies::base64;
use crate::{
    config::{Config, Resource},
    ir::{Certificates, InlineCertificate, InlineText, Trust},
    kubernetes::Secret,
};

/// Secrets that a proxy of a namespace may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secrets<'a> {
    config: &'a Config,
    namespace: &'a str,
}

impl<'a> Secrets<'a> {
    /// Those of `namespace`: a proxy reads no other's.
    pub fn new(config: &'a Config, namespace: &'a str) -> Self {
        Secrets { config, namespace }
    }

    /// Chains and keys, each of a Secret.
    pub fn certificates(&self, names: &[&str]) -> Result<Certificates, String> {
        names.iter().map(|name| self.certificate(name)).collect::<Result<_, _>>().map(Certificates::Inline)
    }

    fn certificate(&self, name: &str) -> Result<InlineCertificate, String> {
        let secret = self.find(name).ok_or_else(|| self.missing(name))?;
        let place = secret.title().into();
        let part = |names: [&str; 2]| {
            let found = names.iter().find_map(|key| value(secret, key));
            found.ok_or_else(|| format!("{} has neither `{}` nor `{}`", secret.title(), names[0], names[1]))
        };
        Ok(InlineCertificate { place, chain: part(["tls.crt", "cert"])?, key: part(["tls.key", "key"])? })
    }

    /// The roots of a Secret, of `NAME-cacert` if there is one.
    pub fn roots(&self, name: &str) -> Result<Trust, String> {
        let apart = self.find(&format!("{}-cacert", name.trim_end_matches("-cacert")));
        let secret = apart.or_else(|| self.find(name)).ok_or_else(|| self.missing(name))?;
        let found = value(secret, "ca.crt").or_else(|| value(secret, "cacert"));
        let text = found.ok_or_else(|| format!("{} has neither `ca.crt` nor `cacert`", secret.title()))?;
        Ok(Trust::Inline { place: secret.title().into(), text })
    }

    fn find(&self, name: &str) -> Option<&'a Resource<Secret>> {
        let name = name.strip_prefix("kubernetes://").unwrap_or(name);
        let is = |secret: &&Resource<Secret>| {
            secret.metadata.name == name && secret.metadata.namespace == self.namespace
        };
        self.config.secrets.iter().find(is)
    }

    fn missing(&self, name: &str) -> String {
        format!("there is no Secret `{name}` in namespace `{}`", self.namespace)
    }
}

/// A value, if there is one and it is base64 where it has to be.
fn value(secret: &Resource<Secret>, key: &str) -> Option<InlineText> {
    if let Some(text) = secret.spec.string_data.get(key) {
        return Some(InlineText::new(text.as_bytes()));
    }
    let text: String = secret.spec.data.get(key)?.split_ascii_whitespace().collect();
    Some(InlineText::new(&base64(&text)?))
}
