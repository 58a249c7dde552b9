//! The oracle: the same manifests run by Sidle, and by a real Envoy on what `sidle export envoy` makes of them, must do
//! the same to every request: status, headers and body of the answer, the request as the upstream saw it, the cluster,
//! route, flags and details of the access log.
//!
//! Read: `mod.rs` (a run) -> `configuration` and `request` (what is asked) -> `pair` (asking) -> `observation` (what is
//! compared) -> `differences` (what may differ, and why).

mod authorization;
mod configuration;
mod differences;
pub mod envoy;
mod observation;
mod pair;
mod random;
mod request;

use differences::DIFFERENCES;
use envoy::Envoy;
use observation::{Deviation, LOG_FORMAT};
use pair::Pair;
use random::Random;
use request::{Ask, Target};
use serde_json::Value;
use sidle_test_support::{echo::Echo, peers, ports, sidle, sidle::Sidle};
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// How many configurations are made by chance.
const CONFIGURATIONS: u64 = 50;
/// How many gateways with authorization policies are made by chance.
const AUTHORIZATIONS: u64 = 12;
/// How many requests each configuration gets.
const REQUESTS: usize = 20;
/// How often a request is repeated where the configuration leaves something to chance.
const THROWS: usize = 30;
/// How many configurations are run at the same time.
const WORKERS: usize = 4;
/// What is run: manifests, and who the proxy is.
struct Configuration {
    name: String,
    seed: u64,
    manifests: String,
    arguments: Vec<String>,
}

/// What a test asks of one configuration.
type Run<'a> = Box<dyn Fn(&Path) -> Vec<Found> + Send + Sync + 'a>;

/// A request that the two proxies did not do the same for.
struct Found {
    configuration: String,
    ask: Ask,
    deviations: Vec<Deviation>,
}

#[test]
fn sidle_and_envoy_do_the_same() {
    let Some(program) = peers::find("envoy") else { return };
    let chosen = std::env::var("ORACLE").ok();
    let mut runs: Vec<(String, Run<'_>)> = Vec::new();
    for folder in examples() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        runs.push((name, Box::new(move |program| run_example(program, &folder))));
    }
    for seed in 0..CONFIGURATIONS {
        runs.push((format!("generated-{seed}"), Box::new(move |program| run_generated(program, seed))));
    }
    for seed in 0..AUTHORIZATIONS {
        runs.push((format!("authorized-{seed}"), Box::new(move |program| run_authorized(program, seed))));
    }
    if let Some(chosen) = &chosen {
        runs.retain(|(name, _)| name == chosen);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some((_, run)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.extend(run(&program));
        }
        found
    };
    let found: Vec<Found> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("what failed stands above")).collect()
    });
    judge(&found, chosen.is_none());
}

fn run_generated(program: &Path, seed: u64) -> Vec<Found> {
    let upstreams = ["v1", "v2", "v1", "v2"].map(Echo::start);
    let ports = [0, 1, 2, 3].map(|at| upstreams[at].port());
    let configuration = Configuration {
        name: format!("generated-{seed}"),
        seed,
        manifests: configuration::manifests(seed, ports),
        arguments: Vec::new(),
    };
    run(program, &configuration, &upstreams)
}

fn run_authorized(program: &Path, seed: u64) -> Vec<Found> {
    let upstreams = ["v1", "v2"].map(Echo::start);
    let ports = [upstreams[0].port(), upstreams[1].port()];
    let configuration = Configuration {
        name: format!("authorized-{seed}"),
        seed,
        manifests: authorization::manifests(seed, ports, ports::free().port()),
        arguments: vec!["--labels".into(), "istio=gateway".into()],
    };
    run(program, &configuration, &upstreams)
}

fn run_example(program: &Path, folder: &Path) -> Vec<Found> {
    let upstreams = [Echo::start("v1"), Echo::start("v2")];
    run(program, &example(folder, &upstreams), &upstreams)
}

/// The folders of `config-examples`, in the order of their names; `mtls` is for two proxies, which `mtls_matrix` compares.
fn examples() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(peers::root().join("config-examples")).unwrap();
    let is_for_one = |path: &PathBuf| path.is_dir() && !path.ends_with("mtls");
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.unwrap().path()).filter(is_for_one).collect();
    folders.sort();
    folders
}

/// An example with its fixed ports moved to free ones, run as its comment says.
fn example(folder: &Path, upstreams: &[Echo; 2]) -> Configuration {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let manifests = texts.join("\n---\n");
    let labels = manifests.split_once("--labels ").map(|(_, rest)| rest.split_whitespace().next().unwrap());
    let arguments = labels.map(|labels| vec!["--labels".to_owned(), labels.to_owned()]).unwrap_or_default();
    let [v1, v2] = [0, 1].map(|at: usize| upstreams[at].port());
    // As the examples have it: those of version 2 are even.
    let applications =
        [("18081", v1), ("18082", v2), ("18083", v1), ("18084", v2), ("18085", v1), ("18086", v2)];
    let own = ["8080", "8090", "9000", "7070"].map(|fixed| (fixed, ports::free().port()));
    let manifests = ports::replaced(&manifests, &[&applications[..], &own[..]].concat());
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    Configuration { seed: name.len() as u64, name, manifests, arguments }
}

/// Runs both proxies, asks both the same, and says what differs.
fn run(program: &Path, configuration: &Configuration, upstreams: &[Echo]) -> Vec<Found> {
    let builder = Sidle::builder().file("test.yaml", &configuration.manifests);
    let log = builder.folder().join("sidle.log");
    let envoy_log = builder.folder().join("envoy.log");
    let arguments: Vec<&str> = configuration.arguments.iter().map(String::as_str).collect();
    let sidle = builder.settings(&log_settings(&log)).arguments(&arguments).start();
    let export = export(sidle.folder(), &arguments);
    let chance = leaves_to_chance(&export);
    let targets = targets(&export);
    assert!(!targets.is_empty(), "{}: nothing to ask in {export:#}", configuration.name);
    let mut random = Random::new(configuration.seed ^ 0x5eed);
    let outside = upstreams[0].address();
    let mut asks: Vec<Ask> =
        (0..REQUESTS).map(|at| Ask::random(&mut random, format!("q{at}"), &targets, outside)).collect();
    let tokens = tokens(&configuration.manifests);
    if !tokens.is_empty() {
        asks.iter_mut().for_each(|ask| ask.bring_token(&mut random, &tokens));
    }
    let envoy = Envoy::start(program, export.clone(), sidle.folder(), &envoy_log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pair = Pair { envoy: &envoy, upstreams, log: &log, envoy_log: &envoy_log };
    let deviations = runtime.block_on(pair.ask_all(&asks, if chance { THROWS } else { 1 }));
    assert_eq!(envoy.complaints(), Vec::<String>::new(), "{}", configuration.name);
    let found = asks.into_iter().zip(deviations).filter(|(_, deviations)| !deviations.is_empty());
    found
        .map(|(ask, deviations)| Found { configuration: configuration.name.clone(), ask, deviations })
        .collect()
}

/// The tokens that an example's comment tells.
fn tokens(manifests: &str) -> Vec<&str> {
    let words = manifests.split_whitespace().map(|word| word.trim_start_matches("TOKEN="));
    words.filter(|word| word.starts_with("eyJ")).collect()
}

/// Lines of `kind: Proxy` for an access log that can be compared.
fn log_settings(log: &Path) -> String {
    let fields: BTreeMap<&str, &str> = LOG_FORMAT.into();
    let format = serde_json::to_string(&fields).unwrap();
    format!("  accessLogFile: {}\n  accessLogEncoding: JSON\n  accessLogFormat: '{format}'\n", log.display())
}

/// What `sidle export envoy` says of the configuration in `folder`.
pub fn export(folder: &Path, arguments: &[&str]) -> Value {
    let output =
        sidle::command().args(["export", "envoy", "-c"]).arg(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The listeners that a plain client can use: those whose connections need no redirection and no TLS.
fn targets(export: &Value) -> Vec<Target<'_>> {
    let listeners = export["static_resources"]["listeners"].as_array().unwrap();
    let own = own_clusters(export);
    let is_own =
        |host: &Value| own.contains(&host["routes"][0]["route"]["cluster"].as_str().unwrap_or_default());
    let outward = listeners.iter().filter(|listener| listener["traffic_direction"] == "OUTBOUND");
    outward
        .filter_map(|listener| {
            let port = listener["address"]["socket_address"]["port_value"].as_u64()? as u16;
            let mut chains = listener["filter_chains"].as_array().into_iter().flatten();
            let open = |chain: &&Value| {
                chain.get("filter_chain_match").is_none() && chain.get("transport_socket").is_none()
            };
            let default = listener.get("default_filter_chain").filter(|chain| open(chain));
            let chain = chains.find(open).or(default)?;
            let hosts = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"].as_array();
            let hosts: Vec<&Value> = hosts.into_iter().flatten().filter(|host| !is_own(host)).collect();
            Some(Target { port, hosts })
        })
        .collect()
}

/// The clusters whose endpoint is a listener of the same proxy: what goes there comes back, and to one of the two only.
fn own_clusters(export: &Value) -> Vec<&str> {
    let port = |address: &Value| address["socket_address"]["port_value"].as_u64();
    let listeners = export["static_resources"]["listeners"].as_array().unwrap().iter();
    let own: Vec<u64> = listeners.filter_map(|listener| port(&listener["address"])).collect();
    let clusters = export["static_resources"]["clusters"].as_array().unwrap().iter();
    let leads_back = |cluster: &&Value| {
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        port(&endpoint["address"]).is_some_and(|port| own.contains(&port))
    };
    clusters.filter(leads_back).filter_map(|cluster| cluster["name"].as_str()).collect()
}

/// Whether a route has several destinations, or a share of faults or copies: then one answer proves nothing.
fn leaves_to_chance(export: &Value) -> bool {
    match export {
        Value::Object(fields) => fields.iter().any(|(key, value)| match &**key {
            "weighted_clusters" => value["clusters"].as_array().is_some_and(|clusters| clusters.len() > 1),
            "numerator" => !matches!(value.as_u64(), Some(0 | 100 | 1_000_000)),
            _ => leaves_to_chance(value),
        }),
        Value::Array(items) => items.iter().any(leaves_to_chance),
        _ => false,
    }
}

/// Fails on what nothing explains and, when `complete`, on entries that explain nothing any more.
fn judge(found: &[Found], complete: bool) {
    let mut explained = vec![0; DIFFERENCES.len()];
    let mut unexplained = String::new();
    for Found { configuration, ask, deviations } in found {
        let mut left = String::new();
        for deviation in deviations {
            match DIFFERENCES.iter().position(|difference| (difference.explains)(ask, deviation, deviations))
            {
                Some(entry) => explained[entry] += 1,
                None => {
                    let Deviation { what, sidle, envoy } = deviation;
                    writeln!(left, "    {what}: sidle {sidle:?}, envoy {envoy:?}").unwrap();
                }
            }
        }
        if !left.is_empty() {
            write!(unexplained, "\n{configuration}: {ask}\n{left}").unwrap();
        }
    }
    for (difference, count) in DIFFERENCES.iter().zip(explained) {
        println!("{count:5} times: {}", difference.reason);
        let seen = count > 0 || difference.race || !complete;
        assert!(seen, "nothing differs any more for this reason: {}", difference.reason);
    }
    assert!(unexplained.is_empty(), "{unexplained}\nORACLE=NAME repeats one configuration");
}
