//! A mesh of any size, as manifests.
//!
//! In:  sizes.   Out: one file for each service: where it is, its subsets, and the VirtualServices whose requests it serves.
//! Invariants: meshes of all sizes begin with the same ten VirtualServices, whose service is the one that is really there; each
//! VirtualService has a host of its own and leaves its number in what it answers or rewrites, so that a wrong choice shows.

use crate::{
    load::Question,
    upstream::{self, VERSIONS},
};
use std::{fmt::Write, net::Ipv4Addr, sync::Arc};

/// VirtualServices that follow one another with one service.
const GROUP: usize = 10;

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mesh {
    /// ServiceEntries, each with two subsets.
    pub services: usize,
    /// Endpoints of each.
    pub endpoints: u8,
    /// VirtualServices.
    pub virtual_services: usize,
    /// The port of all endpoints.
    pub port: u16,
}

/// Which version serves the `/switch` of the first VirtualService: what a change of one weight changes.
pub type Switch = usize;

impl Mesh {
    /// All files, by name.
    pub fn files(&self) -> impl Iterator<Item = (String, String)> + '_ {
        (0..self.services).map(|service| (file_name(service), self.file(service, 0)))
    }

    /// The file of one service.
    pub fn file(&self, service: usize, switch: Switch) -> String {
        let mut text = self.service(service);
        for group in (service * GROUP..self.virtual_services).step_by(self.services * GROUP) {
            for number in group..(group + GROUP).min(self.virtual_services) {
                let switched = match (number, switch) {
                    (0, 0) => [100, 0],
                    (0, _) => [0, 100],
                    _ => [50, 50],
                };
                text += &virtual_service(number, &service_host(service), switched);
            }
        }
        text
    }

    fn service(&self, service: usize) -> String {
        let host = service_host(service);
        let mut text = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: service-{service} }}\nspec:\n  \
             hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [{{ number: 80, name: http, protocol: HTTP }}]\n  endpoints:\n"
        );
        for at in 0..self.endpoints {
            let address = match service {
                0 => upstream::address(at),
                _ => Ipv4Addr::new(10, (service >> 8) as u8, service as u8, at + 1),
            };
            let version = VERSIONS[usize::from(at) % VERSIONS.len()];
            text += &format!(
                "    - {{ address: {address}, ports: {{ http: {port} }}, \
                 labels: {{ app: service-{service}, version: {version} }} }}\n",
                port = self.port,
            );
        }
        text += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: service-{service} }}\n\
             spec:\n  host: {host}\n  subsets:\n"
        );
        for version in VERSIONS {
            text += &format!("    - {{ name: {version}, labels: {{ version: {version} }} }}\n");
        }
        text
    }

    /// Requests that the first ten VirtualServices send on to the upstream.
    pub fn forwarded(&self) -> Arc<[Question]> {
        (0..self.virtual_services.min(GROUP)).map(|number| forwarded(number, "api")).collect()
    }

    /// A request whose answer shows the weights that hold: the place of the answer is the [`Switch`].
    pub fn switched(&self) -> Question {
        forwarded(0, "switch")
    }

    /// Requests to every VirtualService, in an order without neighbours, that the proxy answers itself.
    pub fn direct(&self) -> Arc<[Question]> {
        let count = self.virtual_services;
        // A step without a common divisor reaches all.
        let step = [7919, 7907, 7901].into_iter().find(|step| !count.is_multiple_of(*step)).unwrap_or(1);
        let numbers = (0..count).map(|at| at * step % count);
        numbers.map(|number| Question::get(&host(number), "/healthz", vec![host(number).into()])).collect()
    }
}

fn forwarded(number: usize, rule: &str) -> Question {
    let rewritten = format!("/{rule}-{number}/users/7?fields=name");
    let answers = VERSIONS.iter().map(|version| upstream::body(version, &rewritten)).collect();
    Question::get(&host(number), &format!("/{rule}/users/7?fields=name"), answers)
}

/// The file of a service.
pub fn file_name(service: usize) -> String {
    format!("service-{service:05}.yaml")
}

fn service_host(service: usize) -> String {
    format!("service-{service}.mesh.test")
}

fn host(number: usize) -> String {
    format!("shop-{number}.example.com")
}

/// Rules as people write them: an answer, a canary by header, a split by weight, some with an expression, and the rest.
fn virtual_service(number: usize, service: &str, switched: [u32; 2]) -> String {
    let mut text = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: shop-{number} }}\nspec:\n  \
         hosts: [{host}]\n  http:\n    \
         - name: health\n      match: [{{ uri: {{ exact: /healthz }} }}]\n      \
           directResponse: {{ status: 200, body: {{ string: {host} }} }}\n    \
         - name: canary\n      match: [{{ uri: {{ prefix: /api/ }}, headers: {{ x-canary: {{ exact: always }} }} }}]\n      \
           rewrite: {{ uri: /canary-{number}/ }}\n      \
           route: [{{ destination: {{ host: {service}, subset: v2 }} }}]\n",
        host = host(number),
    );
    if number % GROUP == 3 {
        text += &format!(
            "    - name: item\n      match: [{{ uri: {{ regex: '/items/[0-9]+(/.*)?' }} }}]\n      \
             route: [{{ destination: {{ host: {service}, subset: v1 }} }}]\n"
        );
    }
    for (rule, weights) in [("api", [90, 10]), ("switch", switched)] {
        text += &format!(
            "    - name: {rule}\n      match: [{{ uri: {{ prefix: /{rule}/ }} }}]\n      \
             rewrite: {{ uri: /{rule}-{number}/ }}\n      timeout: 15s\n      \
             retries: {{ attempts: 2, perTryTimeout: 5s, retryOn: 'connect-failure,refused-stream,503' }}\n      \
             route:\n"
        );
        for (version, weight) in VERSIONS.iter().zip(weights) {
            let _ = writeln!(
                text,
                "        - {{ destination: {{ host: {service}, subset: {version} }}, weight: {weight} }}"
            );
        }
    }
    text + &format!("    - name: rest\n      route: [{{ destination: {{ host: {service}, subset: v1 }} }}]\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidle_model::{Loaded, Severity, ir::Node, load_texts, source::Text};
    use std::collections::BTreeSet;

    const MESH: Mesh = Mesh { services: 3, endpoints: 4, virtual_services: 47, port: 8080 };

    fn load(mesh: Mesh) -> Loaded {
        let text = |(name, content): (String, String)| Text { name: name.into(), content: content.into() };
        load_texts(mesh.files().map(text).collect(), &Node::default())
    }

    #[test]
    fn a_mesh_has_its_sizes_and_calls_for_no_warning() {
        let loaded = load(MESH);
        // The weight 0 of the switch.
        assert_eq!(loaded.diagnostics.len(), 1, "{:#?}", loaded.diagnostics);
        assert_eq!(loaded.diagnostics[0].severity, Severity::Info);
        assert_eq!(loaded.config.service_entries.len(), MESH.services);
        assert_eq!(loaded.config.virtual_services.len(), MESH.virtual_services);
        assert!(loaded.config.service_entries.iter().all(|entry| entry.spec.endpoints.len() == 4));
        let hosts: BTreeSet<_> =
            loaded.config.virtual_services.iter().flat_map(|service| service.spec.hosts.clone()).collect();
        assert_eq!(hosts.len(), MESH.virtual_services);
    }

    #[test]
    fn a_switch_changes_weights_only() {
        let (before, after) = (MESH.file(0, 0), MESH.file(0, 1));
        let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).collect();
        assert_eq!(before.lines().count(), after.lines().count());
        assert!(
            changed.len() == 2 && changed.iter().all(|(line, _)| line.contains("weight:")),
            "{changed:?}"
        );
    }

    #[test]
    fn direct_requests_reach_every_virtual_service() {
        for count in [1, 10, 7919, 10_000] {
            let questions = Mesh { virtual_services: count, ..MESH }.direct();
            let different: BTreeSet<_> = questions.iter().map(|question| format!("{question:?}")).collect();
            assert_eq!(different.len(), count);
        }
    }
}
