//! Manifests that most tests need, as text.

use std::fmt::Write;

/// A ServiceEntry `name` for `host`, port 80 named by its protocol, with an endpoint on loopback for each (version, port).
pub fn service(name: &str, host: &str, protocol: &str, endpoints: &[(&str, u16)]) -> String {
    service_on(name, host, 80, protocol, endpoints)
}

/// Like [`service`], on another port.
pub fn service_on(name: &str, host: &str, port: u16, protocol: &str, endpoints: &[(&str, u16)]) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name} }}\nspec:\n  \
         hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
         ports: [{{ number: {port}, name: main, protocol: {protocol} }}]\n  endpoints:\n"
    );
    for (version, port) in endpoints {
        writeln!(
            text,
            "    - {{ address: 127.0.0.1, ports: {{ main: {port} }}, labels: {{ app: {name}, version: {version} }} }}"
        )
        .unwrap();
    }
    text + "---\n"
}

/// A DestinationRule with a subset for each version, and further lines of its `spec`, each indented by two.
pub fn subsets(name: &str, host: &str, versions: &[&str], spec: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: {name} }}\nspec:\n  \
         host: {host}\n{spec}  subsets:\n"
    );
    for version in versions {
        writeln!(text, "    - {{ name: {version}, labels: {{ version: {version} }} }}").unwrap();
    }
    text + "---\n"
}

/// A VirtualService `name` for `host`; `http` holds the items of its `http` list, each line indented by four.
pub fn virtual_service(name: &str, host: &str, http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {name} }}\nspec:\n  \
         hosts: [{host}]\n  http:\n{http}\n---\n"
    )
}

/// A VirtualService that splits by weight between subsets of one host.
pub fn split(name: &str, host: &str, weights: &[(&str, u32)]) -> String {
    let mut http = String::from("    - name: split\n      route:\n");
    for (subset, weight) in weights {
        writeln!(http, "        - {{ destination: {{ host: {host}, subset: {subset} }}, weight: {weight} }}")
            .unwrap();
    }
    virtual_service(name, host, &http)
}
