//! The image and the compose file: read by the tools that read them, and run from nothing but what the image would hold.
//!
//! Not here: building the image, which needs an engine and a registry.

use super::{
    deploy,
    machine::text,
    pod::{Image, Pod, exec},
};
use serde_json::Value;
use sidle_test_support::{
    peers::{self, root},
    sidle, wait,
};
use std::{collections::BTreeMap, path::Path, process::Command};

fn json(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The compose file, as Docker Compose understands it.
fn compose() -> Option<Value> {
    let compose = peers::find("docker-compose")?;
    let file = deploy("container/compose.yaml");
    Some(json(Command::new(compose).arg("--file").arg(file).args(["config", "--format", "json"])))
}

/// What the ignore file leaves of the project: files that git knows.
fn context() -> Vec<String> {
    let rules = std::fs::read_to_string(deploy("container/Containerfile.dockerignore")).unwrap();
    let rules: Vec<_> = rules.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let covers = |rule: &str, file: &str| match rule.strip_prefix("**/") {
        Some(name) => file.split('/').any(|part| part == name),
        None => rule == "*" || file == rule || file.starts_with(&format!("{rule}/")),
    };
    // The last rule that fits holds.
    let is_in = |file: &String| {
        let last = rules.iter().rfind(|rule| covers(rule.trim_start_matches('!'), file));
        last.is_none_or(|rule| rule.starts_with('!'))
    };
    let output = Command::new("git").current_dir(root()).args(["ls-files"]).output().unwrap();
    text(&output).lines().map(str::to_owned).filter(is_in).collect()
}

#[test]
fn the_recipe_is_one_and_its_image_runs_as_nobody() {
    let Some(python) = peers::find("python") else { return };
    let script = "import dockerfile, json, sys\n\
                  print(json.dumps([[c.cmd, list(c.flags), list(c.value)] for c in dockerfile.parse_file(sys.argv[1])]))";
    let parsed = json(Command::new(python).args(["-c", script]).arg(deploy("container/Containerfile")));
    let commands: Vec<_> = parsed
        .as_array()
        .unwrap()
        .iter()
        .map(|command| {
            let words = |place: usize| -> Vec<&str> {
                command[place].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
            };
            (command[0].as_str().unwrap().to_uppercase(), words(1), words(2))
        })
        .collect();
    let last = commands.iter().rposition(|(name, ..)| name == "FROM").unwrap();
    let (build, image) = commands.split_at(last);
    let all = |of: &[(String, Vec<&str>, Vec<&str>)], name: &str| -> Vec<String> {
        of.iter().filter(|(found, ..)| found == name).map(|(_, _, words)| words.join(" ")).collect()
    };
    let second = build.iter().rposition(|(name, ..)| name == "FROM").unwrap();
    let (build, intercept) = build.split_at(second);
    assert_eq!(all(build, "FROM"), ["docker.io/library/rust:1-bookworm AS build"]);
    assert_eq!(all(build, "RUN"), ["rustup component add llvm-tools && deploy/build"]);
    // Beside it the one that captures: what `sidle intercept` runs is in it.
    assert_eq!(all(intercept, "FROM"), ["docker.io/library/debian:12-slim AS intercept"]);
    assert_eq!(all(intercept, "COPY"), ["/src/target/release/sidle /usr/bin/sidle"]);
    assert!(all(intercept, "RUN").concat().contains(" nftables iproute2 "), "{intercept:?}");
    assert_eq!(all(intercept, "CMD"), ["intercept apply"]);
    // The same Debian, so the same C library.
    assert_eq!(all(image, "FROM"), ["gcr.io/distroless/cc-debian12"]);
    assert_eq!(all(image, "COPY"), ["/src/target/release/sidle /usr/bin/sidle"]);
    assert_eq!(all(image, "USER"), ["1337:1337"]);
    assert_eq!(all(image, "ENTRYPOINT"), ["/usr/bin/sidle"]);
    assert_eq!(all(image, "CMD"), ["run"]);
    assert_eq!(all(image, "EXPOSE"), ["15006 15021 15090"]);
    assert_eq!(all(image, "ENV"), ["SIDLE_CONFIG /etc/sidle"]);
    for none in ["RUN", "ADD"] {
        assert!(all(image, none).is_empty(), "{none} has no place in the image");
    }
}

/// Not a build, which takes minutes, but what fails at its beginning and what would be missing in its middle.
#[test]
fn the_context_holds_what_the_build_reads() {
    let folder = tempfile::tempdir().unwrap();
    let context = context();
    for file in &context {
        let to = folder.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(root().join(file), to).unwrap();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(folder.path()).args(["tree", "--package", "sidle", "--locked", "--offline"]);
    let output = tree.args(["--edges", "normal,build"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let mut included = 0;
    for file in context.iter().filter(|file| file.starts_with("proxy/src/") && !file.ends_with("tests.rs")) {
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        for path in source.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = folder.path().join(file).parent().unwrap().join(path);
            assert!(path.exists(), "{file} includes {}, which is ignored", path.display());
            included += 1;
        }
    }
    assert!(included > 0);
    assert!(folder.path().join("deploy/build").exists(), "the recipe runs it");
    for none in ["target", ".git", "deploy/README.md", "README.md"] {
        assert!(!folder.path().join(none).exists(), "{none} is sent to the engine");
    }
}

#[test]
fn compose_gives_each_service_a_sidecar_without_rights() {
    let Some(compose) = compose() else { return };
    let services = compose["services"].as_object().unwrap();
    let sidecars: Vec<_> = services.iter().filter(|(name, _)| name.ends_with("-sidecar")).collect();
    assert_eq!(sidecars.len() * 2, services.len());
    for (name, sidecar) in sidecars {
        let service = name.trim_end_matches("-sidecar");
        assert!(services.contains_key(service), "{name} is beside nobody");
        assert_eq!(sidecar["network_mode"], format!("service:{service}"));
        assert_eq!(sidecar["read_only"], true);
        assert_eq!(sidecar["cap_drop"][0], "ALL");
        assert_eq!(sidecar["security_opt"][0], "no-new-privileges:true");
        assert_eq!(sidecar["environment"]["SIDLE_LABELS"], format!("app={service}"));
        assert_eq!(sidecar["volumes"][0]["read_only"], true);
        let mesh = sidecar["volumes"][0]["source"].as_str().unwrap();
        let mut check = sidle::command();
        check.args(["check", "--labels", &format!("app={service}"), mesh]);
        let output = check.output().unwrap();
        assert!(text(&output).contains("0 errors, 0 warnings"), "{}", text(&output));
        // It is built from where the recipe says.
        let (place, recipe) = (&sidecar["build"]["context"], &sidecar["build"]["dockerfile"]);
        assert!(Path::new(place.as_str().unwrap()).join(recipe.as_str().unwrap()).exists());
    }
}

/// The compose file's two services: each in a network of its own with its sidecar, which has nothing but the image's files.
#[test]
fn the_sidecars_of_the_compose_file_carry_a_request_between_its_services() {
    let (Some(compose), Some(orders), Some(web)) = (compose(), Pod::new(), Pod::new()) else { return };
    let address = orders.join(&web);
    let image = Image::new(&format!("{address} orders\n"));
    image.folder("deploy/container/mesh", "/etc/sidle");
    let _application = orders.application();
    let sidecar = |pod: &Pod, name: &str| {
        let mut environment: BTreeMap<String, String> =
            serde_json::from_value(compose["services"][name]["environment"].clone()).unwrap();
        environment.insert("SIDLE_CONFIG".into(), "/etc/sidle".into());
        pod.sidecar(&image, &["run"], &environment)
    };
    let sidecars = [sidecar(&orders, "orders-sidecar"), sidecar(&web, "web-sidecar")];
    // As `wget` does for the service, by http_proxy.
    let door = compose["services"]["web"]["environment"]["http_proxy"].as_str().unwrap();
    let ask = format!(
        "http_proxy={door} curl --silent --show-error --fail http://orders.shop/container/compose.yaml"
    );
    wait::until("an answer", || web.run(&ask).status.success().then_some(()));
    assert!(web.ok(&ask).contains("name: sidle"));
    // Nobody passes the sidecar by.
    assert!(!web.run(&format!("curl --silent --max-time 2 http://{address}:8080/")).status.success());

    for mut sidecar in sidecars {
        let health = &compose["services"]["web-sidecar"]["healthcheck"]["test"];
        let health: Vec<_> =
            health.as_array().unwrap()[1..].iter().map(|word| word.as_str().unwrap()).collect();
        assert!(exec(&sidecar, &health).status.success());
        let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.id())).unwrap();
        assert!(status.contains("Uid:\t1337\t1337\t1337\t1337"), "{status}");
        sidecar.signal("TERM");
        assert!(sidecar.wait().success(), "{}", sidecar.output());
        assert!(!exec(&sidecar, &health).status.success());
    }
}
