//! Any text is diagnosed or lowered, in bounded time.

use sidle_model::{ir::Node, load_texts, source::Text};

/// Loads the bytes as one file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = Text { name: "fuzz.yaml".into(), content: text.into() };
    let loaded = load_texts(vec![text], &Node::default());
    let _ = sidle_model::diagnostic::render_all(&loaded.diagnostics, &loaded.texts, false);
}
