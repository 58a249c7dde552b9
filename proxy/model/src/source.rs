//! Reads files, folders, globs and standard input as text, within a size limit.
//!
//! In:  paths as users give them.   Out: [`Text`]s in the order of the paths, a folder's sorted by name.
//! Invariants: a file above the limit is refused by its length, unread; a source without a length is read to the limit.
//! Not here: watching (`proxy/src/config`), what the text says (`crate::yaml`).

use crate::{
    diagnostic::{Diagnostic, codes},
    pause,
};
use globset::GlobBuilder;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Path as the user gave it or as it was found below that; `-` for standard input.
    pub name: Arc<str>,
    /// Content.
    pub content: Arc<str>,
}

impl Text {
    /// Whether it says nothing at all, not even in a comment.
    pub fn is_empty(&self) -> bool {
        self.content.trim_start_matches('\u{feff}').trim().is_empty()
    }
}

/// Sizes in bytes above which nothing is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimit {
    /// One file.
    pub file: u64,
    /// All files together.
    pub total: u64,
}

impl Default for SizeLimit {
    fn default() -> Self {
        SizeLimit { file: 64 << 20, total: 256 << 20 }
    }
}

/// Folders inside one another that are searched.
const MAX_FOLDER_DEPTH: usize = 32;
/// Files and folders that one folder may hold, at any depth.
const MAX_ENTRIES: usize = 200_000;

/// Reads all of `paths`, and says which could not be read.
pub fn read(paths: &[PathBuf], limit: SizeLimit) -> (Vec<Text>, Vec<Diagnostic>) {
    let mut reader = Reader { limit, left: limit.total, texts: Vec::new(), diagnostics: Vec::new() };
    for path in paths {
        reader.path(path);
    }
    (reader.texts, reader.diagnostics)
}

struct Reader {
    limit: SizeLimit,
    left: u64,
    texts: Vec<Text>,
    diagnostics: Vec<Diagnostic>,
}

impl Reader {
    fn path(&mut self, path: &Path) {
        if path == Path::new("-") {
            return self.stream("-", io::stdin().lock(), 0);
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path),
            Ok(_) => self.file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_glob(path) => self.glob(path),
            Err(error) => self.unreadable(path, &error.to_string()),
        }
    }

    fn folder(&mut self, path: &Path) {
        let mut files = Vec::new();
        self.list(path, 0, &mut HashSet::new(), &mut files);
        files.retain(|file| is_manifest(file));
        for file in files {
            self.file(&file);
        }
    }

    /// All files below `folder`, sorted by path. A folder that symlinks lead to again and again is searched once. Names that start with a dot are left out: that is where a mounted ConfigMap
    /// keeps its older versions.
    fn list(
        &mut self,
        folder: &Path,
        depth: usize,
        searched: &mut HashSet<(u64, u64)>,
        files: &mut Vec<PathBuf>,
    ) {
        if depth > MAX_FOLDER_DEPTH {
            return self.unreadable(folder, "folders are nested too deep");
        }
        if let Ok(metadata) = fs::metadata(folder)
            && !searched.insert((metadata.dev(), metadata.ino()))
        {
            return;
        }
        let entries = match fs::read_dir(folder)
            .and_then(|entries| pause::each(entries).collect::<io::Result<Vec<_>>>())
        {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(folder, &error.to_string()),
        };
        let hidden =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let mut paths: Vec<PathBuf> =
            entries.into_iter().map(|entry| entry.path()).filter(|p| !hidden(p)).collect();
        paths.sort();
        for path in pause::each(paths) {
            if path.is_dir() {
                self.list(&path, depth + 1, searched, files);
            } else if files.len() + searched.len() >= MAX_ENTRIES {
                return self.unreadable(folder, "too many files: is this the right folder?");
            } else {
                files.push(path);
            }
        }
    }

    fn glob(&mut self, pattern: &Path) {
        let text = pattern.to_string_lossy();
        let matcher = match GlobBuilder::new(&text).literal_separator(true).build() {
            Ok(glob) => glob.compile_matcher(),
            Err(error) => return self.unreadable(pattern, &error.to_string()),
        };
        let base: PathBuf = pattern.components().take_while(|part| !is_glob(Path::new(part))).collect();
        let mut files = Vec::new();
        let folder = if base.as_os_str().is_empty() { Path::new(".") } else { &base };
        self.list(folder, 0, &mut HashSet::new(), &mut files);
        let mut found = false;
        for file in files {
            let file = file.strip_prefix("./").map(Path::to_path_buf).unwrap_or(file);
            if matcher.is_match(&file) {
                found = true;
                self.file(&file);
            }
        }
        if !found {
            self.unreadable(pattern, "no file matches");
        }
    }

    fn file(&mut self, path: &Path) {
        pause::here();
        let name = path.to_string_lossy();
        // Opening a pipe would wait for its other end.
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() && metadata.len() > self.allowed() => {
                self.too_large(&name);
            }
            Ok(metadata) if metadata.file_type().is_fifo() || metadata.file_type().is_socket() => {
                self.unreadable(path, "a pipe or socket, not a file");
            }
            Ok(metadata) => match File::open(path) {
                Ok(file) => self.stream(&name, file, metadata.len()),
                Err(error) => self.unreadable(path, &error.to_string()),
            },
            Err(error) => self.unreadable(path, &error.to_string()),
        }
    }

    fn allowed(&self) -> u64 {
        self.limit.file.min(self.left)
    }

    /// Reads a source that is probably `length` bytes long.
    fn stream(&mut self, name: &str, source: impl Read, length: u64) {
        let mut bytes = Vec::with_capacity(length as usize + 1);
        // One byte more than allowed tells a source that has more from one that ends there.
        if let Err(error) = source.take(self.allowed() + 1).read_to_end(&mut bytes) {
            return self.unreadable(Path::new(name), &error.to_string());
        }
        if bytes.len() as u64 > self.allowed() {
            return self.too_large(name);
        }
        self.left -= bytes.len() as u64;
        match String::from_utf8(bytes) {
            Ok(content) => self.texts.push(Text { name: name.into(), content: content.into() }),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                let message = format!("not UTF-8 text: line {line} holds a byte that is not");
                self.diagnostics.push(Diagnostic::error(codes::NOT_TEXT, message).in_file(name.into()));
            }
        }
    }

    fn too_large(&mut self, name: &str) {
        let SizeLimit { file, total } = self.limit;
        let message =
            format!("larger than {file} bytes, or all files are larger than {total} bytes together");
        self.diagnostics.push(Diagnostic::error(codes::TOO_LARGE, message).in_file(name.into()));
    }

    fn unreadable(&mut self, path: &Path, reason: &str) {
        let file = path.to_string_lossy().as_ref().into();
        self.diagnostics
            .push(Diagnostic::error(codes::UNREADABLE, format!("cannot read: {reason}")).in_file(file));
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn is_glob(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[Text], folder: &Path) -> Vec<String> {
        let prefix = format!("{}/", folder.display());
        texts.iter().map(|text| text.name.strip_prefix(&prefix).unwrap_or(&text.name).to_owned()).collect()
    }

    fn folder_of(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("name: {file}\n")).unwrap();
        }
        folder
    }

    #[test]
    fn folders_are_read_in_order_and_only_manifests() {
        let folder = folder_of(&[
            "b.yaml",
            "a.yml",
            "c/d.json",
            "c/e.txt",
            ".hidden.yaml",
            "..2026/b.yaml",
            "README.md",
        ]);
        let (texts, diagnostics) = read(&[folder.path().to_path_buf()], SizeLimit::default());
        assert_eq!(diagnostics, []);
        assert_eq!(names(&texts, folder.path()), ["a.yml", "b.yaml", "c/d.json"]);
    }

    #[test]
    fn globs_and_single_files() {
        let folder = folder_of(&["a.yaml", "b.yaml", "x/a.yaml", "notes.txt"]);
        let path = |name: &str| folder.path().join(name);
        let (texts, diagnostics) =
            read(&[path("*.yaml"), path("**/a.yaml"), path("notes.txt")], SizeLimit::default());
        assert_eq!(diagnostics, []);
        assert_eq!(names(&texts, folder.path()), ["a.yaml", "b.yaml", "a.yaml", "x/a.yaml", "notes.txt"]);
        let (_, diagnostics) = read(&[path("*.json"), path("gone.yaml")], SizeLimit::default());
        assert_eq!(diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), [codes::UNREADABLE; 2]);
    }

    #[test]
    fn symlinks_to_their_own_folder_are_searched_once() {
        let folder = folder_of(&["a.yaml"]);
        for name in ["loop", "loop2", "loop3"] {
            std::os::unix::fs::symlink(folder.path(), folder.path().join(name)).unwrap();
        }
        let (texts, diagnostics) = read(&[folder.path().to_path_buf()], SizeLimit::default());
        assert_eq!((texts.len(), diagnostics), (1, Vec::new()));
    }

    #[test]
    fn a_socket_is_refused_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (texts, diagnostics) = read(&[path], SizeLimit::default());
        assert_eq!((texts.len(), diagnostics[0].code), (0, codes::UNREADABLE));
    }

    #[test]
    fn what_is_far_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge.yaml");
        File::create(&path).unwrap().set_len(1 << 30).unwrap(); // a hole
        let (texts, diagnostics) = read(&[path], SizeLimit::default());
        assert!(texts.is_empty());
        assert_eq!(diagnostics[0].code, codes::TOO_LARGE);
    }

    #[test]
    fn an_endless_source_and_many_files_are_refused() {
        let limit = SizeLimit { file: 1000, total: 1500 };
        let (texts, diagnostics) = read(&["/dev/zero".into()], limit);
        assert_eq!((texts.len(), diagnostics[0].code), (0, codes::TOO_LARGE));
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, [b' '; 900]).unwrap();
            path
        };
        let (texts, diagnostics) = read(&[file("a"), file("b"), file("c")], limit);
        assert_eq!((texts.len(), diagnostics.len()), (1, 2));
    }

    #[test]
    fn bytes_that_are_no_text_are_told_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
        let (_, diagnostics) = read(&[path], SizeLimit::default());
        assert_eq!(diagnostics[0].code, codes::NOT_TEXT);
        assert!(diagnostics[0].message.contains("line 2"));
    }
}
