//! Files that held resources of what runs, and now hold nothing at all.
//!
//! In:  a loaded configuration, and the files of the last one that was accepted.   Out: the same, or an error in its place.
//! Invariants: a full disk, `> file`, or an editor that dies between truncating and writing take no route away. Who means it leaves a
//! comment in the file, or removes it from its folder. A file that was never known to hold anything may be empty.
//! Not here: a file that is cut short yet still reads well, which nobody can tell from an edit.

use super::status::FileStatus;
use sidle_model::{
    Loaded,
    diagnostic::{self, Diagnostic, codes},
};

/// Refuses what lost a file's content, beside `accepted`.
pub fn judge(loaded: &mut Loaded, accepted: &[FileStatus]) {
    let empty = loaded.texts.iter().filter(|text| text.is_empty());
    let emptied: Vec<_> = empty
        .filter_map(|text| accepted.iter().find(|file| file.name == text.name && file.resources > 0))
        .collect();
    if emptied.is_empty() {
        return;
    }
    // The warning of the loader is about the same.
    loaded.diagnostics.retain(|told| emptied.iter().all(|file| told.file != file.name));
    loaded.diagnostics.extend(emptied.into_iter().map(refusal));
    diagnostic::sort(&mut loaded.diagnostics);
    loaded.ir = None;
}

fn refusal(file: &FileStatus) -> Diagnostic {
    let what = if file.resources == 1 { "resource" } else { "resources" };
    let message = format!("this file is empty; it held {} {what} when it was last accepted", file.resources);
    Diagnostic::error(codes::EMPTIED, message)
        .help(
            "write it again; to take away what it held, leave a comment in it, or remove it from its folder",
        )
        .in_file(file.name.clone())
}
