//! The files that `--json` and `--markdown` name.
//!
//! Invariants: they are opened before anything is measured, so that a path that cannot be written to costs no measurement; what is in them
//! stays until there is something to write.

use crate::void::Void;
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// A file to write to, if one is named.
pub struct Output(Option<(PathBuf, File)>);

impl Output {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn open(path: Option<&Path>) -> Result<Self, Void> {
        let open = |path: &Path| {
            let opened = File::options().create(true).truncate(false).write(true).open(path);
            let file = opened.map_err(|error| Void::usage(format!("{}: {error}", path.display())))?;
            Ok((path.to_owned(), file))
        };
        path.map(open).transpose().map(Output)
    }

    /// Writes it. Whether that went well: after an hour of rounds a full disk costs the file, not the tables.
    pub fn write(self, text: &str) -> bool {
        let Some((path, file)) = self.0 else { return true };
        let written = write(file, text);
        if let Err(error) = &written {
            eprintln!("error: {}: {error}", path.display());
        }
        written.is_ok()
    }
}

fn write(mut file: File, text: &str) -> io::Result<()> {
    // A pipe has no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_before_and_written_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere/x.json");
        let told = Output::open(Some(&nowhere)).err().unwrap().to_string();
        assert!(told.contains("nowhere/x.json"), "{told}");
        let path = folder.path().join("x.json");
        std::fs::write(&path, "what was there before").unwrap();
        let file = Output::open(Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "what was there before");
        assert!(file.write("new"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_full_disk_is_told_and_no_file_is_fine() {
        assert!(!Output::open(Some(Path::new("/dev/full"))).unwrap().write("text"));
        assert!(Output::open(None).unwrap().write("text"));
    }
}
