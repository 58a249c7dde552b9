//! Who asks, as `sidle explain` and `sidle authz simulate` are told: what authorization policies may look at beside the request.
//!
//! In:  flags, or a row of a table.   Out: [`Facts`].
//! Not here: the decision (`sidle-authz`).

use super::{CliError, explain::Request, value};
use serde_json::{Map, Value};
use sidle_authz::Facts;
use sidle_identity::SpiffeId;
use sidle_model::sidle::AuthorizationCase;
use std::net::IpAddr;

/// Flags that say who asks.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClientArgs {
    /// Who the client proved to be by mTLS: TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT [default: nobody, in the clear]
    #[arg(long, value_name = "PRINCIPAL", help_heading = "Client")]
    principal: Option<String>,
    /// Address of the other end of the connection
    #[arg(long, value_name = "IP", help_heading = "Client", value_parser = value::ip)]
    source_ip: Option<IpAddr>,
    /// Address of the client, behind those in front [default: the source's]
    #[arg(long, value_name = "IP", help_heading = "Client", value_parser = value::ip)]
    remote_ip: Option<IpAddr>,
    /// Port of the workload that the connection is for, where the listener does not tell
    #[arg(long, value_name = "PORT", help_heading = "Client", value_parser = value::port)]
    port: Option<u16>,
    /// Server name that the client asks for in TLS
    #[arg(long, value_name = "NAME", help_heading = "Client")]
    sni: Option<String>,
    /// Claim of the client's token, whose signature is taken to be good; lists and objects are JSON, and so is what begins like one: --claim iss=me --claim 'groups=["a"]'
    #[arg(long = "claim", value_name = "NAME=VALUE", help_heading = "Client")]
    claims: Vec<String>,
}

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Client {
    principal: Option<String>,
    source_ip: Option<IpAddr>,
    remote_ip: Option<IpAddr>,
    destination_ip: Option<IpAddr>,
    /// Of the workload.
    pub port: Option<u16>,
    server_name: Option<String>,
    claims: Option<Map<String, Value>>,
}

impl ClientArgs {
    /// Who the flags describe.
    ///
    /// # Errors
    /// A usage error that names the flag.
    pub fn client(self) -> Result<Client, CliError> {
        let mut claims = Map::new();
        for claim in &self.claims {
            let pair = claim.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) =
                pair.ok_or_else(|| CliError::Usage(format!("--claim {claim}: expected NAME=VALUE")))?;
            let value = claim_value(value)
                .map_err(|why| CliError::Usage(format!("--claim {claim}: the value is no JSON: {why}")))?;
            claims.insert(name.to_owned(), value);
        }
        let principal = self.principal.as_deref().map(principal).transpose();
        Ok(Client {
            principal: principal.map_err(|why| CliError::Usage(format!("--principal: {why}")))?,
            source_ip: self.source_ip,
            remote_ip: self.remote_ip.or(self.source_ip),
            destination_ip: None,
            port: self.port,
            server_name: self.sni.as_deref().map(server_name),
            claims: (!claims.is_empty()).then_some(claims),
        })
    }
}

/// Lists, objects, numbers, booleans and quoted texts are JSON; all else is text. What begins as JSON has to be so to its end.
fn claim_value(text: &str) -> Result<Value, serde_json::Error> {
    match serde_json::from_str(text) {
        Err(error) if text.trim_start().starts_with(['[', '{', '"']) => Err(error),
        value => Ok(value.unwrap_or_else(|_| Value::String(text.to_owned()))),
    }
}

/// As the proxy sees it: letter case does not count in a server name.
fn server_name(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// What a certificate can prove, with or without `spiffe://`.
fn principal(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("spiffe://").unwrap_or(text);
    let id = SpiffeId::parse(&format!("spiffe://{id}"));
    let id = id.ok_or_else(|| {
        format!("`{text}` is not a principal; expected TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT")
    })?;
    Ok(id.principal().to_owned())
}

impl Client {
    /// Who a row describes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(case: &AuthorizationCase) -> Result<Client, String> {
        let address = |field: &str, text: &Option<String>| {
            let parse =
                |text: &String| text.parse().map_err(|_| format!("{field}: `{text}` is not an address"));
            text.as_ref().map(parse).transpose()
        };
        let source_ip = address("sourceIp", &case.source_ip)?;
        Ok(Client {
            principal: case.principal.as_deref().map(principal).transpose()?,
            source_ip,
            remote_ip: address("remoteIp", &case.remote_ip)?.or(source_ip),
            destination_ip: address("destinationIp", &case.destination_ip)?,
            port: case.port,
            server_name: case.sni.as_deref().map(server_name),
            claims: case.claims.clone().map(|claims| claims.into_iter().collect()),
        })
    }

    /// Whether the client is somebody.
    pub fn has_principal(&self) -> bool {
        self.principal.is_some()
    }

    /// The same client, who is nobody.
    #[must_use]
    pub fn without_principal(&self) -> Client {
        Client { principal: None, ..self.clone() }
    }

    /// The trust domain of who it is.
    pub fn trust_domain(&self) -> Option<&str> {
        self.principal.as_deref().and_then(|principal| principal.split('/').next())
    }

    /// The server name that it asks for.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// What its token says.
    pub fn claims(&self) -> Option<&Map<String, Value>> {
        self.claims.as_ref()
    }

    /// The same client, with a token that says this.
    #[must_use]
    pub fn with_claims(&self, claims: Option<Map<String, Value>>) -> Client {
        Client { claims, ..self.clone() }
    }

    /// What is known when the client asks for `request`, or when it only connects.
    pub fn asking<'a>(&'a self, request: Option<&'a Request>) -> Asking<'a> {
        Asking { client: self, request, port: self.port }
    }
}

/// A client and what it asks for.
pub struct Asking<'a> {
    client: &'a Client,
    request: Option<&'a Request>,
    /// Of the workload.
    pub port: Option<u16>,
}

impl Facts for Asking<'_> {
    type Request = Request;

    fn request(&self) -> Option<&Request> {
        self.request
    }

    fn principal(&self) -> Option<&str> {
        self.client.principal.as_deref()
    }

    fn source_ip(&self) -> Option<IpAddr> {
        self.client.source_ip
    }

    fn remote_ip(&self) -> Option<IpAddr> {
        self.client.remote_ip
    }

    fn destination_ip(&self) -> Option<IpAddr> {
        self.client.destination_ip
    }

    fn port(&self) -> Option<u16> {
        self.port
    }

    fn server_name(&self) -> Option<&str> {
        self.client.server_name.as_deref()
    }

    fn claims(&self) -> Option<&Map<String, Value>> {
        self.client.claims.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_has_one_form() {
        let args = ClientArgs { sni: Some("A.orders.Shop".into()), ..Default::default() };
        assert_eq!(args.client().unwrap().server_name(), Some("a.orders.shop"));
        let case = AuthorizationCase { sni: Some("A.orders.Shop".into()), ..Default::default() };
        assert_eq!(Client::of(&case).unwrap().server_name(), Some("a.orders.shop"));
    }

    #[test]
    fn flags_make_a_client() {
        let claims = ["iss=me", "groups=[\"a\"]", "level=5", "eq=a=b"].map(str::to_owned).to_vec();
        let principal = Some("spiffe://td/ns/a/sa/b".to_owned());
        let args = ClientArgs { principal, claims, source_ip: "10.0.0.1".parse().ok(), ..Default::default() };
        let client = args.client().unwrap();
        let asking = client.asking(None);
        assert_eq!((asking.principal(), asking.remote_ip()), (Some("td/ns/a/sa/b"), "10.0.0.1".parse().ok()));
        let claims = serde_json::json!({"iss": "me", "groups": ["a"], "level": 5, "eq": "a=b"});
        assert_eq!(asking.claims(), claims.as_object());
        for claim in ["x", "=x", "groups=[a", "groups=['a']", "o={", "quoted=\"a"] {
            let wrong = ClientArgs { claims: vec![claim.into()], ..Default::default() };
            assert!(matches!(wrong.client(), Err(CliError::Usage(_))), "{claim}");
        }
        for principal in
            ["", "spiffe://", "spiffe://td/", "TD/ns/a/sa/b", "td//sa/b", "td/ns/a/sa/b c", "http://td/a"]
        {
            let wrong = ClientArgs { principal: Some(principal.into()), ..Default::default() };
            assert!(matches!(wrong.client(), Err(CliError::Usage(_))), "{principal}");
        }
        assert!(Client::default().asking(None).claims().is_none());
    }
}
