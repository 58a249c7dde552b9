//! From paths to an IR: the whole line of this crate.

use crate::{
    check,
    config::Config,
    diagnostic::{self, Diagnostic},
    ir::{Ir, Node},
    lower::{self, Memo},
    manifest::{self, Manifests},
    pause,
    source::{self, SizeLimit, Text},
};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher},
    path::PathBuf,
    sync::Arc,
};

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// Every file that was read, for rendering diagnostics.
    pub texts: Vec<Text>,
    /// How many resources each of them holds.
    pub resources: Vec<usize>,
    /// All resources; those with mistakes without their wrong parts.
    pub config: Config,
    /// `None` if any diagnostic is an error.
    pub ir: Option<Ir>,
    /// Sorted by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads, checks and lowers `paths` for the proxy `node`, in whose namespace are resources that name none.
pub fn load(paths: &[PathBuf], node: &Node) -> Loaded {
    let (texts, diagnostics) = source::read(paths, SizeLimit::default());
    let unreadable = !diagnostics.is_empty();
    let mut loaded = load_texts(texts, node);
    check::files::check(&loaded.config, &mut loaded.diagnostics);
    loaded.diagnostics.extend(diagnostics);
    if unreadable {
        loaded.ir = None;
    }
    diagnostic::sort(&mut loaded.diagnostics);
    loaded
}

/// As [`load`], from texts that were read already.
pub fn load_texts(texts: Vec<Text>, node: &Node) -> Loaded {
    Loader::default().load(texts, node)
}

/// Loads again and again: a file that holds what it held the last time is not parsed and checked again.
#[derive(Debug, Default)]
pub struct Loader {
    /// Of the resources that name none.
    namespace: String,
    /// By name, as of the last load.
    files: HashMap<Arc<str>, (Fingerprint, Arc<Manifests>)>,
    memo: Memo,
}

/// Of a file's content.
type Fingerprint = (usize, u64);

impl Loader {
    /// As [`load_texts`]; the outcome does not depend on what was loaded before.
    pub fn load(&mut self, texts: Vec<Text>, node: &Node) -> Loaded {
        let (config, mut diagnostics) = self.parse(&texts, &node.namespace);
        let places = |text: &Text| self.files.get(&text.name).map_or(0, |(_, manifests)| manifests.places);
        let resources = texts.iter().map(places).collect();
        diagnostics.extend(check::together(&config, node));
        let mut ir = None;
        if !diagnostics.iter().any(Diagnostic::is_error) {
            let lowered = lower::lower_again(&config, node, &mut self.memo);
            diagnostics.extend(lowered.diagnostics);
            ir = Some(lowered.ir).filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
        }
        diagnostic::sort(&mut diagnostics);
        Loaded { texts, resources, config, ir, diagnostics }
    }

    /// All resources in the order of `texts`, and what is wrong with each by itself.
    fn parse(&mut self, texts: &[Text], namespace: &str) -> (Config, Vec<Diagnostic>) {
        if self.namespace != namespace {
            *self = Loader { namespace: namespace.to_owned(), ..Loader::default() };
        }
        let before = std::mem::replace(&mut self.files, HashMap::with_capacity(texts.len()));
        let (mut config, mut diagnostics) = (Config::default(), Vec::new());
        let (mut places, mut empty) = (0, true);
        for text in texts {
            pause::here();
            let fingerprint = fingerprint(text);
            let known = self.files.get(&text.name).or_else(|| before.get(&text.name));
            let manifests = match known {
                Some((known, manifests)) if *known == fingerprint => manifests.clone(),
                _ => Arc::new(judged(text, namespace)),
            };
            config.append(&manifests.config, places);
            diagnostics.extend_from_slice(&manifests.diagnostics);
            places += manifests.places;
            empty &= manifests.empty;
            self.files.insert(text.name.clone(), (fingerprint, manifests));
        }
        if empty {
            diagnostics.push(manifest::nothing_read());
        }
        (config, diagnostics)
    }
}

/// Everything that can be said of a file by itself.
fn judged(text: &Text, namespace: &str) -> Manifests {
    let mut manifests = Manifests::of(text, namespace);
    manifests.diagnostics.extend(check::each(&manifests.config));
    manifests
}

fn fingerprint(text: &Text) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.content.as_bytes());
    (text.content.len(), hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, path::Path, sync::LazyLock};

    fn fixtures(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/integration/fixtures").join(name)
    }

    #[test]
    fn each_of_twenty_mistakes_is_told_once() {
        let loaded = load(&[fixtures("mistakes")], &Node::default());
        let told: Vec<&str> =
            loaded.diagnostics.iter().map(|d| d.file.rsplit('/').next().unwrap_or_default()).collect();
        assert_eq!(told.len(), 20, "{}", diagnostic::render_all(&loaded.diagnostics, &loaded.texts, false));
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(loaded.diagnostics.iter().all(|d| d.span.is_some()));
        assert!(loaded.ir.is_none());
    }

    #[test]
    fn good_text_becomes_an_ir() {
        let good = std::fs::read_to_string(fixtures("mistakes/defined.yaml")).unwrap();
        let text = Text { name: "defined.yaml".into(), content: good.into() };
        let loaded = load_texts(vec![text], &Node::default());
        assert!(loaded.ir.is_some(), "{:?}", loaded.diagnostics);
    }

    #[test]
    fn an_unreadable_file_leaves_no_ir() {
        let loaded = load(&[fixtures("mistakes/defined.yaml"), "nowhere.yaml".into()], &Node::default());
        assert!(loaded.ir.is_none());
        assert_eq!(loaded.config.gateways.len(), 1);
    }

    fn text(name: &str, content: String) -> Text {
        Text { name: name.into(), content: content.into() }
    }

    /// A file about a service: endpoint, and a VirtualService whose destination another file may define.
    fn service(name: &str, port: u16, calls: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name} }}\nspec:\n  \
             hosts: [{name}.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports: [{{ number: 80, name: http, protocol: HTTP }}]\n  \
             endpoints: [{{ address: 127.0.0.1, ports: {{ http: {port} }} }}]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {name} }}\nspec:\n  \
             hosts: [{name}.test]\n  http:\n    - match: [{{ uri: {{ regex: '/{name}[0-9]+' }} }}]\n      \
             route: [{{ destination: {{ host: {calls}.test }} }}]\n"
        )
    }

    /// Everything that a load says, positions and places in the files too.
    fn said(loaded: &Loaded) -> String {
        let orders: Vec<_> = loaded.config.virtual_services.iter().map(|r| (r.title(), r.order)).collect();
        format!("{:#?}\n{orders:?}\n{:?}\n{:#?}", loaded.diagnostics, loaded.resources, loaded.ir)
    }

    /// What a load after others says must be what it says by itself.
    #[track_caller]
    fn assert_fresh(loader: &mut Loader, running: &mut Option<Ir>, node: &Node, texts: &[Text]) {
        let alone = load_texts(texts.to_vec(), node);
        let mut after = loader.load(texts.to_vec(), node);
        assert_eq!(said(&after), said(&alone));
        if let (Some(ir), Some(running)) = (&mut after.ir, &*running) {
            ir.share(running);
        }
        assert_eq!(said(&after), said(&alone), "shared with what runs");
        *running = after.ir.or(running.take());
    }

    #[test]
    fn nothing_stale_is_left_of_earlier_loads() {
        let (mut loader, mut running, node) = (Loader::default(), None, Node::default());
        let [a, b] = [("a", 1, "b"), ("b", 2, "a")].map(|(name, port, calls)| service(name, port, calls));
        let edited = service("a", 9, "nowhere");
        let moved = format!("# One line further down.\n{a}");
        let broken = a.replace("hosts:", "hots:");
        let file = |name: &str, content: &str| text(name, content.to_owned());
        for texts in [
            vec![file("1", &a), file("2", &b)],
            vec![file("1", &edited), file("2", &b)],
            vec![file("1", &a), file("2", &b)],     // edited back
            vec![file("1", &b), file("2", &a)],     // swapped
            vec![file("2", &a), file("1", &b)],     // in another order
            vec![file("0", &a), file("2", &b)],     // renamed
            vec![file("1", &moved), file("2", &b)], // other lines
            vec![file("1", &broken), file("2", &b)],
            vec![file("1", &a), file("2", &b)],
            vec![file("2", &b)],                // deleted: what refers to it is told
            vec![file("1", &a), file("1", &a)], // given twice
            vec![file("1", &a), file("1", &b)], // changed between two looks
            vec![file("1", ""), file("2", &b)],
            vec![],
            vec![file("1", &a), file("2", &b), file("3", &service("c", 3, "a"))],
        ] {
            assert_fresh(&mut loader, &mut running, &node, &texts);
        }
        let other = Node { namespace: "other".into(), ..Node::default() };
        assert_fresh(&mut loader, &mut running, &other, &[file("1", &a), file("2", &b)]);
    }

    #[test]
    fn what_did_not_change_is_the_same_object() {
        let (mut loader, node) = (Loader::default(), Node::default());
        let texts = |port| vec![text("1", service("a", port, "b")), text("2", service("b", 2, "a"))];
        let running = loader.load(texts(1), &node).ir.unwrap();
        let mut loaded = loader.load(texts(9), &node);
        let ir = loaded.ir.as_mut().unwrap();
        ir.share(&running);
        let same = |a: &Ir, b: &Ir| {
            let pairs = a.clusters.iter().zip(&b.clusters);
            let changed = pairs
                .filter(|(a, b)| !Arc::ptr_eq(a, b))
                .map(|(a, _)| a.name.to_string())
                .collect::<Vec<_>>();
            let tables = a.route_configurations.iter().zip(&b.route_configurations);
            (changed, tables.filter(|(a, b)| !Arc::ptr_eq(a, b)).count())
        };
        assert_eq!(same(ir, &running), (vec!["outbound|80||a.test".to_owned()], 0));
        let spec = |loaded: &Loaded, at: usize| Arc::as_ptr(&loaded.config.virtual_services[at].spec);
        let again = loader.load(texts(9), &node);
        assert_eq!([spec(&again, 0), spec(&again, 1)], [spec(&loaded, 0), spec(&loaded, 1)]);
    }

    /// Hosts of rules have one route for CONNECT in common, and those of both loads are equal: the next change must still find each host's own.
    #[test]
    fn a_host_more_does_not_make_the_others_new_at_the_next_change() {
        let (mut loader, node) = (Loader::default(), Node::default());
        let rules = |host: &str| {
            let content = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {host} }}\nspec:\n  \
                 hosts: [{host}.rules]\n  http: [{{ route: [{{ destination: {{ host: z.test }} }}] }}]\n"
            );
            text(host, content)
        };
        let others = [rules("b"), rules("c"), text("z", service("z", 1, "z"))];
        let mut running = loader.load(others.to_vec(), &node).ir.unwrap();
        for first in ["a1", "a2"] {
            let texts = [&[rules("a"), rules(first)], &others[..]].concat();
            let mut ir = loader.load(texts, &node).ir.unwrap();
            ir.share(&running);
            let hosts = |ir: &Ir| {
                let tables = ir.route_configurations.iter().flat_map(|table| table.virtual_hosts.clone());
                tables.filter(|host| !host.name.starts_with('a')).collect::<Vec<_>>()
            };
            let (now, before) = (hosts(&ir), hosts(&running));
            assert_eq!(now.len(), before.len());
            for (now, before) in now.iter().zip(&before) {
                assert!(Arc::ptr_eq(now, before), "{} with {first}", now.name);
            }
            running = ir;
        }
    }

    #[test]
    fn what_is_kept_is_what_the_last_load_read() {
        let (mut loader, node) = (Loader::default(), Node::default());
        for number in 0..50 {
            loader.load(vec![text(&format!("{number}"), service("a", 1, "b"))], &node);
        }
        assert_eq!(loader.files.len(), 1);
    }

    /// A rule late in a long list is as cheap as the first.
    #[test]
    fn many_rules_in_one_resource_are_loaded_in_time_that_grows_with_their_number() {
        let mut content = service("a", 1, "a");
        for number in 0..20_000 {
            content += &format!(
                "    - match: [{{ uri: {{ exact: /{number} }} }}]\n      route: [{{ destination: {{ host: a.test }} }}]\n"
            );
        }
        let begin = std::time::Instant::now();
        let loaded = load_texts(vec![text("1", content)], &Node::default());
        assert!(loaded.ir.is_some());
        // Generous, for busy machines: it is there to catch time that grows with the square.
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    /// Every fixture, line by line.
    static LINES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let (texts, _) = source::read(&[fixtures("mistakes")], SizeLimit::default());
        texts
            .iter()
            .flat_map(|text| text.content.lines().map(str::to_owned).chain(["---".to_owned()]))
            .collect()
    });

    proptest! {
        /// Manifests with lines dropped, repeated, indented otherwise and with values exchanged: whatever is read is
        /// checked and lowered without a panic, and every diagnostic can be shown.
        #[test]
        fn broken_manifests_never_panic(
            start in 0..LINES.len(),
            edits in prop::collection::vec((0..60usize, 0..7usize, "[ -~]{0,6}"), 0..12),
        ) {
            let mut lines: Vec<String> = LINES[start..].iter().take(60).cloned().collect();
            for (at, edit, text) in edits {
                let at = at % lines.len();
                match edit {
                    0 => drop(lines.remove(at)),
                    1 => lines.insert(at, LINES[(start * 7 + at) % LINES.len()].clone()),
                    2 => lines[at].insert_str(0, "  "),
                    3 => lines[at] = lines[at].trim_start().to_owned(),
                    4 => if let Some(colon) = lines[at].find(':') { lines[at].replace_range(colon + 1.., &text) },
                    5 => lines[at] = lines[at].replace(char::is_numeric, &text),
                    _ => lines[at].push_str(&text),
                }
                if lines.is_empty() {
                    break;
                }
            }
            let text = Text { name: "f.yaml".into(), content: lines.join("\n").into() };
            let loaded = load_texts(vec![text], &Node::default());
            diagnostic::render_all(&loaded.diagnostics, &loaded.texts, true);
        }
    }
}
