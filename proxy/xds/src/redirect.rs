//! Redirects.

use crate::{context::TableContext, forward, value::Object};
use serde_json::Value;
use sidle_model::ir::{PathRewrite, Redirect, RedirectPort};

/// A `RedirectAction`.
pub(crate) fn redirect(context: &TableContext<'_>, redirect: &Redirect) -> Value {
    let path = match &redirect.path {
        Some(PathRewrite::Full(path)) => Object::new().with("path_redirect", &**path),
        other => forward::path_rewrite(other.as_ref()),
    };
    Object::new()
        .with_some("scheme_redirect", redirect.scheme.as_deref())
        .with_some("host_redirect", redirect.authority.as_deref())
        .with_some("port_redirect", port(context, redirect))
        .with("response_code", code(redirect.status.as_u16()))
        .merge(path)
        .into()
}

/// Envoy writes every port that it is given, so the default of the scheme is not given, as in Istio.
fn port(context: &TableContext<'_>, redirect: &Redirect) -> Option<u16> {
    let port = match redirect.port {
        RedirectPort::Keep | RedirectPort::SchemeDefault => None,
        RedirectPort::Number(port) => Some(port),
        RedirectPort::Listener => context.port,
    };
    let default = match redirect.scheme.as_deref() {
        Some("https") => 443,
        _ => 80,
    };
    port.filter(|port| *port != default)
}

fn code(status: u16) -> &'static str {
    match status {
        302 => "FOUND",
        303 => "SEE_OTHER",
        307 => "TEMPORARY_REDIRECT",
        308 => "PERMANENT_REDIRECT",
        _ => "MOVED_PERMANENTLY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use http::StatusCode;
    use serde_json::json;

    fn written(redirect: &Redirect) -> Value {
        let ir = crate::fixture::empty();
        let context = Context::bootstrap(&ir, None);
        super::redirect(&TableContext { context: &context, by_authority: false, port: Some(8080) }, redirect)
    }

    #[test]
    fn default_ports_are_left_out() {
        let given = |scheme: Option<&str>, port| Redirect {
            status: StatusCode::PERMANENT_REDIRECT,
            scheme: scheme.map(Into::into),
            authority: Some("b.example".into()),
            port,
            path: Some(PathRewrite::Full("/x".into())),
        };
        assert_eq!(
            written(&given(Some("https"), RedirectPort::Number(443))),
            json!({
                "scheme_redirect": "https", "host_redirect": "b.example", "path_redirect": "/x",
                "response_code": "PERMANENT_REDIRECT",
            })
        );
        for (scheme, port, expected) in [
            (None, RedirectPort::Number(80), json!(null)),
            (None, RedirectPort::Number(81), json!(81)),
            (Some("https"), RedirectPort::Number(80), json!(80)),
            (None, RedirectPort::Listener, json!(8080)),
            (None, RedirectPort::Keep, json!(null)),
        ] {
            assert_eq!(written(&given(scheme, port))["port_redirect"], expected);
        }
    }
}
