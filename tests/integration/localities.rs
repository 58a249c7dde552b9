//! Near endpoints before far ones, shares of localities, and endpoints that are new.

use crate::stage::{HOST, client, versions};
use sidle_test_support::{
    echo::{Answer, Echo},
    manifest::{subsets, virtual_service},
    sidle::{Sidle, command},
    wait,
};
use std::time::Duration;

/// A service with an endpoint in each place, that is named after it.
struct World {
    echoes: Vec<(String, Echo)>,
}

impl World {
    fn of(places: &[&str]) -> Self {
        World { echoes: places.iter().map(|place| ((*place).to_owned(), Echo::start(place))).collect() }
    }

    fn manifests(&self, policy: &str, retries: &str) -> String {
        let mut text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: world }}\nspec:\n  \
             hosts: [{HOST}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [{{ number: 80, name: main, protocol: HTTP }}]\n  endpoints:\n"
        );
        for (place, echo) in &self.echoes {
            text += &format!(
                "    - {{ address: 127.0.0.1, ports: {{ main: {} }}, locality: {place} }}\n",
                echo.port()
            );
        }
        let spec = format!("  trafficPolicy: {{ {policy} }}\n");
        let rule = subsets("world", HOST, &[], &spec).replace("  subsets:\n", "");
        let route =
            format!("    - retries: {{ {retries} }}\n      route: [{{ destination: {{ host: {HOST} }} }}]");
        text + "---\n" + &rule + &virtual_service("world", HOST, &route)
    }

    fn run(&self, policy: &str, retries: &str) -> Sidle {
        let manifests = self.manifests(policy, retries);
        Sidle::builder().file("test.yaml", &manifests).arguments(&["--locality", "eu/a/1"]).start()
    }

    fn echo(&self, place: &str) -> &Echo {
        &self.echoes.iter().find(|(name, _)| name == place).unwrap().1
    }

    fn fail(&self, place: &str) {
        self.echo(place).answer(|_| Some(Answer::status(500)));
    }

    fn heal(&self, place: &str) {
        self.echo(place).answer(|_| None);
    }
}

const DETECTED: &str = "outlierDetection: { consecutive5xxErrors: 2, interval: 100ms, baseEjectionTime: 5s, maxEjectionPercent: 100 }";

fn count(answered: &[String], place: &str) -> usize {
    answered.iter().filter(|version| *version == place).count()
}

#[tokio::test]
async fn a_region_that_fails_is_left_for_the_next_and_taken_up_again() {
    let world = World::of(&["eu/a/1", "eu/b/1", "us/a/1"]);
    let sidle = world.run(DETECTED, "attempts: 0");
    let mut client = client(&sidle).await;
    assert_eq!(count(&versions(&mut client, "/", 30).await, "eu/a/1"), 30, "the nearest alone");

    world.fail("eu/a/1");
    let healthy = |sidle: &Sidle| {
        let cluster = [("envoy_cluster_name", "outbound|80||echo.test")];
        sidle.metrics().sum("envoy_cluster_membership_healthy", &cluster) as usize
    };
    assert_eq!(healthy(&sidle), 3);
    while healthy(&sidle) == 3 {
        client.get(HOST, "/").await;
    }
    // Envoy's too: a priority without anybody who is well gets nothing.
    let next = client.get(HOST, "/").await;
    assert_eq!((next.status.as_u16(), next.version()), (200, "eu/b/1"));
    let clusters = sidle.admin("/clusters").body;
    let priority = |place: &str, of: u32| {
        format!("outbound|80||echo.test::{}::priority::{of}\n", world.echo(place).address())
    };
    for (place, of) in [("eu/a/1", 0), ("eu/b/1", 1), ("us/a/1", 2)] {
        assert!(clusters.contains(&priority(place, of)), "{clusters}");
    }
    world.heal("eu/a/1");
    wait::until("its return", || (healthy(&sidle) == 3).then_some(()));
    assert_eq!(count(&versions(&mut client, "/", 30).await, "eu/a/1"), 30);
}

#[tokio::test]
async fn traffic_is_distributed_as_it_is_said() {
    let world = World::of(&["eu/a/1", "eu/b/1", "us/a/1"]);
    let distribution = "loadBalancer: { simple: ROUND_ROBIN, localityLbSetting: { distribute: [{ from: 'eu/*', to: { 'eu/a/*': 80, 'eu/b/*': 20 } }] } }";
    let sidle = world.run(distribution, "attempts: 0");
    let answered = versions(&mut client(&sidle).await, "/", 500).await;
    let (near, far, other) =
        (count(&answered, "eu/a/1"), count(&answered, "eu/b/1"), count(&answered, "us/a/1"));
    assert_eq!(other, 0, "it is not listed");
    assert!((350..450).contains(&near), "{near} and {far} of 500");
    let folder = sidle.folder().to_string_lossy().into_owned();
    let output = command()
        .args(["explain", "-c", &folder, "--locality", "eu/a/1", "GET", "http://echo.test/"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("in eu/b/1 (20 % together)") && !text.contains("us/a/1"), "{text}");
}

#[tokio::test]
async fn a_retry_may_go_to_another_locality() {
    for (far, wanted) in [(false, 500), (true, 200)] {
        let world = World::of(&["eu/a/1", "us/a/1"]);
        world.fail("eu/a/1");
        // Never ejected, so that the first priority stays the one for all requests.
        let detection = "outlierDetection: { consecutive5xxErrors: 0 }";
        let retries = format!("attempts: 3, retryOn: 5xx, retryRemoteLocalities: {far}");
        let sidle = world.run(detection, &retries);
        let answer = client(&sidle).await.get(HOST, "/").await;
        assert_eq!(answer.status, wanted, "{far}");
    }
}

#[tokio::test]
async fn a_new_endpoint_gets_little_at_first() {
    let world = World::of(&["old", "other", "new"]);
    let policy = "loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 6s, minimumPercent: 5 } }";
    let whole = world.manifests(policy, "attempts: 0");
    let port = format!("main: {} ", world.echo("new").port());
    let without: String =
        whole.lines().filter(|line| !line.contains(&port)).map(|line| format!("{line}\n")).collect();
    let sidle = Sidle::builder().file("test.yaml", &without).start();
    let mut client = client(&sidle).await;
    assert_eq!(count(&versions(&mut client, "/", 20).await, "new"), 0);
    wait::until("the end of the others' warm-up", || {
        sidle.metrics().sum("envoy_cluster_membership_total", &[]).ge(&2.0).then_some(())
    });
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        versions(&mut client, "/", 10).await;
    }
    sidle.write("test.yaml", &whole);
    assert_eq!(sidle.admin_post("/reload").status, 200);
    let first = count(&versions(&mut client, "/", 60).await, "new");
    assert!(first <= 15, "{first} of 60 at once");
    let share = || async {
        let mut client = crate::stage::client(&sidle).await;
        count(&versions(&mut client, "/", 60).await, "new")
    };
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    while share().await < 19 {
        assert!(std::time::Instant::now() < limit, "it never got its share");
    }
}
