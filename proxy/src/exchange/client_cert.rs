//! `x-forwarded-client-cert`: who the client proved to be, told to the application.
//!
//! In:  what a client sent under that name, and its certificate.   Out: what the upstream gets.
//! Invariants: without a certificate that was verified on this connection nothing is told, whatever the client says (but for
//! `ALWAYS_FORWARD_ONLY`, which an operator has to ask for); a value that could be read as two fields is quoted, one that
//! cannot stand in a header is left out.
//! Source: Envoy's "HTTP header manipulation", x-forwarded-client-cert; R22.

use crate::codec::twins;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue};
use sidle_fields::Fields;
use sidle_identity::{Peer, SpiffeId};
use sidle_model::ir::ForwardClientCert;
use std::fmt::Write;

/// Its name.
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Puts the header right. `own` tells the client's certificate; it is asked only where it is needed.
pub fn apply<'a>(
    headers: &mut Fields,
    action: ForwardClientCert,
    is_known: bool,
    own: impl FnOnce() -> Option<&'a HeaderValue>,
) {
    if action != ForwardClientCert::AlwaysForwardOnly {
        twins::remove(headers, &CLIENT_CERT);
    }
    match action {
        ForwardClientCert::AlwaysForwardOnly => {}
        ForwardClientCert::ForwardOnly if is_known => {}
        ForwardClientCert::SanitizeSet if is_known => match own() {
            Some(element) => headers.insert(CLIENT_CERT, element.clone()),
            None => _ = headers.remove(CLIENT_CERT),
        },
        ForwardClientCert::AppendForward if is_known => append(headers, own()),
        _ => _ = headers.remove(CLIENT_CERT),
    }
}

/// One header, the nearest proxy's client last.
fn append(headers: &mut Fields, own: Option<&HeaderValue>) {
    let sent = headers.get_all(CLIENT_CERT).chain(own);
    let all = sent.map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..]);
    match HeaderValue::from_bytes(&all) {
        Ok(value) if !all.is_empty() => headers.insert(CLIENT_CERT, value),
        _ => _ = headers.remove(CLIENT_CERT),
    }
}

/// The element of a client. Gateways tell the certificate itself too, as Istio has it.
pub fn element(client: &Peer, own: Option<&SpiffeId>, with_certificate: bool) -> Option<HeaderValue> {
    let mut text = String::new();
    if let Some(own) = own {
        _ = write!(text, "By={own};");
    }
    text.push_str("Hash=");
    client.fingerprint().iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
    if with_certificate {
        _ = write!(text, ";Cert=\"{}\"", pem(client));
    }
    // Escaped by RFC 4514.
    _ = write!(text, ";Subject=\"{}\"", client.subject);
    let uris = client.uris.iter().filter(|uri| is_printable(uri));
    match client.uris.is_empty() {
        true => text.push_str(";URI="),
        false => uris.for_each(|uri| push(&mut text, ";URI=", uri)),
    }
    for name in client.dns_names.iter().filter(|name| is_printable(name)) {
        push(&mut text, ";DNS=", name);
    }
    HeaderValue::from_str(&text).ok()
}

fn is_printable(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn push(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    if value.contains([',', ';', '=', '"', ' ']) {
        _ = write!(text, "\"{}\"", value.replace('\\', r"\\").replace('"', "\\\""));
    } else {
        text.push_str(value);
    }
}

/// PEM in percent escapes, as Envoy writes it.
fn pem(client: &Peer) -> String {
    let mut text = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    let base64 = BASE64_STANDARD.encode(&client.certificate);
    for (at, letter) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push_str("%0A");
        }
        match letter {
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            letter => text.push(letter),
        }
    }
    text.push_str("%0A-----END%20CERTIFICATE-----%0A");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uris: &[&str], dns_names: &[&str]) -> Peer {
        let list = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        Peer {
            spiffe_id: uris.first().and_then(|uri| SpiffeId::parse(uri)),
            uris: list(uris),
            dns_names: list(dns_names),
            subject: "CN=a\\\"b".into(),
            certificate: vec![0xfb; 50].into(),
        }
    }

    fn shown(client: &Peer) -> String {
        let own = SpiffeId::parse("spiffe://td/b");
        element(client, own.as_ref(), false).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn an_element_is_written_as_envoy_writes_it() {
        let text = shown(&peer(&["spiffe://td/a"], &["a.test", "b.test"]));
        let (by, rest) = text.split_once(";Hash=").unwrap();
        let (hash, rest) = rest.split_once(';').unwrap();
        assert_eq!(by, "By=spiffe://td/b");
        assert_eq!((hash.len(), rest), (64, r#"Subject="CN=a\"b";URI=spiffe://td/a;DNS=a.test;DNS=b.test"#));
        assert!(shown(&peer(&[], &[])).ends_with(r#";Subject="CN=a\"b";URI="#));
    }

    #[test]
    fn no_name_can_be_read_as_another_field() {
        let text = shown(&peer(&["https://x/;URI=spiffe://td/admin", "a\r\nb"], &["a,By=b", "x\"y"]));
        assert!(
            text.ends_with(r#";URI="https://x/;URI=spiffe://td/admin";DNS="a,By=b";DNS="x\"y""#),
            "{text}"
        );
    }

    #[test]
    fn a_gateway_tells_the_certificate() {
        let element = element(&peer(&["spiffe://td/a"], &[]), None, true).unwrap();
        let text = element.to_str().unwrap();
        assert!(text.starts_with("Hash="), "{text}");
        let (_, pem) = text.split_once("Cert=\"").unwrap();
        assert!(pem.starts_with("-----BEGIN%20CERTIFICATE-----%0A%2B%2Fv7%2B"), "{pem}");
        assert!(pem.contains("%3D%0A-----END%20CERTIFICATE-----%0A\";Subject="), "{pem}");
    }

    #[test]
    fn what_clients_send_goes_or_stays_as_asked() {
        let own = HeaderValue::from_static("Hash=1");
        let outcome = |action, is_known: bool| {
            let mut headers = Fields::new();
            headers.append(CLIENT_CERT, HeaderValue::from_static("Hash=x"));
            headers.append(CLIENT_CERT, HeaderValue::from_static("Hash=y"));
            apply(&mut headers, action, is_known, || Some(&own));
            let all: Vec<_> = headers.get_all(CLIENT_CERT).map(|v| v.to_str().unwrap()).collect();
            all.join(" | ")
        };
        use ForwardClientCert::*;
        for (action, known, unknown) in [
            (Sanitize, "", ""),
            (ForwardOnly, "Hash=x | Hash=y", ""),
            (AppendForward, "Hash=x,Hash=y,Hash=1", ""),
            (SanitizeSet, "Hash=1", ""),
            (AlwaysForwardOnly, "Hash=x | Hash=y", "Hash=x | Hash=y"),
        ] {
            assert_eq!((&*outcome(action, true), &*outcome(action, false)), (known, unknown), "{action:?}");
        }
    }
}
