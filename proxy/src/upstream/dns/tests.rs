//! Names looked up at a small server of our own.

use super::{
    follow::follow,
    lookup::{Answer, Lookup},
    *,
};
use hickory_resolver::{
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    proto::rr::Name,
    system_conf::parse_resolv_conf,
};
use sidle_model::ir;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};
use tokio::{net::UdpSocket, sync::Notify};

/// Longer than any of these tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server says of a name.
#[derive(Clone)]
enum Zone {
    Addresses(Vec<Ipv4Addr>),
    /// NOERROR without a record.
    Empty,
    /// SERVFAIL.
    Broken,
    /// An address, once the test lets it go.
    Held(Arc<Notify>),
}

/// A name server on loopback that knows a few names.
#[derive(Default)]
struct NameServer {
    zones: Mutex<BTreeMap<String, Zone>>,
    /// Questions for addresses of IPv4.
    asked: AtomicUsize,
    answering: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl NameServer {
    async fn start() -> (Arc<Self>, Lookup) {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let server = Arc::new(NameServer::default());
        let serving = server.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let (server, socket, query) = (serving.clone(), socket.clone(), buffer[..length].to_vec());
                tokio::spawn(async move { socket.send_to(&server.reply(&query).await, from).await });
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = address.port();
        let server_config = NameServerConfig::new(address.ip(), true, vec![connection]);
        let search = vec![Name::from_ascii("search.test.").unwrap()];
        let config = ResolverConfig::from_parts(None, search, vec![server_config]);
        let mut options = ResolverOpts::default();
        (options.attempts, options.cache_size) = (0, 0);
        (server, Lookup::new(config, options, Telemetry::new()).unwrap())
    }

    fn set(&self, name: &str, zone: Zone) {
        self.zones.lock().unwrap().insert(name.into(), zone);
    }

    /// RFC 1035 section 4: the question comes back with what is known. Unknown names do not exist.
    async fn reply(&self, query: &[u8]) -> Vec<u8> {
        let (mut name, mut at) = (Vec::new(), 12);
        while query[at] != 0 {
            let length = usize::from(query[at]);
            name.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
            at += length + 1;
        }
        let question = &query[12..at + 5];
        let is_v4 = query[at + 2] == 1;
        let zone = self.zones.lock().unwrap().get(&name.join(".")).cloned();
        if is_v4 {
            self.asked.fetch_add(1, SeqCst);
        }
        let (code, addresses) = match zone {
            Some(Zone::Addresses(addresses)) if is_v4 => (0, addresses),
            Some(Zone::Held(held)) if is_v4 => {
                self.most_at_once.fetch_max(self.answering.fetch_add(1, SeqCst) + 1, SeqCst);
                held.notified().await;
                self.answering.fetch_sub(1, SeqCst);
                (0, vec![Ipv4Addr::LOCALHOST])
            }
            Some(Zone::Broken) => (2, Vec::new()),
            Some(_) => (0, Vec::new()),
            None => (3, Vec::new()),
        };
        let mut reply =
            [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0], question]
                .concat();
        for address in addresses {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
            reply.extend(address.octets());
        }
        reply
    }
}

fn ips(last: &[u8]) -> Vec<Ipv4Addr> {
    last.iter().map(|last| Ipv4Addr::new(127, 0, 0, *last)).collect()
}

fn cluster(discovery: ir::Discovery) -> Arc<Cluster> {
    let mut config = crate::upstream::cluster::tests::named(&[]);
    Arc::get_mut(&mut config).unwrap().discovery = discovery;
    Arc::new(
        Cluster::build(
            config,
            None,
            &Telemetry::new(),
            &sidle_identity::Workload::default(),
            &Default::default(),
        )
        .unwrap(),
    )
}

fn endpoint(name: &str) -> ir::Endpoint {
    ir::Endpoint {
        address: ir::EndpointAddress::new(name, 80),
        weight: 1,
        workload: Arc::default(),
        locality: "".into(),
        priority: 0,
        mtls: false,
    }
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.endpoints.load().endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn an_answer_says_what_is_known() {
    let (server, lookup) = NameServer::start().await;
    server.set("a.test", Zone::Addresses(ips(&[3, 2])));
    server.set("empty.test", Zone::Empty);
    server.set("broken.test", Zone::Broken);
    let Answer::Found((found, until)) = lookup.answer("a.test").await else { panic!() };
    assert_eq!(found, ips(&[3, 2]));
    assert!(until > Instant::now());
    assert_eq!(lookup.answer("nowhere.test").await, Answer::Gone);
    assert_eq!(lookup.answer("empty.test").await, Answer::Gone);
    assert_eq!(lookup.answer("broken.test").await, Answer::Failed);
    server.set("half.search.test", Zone::Broken);
    assert_eq!(lookup.answer("half").await, Answer::Failed, "a name of the search list may be it");
}

#[tokio::test]
async fn a_name_that_many_ask_for_is_looked_up_once() {
    let (server, lookup) = NameServer::start().await;
    let held = Arc::new(Notify::new());
    server.set("slow.test", Zone::Held(held.clone()));
    let (dns, dns_server) = with_lookup(lookup, PATIENCE);
    let (_clusters, none) = mpsc::unbounded_channel();
    tokio::spawn(dns_server.run(none));
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let dns = dns.clone();
            tokio::spawn(async move { dns.resolve("Slow.test").await })
        })
        .collect();
    until("all have asked", || dns.questions.capacity() == MAX_QUEUED && server.answering.load(SeqCst) == 1)
        .await;
    held.notify_waiters();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap(), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }
    assert_eq!(server.asked.load(SeqCst), 1);
    assert!(dns.resolve("nowhere.test").await.is_err());
    assert_eq!(server.asked.load(SeqCst), 3, "it, and it below the search domain, once each");
    server.set("two.test", Zone::Addresses(ips(&[9, 3])));
    assert_eq!(dns.resolve("two.test").await.unwrap(), ips(&[9, 3]), "in the order of the answer");
}

#[test]
fn a_name_may_take_as_long_as_the_machine_says() {
    for (text, patience, retries) in [
        ("", 10, 1),
        ("options timeout:1 attempts:3", 3, 2),
        ("options attempts:0", 5, 0),
        ("options timeout:0", 2, 1),
    ] {
        let (_, mut options) = parse_resolv_conf(format!("nameserver 127.0.0.1\n{text}\n")).unwrap();
        assert_eq!(super::patience(&mut options), Duration::from_secs(patience), "{text}");
        assert_eq!(options.attempts, retries, "{text}");
        assert!(options.timeout >= Duration::from_secs(1), "{text}");
    }
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let (server, lookup) = NameServer::start().await;
    server.set("held.test", Zone::Held(Arc::default()));
    let (dns, dns_server) = with_lookup(lookup, Duration::from_millis(50));
    let (_clusters, none) = mpsc::unbounded_channel();
    tokio::spawn(dns_server.run(none));
    let asked = tokio::time::timeout(PATIENCE, dns.resolve("held.test")).await;
    assert!(asked.expect("in time").is_err());
}

#[tokio::test]
async fn who_has_left_has_no_turn() {
    let (server, lookup) = NameServer::start().await;
    let held = Arc::new(Notify::new());
    let names: Vec<String> = (0..lookup::AT_ONCE + 9).map(|n| format!("n{n}.test")).collect();
    names.iter().for_each(|name| server.set(name, Zone::Held(held.clone())));
    let (dns, dns_server) = with_lookup(lookup, PATIENCE);
    let (_clusters, none) = mpsc::unbounded_channel();
    tokio::spawn(dns_server.run(none));
    let mut asking = JoinSet::new();
    for name in names {
        let dns = dns.clone();
        asking.spawn(async move { dns.resolve(&name).await });
    }
    until("all that may be are looked up, the last have not had their turn", || {
        server.answering.load(SeqCst) == lookup::AT_ONCE && dns.questions.capacity() == MAX_QUEUED - 9
    })
    .await;
    asking.shutdown().await;
    held.notify_waiters();
    server.set("next.test", Zone::Addresses(ips(&[7])));
    assert_eq!(dns.resolve("next.test").await.unwrap(), ips(&[7]));
    assert_eq!(server.asked.load(SeqCst), lookup::AT_ONCE + 1);
}

#[tokio::test]
async fn who_has_left_takes_no_place_from_others() {
    let (server, lookup) = NameServer::start().await;
    let held = Arc::new(Notify::new());
    server.set("held.test", Zone::Held(held.clone()));
    let (_dns, mut dns_server) = with_lookup(lookup, PATIENCE);
    let mut ask = || {
        let (answer, answered) = oneshot::channel();
        dns_server.ask(Question { name: "held.test".into(), answer });
        answered
    };
    let left: Vec<_> = (0..MAX_WAITING).map(|_| ask()).collect();
    assert!(ask().await.is_err(), "there are enough");
    drop(left);
    let stays = ask();
    let (_clusters, none) = mpsc::unbounded_channel();
    tokio::spawn(dns_server.run(none));
    until("the name is asked for", || server.answering.load(SeqCst) == 1).await;
    held.notify_waiters();
    assert_eq!(stays.await.unwrap().unwrap(), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
}

#[tokio::test]
async fn the_names_of_a_cluster_are_looked_up_together_but_not_all_at_once() {
    let (server, lookup) = NameServer::start().await;
    let held = Arc::new(Notify::new());
    let names: Vec<String> = (0..40).map(|n| format!("n{n}.test")).collect();
    names.iter().for_each(|name| server.set(name, Zone::Held(held.clone())));
    let cluster = cluster(ir::Discovery::StrictDns(names.iter().map(|name| endpoint(name)).collect()));
    tokio::spawn(follow(lookup, cluster.config.clone(), Arc::downgrade(&cluster)));
    until("16 under way", || server.answering.load(SeqCst) == 16).await;
    let release = async {
        loop {
            held.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = release => {}
        () = until("resolved", || cluster.is_resolved()) => {}
    }
    assert_eq!(
        (server.most_at_once.load(SeqCst), addresses(&cluster).len()),
        (16, 1),
        "40 names of one address"
    );
}

#[tokio::test]
async fn many_clusters_take_turns_and_leave_some_to_requests() {
    let (server, lookup) = NameServer::start().await;
    let held = Arc::new(Notify::new());
    let clusters: Vec<_> = (0..10)
        .map(|cluster_number| {
            let names: Vec<String> = (0..10).map(|n| format!("n{n}.c{cluster_number}.test")).collect();
            names.iter().for_each(|name| server.set(name, Zone::Held(held.clone())));
            cluster(ir::Discovery::StrictDns(names.iter().map(|name| endpoint(name)).collect()))
        })
        .collect();
    let (dns, serving) = with_lookup(lookup, PATIENCE);
    let (tell, told) = mpsc::unbounded_channel();
    clusters.iter().for_each(|cluster| tell.send(cluster.clone()).unwrap());
    tokio::spawn(serving.run(told));
    until("all turns taken", || server.answering.load(SeqCst) == lookup::AT_ONCE).await;
    server.set("free.test", Zone::Addresses(ips(&[7])));
    assert_eq!(dns.resolve("free.test").await.unwrap(), ips(&[7]), "a request's name need not wait");
    let release = async {
        loop {
            held.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = release => {}
        () = until("resolved", || clusters.iter().all(|cluster| cluster.is_resolved())) => {}
    }
    assert_eq!(server.most_at_once.load(SeqCst), lookup::AT_ONCE, "of 100 names");
}

#[tokio::test]
async fn failures_keep_the_last_good_addresses() {
    let (server, lookup) = NameServer::start().await;
    server.set("a.test", Zone::Addresses(ips(&[3, 2])));
    let cluster = cluster(ir::Discovery::StrictDns(vec![endpoint("a.test"), endpoint("b.test")]));
    tokio::spawn(follow(lookup, cluster.config.clone(), Arc::downgrade(&cluster)));
    until("resolved", || addresses(&cluster) == ["127.0.0.2:80", "127.0.0.3:80"]).await;
    server.set("a.test", Zone::Broken);
    server.set("b.test", Zone::Addresses(ips(&[9])));
    until("b", || addresses(&cluster) == ["127.0.0.2:80", "127.0.0.3:80", "127.0.0.9:80"]).await;
}

#[tokio::test]
async fn the_one_address_of_a_name_is_left_when_nobody_gets_through() {
    let (server, lookup) = NameServer::start().await;
    server.set("a.test", Zone::Addresses(ips(&[7, 5])));
    let cluster = cluster(ir::Discovery::LogicalDns(endpoint("a.test")));
    tokio::spawn(follow(lookup, cluster.config.clone(), Arc::downgrade(&cluster)));
    until("resolved", || addresses(&cluster) == ["127.0.0.7:80"]).await;
    let asked = server.asked.load(SeqCst);
    until("asked again", || server.asked.load(SeqCst) > asked).await;
    assert_eq!(addresses(&cluster), ["127.0.0.7:80"], "it stays while nothing fails");
    cluster.endpoints.load().endpoints()[0].state.record_connect_failure();
    until("the other", || addresses(&cluster) == ["127.0.0.5:80"]).await;
}
