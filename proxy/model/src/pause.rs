//! Places where long work may pause.
//!
//! In:  what a thread does there.   Out: a call of it for each file, document, resource, rule, route, virtual host, whenever all are gone
//! through, put in order or taken apart.
//! Invariant: where a thread has said nothing, nothing is done.
//! Not here: whether to pause, and how (`proxy/src/config/way.rs`); a clock.

use std::cell::Cell;

thread_local! {
    static DOES: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// From now on this thread does so wherever it may pause; `None`: nothing. What it did before.
pub fn at_each(does: Option<fn()>) -> Option<fn()> {
    DOES.replace(does)
}

/// This thread does so wherever `work` may pause.
pub fn during<T>(does: fn(), work: impl FnOnce() -> T) -> T {
    struct Before(Option<fn()>);
    impl Drop for Before {
        fn drop(&mut self) {
            at_each(self.0);
        }
    }
    let _before = Before(at_each(Some(does)));
    work()
}

/// One of these places.
pub fn here() {
    if let Some(does) = DOES.get() {
        does();
    }
}

/// `all`, with a place before each.
pub fn each<T>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    all.into_iter().inspect(|_| here())
}

/// Takes apart what is no longer needed, with a place after each.
pub fn drop_each<T>(all: impl IntoIterator<Item = T>) {
    all.into_iter().for_each(|one| {
        drop(one);
        here();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loader, ir::Node, source::Text};
    use std::sync::Arc;

    thread_local! {
        static PLACES: Cell<usize> = const { Cell::new(0) };
    }

    fn places<T>(of: impl FnOnce() -> T) -> (usize, T) {
        let before = PLACES.get();
        let done = of();
        (PLACES.get() - before, done)
    }

    const SERVICE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: s }
spec:
  hosts: [s.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1 }]
";
    const RULES: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: v }
spec:
  hosts: [v.test]
  http:
";

    fn rule(path: usize) -> String {
        format!(
            "  - match: [{{ uri: {{ exact: /{path} }} }}]\n    route: [{{ destination: {{ host: s.test }} }}]\n"
        )
    }

    fn text(name: impl Into<Arc<str>>, content: String) -> Text {
        Text { name: name.into(), content: content.into() }
    }

    fn files(count: usize) -> Vec<Text> {
        let file = |at| {
            let own = |text: &str| text.replace("s.test", &format!("s-{at}.test"));
            let named = |text: String| {
                text.replace("name: v", &format!("name: v-{at}")).replace("v.test", &format!("v-{at}.test"))
            };
            let service = own(SERVICE).replace("name: s ", &format!("name: s-{at} "));
            text(format!("{at}.yaml"), format!("{service}---\n{}", named(RULES.to_owned() + &own(&rule(at)))))
        };
        (0..count).map(file).collect()
    }

    fn one_file_of_rules(count: usize) -> Vec<Text> {
        let rules: String = (0..count).map(rule).collect();
        vec![text("a.yaml", format!("{SERVICE}---\n{RULES}{rules}"))]
    }

    /// How many places each of many adds to a first load, to one of the same text, and to sharing.
    fn for_each(texts: fn(usize) -> Vec<Text>) -> [usize; 3] {
        at_each(Some(|| PLACES.set(PLACES.get() + 1)));
        let of = |count| {
            let (mut loader, node) = (Loader::default(), Node::default());
            let (first, loaded) = places(|| loader.load(texts(count), &node));
            let (again, second) = places(|| loader.load(texts(count), &node));
            let (running, mut ir) = (loaded.ir.unwrap(), second.ir.unwrap());
            let (shared, ()) = places(|| ir.share(&running));
            [first, again, shared]
        };
        let (few, many) = (of(10), of(60));
        [0, 1, 2].map(|step| (many[step] - few[step]) / 50)
    }

    /// However much there is to read, to check, to lower and to share, it may pause after each piece. Who takes a place away has to say
    /// here why.
    ///
    /// Sharing has one place less than it had, 38: hosts of rules have one route for `CONNECT` in common, where each had its own to take
    /// apart.
    #[test]
    fn each_piece_of_work_ends_at_a_place() {
        let [first, again, shared] = for_each(files);
        assert!(first >= 88 && again >= 66 && shared >= 37, "of a file: {first}, {again}, {shared}");
    }

    #[test]
    fn each_rule_of_a_long_list_ends_at_a_place() {
        let [first, again, shared] = for_each(one_file_of_rules);
        assert!(first >= 11 && again >= 4 && shared >= 5, "of a rule: {first}, {again}, {shared}");
    }
}
