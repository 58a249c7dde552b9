//! References between resources: gateways, delegates, hosts, subsets, ports, providers.
//!
//! Invariant: a resource with mistakes counts as defined, so that one mistake is told once.
//! Not here: which DestinationRule applies to which client (`crate::lower`): here a subset exists if any rule of its host
//! has it.

use super::{
    report::{At, Report},
    values,
};
use crate::{
    config::{Config, Resource},
    diagnostic::{Diagnostic, codes},
    ir::{HostPattern, Node},
    istio::{
        AuthorizationAction, AuthorizationPolicy, Destination, DestinationRule, TrafficPolicy, VirtualService,
    },
    pause,
    sidle::{ExtAuthzGrpc, ExtAuthzHttp, Proxy, RateLimitPolicy},
    yaml::nearest,
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

pub(super) fn check(config: &Config, node: &Node, out: &mut Vec<Diagnostic>) {
    let known = Known::new(config, node);
    let mut called = HashSet::new();
    for resource in &config.virtual_services {
        let namespace = resource.metadata.namespace.as_str();
        let report = &mut Report::new(resource, out);
        gateways(&resource.spec, namespace, &known, report);
        delegates(&resource.spec, namespace, &known, report);
        destinations(&resource.spec, &mut |target, at| {
            let host = known.complete(&target.host, namespace);
            destination(target, &host, at, &known, report);
            called.insert(host);
        });
    }
    for resource in pause::each(&config.virtual_services) {
        let name = (resource.metadata.namespace.as_str(), resource.metadata.name.as_str());
        let spec = &resource.spec;
        let delegate =
            spec.hosts.is_empty() && spec.gateways.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty();
        if delegate && !known.delegated.contains(&name) {
            let message = "without `hosts` this is a delegate, and no VirtualService delegates to it";
            Report::new(resource, out).warn(At::SPEC, codes::EMPTY_LIST, message);
        }
    }
    for resource in pause::each(&config.destination_rules) {
        let host = known.complete(&resource.spec.host, &resource.metadata.namespace);
        if !host.is_empty() && !host.starts_with('*') && !known.has_host(&host) && !called.contains(&host) {
            let message = format!("no file defines the host `{host}`, so this rule applies to nothing");
            let help = known.suggest_host(&host);
            Report::new(resource, out).warn_help(At::SPEC.to("host"), codes::UNUSED_RULE, message, help);
        }
        if let Some(ports) = known.hosts.get(&host) {
            rule_ports(&resource.spec, &host, ports, &mut Report::new(resource, out));
        }
    }
    let called = |host: &str| host.starts_with('*') || known.has_host(host) || called.contains(host);
    for resource in &config.health_policies {
        policy(resource, &resource.spec.host, &known, called, out);
    }
    for resource in &config.upstream_policies {
        policy(resource, &resource.spec.host, &known, called, out);
    }
    for resource in &config.fault_policies {
        policy(resource, &resource.spec.host, &known, called, out);
    }
    for resource in &config.rate_limit_policies {
        rate_limit_service(resource, &known, &mut Report::new(resource, out));
    }
    for resource in &config.proxies {
        extension_providers(resource, &known, &mut Report::new(resource, out));
    }
    for resource in &config.authorization_policies {
        provider(&resource.spec, &known, &mut Report::new(resource, out));
    }
    pause::drop_each(known.hosts);
    pause::drop_each(known.subsets);
}

fn rate_limit_service(resource: &Resource<RateLimitPolicy>, known: &Known<'_>, report: &mut Report<'_>) {
    let Some(service) = &resource.spec.rate_limit_service else { return };
    let requests = if service.failure_mode_deny { "are refused" } else { "pass uncounted" };
    let without = format!("nobody counts: requests {requests}");
    let own = resource.metadata.namespace.as_str();
    let root = At::SPEC;
    asked((&service.service, service.port), own, &without, root.to("rateLimitService"), known, report);
}

fn extension_providers(resource: &Resource<Proxy>, known: &Known<'_>, report: &mut Report<'_>) {
    let own = resource.metadata.namespace.as_str();
    let root = At::SPEC;
    let list = root.to("extensionProviders");
    for (index, provider) in resource.spec.extension_providers.iter().enumerate() {
        let kinds = [
            ("envoyExtAuthzHttp", provider.envoy_ext_authz_http.as_ref().map(ExtAuthzHttp::asked)),
            ("envoyExtAuthzGrpc", provider.envoy_ext_authz_grpc.as_ref().map(ExtAuthzGrpc::asked)),
        ];
        for (kind, by) in kinds.into_iter().filter_map(|(kind, by)| Some((kind, by?))) {
            let requests = if by.fail_open { "pass unasked" } else { "are refused" };
            let without = format!("nobody can be asked: requests {requests}");
            asked((by.service, by.port), own, &without, list.to(index).to(kind), known, report);
        }
    }
}

/// A service, `[namespace/]host`, that the proxy asks itself. One that is not defined is never asked; `without` says what comes of
/// that.
fn asked(
    (service, port): (&str, u16),
    own: &str,
    without: &str,
    at: At<'_>,
    known: &Known<'_>,
    report: &mut Report<'_>,
) {
    let (namespace, host) = service.split_once('/').unwrap_or((own, service));
    if values::host_name(host).is_err() {
        return;
    }
    let host = known.complete(host, namespace);
    match known.hosts.get(&host) {
        None => {
            let message = format!("no file defines the host `{host}`, so {without}");
            report.warn_help(at.to("service"), codes::UNKNOWN_HOST, message, known.suggest_host(&host));
        }
        Some(ports) if !ports.contains(&port) && port != 0 => {
            let message = format!("`{host}` has no port {port}, so {without}");
            report.warn_help(at.to("port"), codes::UNKNOWN_PORT, message, list_of(ports));
        }
        Some(_) => {}
    }
}

/// One that is not defined cannot be asked. Istio refuses, too, what the rules match, and goes on.
fn provider(spec: &AuthorizationPolicy, known: &Known<'_>, report: &mut Report<'_>) {
    let Some(name) = spec.provider.as_ref().map(|provider| provider.name.as_str()) else { return };
    let custom = spec.action == AuthorizationAction::Custom && !name.is_empty();
    if !custom || known.providers.contains(name) {
        return;
    }
    let help = match known.search(name, known.providers.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.providers.is_empty() => "define it in `extensionProviders` of a `kind: Proxy`".into(),
        None => {
            format!("the providers are: {}", known.providers.iter().copied().collect::<Vec<_>>().join(", "))
        }
    };
    let message = format!("no Proxy defines the provider `{name}`: what the rules match is refused");
    let root = At::SPEC;
    report.warn_help(root.to("provider").to("name"), codes::UNKNOWN_PROVIDER, message, help);
}

/// One of Sidle's own policies for a host.
fn policy<T>(
    resource: &Resource<T>,
    host: &str,
    known: &Known<'_>,
    is_called: impl Fn(&str) -> bool,
    out: &mut Vec<Diagnostic>,
) {
    let host = known.complete(host, &resource.metadata.namespace);
    if !host.is_empty() && !is_called(&host) {
        let message = format!("no file defines the host `{host}`, so this policy applies to nothing");
        let help = known.suggest_host(&host);
        Report::new(resource, out).warn_help(At::SPEC.to("host"), codes::UNUSED_RULE, message, help);
    }
}

/// What the files define.
struct Known<'a> {
    domain: &'a str,
    /// Ports by full host name.
    hosts: BTreeMap<String, BTreeSet<u16>>,
    /// `.suffix` of every wildcard host.
    wildcards: HashSet<String>,
    /// First labels of host names by the rest of the name.
    siblings: HashMap<String, BTreeSet<String>>,
    /// Subsets of DestinationRules by full host name.
    subsets: HashMap<String, BTreeSet<&'a str>>,
    /// Subsets of DestinationRules for wildcards.
    wildcard_subsets: Vec<(HostPattern, BTreeSet<&'a str>)>,
    /// Namespace and name.
    gateways: HashSet<(&'a str, &'a str)>,
    /// Namespace and name; whether it has hosts.
    virtual_services: HashMap<(&'a str, &'a str), bool>,
    /// Namespace and name of every delegate that is named somewhere.
    delegated: HashSet<(&'a str, &'a str)>,
    /// Those of every Proxy, whoever it is for.
    providers: BTreeSet<&'a str>,
    /// A search for a near name reads many names; after so many searches only the plain help is given.
    searches_left: Cell<u32>,
}

const MOST_SEARCHES: u32 = 200;

impl<'a> Known<'a> {
    fn new(config: &'a Config, node: &'a Node) -> Self {
        let mut known = Known {
            domain: &node.domain,
            hosts: BTreeMap::new(),
            wildcards: HashSet::new(),
            siblings: HashMap::new(),
            subsets: HashMap::new(),
            wildcard_subsets: Vec::new(),
            gateways: config.gateways.iter().map(|g| (&*g.metadata.namespace, &*g.metadata.name)).collect(),
            virtual_services: HashMap::with_capacity(config.virtual_services.len()),
            delegated: HashSet::new(),
            providers: config.proxies.iter().flat_map(|proxy| proxy.spec.provider_names()).collect(),
            searches_left: Cell::new(MOST_SEARCHES),
        };
        known.add_hosts(config);
        for rule in pause::each(&config.destination_rules) {
            let host = known.complete(&rule.spec.host, &rule.metadata.namespace);
            let names = rule.spec.subsets.iter().map(|subset| subset.name.as_str());
            match HostPattern::new(&host) {
                Some(HostPattern::Exact(_)) => known.subsets.entry(host).or_default().extend(names),
                Some(pattern) => known.wildcard_subsets.push((pattern, names.collect())),
                None => {}
            }
        }
        for resource in pause::each(&config.virtual_services) {
            let namespace = resource.metadata.namespace.as_str();
            let hosted = !resource.spec.hosts.is_empty();
            known.virtual_services.insert((namespace, &resource.metadata.name), hosted);
            for delegate in resource.spec.http.iter().filter_map(|route| route.delegate.as_ref()) {
                known.delegated.insert((delegate.namespace.as_deref().unwrap_or(namespace), &delegate.name));
            }
        }
        known
    }

    fn add_hosts(&mut self, config: &'a Config) {
        for service in pause::each(&config.services) {
            let host = self.complete(&service.metadata.name, &service.metadata.namespace);
            self.hosts.entry(host).or_default().extend(service.spec.ports.iter().map(|port| port.port));
        }
        for entry in pause::each(&config.service_entries) {
            for host in &entry.spec.hosts {
                match HostPattern::new(host) {
                    Some(HostPattern::Exact(host)) => {
                        let ports = entry.spec.ports.iter().map(|port| port.number);
                        self.hosts.entry(host.to_string()).or_default().extend(ports);
                    }
                    Some(HostPattern::Suffix(suffix)) => {
                        self.wildcards.insert(suffix.to_string());
                    }
                    Some(HostPattern::Any) | None => {}
                }
            }
        }
        for (first, rest) in pause::each(self.hosts.keys()).filter_map(|host| host.split_once('.')) {
            self.siblings.entry(rest.to_owned()).or_default().insert(first.to_owned());
        }
    }

    /// The full name: a name without a dot is a Service of the rule's namespace.
    fn complete(&self, host: &str, namespace: &str) -> String {
        let host = host.to_ascii_lowercase();
        let full = host.is_empty() || host.contains(['.', ':']) || host.starts_with('*');
        if full { host } else { format!("{host}.{namespace}.svc.{}", self.domain) }
    }

    fn has_host(&self, host: &str) -> bool {
        let suffixes = host.match_indices('.').map(|(at, _)| &host[at..]);
        self.hosts.contains_key(host) || suffixes.into_iter().any(|suffix| self.wildcards.contains(suffix))
    }

    /// The name among `names` that is nearest to `written`, as long as searches are left.
    fn search<'n>(&self, written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        self.searches_left.set(self.searches_left.get().checked_sub(1)?);
        nearest(written, names)
    }

    fn suggest_host(&self, host: &str) -> String {
        const PLAIN: &str = "define it with a Service or a ServiceEntry";
        if self.searches_left.get() == 0 {
            return PLAIN.into();
        }
        let (name, rest) = host.split_once('.').unwrap_or((host, ""));
        let siblings = self.siblings.get(rest).into_iter().flatten().map(String::as_str);
        if let Some(meant) = self.search(name, siblings) {
            return format!("did you mean `{meant}.{rest}`?");
        }
        match self
            .siblings
            .iter()
            .filter(|(other, names)| *other != rest && names.contains(name))
            .map(|(o, _)| o)
            .min()
        {
            Some(other) => {
                format!("`{name}.{other}` is defined; a name without a dot is of the rule's own namespace")
            }
            None => PLAIN.into(),
        }
    }

    /// Subsets that any rule of `host` has; `None`: no rule is for that host.
    fn subsets_of(&self, host: &str) -> Option<BTreeSet<&'a str>> {
        let wildcards =
            self.wildcard_subsets.iter().filter(|(pattern, _)| pattern.matches(host)).map(|(_, names)| names);
        let mut rules = self.subsets.get(host).into_iter().chain(wildcards).peekable();
        rules.peek()?;
        Some(rules.flatten().copied().collect())
    }
}

/// Visits every destination of a VirtualService.
fn destinations(spec: &VirtualService, visit: &mut dyn FnMut(&Destination, At<'_>)) {
    let root = At::SPEC;
    for (index, rule) in pause::each(&spec.http).enumerate() {
        let at = root.to("http");
        let at = at.to(index);
        for (index, share) in rule.route.iter().enumerate() {
            visit(&share.destination, at.to("route").to(index).to("destination"));
        }
        if let Some(mirror) = &rule.mirror {
            visit(mirror, at.to("mirror"));
        }
        for (index, mirror) in rule.mirrors.iter().enumerate() {
            visit(&mirror.destination, at.to("mirrors").to(index).to("destination"));
        }
    }
    let tls = spec.tls.iter().map(|rule| &rule.route).enumerate().map(|(index, route)| ("tls", index, route));
    let tcp = spec.tcp.iter().map(|rule| &rule.route).enumerate().map(|(index, route)| ("tcp", index, route));
    for (field, index, route) in tls.chain(tcp) {
        let at = root.to(field);
        let at = at.to(index);
        for (index, share) in route.iter().enumerate() {
            visit(&share.destination, at.to("route").to(index).to("destination"));
        }
    }
}

fn destination(target: &Destination, host: &str, at: At<'_>, known: &Known<'_>, report: &mut Report<'_>) {
    if target.host.is_empty() || values::host_name(&target.host).is_err() {
        return;
    }
    if !known.has_host(host) && host.parse::<IpAddr>().is_err() {
        let message = format!("no file defines the host `{host}`: it will be resolved by DNS");
        report.warn_help(at.to("host"), codes::UNKNOWN_HOST, message, known.suggest_host(host));
    }
    if let (Some(port), Some(ports)) = (&target.port, known.hosts.get(host))
        && !ports.contains(&port.number)
        && port.number != 0
    {
        let message = format!("`{host}` has no port {}: requests get 503", port.number);
        report.warn_help(at.to("port").to("number"), codes::UNKNOWN_PORT, message, list_of(ports));
    }
    let Some(subset) = target.subset.as_deref() else { return };
    let subsets = known.subsets_of(host);
    if subsets.as_ref().is_some_and(|subsets| subsets.contains(subset)) {
        return;
    }
    let help = match &subsets {
        None => format!("write a DestinationRule for `{host}` with this subset"),
        Some(subsets) => match nearest(subset, subsets.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("its subsets are: {}", subsets.iter().copied().collect::<Vec<_>>().join(", ")),
        },
    };
    let message = format!("no DestinationRule defines the subset `{subset}` of `{host}`");
    report.error_help(at.to("subset"), codes::UNKNOWN_SUBSET, message, help);
}

/// Settings of ports that the rule's host has not.
fn rule_ports(spec: &DestinationRule, host: &str, ports: &BTreeSet<u16>, report: &mut Report<'_>) {
    let root = At::SPEC;
    let mut check = |policy: &TrafficPolicy, at: At<'_>| {
        for (index, settings) in policy.port_level_settings.iter().enumerate() {
            let number = settings.port.as_ref().map_or(0, |port| port.number);
            if number != 0 && !ports.contains(&number) {
                let message = format!("`{host}` has no port {number}: these settings apply to nothing");
                let at = at.to("portLevelSettings");
                report.warn_help(
                    at.to(index).to("port").to("number"),
                    codes::UNKNOWN_PORT,
                    message,
                    list_of(ports),
                );
            }
        }
    };
    if let Some(policy) = &spec.traffic_policy {
        check(policy, root.to("trafficPolicy"));
    }
    for (index, subset) in spec.subsets.iter().enumerate() {
        if let Some(policy) = &subset.traffic_policy {
            check(policy, root.to("subsets").to(index).to("trafficPolicy"));
        }
    }
}

fn list_of(ports: &BTreeSet<u16>) -> String {
    let list: Vec<_> = ports.iter().map(u16::to_string).collect();
    if list.is_empty() {
        "it has no ports at all".into()
    } else {
        format!("its ports are: {}", list.join(", "))
    }
}

/// Gateways that rules are for, in the VirtualService and in its matches.
fn gateways(spec: &VirtualService, namespace: &str, known: &Known<'_>, report: &mut Report<'_>) {
    let root = At::SPEC;
    let mut check = |names: &[String], at: At<'_>| {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| *name != "mesh") {
            let (owner, short) = name.split_once('/').unwrap_or((namespace, name));
            if known.gateways.contains(&(owner, short)) || values::gateway_name(name).is_err() {
                continue;
            }
            let siblings =
                || known.gateways.iter().filter(|(other, _)| *other == owner).map(|(_, name)| *name);
            let elsewhere = known.gateways.iter().filter(|(_, other)| *other == short).min();
            let help = match (known.search(short, siblings()), elsewhere) {
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (_, Some((other, _))) => format!("did you mean `{other}/{short}`?"),
                _ => format!("define a Gateway `{short}` in the namespace `{owner}`"),
            };
            let message = format!(
                "no file defines the Gateway `{owner}/{short}`: these rules hold nowhere on its behalf"
            );
            report.warn_help(at.to(index), codes::UNKNOWN_GATEWAY, message, help);
        }
    };
    check(&spec.gateways, root.to("gateways"));
    for (index, route) in spec.http.iter().enumerate() {
        for (entry, request) in route.matches.iter().enumerate() {
            check(&request.gateways, root.to("http").to(index).to("match").to(entry).to("gateways"));
        }
    }
    for (index, route) in spec.tls.iter().enumerate() {
        for (entry, connection) in route.matches.iter().enumerate() {
            check(&connection.gateways, root.to("tls").to(index).to("match").to(entry).to("gateways"));
        }
    }
    for (index, route) in spec.tcp.iter().enumerate() {
        for (entry, connection) in route.matches.iter().enumerate() {
            check(&connection.gateways, root.to("tcp").to(index).to("match").to(entry).to("gateways"));
        }
    }
}

fn delegates(spec: &VirtualService, namespace: &str, known: &Known<'_>, report: &mut Report<'_>) {
    let root = At::SPEC;
    for (index, delegate) in
        spec.http.iter().enumerate().filter_map(|(at, route)| Some((at, route.delegate.as_ref()?)))
    {
        if delegate.name.is_empty() {
            continue;
        }
        let owner = delegate.namespace.as_deref().unwrap_or(namespace);
        let http = root.to("http");
        let at = http.to(index);
        match known.virtual_services.get(&(owner, delegate.name.as_str())) {
            Some(false) => {}
            Some(true) => {
                let message = format!(
                    "the VirtualService `{owner}/{}` has `hosts`, so it is no delegate",
                    delegate.name
                );
                report.warn(at.to("delegate").to("name"), codes::UNKNOWN_DELEGATE, message);
            }
            None => {
                let names =
                    known.virtual_services.keys().filter(|(other, _)| *other == owner).map(|(_, name)| *name);
                let help = match known.search(&delegate.name, names) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "a delegate is a VirtualService without `hosts`".into(),
                };
                let message = format!("no file defines the VirtualService `{owner}/{}`", delegate.name);
                report.error_help(at.to("delegate").to("name"), codes::UNKNOWN_DELEGATE, message, help);
            }
        }
    }
}
