//! Places where long work may pause.
//!
//! In:  what a thread does there.   Out: a call of it after each file, document, resource, list of routes, virtual host.
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

/// Takes apart what is no longer needed, with a place after each.
pub(crate) fn drop_each<T>(all: impl IntoIterator<Item = T>) {
    all.into_iter().for_each(|one| {
        drop(one);
        here();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loader, ir::Node, source::Text};

    thread_local! {
        static PLACES: Cell<usize> = const { Cell::new(0) };
    }

    fn places<T>(of: impl FnOnce() -> T) -> (usize, T) {
        let before = PLACES.get();
        let done = of();
        (PLACES.get() - before, done)
    }

    fn files(count: usize) -> Vec<Text> {
        let file = |at| {
            Text {
            name: format!("{at}.yaml").into(),
            content: format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: s-{at} }}\nspec:\n  \
                 hosts: [s-{at}.test]\n  resolution: STATIC\n  ports: [{{ number: 80, name: http, protocol: HTTP }}]\n  \
                 endpoints: [{{ address: 10.0.0.1 }}]\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: v-{at} }}\nspec:\n  \
                 hosts: [v-{at}.test]\n  http: [{{ route: [{{ destination: {{ host: s-{at}.test }} }}] }}]\n"
            )
            .into(),
        }
        };
        (0..count).map(file).collect()
    }

    /// However much there is to read, to check, to lower and to share, it may pause after each piece.
    #[test]
    fn each_piece_of_work_ends_at_a_place() {
        const FILES: usize = 50;
        at_each(Some(|| PLACES.set(PLACES.get() + 1)));
        let (mut loader, node) = (Loader::default(), Node::default());
        let (first, loaded) = places(|| loader.load(files(FILES), &node));
        let (again, second) = places(|| loader.load(files(FILES), &node));
        let (running, mut ir) = (loaded.ir.unwrap(), second.ir.unwrap());
        let (shared, ()) = places(|| ir.share(&running));
        // A file, two documents, a check or more of each; the rest as below.
        assert!(first - again >= 4 * FILES, "{first} and {again}");
        // A file, its VirtualService beside others, in order, its routes; the service; four virtual hosts in two tables.
        assert!(again >= 9 * FILES, "{again}");
        // The cluster, the virtual hosts.
        assert!(shared >= 5 * FILES, "{shared}");
    }
}
