//! The request of `sidle explain`, as a client would send it.
//!
//! In:  METHOD, URL and `-H` as `curl` takes them.   Out: a [`RequestView`] for the route table.
//! Not here: routing.

use super::super::CliError;
use http::{HeaderName, Uri};
use serde_json::{Map, Value};
use sidle_model::ir::{HttpOptions, UnderscoresAction, is_authority};
use sidle_routing::{RequestView, host::split_host_port, path::normalise};

/// A request without a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As given.
    pub method: String,
    /// `http` or `https`; of a connection of bytes `tcp` or `tls`.
    pub scheme: String,
    /// The URL's host, or the Host header.
    pub authority: String,
    /// Empty for CONNECT.
    pub path: String,
    /// After the `?`.
    pub query: Option<String>,
    /// In order; no host.
    pub headers: Vec<(HeaderName, String)>,
    /// What its token says.
    pub claims: Option<Map<String, Value>>,
}

impl Request {
    /// Reads `METHOD URL` and headers (`key: value`).
    ///
    /// # Errors
    /// Usage errors that name the part.
    pub fn parse(method: &str, url: &str, headers: &[String]) -> Result<Request, CliError> {
        let wrong = |why: String| CliError::Usage(format!("`{url}`: {why}"));
        http::Method::from_bytes(method.as_bytes())
            .map_err(|_| CliError::Usage(format!("`{method}` is not a method")))?;
        if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let upper = method.to_ascii_uppercase();
            let why = "letter case counts, and no method that is served has lower-case letters";
            return Err(CliError::Usage(format!("`{method}`: {why}; did you mean `{upper}`?")));
        }
        let uri: Uri = url.parse().map_err(|_| {
            wrong("not a URL such as http://reviews/ratings?page=1 (a space in it is written as %20)".into())
        })?;
        let scheme = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            None | Some("http" | "ws" | "grpc") => "http",
            Some("https" | "wss" | "grpcs") => "https",
            Some(other) => return Err(wrong(format!("scheme `{other}`; expected http or https"))),
        };
        let connect = method == "CONNECT";
        let mut request = Request {
            method: method.to_owned(),
            scheme: scheme.to_owned(),
            authority: uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default(),
            path: if connect { String::new() } else { path(&uri) },
            query: uri.query().filter(|_| !connect).map(str::to_owned),
            headers: Vec::new(),
            claims: None,
        };
        for header in headers {
            request.add(header)?;
        }
        if request.authority.is_empty() {
            return Err(wrong("no host; give http://HOST/PATH, or `-H 'Host: HOST'`".into()));
        }
        Ok(request)
    }

    /// A connection of bytes: `tcp://10.0.0.5:3306`, `tls://db.shop:443`. It has no method and no path.
    ///
    /// # Errors
    /// A usage error that says what is expected.
    pub fn connection(url: &str) -> Result<Request, CliError> {
        let (scheme, authority) = url.split_once("://").unwrap_or_default();
        let authority = authority.trim_end_matches('/');
        if !is_authority(authority.as_bytes()) || split_host_port(authority).1.is_none() {
            let why = "expected tcp://ADDRESS:PORT or tls://NAME:PORT, such as tcp://10.0.0.5:3306";
            return Err(CliError::Usage(format!("`{url}`: {why}")));
        }
        Ok(Request {
            method: String::new(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: String::new(),
            query: None,
            headers: Vec::new(),
            claims: None,
        })
    }

    /// Whether it is a connection of bytes.
    pub fn is_connection(&self) -> bool {
        matches!(&self.scheme[..], "tcp" | "tls")
    }

    /// Whether its host is an address.
    pub fn has_address(&self) -> bool {
        split_host_port(&self.authority).0.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
    }

    /// Whether it begins with a handshake.
    pub fn is_tls(&self) -> bool {
        matches!(&self.scheme[..], "https" | "tls")
    }

    fn add(&mut self, header: &str) -> Result<(), CliError> {
        let wrong = || CliError::Usage(format!("`-H {header}`: expected `name: value`"));
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let value = value.trim();
        if name == http::header::HOST {
            self.authority = value.to_owned();
        } else {
            self.headers.push((name, value.to_owned()));
        }
        Ok(())
    }

    /// The tunnel through which a client of a proxy reaches an https URL.
    pub fn tunnel(&self) -> Request {
        let with_port = match split_host_port(&self.authority) {
            (_, Some(_)) => self.authority.clone(),
            (host, None) => format!("{host}:443"),
        };
        Request {
            method: "CONNECT".into(),
            authority: with_port,
            path: String::new(),
            query: None,
            headers: Vec::new(),
            scheme: "http".into(),
            claims: None,
        }
    }

    /// The request as routes see it: what the codec makes of the same bytes on a listener with these options.
    ///
    /// # Errors
    /// Why it is answered with 400.
    pub fn admitted(&self, options: &HttpOptions) -> Result<Request, String> {
        if !is_authority(self.authority.as_bytes()) {
            return Err(format!("`{}` is not a host with an optional port", self.authority));
        }
        let mut request = self.clone();
        if self.is_connect() {
            if split_host_port(&self.authority).1.is_none() {
                return Err("CONNECT needs a port".to_owned());
            }
        } else {
            let normal = normalise(&self.path, options.normalization).map_err(|why| why.to_string())?;
            request.path = normal.into_owned();
        }
        let underscored = |name: &HeaderName| name.as_str().contains('_');
        match options.underscores {
            UnderscoresAction::Allow => {}
            UnderscoresAction::Drop => request.headers.retain(|(name, _)| !underscored(name)),
            UnderscoresAction::Reject => {
                if let Some((name, _)) = self.headers.iter().find(|(name, _)| underscored(name)) {
                    return Err(format!("`{name}` holds an underscore"));
                }
            }
        }
        Ok(request)
    }

    /// Path and query.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

fn path(uri: &Uri) -> String {
    match uri.path() {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

impl RequestView for Request {
    fn method(&self) -> &str {
        &self.method
    }

    fn scheme(&self) -> &str {
        &self.scheme
    }

    fn authority(&self) -> &str {
        &self.authority
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let values = self.headers.iter().filter(move |(key, _)| key == name);
        // Collected, because the iterator may outlive `name`.
        values.map(|(_, value)| value.as_bytes()).collect::<Vec<_>>().into_iter()
    }

    fn claim(&self, path: &[String]) -> Option<&Value> {
        sidle_jwt::claim_at(self.claims.as_ref()?, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, headers: &[&str]) -> Result<Request, CliError> {
        let (method, url) = line.split_once(' ').unwrap();
        let headers: Vec<String> = headers.iter().map(|header| header.to_string()).collect();
        Request::parse(method, url, &headers)
    }

    #[test]
    fn urls_are_read_as_clients_send_them() {
        let request = parse("GET http://Reviews:9080/a/b?x=1", &["end-user: jason", "X-A:1"]).unwrap();
        assert_eq!((&request.authority[..], &request.path[..]), ("Reviews:9080", "/a/b"));
        assert_eq!(request.target(), "/a/b?x=1");
        assert_eq!(request.header(&HeaderName::from_static("end-user")).next(), Some(&b"jason"[..]));
        assert_eq!(request.header(&HeaderName::from_static("x-a")).next(), Some(&b"1"[..]));
        assert_eq!(parse("GET http://a", &[]).unwrap().path, "/");
        assert_eq!(parse("GET /x", &["Host: a.b"]).unwrap().authority, "a.b");
        assert_eq!(parse("GET http://ip/", &["host: a.b"]).unwrap().authority, "a.b");
    }

    #[test]
    fn connect_has_no_path_and_https_goes_through_it() {
        let connect = parse("CONNECT db:5432", &[]).unwrap();
        assert_eq!((&connect.authority[..], &connect.path[..]), ("db:5432", ""));
        assert!(connect.is_connect());
        assert_eq!(parse("GET https://a.b/x", &[]).unwrap().tunnel().authority, "a.b:443");
        assert_eq!(parse("GET https://a.b:8443/x", &[]).unwrap().tunnel().authority, "a.b:8443");
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for (line, headers) in [
            ("GET /x", &[][..]),
            ("GET ftp://a/", &[][..]),
            ("G@T http://a/", &[][..]),
            ("get http://a/", &[][..]),
            ("Get http://a/", &[][..]),
            ("GET http://a b/", &[][..]),
            ("GET http://a/", &["nocolon"][..]),
            ("GET http://a/", &["b@d name: 1"][..]),
        ] {
            assert!(matches!(parse(line, headers), Err(CliError::Usage(_))), "{line} {headers:?}");
        }
    }
}
