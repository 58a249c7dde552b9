//! `sidle certs`: identities for development.

use serde_json::Value;
use sidle_test_support::sidle::{Sidle, command};
use std::{os::unix::fs::PermissionsExt, path::Path, process::Output};

fn certs(folder: &Path, arguments: &[&str]) -> Output {
    command().current_dir(folder).arg("certs").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn what_it_makes_is_an_identity_and_what_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let init = ["init", "--service", "web", "reviews.shop/reader"];
    let output = certs(folder.path(), &init);
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    for part in [
        "certs/web  spiffe://cluster.local/ns/default/sa/web",
        "spiffe://cluster.local/ns/shop/sa/reader",
        &format!("identity: {{ directory: {}/certs/web }}", folder.path().canonicalize().unwrap().display()),
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    for key in ["certs/ca.key", "certs/web/tls.key", "certs/reviews.shop/tls.key"] {
        let mode = std::fs::metadata(folder.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let read = |name: &str| std::fs::read_to_string(folder.path().join("certs").join(name)).unwrap();
    let (ca, web) = (read("ca.crt"), read("web/tls.crt"));
    let again = certs(folder.path(), &init);
    assert!(again.status.success() && text(&again).contains("kept  certs/web"), "{}", text(&again));
    assert_eq!((read("ca.crt"), read("web/tls.crt")), (ca.clone(), web.clone()));
    let forced = certs(folder.path(), &["init", "--service", "web", "--force"]);
    assert!(forced.status.success(), "{}", text(&forced));
    assert!(read("ca.crt") == ca && read("web/tls.crt") != web, "the authority stays");

    for (arguments, why) in [
        (&["init", "--service", "web/other"][..], "--force replaces it"),
        (&["init", "--service", "web", "--trust-domain", "td"], "--trust-domain cluster.local"),
    ] {
        let refused = certs(folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains(why), "{}", text(&refused));
    }
    assert_eq!(certs(folder.path(), &["init", "--service", "../up"]).status.code(), Some(2));

    let settings = format!("  identity: {{ directory: {}/certs/web }}\n", folder.path().display());
    let sidle = Sidle::builder().settings(&settings).start();
    assert!(sidle.admin("/certs").body.contains("spiffe://cluster.local/ns/default/sa/web"));
}

#[test]
fn show_tells_who_and_until_when_and_nothing_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    assert!(certs(folder.path(), &["init", "--service", "web"]).status.success());
    let shown = text(&certs(folder.path(), &["show", "certs"]));
    for part in
        ["certs/ca.crt", "authority", "spiffe://cluster.local/ns/default/sa/web web web.default", " days"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let json = certs(folder.path(), &["show", "certs/web", "-o", "json"]);
    let rows: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[1]["uris"][0], "spiffe://cluster.local/ns/default/sa/web");
    assert_eq!(certs(folder.path(), &["show", "certs/web/tls.key"]).status.code(), Some(1));
    assert_eq!(certs(folder.path(), &["show", "no/such"]).status.code(), Some(1));
    let key = std::fs::read_to_string(folder.path().join("certs/web/tls.key")).unwrap();
    assert!(!shown.contains(key.lines().nth(1).unwrap()));
}
