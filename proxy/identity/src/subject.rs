//! The subject of a certificate as text.
//!
//! In:  a distinguished name.   Out: RFC 4514 text as OpenSSL writes it (`XN_FLAG_RFC2253`), which is what Envoy shows.
//! Invariants: the text is printable ASCII, and every `"`, `,` and `;` in a value is escaped, so that no value can end the field
//! of a header that it stands in.
//! Source: RFC 4514 sections 2.1 to 2.4.

use std::fmt::Write;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// OpenSSL's short names.
const NAMES: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// The last part first, as RFC 4514 has it.
pub(crate) fn text(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.iter().rev() {
        for (at, attribute) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push(if at > 0 { '+' } else { ',' });
            }
            write_attribute(&mut text, attribute);
        }
    }
    text
}

fn write_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let id = attribute.attr_type().to_id_string();
    match (NAMES.iter().find(|(known, _)| *known == id), attribute.as_str()) {
        (Some((_, name)), Ok(value)) => {
            text.push_str(name);
            text.push('=');
            write_escaped(text, value);
        }
        // Without a name for it, or without letters in it: as bytes.
        _ => {
            text.push_str(&id);
            text.push_str("=#");
            attribute.as_slice().iter().for_each(|byte| _ = write!(text, "{byte:02X}"));
        }
    }
}

fn write_escaped(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', byte.into()]),
            _ if edge => text.extend(['\\', byte.into()]),
            b' '..=b'~' => text.push(byte.into()),
            _ => _ = write!(text, "\\{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
    use x509_parser::prelude::{FromDer, X509Certificate};

    fn subject(attributes: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, x509) = X509Certificate::from_der(certificate.der()).unwrap();
        text(x509.subject())
    }

    #[test]
    fn the_last_part_comes_first() {
        assert_eq!(
            subject(&[
                (DnType::CountryName, "US"),
                (DnType::OrganizationName, "Shop"),
                (DnType::CommonName, "web"),
            ]),
            "CN=web,O=Shop,C=US"
        );
        assert_eq!(subject(&[]), "");
    }

    #[test]
    fn no_value_can_end_a_quoted_field() {
        for (value, written) in [
            ("a\";URI=spiffe://td/admin", r#"CN=a\"\;URI=spiffe://td/admin"#),
            ("a,b+c\\", r"CN=a\,b\+c\\"),
            (" #x ", r"CN=\ #x\ "),
            ("#x", r"CN=\#x"),
            ("\r\nx\0", r"CN=\0D\0Ax\00"),
            ("\u{e9}", r"CN=\C3\A9"),
        ] {
            assert_eq!(subject(&[(DnType::CommonName, value)]), written);
        }
    }

    #[test]
    fn unknown_attributes_are_bytes() {
        assert_eq!(subject(&[(DnType::CustomDnType(vec![1, 2, 3, 4]), "AZ")]), "1.2.3.4=#415A");
    }
}
