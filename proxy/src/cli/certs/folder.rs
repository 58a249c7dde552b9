//! A folder of certificates and keys.
//!
//! Invariants: a key is readable by its owner only, from its first byte on; a file appears whole or not at all.

use crate::cli::{CliError, whole_file};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A folder of certificates and keys.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes it, unless it is there.
    pub fn at(path: PathBuf) -> Result<Self, CliError> {
        fs::create_dir_all(&path).map_err(|error| told(&path, &error))?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The text of a file; `None`: there is none.
    pub fn read(&self, name: &str) -> Result<Option<String>, CliError> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(told(&path, &error)),
        }
    }

    /// A file that everyone may read.
    pub fn write_certificate(&self, name: &str, text: &str) -> Result<(), CliError> {
        self.write(name, text, 0o644)
    }

    /// A file that only its owner may read.
    pub fn write_key(&self, name: &str, text: &str) -> Result<(), CliError> {
        self.write(name, text, 0o600)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), CliError> {
        let path = self.file(name);
        whole_file::replace(&path, text, mode, |_| Ok(())).map_err(|error| told(&path, &error))
    }
}

/// With the path, which the system's error lacks.
pub(super) fn told(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_its_owners_alone_also_when_it_replaces_another_file() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path().join("a/b")).unwrap();
        assert_eq!(folder.read("x.key").unwrap(), None);
        fs::write(folder.file("x.key"), "for all").unwrap();
        fs::write(folder.file(".x.key.new"), "left behind").unwrap();
        folder.write_key("x.key", "secret").unwrap();
        assert_eq!(fs::metadata(folder.file("x.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.read("x.key").unwrap().as_deref(), Some("secret"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
