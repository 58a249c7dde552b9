//! Route tables of Gateway servers.
//!
//! In:  servers of one port (or one server with TLS), VirtualServices bound to their Gateways.   Out: a table.
//! Invariants: a virtual host has the rules of all VirtualServices that share its host with a server, oldest first, with the
//! rules that take everything at the end (R3); after the first of those nothing is reached, and it is told.
//! Not here: sidecars, where rules are not merged.

use super::{
    super::{
        domains::Names,
        matches::{everything, is_catch_all},
        routes::{RouteList, Routes},
        table::{Forms, Table},
        virtual_services::Rules,
    },
    BoundServer,
};
use crate::{
    config::Step,
    diagnostic::codes,
    ir::{Origin, Redirect, RedirectPort, Route, RouteAction, RouteConfiguration},
};
use http::StatusCode;
use std::{collections::HashMap, sync::Arc};

/// One host of a table.
#[derive(Default)]
struct Host {
    name: String,
    port: u16,
    /// Place of the rules (which is their age), and their routes.
    parts: Vec<(usize, RouteList)>,
    /// Where the server that answers with a redirect to HTTPS was written.
    redirect: Option<Origin>,
}

/// The table of servers that share it.
pub(super) fn table(routes: &mut Routes<'_>, name: &str, servers: &[BoundServer<'_>]) -> RouteConfiguration {
    let mesh = routes.mesh;
    let mut hosts: Vec<Host> = Vec::new();
    let mut places = HashMap::<String, usize>::new();
    let mut place = |hosts: &mut Vec<Host>, name: String, port: u16| {
        *places.entry(name.clone()).or_insert_with(|| {
            hosts.push(Host { name, port, ..Default::default() });
            hosts.len() - 1
        })
    };
    for server in servers {
        let port = server.server.port.number;
        let redirect = server.server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        let redirect = redirect.then(|| server.gateway.origin(&server.path()));
        for at in mesh.virtual_services.of_gateway(&server.name) {
            let rules = &mesh.virtual_services.list[*at];
            let shared = server.shared_hosts(rules);
            if shared.is_empty() {
                continue;
            }
            let list = routes.of_rules(*at, server.site());
            for name in shared {
                let host = place(&mut hosts, name, port);
                hosts[host].redirect = hosts[host].redirect.take().or_else(|| redirect.clone());
                if !list.is_empty() && !hosts[host].parts.iter().any(|(known, _)| known == at) {
                    hosts[host].parts.push((*at, list.clone()));
                }
            }
        }
        if let Some(origin) = redirect {
            for (_, name) in &server.hosts {
                let host = place(&mut hosts, name.clone(), port);
                hosts[host].redirect.get_or_insert(origin.clone());
            }
        }
    }
    let mut table = Table::of_port(name);
    for host in hosts {
        add(routes, &mut table, host);
    }
    table.finish()
}

fn add(routes: &mut Routes<'_>, table: &mut Table, mut host: Host) {
    host.parts.sort_by_key(|(at, _)| *at);
    let oldest = host.parts.first().map(|(at, _)| &routes.mesh.virtual_services.list[*at]);
    let origin = match (&host.redirect, oldest) {
        (Some(origin), _) => origin.clone(),
        (None, Some(rules)) => rules.resource.origin_titled(rules.title.clone(), &[]),
        (None, None) => return,
    };
    let list = match &host.redirect {
        Some(origin) => vec![Arc::new(to_https(origin))],
        None => merged(routes, &host),
    };
    let names = Names { own: vec![host.name.clone()], short: Vec::new() };
    table.add(format!("{}:{}", host.name, host.port), &names, Forms::Bare, list, origin);
}

/// All rules, those that take everything last.
fn merged(routes: &mut Routes<'_>, host: &Host) -> Vec<Arc<Route>> {
    let all = host.parts.iter().flat_map(|(at, list)| list.iter().map(move |route| (*at, route)));
    let (last, mut list): (Vec<_>, Vec<_>) = all.partition(|(_, route)| is_catch_all(&route.matches));
    let mut last = last.into_iter();
    let winner = last.next();
    for (at, lost) in last {
        let rules = &routes.mesh.virtual_services.list[at];
        let winner = winner.as_ref().map_or_else(String::new, |(_, route)| route.origin.to_string());
        let message = format!(
            "never reached for `{}`: the rule for everything ({}) is older, and comes first at the gateway",
            host.name, winner
        );
        let path = place_of(rules, lost);
        routes.notes.warn(rules.resource, codes::UNREACHABLE_ROUTE, &path, message);
    }
    list.extend(winner);
    list.into_iter().map(|(_, route)| route.clone()).collect()
}

/// The rule of a route: the last that begins no later than the route's match.
fn place_of(rules: &Rules<'_>, route: &Route) -> Vec<Step<'static>> {
    let begins = |at: &usize| {
        let place = rules.resource.origin(&["http".into(), (*at).into()]);
        (place.line, place.column) <= (route.origin.line, route.origin.column)
    };
    let found = (0..rules.resource.spec.http.len()).rev().find(begins);
    found.map_or_else(|| vec!["http".into()], |at| vec!["http".into(), at.into()])
}

/// 301 to the same place over HTTPS.
fn to_https(origin: &Origin) -> Route {
    Route {
        name: "https_redirect".into(),
        matches: everything(),
        action: RouteAction::Redirect(Box::new(Redirect {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: Some("https".into()),
            authority: None,
            port: RedirectPort::Keep,
            path: None,
        })),
        request_headers: Default::default(),
        response_headers: Default::default(),
        fault: None,
        cors: None,
        origin: origin.clone(),
    }
}
