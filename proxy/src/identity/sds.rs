//! Envoy's secret discovery service: a stream for the certificate, another for the roots, as Envoy has.
//!
//! Invariants: each response is answered: taken, or refused with the reason and the version that stays; certificate and roots are
//! published together, once both are there and fit; the last good ones outlive a connection; keys in messages are wiped.
//! Source: Envoy's xDS protocol and "Secret discovery service"; SPIRE's and Istio's agents, which serve it.

use super::{
    Delivered, channel,
    messages::sds::{
        BuildVersion, DataSource, DiscoveryRequest, DiscoveryResponse, Node, SECRET, Secret, SemanticVersion,
        SpiffeValidator, Status, TlsCertificate, ValidationContext, stream_secrets,
    },
    retry::Backoff,
};
use futures_util::stream;
use prost::Message;
use rustls::sign::CertifiedKey;
use sidle_identity::{Bundle, Bundles, SpiffeId, Svid, certified_from_pem};
use std::{path::Path, sync::Arc};
use tokio::sync::mpsc::{self, Sender};
use tonic::{Code, Request, transport::Channel};
use tonic_prost::ProstCodec;

/// The first Envoy that takes all that is taken here: `SPIFFECertValidatorConfig`.
const ENVOY: (u32, u32) = (1, 18);

/// What a secret turned out to be.
enum Content {
    Certified(Arc<CertifiedKey>),
    Roots(Roots),
}

/// Who is believed.
enum Roots {
    /// Of the certificate's trust domain.
    Own(Arc<Bundle>),
    /// Of each domain.
    Each(Bundles),
}

/// The last good ones.
#[derive(Default)]
struct Have {
    certified: Option<Arc<CertifiedKey>>,
    roots: Option<Roots>,
}

/// Follows the socket until nobody listens to what it says.
pub(super) async fn follow(socket: &Path, certificate: &str, roots: &str, deliver: Sender<Delivered>) {
    let (mut backoff, mut have) = (Backoff::default(), Have::default());
    loop {
        let why = match channel::unix(socket).await {
            Ok(channel) => {
                connection(channel, socket, [certificate, roots], &mut have, &deliver, &mut backoff).await
            }
            Err(why) => why,
        };
        if deliver.send(Err(why)).await.is_err() {
            return;
        }
        backoff.wait().await;
    }
}

/// One connection, to its end; says why it ended.
async fn connection(
    channel: Channel,
    socket: &Path,
    names: [&str; 2],
    have: &mut Have,
    deliver: &Sender<Delivered>,
    backoff: &mut Backoff,
) -> String {
    let (content, mut contents) = mpsc::channel(1);
    let [certificate, roots] =
        names.map(|name| Box::pin(subscribe(channel.clone(), socket, name, content.clone())));
    tokio::pin!(certificate, roots);
    loop {
        tokio::select! {
            why = &mut certificate => return why,
            why = &mut roots => return why,
            one = contents.recv() => {
                match one {
                    Some(Content::Certified(certified)) => have.certified = Some(certified),
                    Some(Content::Roots(roots)) => have.roots = Some(roots),
                    None => return String::new(),
                }
                let Some(svid) = have.svid() else { continue };
                if svid.is_ok() {
                    backoff.reset();
                }
                if deliver.send(svid).await.is_err() {
                    return String::new();
                }
            }
        }
    }
}

impl Have {
    /// What both make; `None`: one is missing.
    fn svid(&self) -> Option<Delivered> {
        let (certified, roots) = (self.certified.clone()?, self.roots.as_ref()?);
        Some(match roots {
            Roots::Own(own) => Svid::new(certified, own.clone()).map_err(|error| error.to_string()),
            Roots::Each(bundles) => {
                let own =
                    SpiffeId::of(&certified.cert).and_then(|id| bundles.get(id.trust_domain()).cloned());
                match own {
                    None => Err("none of the roots are of the certificate's trust domain".into()),
                    Some(own) => Svid::new(certified, own)
                        .map(|svid| svid.with_federated(bundles.clone()))
                        .map_err(|error| error.to_string()),
                }
            }
        })
    }
}

/// One stream, to its end; says why it ended.
async fn subscribe(channel: Channel, socket: &Path, name: &str, contents: Sender<Content>) -> String {
    let ended = |why: &str| format!("{}: {name}: {why}", socket.display());
    let mut client = tonic::client::Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return ended(&channel::innermost(&error));
    }
    let mut ask = DiscoveryRequest {
        node: Some(node()),
        resource_names: vec![name.into()],
        type_url: SECRET.into(),
        ..DiscoveryRequest::default()
    };
    // At most one answer to one response waits.
    let (requests, queue) = mpsc::channel(2);
    if requests.send(ask.clone()).await.is_err() {
        return String::new();
    }
    let queue = stream::unfold(queue, async |mut queue| queue.recv().await.map(|next| (next, queue)));
    let codec = ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
    let mut responses = match client.streaming(Request::new(queue), stream_secrets(), codec).await {
        Ok(response) => response.into_inner(),
        Err(status) => return ended(status.message()),
    };
    loop {
        let response = match responses.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return ended("the stream has ended"),
            Err(status) => return ended(status.message()),
        };
        let DiscoveryResponse { version_info, nonce, resources } = response;
        ask.response_nonce = nonce;
        ask.error_detail = None;
        let secrets = resources.into_iter().filter_map(|any| Secret::decode(&*any.value).ok());
        for secret in secrets.filter(|secret| secret.name == name || secret.name.is_empty()) {
            match read(secret, socket) {
                Ok(content) => {
                    ask.version_info.clone_from(&version_info);
                    if contents.send(content).await.is_err() {
                        return String::new();
                    }
                }
                Err(why) => {
                    tracing::warn!(secret = name, why, "a secret was refused");
                    ask.error_detail = Some(Status { code: Code::InvalidArgument as i32, message: why });
                }
            }
        }
        if requests.send(ask.clone()).await.is_err() {
            return ended("the stream has ended");
        }
    }
}

/// In each request, as Envoy has it: SPIRE gives roots of several domains to those who say so in their last one.
fn node() -> Node {
    let version = Some(SemanticVersion { major_number: ENVOY.0, minor_number: ENVOY.1 });
    Node {
        id: "sidle".into(),
        user_agent_name: "sidle".into(),
        user_agent_build_version: Some(BuildVersion { version }),
    }
}

/// What a secret holds.
fn read(secret: Secret, place: &Path) -> Result<Content, String> {
    match (secret.tls_certificate, secret.validation_context) {
        (Some(certificate), None) => certified(certificate, place).map(Content::Certified),
        (None, Some(context)) => roots(context, place).map(Content::Roots),
        _ => Err("it is neither a certificate nor a validation context".into()),
    }
}

fn certified(certificate: TlsCertificate, place: &Path) -> Result<Arc<CertifiedKey>, String> {
    let chain = certificate.certificate_chain.unwrap_or_default();
    let key = certificate.private_key.unwrap_or_default();
    let certified = certified_from_pem(chain.bytes(), key.bytes(), place);
    certified.map(Arc::new).map_err(|error| error.to_string())
}

fn roots(context: ValidationContext, place: &Path) -> Result<Roots, String> {
    let bundle =
        |source: &DataSource| Bundle::from_pem(source.bytes(), place).map_err(|error| error.to_string());
    // As in Envoy, an empty list is none.
    let lists = context.crl.filter(|lists| !lists.is_empty());
    let validator = context.custom_validator_config.and_then(|extension| extension.typed_config);
    if let Some(validator) = validator {
        let validator = SpiffeValidator::decode(&*validator.value).map_err(|error| error.to_string())?;
        let each = validator.trust_domains.into_iter();
        let each = each.map(|domain| {
            let bundle = bundle(&domain.trust_bundle.unwrap_or_default())?;
            Ok((domain.name.into(), Arc::new(bundle)))
        });
        if lists.is_some() {
            return Err("it has revocation lists beside the roots of several domains: whose are they?".into());
        }
        return each.collect::<Result<_, String>>().map(Roots::Each);
    }
    let mut own = bundle(&context.trusted_ca.unwrap_or_default())?;
    if let Some(lists) = lists {
        // Also where they are said to be in a file: to believe everybody meanwhile would be worse.
        own = own
            .with_revocation_lists(lists.bytes(), context.only_verify_leaf_cert_crl, place)
            .map_err(|error| error.to_string())?;
    }
    Ok(Roots::Own(Arc::new(own)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::messages::sds::{Any, TrustDomain, TypedExtension};
    use sidle_identity::DevelopmentAuthority;

    fn text(text: &str) -> Option<DataSource> {
        let mut source = DataSource::default();
        source.inline_string = text.into();
        Some(source)
    }

    fn roots_of(domains: &[(&str, &str)]) -> Secret {
        let trust_domains = domains
            .iter()
            .map(|(name, roots)| TrustDomain { name: (*name).into(), trust_bundle: text(roots) })
            .collect();
        let value = SpiffeValidator { trust_domains }.encode_to_vec();
        let typed_config = Some(Any { type_url: String::new(), value });
        let custom_validator_config = Some(TypedExtension { typed_config });
        let validation_context = Some(ValidationContext { custom_validator_config, ..Default::default() });
        Secret { validation_context, ..Secret::default() }
    }

    #[test]
    fn certificate_and_roots_make_an_identity_when_they_fit() {
        let place = Path::new("sds");
        let (here, there) =
            (DevelopmentAuthority::new("here").unwrap(), DevelopmentAuthority::new("there").unwrap());
        let issued = here.issue(&SpiffeId::parse("spiffe://here/a").unwrap(), &[]).unwrap();
        let certificate =
            TlsCertificate { certificate_chain: text(&issued.certificate), private_key: text(&issued.key) };
        let secret = Secret { tls_certificate: Some(certificate), ..Secret::default() };
        let Ok(Content::Certified(certified)) = read(secret, place) else { panic!("a certificate") };
        let mut have = Have { certified: Some(certified), roots: None };
        assert!(have.svid().is_none(), "roots are missing");
        let mut with = |secret: Secret| {
            let Ok(Content::Roots(roots)) = read(secret, place) else { panic!("roots") };
            have.roots = Some(roots);
            have.svid().unwrap()
        };
        let svid = with(roots_of(&[("here", &here.certificate), ("there", &there.certificate)])).unwrap();
        assert_eq!(svid.bundles.keys().map(|name| &**name).collect::<Vec<_>>(), ["here", "there"]);
        assert!(with(roots_of(&[("there", &there.certificate)])).unwrap_err().contains("trust domain"));
        let one = ValidationContext { trusted_ca: text(&there.certificate), ..Default::default() };
        let one = Secret { validation_context: Some(one), ..Secret::default() };
        assert!(with(one).unwrap_err().contains("does not lead to its roots"));
    }

    #[test]
    fn revocation_lists_come_with_roots_or_the_roots_are_refused() {
        let place = Path::new("sds");
        let authority = DevelopmentAuthority::new("here").unwrap();
        let with = |crl: DataSource, secret: Secret| {
            let context = ValidationContext { crl: Some(crl), ..secret.validation_context.unwrap() };
            read(Secret { validation_context: Some(context), ..Secret::default() }, place).map(drop)
        };
        let one = || {
            let context =
                ValidationContext { trusted_ca: text(&authority.certificate), ..Default::default() };
            Secret { validation_context: Some(context), ..Secret::default() }
        };
        let rubbish = text(&authority.certificate).unwrap();
        assert!(with(rubbish, one()).unwrap_err().contains("revocation list"));
        let in_a_file = || {
            let mut source = DataSource::default();
            source.filename = "/crl.pem".into();
            source
        };
        assert!(with(in_a_file(), one()).is_err());
        assert_eq!(with(DataSource::default(), one()), Ok(()), "an empty one is none");
        let several = || roots_of(&[("here", &authority.certificate)]);
        assert!(with(in_a_file(), several()).unwrap_err().contains("whose are they"));
        assert_eq!(with(DataSource::default(), several()), Ok(()));
    }

    #[test]
    fn what_is_no_secret_of_ours_is_refused() {
        let place = Path::new("sds");
        let empty = Secret::default();
        let keyless = Secret { tls_certificate: Some(TlsCertificate::default()), ..Secret::default() };
        let rootless = Secret { validation_context: Some(ValidationContext::default()), ..Secret::default() };
        for secret in [empty, keyless, rootless] {
            assert!(read(secret, place).is_err());
        }
    }
}
