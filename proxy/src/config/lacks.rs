//! What a configuration may ask for that was left out of this build.
//!
//! In:  a loaded configuration.   Out: the same, or an error in its place.
//! Invariant: what is left out is never asked for by what runs.

use sidle_model::{
    Loaded,
    diagnostic::{self, Diagnostic, codes},
    ir::{ExtAuthz, ExtAuthzTransport, IdentitySource, Ir, Listener, NetworkFilter, RateLimitBy},
};
use std::sync::Arc;

/// Refuses what asks for something that this build lacks.
pub fn judge(loaded: &mut Loaded) {
    let needing = if cfg!(feature = "grpc-clients") { None } else { loaded.ir.as_ref().and_then(needs_grpc) };
    if let Some(what) = needing {
        let message = format!("{what} needs gRPC, which this build of sidle was made without");
        let error = Diagnostic::error(codes::LEFT_OUT, message);
        loaded
            .diagnostics
            .push(error.help("build it with the feature `grpc-clients`, which is on by default"));
        diagnostic::sort(&mut loaded.diagnostics);
        loaded.ir = None;
    }
}

/// What of it is asked by gRPC.
fn needs_grpc(ir: &Ir) -> Option<String> {
    let source = match ir.settings.identity.as_ref().map(|identity| &identity.source) {
        Some(IdentitySource::Sds { .. }) => Some("sds"),
        Some(IdentitySource::WorkloadApi { .. }) => Some("workloadApi"),
        Some(IdentitySource::Authority(_)) => Some("certificateAuthority"),
        Some(IdentitySource::Folder(_) | IdentitySource::Files { .. }) | None => None,
    };
    if let Some(source) = source {
        return Some(format!("`identity.{source}` of `kind: Proxy`"));
    }
    if let Some(policy) = ir.listeners.iter().find_map(|listener| counted_elsewhere(listener)) {
        return Some(format!("`rateLimitService` of RateLimitPolicy {policy}"));
    }
    let by_grpc = |provider: &&Arc<ExtAuthz>| provider.transport == ExtAuthzTransport::Grpc;
    let provider = ir.listeners.iter().flat_map(|listener| providers(listener)).find(by_grpc)?;
    Some(format!("provider `{}` of an AuthorizationPolicy", provider.name))
}

fn providers(listener: &Listener) -> impl Iterator<Item = &Arc<ExtAuthz>> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let given = chains.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => http.admission.authorization.as_ref(),
        NetworkFilter::Tcp(tcp) => tcp.authorization.as_ref(),
    });
    given.flat_map(|authorization| &authorization.providers)
}

/// The name of a policy that asks a service.
fn counted_elsewhere(listener: &Listener) -> Option<&str> {
    let mut chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    chains.find_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => {
            let mut limits = http.admission.rate_limits.iter();
            limits.find(|limit| matches!(limit.by, RateLimitBy::Service(_))).map(|limit| &*limit.name)
        }
        NetworkFilter::Tcp(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidle_model::{ir::Node, load_texts, source::Text};

    fn loaded(spec: &str, provider: &str) -> Loaded {
        let manifests = format!(
            "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec: {{{spec}}}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {{selector: {{app: s}}, ports: [{{name: http, port: 80}}]}}\n---\n\
             apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a}}\n\
             spec: {{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}\n"
        );
        let node = Node { labels: [("app".to_owned(), "s".to_owned())].into(), ..Node::default() };
        let mut loaded = load_texts(vec![Text { name: "a.yaml".into(), content: manifests.into() }], &node);
        assert!(loaded.ir.is_some(), "{:#?}", loaded.diagnostics);
        judge(&mut loaded);
        loaded
    }

    const PROVIDERS: &str = "extensionProviders: [{name: g, envoyExtAuthzGrpc: {service: a.test, port: 1}}, {name: h, envoyExtAuthzHttp: {service: a.test, port: 1}}]";

    #[test]
    fn what_needs_grpc_is_refused_by_a_build_without() {
        for (spec, provider, what) in [
            ("identity: {sds: {socket: /s}}", "x", "`identity.sds` of `kind: Proxy`"),
            ("identity: {workloadApi: {socket: /s}}", "x", "`identity.workloadApi` of `kind: Proxy`"),
            (
                "identity: {certificateAuthority: {address: 'ca:1'}}",
                "x",
                "`identity.certificateAuthority` of `kind: Proxy`",
            ),
            (PROVIDERS, "g", "provider `g` of an AuthorizationPolicy"),
            (PROVIDERS, "h", ""),
            ("identity: {directory: /d}", "x", ""),
        ] {
            let loaded = loaded(spec, provider);
            let told: Vec<_> =
                loaded.diagnostics.iter().filter(|told| told.code == codes::LEFT_OUT).collect();
            if cfg!(feature = "grpc-clients") || what.is_empty() {
                assert!(loaded.ir.is_some() && told.is_empty(), "{spec}: {told:?}");
            } else {
                assert!(loaded.ir.is_none(), "{spec}");
                assert!(told[0].message.starts_with(what), "{spec}: {told:?}");
            }
        }
    }
}
