//! Names for the application's DNS.

use super::*;

const DNS: &str = "apiVersion: sidle.dev/v1\nkind: Proxy\nmetadata: {name: p}\nspec: {dns: {}}\n---\n";

fn entry(name: &str, host: &str, more: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{host}]\n  \
         resolution: DNS\n  ports: [{{number: 5432, name: db, protocol: TCP}}]\n{more}---\n"
    )
}

#[test]
fn hosts_without_an_address_get_one_that_tells_them_apart() {
    let files = entry("a", "a.test", "")
        + &entry("b", "b.test", "")
        + &entry("c", "c.test", "  addresses: [10.9.9.9]\n");
    let with = lowered(&(DNS.to_owned() + &files)).ir;
    let server = with.settings.name_server.clone().unwrap();
    let of = |name: &str| server.names.get(name).cloned().unwrap_or_default();
    assert_eq!(of("c.test"), ["10.9.9.9".parse::<std::net::IpAddr>().unwrap()]);
    let (a, b) = (of("a.test"), of("b.test"));
    assert!(a.len() == 2 && b.len() == 2 && a != b, "{a:?} {b:?}");
    assert!(a[0].to_string().starts_with("240.240.") && a[1].to_string().starts_with("2001:2::"), "{a:?}");
    let told = chains(&with, "virtualOutbound").join("\n");
    for (address, host) in [(&a, "a.test"), (&b, "b.test")] {
        let line = format!("5432 [{}/32, {}/128] -> tcp 1 outbound|5432||{host}", address[0], address[1]);
        assert!(told.contains(&line), "{line} in\n{told}");
    }
    let again = lowered(&(DNS.to_owned() + &files)).ir;
    assert_eq!(again.settings, with.settings, "the same on every run");
    assert!(lowered(&files).ir.settings.name_server.is_none());
    let without = lowered(&(DNS.replace("{}", "{autoAllocate: false}") + &files)).ir;
    assert_eq!(without.settings.name_server.unwrap().names.len(), 1);
}

#[test]
fn services_have_their_names_and_headless_ones_their_pods() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.3.0.1, ports: [{port: 80, name: http}]}\n---\n";
    let ir = lowered(&(DNS.to_owned() + service)).ir;
    let names = ir.settings.name_server.unwrap().names;
    let all: Vec<&str> = names.keys().map(|name| &**name).collect();
    assert_eq!(all, ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"]);
}
