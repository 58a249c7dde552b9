//! Names in certificates: compared byte by byte, with those of their own kind, and only when there is just one to take.
//!
//! Not here: clients with a name that is none (`mtls`).

use crate::mtls::{SHOP, TAKES_MTLS, WEB, gets_through, server, service_of, with_identity};
use sidle_test_support::{
    client::Client,
    echo::Echo,
    tls::{
        Authority,
        Name::{Common, Dns, Uri},
    },
};

/// Servers that anybody could run who has the authority's signature for another name.
#[tokio::test]
async fn a_server_must_have_the_name_that_is_expected() {
    let authority = Authority::new();
    let nul = format!("{SHOP}\0.evil");
    let longer = format!("{SHOP}2");
    let shorter = &SHOP[..SHOP.len() - 1];
    let names: [(&[_], bool); 15] = [
        (&[Uri(SHOP)], true),
        (&[Uri(SHOP), Dns("elsewhere.test")], true),
        (&[Uri(WEB)], false),
        (&[Uri(&nul)], false),
        (&[Uri(&longer)], false),
        (&[Uri(shorter)], false),
        (&[Uri(SHOP), Uri(WEB)], false),
        (&[Uri(WEB), Uri(SHOP)], false),
        (&[Common(SHOP)], false),
        (&[Dns(SHOP)], false),
        (&[Dns("shop"), Dns("shop-8.test")], false),
        (&[Uri("spiffe://cluster.local/ns/default/sa/*")], false),
        (&[Uri("spiffe://elsewhere.test/ns/default/sa/shop")], false),
        (&[Uri("spiffe://cluster.local/ns/default/sa/Shop")], false),
        (&[Uri("spiffe://Cluster.Local/ns/default/sa/shop")], false),
    ];
    let servers = names.map(|(names, _)| Echo::start_tls("shop", authority.issue_named(names)));
    let services = servers.iter().enumerate().map(|(at, server)| {
        let name = format!("shop-{at}");
        service_of(&name, server.address(), "serviceAccount: shop,", TAKES_MTLS, "") + "---\n"
    });
    let manifests: String = services.collect();
    let web = with_identity(&authority, WEB).file("test.yaml", &manifests).start();
    for (at, (names, believed)) in names.iter().enumerate() {
        let answer = Client::http1(web.outbound()).await.get(&format!("shop-{at}.test"), "/").await;
        assert_eq!(answer.status, if *believed { 200 } else { 503 }, "{names:?}");
        assert_eq!(servers[at].requests(), u64::from(*believed), "{names:?}");
    }
}

fn account(name: &str) -> String {
    format!("spiffe://cluster.local/ns/default/sa/{name}")
}

/// A dot in a name is a dot, letters have a case, and nothing is the beginning of anything else.
#[tokio::test]
async fn policies_know_one_client_from_another() {
    let (authority, application) = (Authority::new(), Echo::start("shop"));
    let builder = with_identity(&authority, SHOP).file("policies.yaml", "");
    let shop = server(builder, &application, "{ mtls: { mode: STRICT } }");
    let clients = ["cert-manager.io", "cert-managerXio", "cert-manager.io2", "Cert-Manager.io", "web"];
    for (spec, passing) in [
        ("rules: [{from: [{source: {serviceAccounts: [cert-manager.io]}}]}]", &clients[..1]),
        (
            "rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/cert-manager.io]}}]}]",
            &clients[..1],
        ),
        ("rules: [{when: [{key: source.serviceAccount, values: [cert-manager.io]}]}]", &clients[..1]),
        ("rules: [{from: [{source: {principals: ['*/sa/cert-manager.io']}}]}]", &clients[..1]),
        ("action: DENY, rules: [{from: [{source: {notServiceAccounts: [cert-manager.io]}}]}]", &clients[..1]),
        ("action: DENY, rules: [{from: [{source: {serviceAccounts: [cert-manager.io]}}]}]", &clients[1..]),
        (
            "action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/cert-manager.io]}}]}]",
            &clients[1..],
        ),
    ] {
        let policy = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: p }}\nspec: {{ {spec} }}\n"
        );
        shop.replace("policies.yaml", &policy);
        assert_eq!(shop.admin_post("/reload").status, 200);
        for client in clients {
            let identity = authority.issue_workload(&account(client));
            let tls = authority.connect_as(Some(&identity), shop.ports.inbound, &[b"istio"]).await;
            assert_eq!(gets_through(tls).await, passing.contains(&client), "{client}: {spec}");
        }
    }
}
