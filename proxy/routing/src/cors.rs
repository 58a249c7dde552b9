//! Cross-origin requests.
//!
//! In:  [`ir::Cors`], then a request.   Out: a [`Decision`]: pass, amend the response, or answer the preflight.
//! Invariants: an origin that is not allowed never gets `access-control-allow-origin`. Nothing is refused: a browser
//! enforces the policy, and a client that sends no Origin is not concerned.
//! Not here: the response itself (`proxy/src/policy`).
//! Source: Envoy's CORS filter; the Fetch standard.

use crate::{RequestView, StringMatcher};
use http::{
    HeaderName, HeaderValue,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, InvalidHeaderValue, ORIGIN,
    },
};
use sidle_model::ir;

/// Headers to set, each replacing what the response has.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: not cross-origin, or from an origin that is not allowed.
    Pass,
    /// Forward it, and set these on the response.
    Amend(Headers),
    /// Answer 200 with these and no body (`cors_response`).
    Respond(Headers),
}

/// A compiled [`ir::Cors`].
#[derive(Debug, Clone)]
pub struct CorsPolicy {
    /// `None`: every origin.
    origins: Option<Box<[StringMatcher]>>,
    methods: Option<Listed>,
    headers: Option<Listed>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    forward_unmatched_preflights: bool,
}

/// A list of names in a response.
#[derive(Debug, Clone)]
enum Listed {
    /// `*`: what the preflight asks for.
    Asked,
    These(HeaderValue),
}

impl CorsPolicy {
    /// Compiles.
    ///
    /// # Errors
    /// When one of the lists cannot be a header's value.
    pub fn new(source: &ir::Cors) -> Result<Self, InvalidHeaderValue> {
        let value = |text: &str| (!text.is_empty()).then(|| HeaderValue::from_str(text)).transpose();
        let listed = |text: &str| match text {
            "*" => Ok(Some(Listed::Asked)),
            _ => value(text).map(|value| value.map(Listed::These)),
        };
        let origins: Box<[_]> = source.allow_origins.iter().map(StringMatcher::new).collect();
        // As in Envoy: what covers a literal star covers everything.
        let every = origins.iter().any(|origin| origin.matches(b"*"));
        Ok(CorsPolicy {
            origins: (!every).then_some(origins),
            methods: listed(&source.allow_methods)?,
            headers: listed(&source.allow_headers)?,
            expose: value(&source.expose_headers)?,
            max_age: source.max_age.map(|age| HeaderValue::from(age.as_secs())),
            credentials: source.allow_credentials,
            forward_unmatched_preflights: source.forward_unmatched_preflights,
        })
    }

    /// What to do with a request.
    pub fn decide(&self, request: &impl RequestView) -> Decision {
        let Some(origin) = first(request, &ORIGIN) else {
            return Decision::Pass;
        };
        let allowed = self.allows(&origin).then_some(origin);
        if request.method() == "OPTIONS"
            && let Some(method) = first(request, &ACCESS_CONTROL_REQUEST_METHOD)
            && (allowed.is_some() || !self.forward_unmatched_preflights)
        {
            return Decision::Respond(self.preflight(allowed, method, request));
        }
        match allowed {
            Some(origin) => Decision::Amend(self.amendment(origin)),
            None => Decision::Pass,
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            None => true,
            Some(origins) => origins.iter().any(|wanted| wanted.matches(origin.as_bytes())),
        }
    }

    fn preflight(
        &self,
        allowed: Option<HeaderValue>,
        method: HeaderValue,
        request: &impl RequestView,
    ) -> Headers {
        let mut headers = Headers::with_capacity(5);
        headers.extend(allowed.map(|origin| (ACCESS_CONTROL_ALLOW_ORIGIN, origin)));
        headers.extend(self.credentials());
        let methods = self.methods.as_ref().map(|methods| match methods {
            Listed::Asked => method,
            Listed::These(methods) => methods.clone(),
        });
        headers.extend(methods.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods)));
        let names = self.headers.as_ref().and_then(|names| match names {
            Listed::Asked => first(request, &ACCESS_CONTROL_REQUEST_HEADERS),
            Listed::These(names) => Some(names.clone()),
        });
        headers.extend(names.map(|names| (ACCESS_CONTROL_ALLOW_HEADERS, names)));
        headers.extend(self.max_age.clone().map(|age| (ACCESS_CONTROL_MAX_AGE, age)));
        headers
    }

    fn amendment(&self, origin: HeaderValue) -> Headers {
        let mut headers = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin)];
        headers.extend(self.credentials());
        headers.extend(self.expose.clone().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
        headers
    }

    fn credentials(&self) -> Option<(HeaderName, HeaderValue)> {
        self.credentials.then(|| (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")))
    }
}

/// The first value of a header, if it is not empty.
fn first(request: &impl RequestView, name: &HeaderName) -> Option<HeaderValue> {
    let value = request.header(name).next().filter(|value| !value.is_empty())?;
    HeaderValue::from_bytes(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::TestRequest;
    use std::time::Duration;

    fn cors() -> ir::Cors {
        ir::Cors {
            allow_origins: vec![ir::StringMatch::Exact("https://a.io".into())],
            allow_methods: "GET,POST".into(),
            allow_headers: "x-a".into(),
            expose_headers: "x-b".into(),
            max_age: Some(Duration::from_secs(60)),
            allow_credentials: true,
            forward_unmatched_preflights: true,
        }
    }

    fn decide(cors: &ir::Cors, method: &str, headers: &[(&'static str, &str)]) -> Decision {
        let request = headers
            .iter()
            .fold(TestRequest::new(method, "http://h/"), |request, (name, value)| request.with(name, value));
        CorsPolicy::new(cors).unwrap().decide(&request)
    }

    fn lines(headers: &Headers) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    const PREFLIGHT: [(&str, &str); 2] =
        [("origin", "https://a.io"), ("access-control-request-method", "PUT")];

    #[test]
    fn a_simple_request_is_amended() {
        let Decision::Amend(headers) = decide(&cors(), "GET", &[("origin", "https://a.io")]) else {
            panic!()
        };
        assert_eq!(
            lines(&headers),
            [
                "access-control-allow-origin: https://a.io",
                "access-control-allow-credentials: true",
                "access-control-expose-headers: x-b",
            ]
        );
    }

    #[test]
    fn a_preflight_is_answered() {
        let Decision::Respond(headers) = decide(&cors(), "OPTIONS", &PREFLIGHT) else { panic!() };
        assert_eq!(
            lines(&headers),
            [
                "access-control-allow-origin: https://a.io",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: GET,POST",
                "access-control-allow-headers: x-a",
                "access-control-max-age: 60",
            ]
        );
    }

    #[test]
    fn stars_allow_every_origin_and_echo_what_is_asked() {
        let star = ir::Cors {
            allow_origins: vec![ir::StringMatch::Exact("*".into())],
            allow_methods: "*".into(),
            allow_headers: "*".into(),
            max_age: None,
            allow_credentials: false,
            ..cors()
        };
        let Decision::Respond(headers) = decide(&star, "OPTIONS", &PREFLIGHT) else { panic!() };
        assert_eq!(
            lines(&headers),
            ["access-control-allow-origin: https://a.io", "access-control-allow-methods: PUT"],
            "no request headers were asked for"
        );
        let asked = [PREFLIGHT[0], PREFLIGHT[1], ("access-control-request-headers", "x-q")];
        let Decision::Respond(headers) = decide(&star, "OPTIONS", &asked) else { panic!() };
        assert_eq!(lines(&headers)[2], "access-control-allow-headers: x-q");
    }

    #[test]
    fn others_pass() {
        let other = [("origin", "https://evil.io"), ("access-control-request-method", "PUT")];
        assert_eq!(decide(&cors(), "GET", &[]), Decision::Pass);
        assert_eq!(decide(&cors(), "GET", &[("origin", "")]), Decision::Pass);
        assert_eq!(decide(&cors(), "GET", &other[..1]), Decision::Pass);
        assert_eq!(decide(&cors(), "OPTIONS", &other), Decision::Pass);
        let plain_options = decide(&cors(), "OPTIONS", &PREFLIGHT[..1]);
        assert!(matches!(plain_options, Decision::Amend(_)), "without a requested method it is no preflight");
    }

    #[test]
    fn an_unmatched_preflight_can_be_answered_here() {
        let other = [("origin", "https://evil.io"), ("access-control-request-method", "PUT")];
        let ignore = ir::Cors { forward_unmatched_preflights: false, ..cors() };
        let Decision::Respond(headers) = decide(&ignore, "OPTIONS", &other) else { panic!() };
        assert!(headers.iter().all(|(name, _)| *name != ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn a_list_that_is_no_header_value_is_an_error() {
        assert!(CorsPolicy::new(&ir::Cors { expose_headers: "a\nb".into(), ..cors() }).is_err());
    }
}
