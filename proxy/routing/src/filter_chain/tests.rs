use super::*;
use ir::{Direction, FilterChain, FilterChainMatch, ListenAddress, NetworkFilter, Origin, TcpProxy};
use std::{convert::Infallible, time::Duration};

const HTTP: [ApplicationProtocol; 2] = [ApplicationProtocol::Http1, ApplicationProtocol::Http2];

fn chain(name: &str, matches: FilterChainMatch) -> FilterChain {
    let filter = NetworkFilter::Tcp(TcpProxy {
        clusters: Vec::new(),
        idle_timeout: None,
        authorization: None,
        route_name: name.into(),
        origin: Origin::built_in(),
    });
    FilterChain { name: name.into(), matches, tls: None, filter }
}

/// Chains called by the position of their match; the default is `default`.
fn table(matches: Vec<FilterChainMatch>) -> FilterChainTable<String> {
    let listener = ir::Listener {
        name: "test".into(),
        address: ListenAddress::Socket(([127, 0, 0, 1], 0).into()),
        direction: Direction::Outbound,
        detection_timeout: Duration::ZERO,
        filter_chains: (0..).zip(matches).map(|(at, matches)| chain(&format!("{at}"), matches)).collect(),
        default_filter_chain: Some(chain("default", FilterChainMatch::default())),
        proxy_protocol: false,
        origin: Origin::built_in(),
    };
    FilterChainTable::build(&listener, |chain| Ok::<_, Infallible>(chain.name.to_string())).unwrap()
}

fn raw(destination: &str) -> ConnectionView<'static> {
    ConnectionView {
        destination: Some(destination.parse().unwrap()),
        server_name: None,
        transport: Transport::RawBuffer,
        application_protocols: &[],
    }
}

fn tls<'c>(destination: &str, server_name: &'c str) -> ConnectionView<'c> {
    ConnectionView { server_name: Some(server_name), transport: Transport::Tls, ..raw(destination) }
}

fn port(port: u16) -> FilterChainMatch {
    FilterChainMatch { destination_port: Some(port), ..Default::default() }
}

fn name(pattern: &str) -> FilterChainMatch {
    FilterChainMatch { server_names: vec![HostPattern::new(pattern).unwrap()], ..Default::default() }
}

#[test]
fn the_port_comes_first_and_is_final() {
    let to_network =
        FilterChainMatch { destinations: vec!["10.0.0.0/8".parse().unwrap()], ..Default::default() };
    let to_port = FilterChainMatch { server_names: name("a.b").server_names, ..port(443) };
    let table = table(vec![to_network, to_port]);
    assert_eq!(table.select(&raw("10.1.2.3:80")).unwrap(), "0");
    assert_eq!(table.select(&tls("10.1.2.3:443", "a.b")).unwrap(), "1");
    assert_eq!(table.select(&tls("10.1.2.3:443", "c")).unwrap(), "default", "no way back from the port");
    assert_eq!(table.select(&ConnectionView { destination: None, ..raw("1.1.1.1:1") }).unwrap(), "default");
}

#[test]
fn the_longest_network_wins() {
    let to = |network: &str| FilterChainMatch {
        destinations: vec![network.parse().unwrap()],
        ..Default::default()
    };
    let table = table(vec![to("10.0.0.0/8"), to("10.1.0.0/16"), to("10.1.2.3/32"), to("fd00::/8"), port(99)]);
    for (destination, wanted) in [
        ("10.9.9.9:1", "0"),
        ("10.1.9.9:1", "1"),
        ("10.1.2.3:1", "2"),
        ("[::ffff:10.1.2.3]:1", "2"),
        ("[fd00::1]:1", "3"),
        ("10.1.2.3:99", "4"),
        ("192.168.0.1:1", "default"),
    ] {
        assert_eq!(table.select(&raw(destination)).unwrap(), wanted, "{destination}");
    }
}

#[test]
fn the_most_specific_name_wins_whatever_the_order() {
    let table = table(vec![FilterChainMatch::default(), name("*.b.com"), name("a.b.com"), name("*.com")]);
    for (server_name, wanted) in [("A.b.com", "2"), ("x.b.com", "1"), ("b.com", "3"), ("org", "0")] {
        assert_eq!(table.select(&tls("1.1.1.1:1", server_name)).unwrap(), wanted, "{server_name}");
    }
    assert_eq!(table.select(&raw("1.1.1.1:1")).unwrap(), "0");
}

#[test]
fn then_transport_and_application_protocol() {
    let over = |transport| FilterChainMatch { transport: Some(transport), ..Default::default() };
    let http = FilterChainMatch { application_protocols: HTTP.to_vec(), ..Default::default() };
    let table = table(vec![over(Transport::Tls), FilterChainMatch::default(), http]);
    let with = |offers| ConnectionView { application_protocols: offers, ..raw("1.1.1.1:1") };
    assert_eq!(table.select(&tls("1.1.1.1:1", "a")).unwrap(), "0");
    assert_eq!(table.select(&with(&[])).unwrap(), "1");
    assert_eq!(table.select(&with(&HTTP[..1])).unwrap(), "2");
    assert_eq!(table.select(&with(&HTTP[1..])).unwrap(), "2");
}

#[test]
fn an_unmatched_protocol_goes_to_the_default() {
    let http2 = FilterChainMatch { application_protocols: HTTP[1..].to_vec(), ..Default::default() };
    let table = table(vec![http2]);
    let with = |offers| ConnectionView { application_protocols: offers, ..raw("1.1.1.1:1") };
    assert_eq!(table.select(&with(&HTTP[..1])).unwrap(), "default");
    assert_eq!(table.select(&with(&HTTP)).unwrap(), "0", "any of the offers");
    assert_eq!(table.chains().collect::<Vec<_>>(), ["0", "default"]);
}

#[test]
fn reads_no_more_than_the_choice_needs() {
    let sniffed = FilterChainMatch { application_protocols: HTTP.to_vec(), ..port(1) };
    let by_name = FilterChainMatch { server_names: name("a.b").server_names, ..port(2) };
    let by_transport = FilterChainMatch { transport: Some(Transport::Tls), ..port(3) };
    let table = table(vec![sniffed, by_name, by_transport, port(4)]);
    for (destination, wanted) in [
        ("1.1.1.1:1", Inspection::ApplicationProtocol),
        ("1.1.1.1:2", Inspection::Transport),
        ("1.1.1.1:3", Inspection::Transport),
        ("1.1.1.1:4", Inspection::None),
        ("1.1.1.1:5", Inspection::None),
    ] {
        assert_eq!(table.inspection(Some(destination.parse().unwrap())), wanted, "{destination}");
    }
}

/// The reference: narrow the chains down step by step, each time to the most specific group that fits.
fn narrow(chains: &[FilterChainMatch], connection: &ConnectionView<'_>) -> Option<usize> {
    let destination = connection.destination.unwrap();
    let best = |group: Vec<usize>, rank: &dyn Fn(&FilterChainMatch) -> Option<usize>| -> Vec<usize> {
        let best = group.iter().filter_map(|&at| rank(&chains[at])).max();
        group.into_iter().filter(|&at| best.is_some() && rank(&chains[at]) == best).collect()
    };
    let group = best((0..chains.len()).collect(), &|chain| match chain.destination_port {
        None => Some(0),
        Some(port) => (port == destination.port()).then_some(1),
    });
    let group = best(group, &|chain| match &chain.destinations[..] {
        [] => Some(0),
        networks => networks
            .iter()
            .filter(|network| network.contains(&destination.ip()))
            .map(|network| 1 + usize::from(network.prefix_len()))
            .max(),
    });
    let group = best(group, &|chain| match &chain.server_names[..] {
        [] => Some(0),
        names => names
            .iter()
            .filter(|name| name.matches(connection.server_name.unwrap_or("")))
            .map(|name| match name {
                HostPattern::Exact(_) => usize::MAX,
                HostPattern::Suffix(suffix) => suffix.len(),
                HostPattern::Any => 0,
            })
            .max(),
    });
    let group = best(group, &|chain| match chain.transport {
        None => Some(0),
        Some(transport) => (transport == connection.transport).then_some(1),
    });
    let offer_of = |chain: &FilterChainMatch| {
        connection.application_protocols.iter().position(|offer| chain.application_protocols.contains(offer))
    };
    let group = best(group, &|chain| match &chain.application_protocols[..] {
        [] => Some(0),
        _ => offer_of(chain).map(|place| 9 - place),
    });
    group.first().copied()
}

#[test]
fn what_the_kernel_brought_here_has_chains_of_its_own_where_there_are_any() {
    let anything = FilterChainMatch { captured: true, ..Default::default() };
    let https = FilterChainMatch { transport: Some(Transport::Tls), ..port(443) };
    let table = table(vec![anything, https]);
    assert_eq!(table.select(&ConnectionView { destination: None, ..raw("10.0.0.1:9") }).unwrap(), "default");
    assert_eq!(table.select(&raw("10.0.0.1:9")).unwrap(), "0");
    assert_eq!(table.select(&tls("10.0.0.1:443", "a")).unwrap(), "1");
    assert_eq!(table.select(&raw("10.0.0.1:443")), None, "a port that takes TLS alone takes nothing else");
}

mod property {
    use super::*;
    use proptest::{collection::vec, option, prelude::*, sample::select};

    prop_compose! {
        fn matches()(
            destination_port in option::weighted(0.3, 1u16..3),
            networks in vec(select(&["10.0.0.0/8", "10.0.0.0/31", "10.0.0.1/32", "fd00::/8"][..]), 0..2),
            names in vec(select(&["a.b", "*.b", "x.a.b", "*.a.b", "*"][..]), 0..3),
            transport in option::weighted(0.4, select(&[Transport::Tls, Transport::RawBuffer][..])),
            application_protocols in prop_oneof![Just(&HTTP[..0]), Just(&HTTP[..1]), Just(&HTTP[1..]), Just(&HTTP[..])],
        ) -> FilterChainMatch {
            FilterChainMatch {
                captured: false,
                destination_port,
                destinations: networks.iter().map(|network| network.parse().unwrap()).collect(),
                server_names: names.iter().map(|name| HostPattern::new(name).unwrap()).collect(),
                transport,
                application_protocols: application_protocols.to_vec(),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn agrees_with_narrowing_down(
            chains in vec(matches(), 0..12),
            destination in select(&["10.0.0.1:1", "10.0.0.0:2", "10.9.9.9:3", "1.1.1.1:1", "[fd00::1]:2"][..]),
            server_name in option::of(select(&["a.b", "x.a.b", "y.x.a.b", "b"][..])),
            transport in select(&[Transport::Tls, Transport::RawBuffer][..]),
            offers in prop_oneof![Just(&HTTP[..0]), Just(&HTTP[..1]), Just(&HTTP[1..]), Just(&HTTP[..])],
        ) {
            let connection =
                ConnectionView { server_name, transport, application_protocols: offers, ..raw(destination) };
            let wanted = narrow(&chains, &connection).map_or("default".into(), |at| at.to_string());
            let table = table(chains);
            prop_assert_eq!(table.select(&connection), Some(&wanted));
        }
    }
}
