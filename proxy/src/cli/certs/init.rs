//! `sidle certs init`: a certificate authority for development, and an identity for each service.
//!
//! In:  names of services.   Out: `ca.crt` and `ca.key`, and for each service a folder that `spec.identity.directory` reads.
//! Invariants: what is there stays, unless `--force` says otherwise, and the authority stays in any case: what it issued before would
//! be worthless.

use super::folder::Folder;
use crate::cli::{
    CliError,
    output::{self, Style, Terminal},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sidle_identity::{DevelopmentAuthority, Moment, SpiffeId, Summary};
use std::{collections::BTreeSet, fmt::Write, path::PathBuf, process::ExitCode, str::FromStr};
use zeroize::Zeroizing;

/// Arguments of `sidle certs init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Where to write
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// The SPIFFE trust domain
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: String,
    /// Namespace of services that name none
    #[arg(long, default_value = "default")]
    namespace: String,
    /// A service: NAME or NAME.NAMESPACE, and /SERVICEACCOUNT unless that has the same name
    #[arg(long = "service", value_name = "SERVICE", required = true, num_args = 1..)]
    services: Vec<Service>,
    /// Make the services' certificates anew
    #[arg(long)]
    force: bool,
}

/// `reviews.shop/reader`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    name: String,
    namespace: Option<String>,
    account: String,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, account) =
            text.split_once('/').map_or((text, None), |(host, account)| (host, Some(account)));
        let (name, namespace) =
            host.split_once('.').map_or((host, None), |(name, namespace)| (name, Some(namespace)));
        let account = account.unwrap_or(name);
        for part in [Some(name), namespace, Some(account)].into_iter().flatten() {
            let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            if part.is_empty() || part.len() > 63 || part.starts_with('-') || !part.bytes().all(allowed) {
                return Err("NAME[.NAMESPACE][/SERVICEACCOUNT], of lower-case letters, digits and `-`".into());
            }
        }
        Ok(Service { name: name.into(), namespace: namespace.map(Into::into), account: account.into() })
    }
}

impl Service {
    fn namespace<'a>(&'a self, default: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(default)
    }

    /// Unique, also where two namespaces have services of the same name.
    fn folder(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}.{namespace}", self.name),
            None => self.name.clone(),
        }
    }

    /// As Kubernetes names it.
    fn dns_names(&self, namespace: &str) -> Vec<String> {
        let Service { name, .. } = self;
        vec![
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.cluster.local"),
        ]
    }
}

/// What became of a service.
enum Outcome {
    Made,
    Kept(Moment),
}

/// Makes what is not there, and says what to do with it.
pub fn run(args: &InitArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let out = Folder::at(args.out.clone())?;
    let (authority, made) = authority(&out, &args.trust_domain)?;
    let mut text = String::new();
    let how = if made { "made" } else { "kept" };
    let _ = writeln!(
        text,
        "{how}  {}  certificate authority of {}",
        out.file("ca.crt").display(),
        args.trust_domain
    );
    let mut made = Vec::new();
    for service in &args.services {
        let namespace = service.namespace(&args.namespace);
        let id = format!("spiffe://{}/ns/{namespace}/sa/{}", args.trust_domain, service.account);
        let id = SpiffeId::parse(&id).ok_or_else(|| CliError::Usage(format!("`{id}` is not a SPIFFE id")))?;
        let folder = Folder::at(out.file(&service.folder()))?;
        let path = folder.path().display();
        match issue(&authority, &folder, &id, &service.dns_names(namespace), args.force)? {
            Outcome::Made => {
                let _ = writeln!(text, "made  {path}  {id}");
            }
            Outcome::Kept(until) => {
                let over = if until <= Moment::now() {
                    terminal.paint(Style::Bad, ", expired: --force makes it anew")
                } else {
                    String::new()
                };
                let _ = writeln!(text, "kept  {path}  {id}{over}");
            }
        }
        let path = std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().to_path_buf());
        made.push((&*service.name, namespace, path));
    }
    let _ = write!(text, "\n{}", advice(&made));
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The authority in a folder, and whether it was made just now.
fn authority(out: &Folder, domain: &str) -> Result<(DevelopmentAuthority, bool), CliError> {
    let failed = |error: sidle_identity::TlsError| CliError::Failed(error.to_string());
    let key = out.read("ca.key")?.map(Zeroizing::new);
    match (out.read("ca.crt")?, key) {
        (Some(certificate), Some(key)) => {
            let known =
                DevelopmentAuthority::from_pem(&certificate, &key, &out.file("ca.crt")).map_err(failed)?;
            if known.trust_domain() != domain {
                let (path, known) = (out.file("ca.crt"), known.trust_domain());
                return Err(CliError::Failed(format!(
                    "{} is the authority of trust domain {known}; use --trust-domain {known}, or another --out",
                    path.display()
                )));
            }
            Ok((known, false))
        }
        (None, None) => {
            let new = DevelopmentAuthority::new(domain).map_err(failed)?;
            out.write_key("ca.key", &new.key())?;
            out.write_certificate("ca.crt", &new.certificate)?;
            Ok((new, true))
        }
        _ => Err(CliError::Failed(format!(
            "{}: of ca.crt and ca.key one is missing; bring it back, or remove the other",
            out.path().display()
        ))),
    }
}

/// Makes a service's files, unless they are there.
fn issue(
    authority: &DevelopmentAuthority,
    folder: &Folder,
    id: &SpiffeId,
    dns_names: &[String],
    force: bool,
) -> Result<Outcome, CliError> {
    let known = folder.read("tls.crt")?.filter(|_| !force);
    if let Some(known) = known {
        let der = CertificateDer::from_pem_slice(known.as_bytes()).ok();
        let summary = der.as_ref().and_then(Summary::of);
        return match summary {
            Some(summary) if summary.uris == [id.as_str()] => Ok(Outcome::Kept(summary.not_after)),
            _ => Err(CliError::Failed(format!(
                "{} is not a certificate of {id}; --force replaces it",
                folder.file("tls.crt").display()
            ))),
        };
    }
    let issued = authority.issue(id, dns_names).map_err(|error| CliError::Failed(error.to_string()))?;
    folder.write_certificate("ca.crt", &authority.certificate)?;
    folder.write_key("tls.key", &issued.key)?;
    folder.write_certificate("tls.crt", &issued.certificate)?;
    Ok(Outcome::Made)
}

/// Manifests for services: name, namespace, folder.
fn advice(made: &[(&str, &str, PathBuf)]) -> String {
    let mut text =
        "Each proxy gets the identity of its service, by its labels (`sidle run --labels app=NAME`):\n\n"
            .to_owned();
    for (name, namespace, folder) in made {
        let folder = folder.display();
        let _ = write!(
            text,
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec:\n  selector: {{ app: {name} }}\n  identity: {{ directory: {folder} }}\n---\n"
        );
    }
    text.push_str("\nThen this refuses whoever has none:\n\n");
    let namespaces: BTreeSet<_> = made.iter().map(|(_, namespace, _)| namespace).collect();
    for namespace in namespaces {
        let _ = write!(
            text,
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: default, namespace: {namespace} }}\n\
             spec:\n  mtls: {{ mode: STRICT }}\n---\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_gets_the_identity_of_another_service() {
        let text = advice(&[("web", "default", "/c/web".into()), ("till", "shop", "/c/till.shop".into())]);
        let (manifests, rules) = text.split_once("Then").unwrap();
        for (name, folder) in [("web", "/c/web"), ("till", "/c/till.shop")] {
            let own = format!("selector: {{ app: {name} }}\n  identity: {{ directory: {folder} }}\n---\n");
            assert!(manifests.contains(&own), "{text}");
        }
        assert_eq!(manifests.matches("kind: Proxy").count(), 2);
        assert_eq!(rules.matches("mode: STRICT").count(), 2, "one a namespace: {text}");
    }

    #[test]
    fn services() {
        let parse = |text: &str| text.parse::<Service>().map(|one| (one.folder(), one.account));
        assert_eq!(parse("web"), Ok(("web".into(), "web".into())));
        assert_eq!(parse("web/reader"), Ok(("web".into(), "reader".into())));
        assert_eq!(parse("web.shop/reader"), Ok(("web.shop".into(), "reader".into())));
        for bad in ["", "/a", "a/", "a.b.c", "../a", "A", "a/b/c", "-a", "a/.."] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
