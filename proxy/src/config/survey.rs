//! A look at the configuration files: which folders to watch, and a fingerprint that changes when any file does.
//!
//! In:  the paths of the command line.   Out: a [`Survey`].
//! Invariants: every symbolic link between a path and its file counts as a place where the file can change, so that the
//! `..data` swap of a mounted ConfigMap, a swapped folder and a file that is renamed into place are all seen. No file is opened.
//! Not here: reading (`sidle_model::source`), waiting (`source`).

use sidle_model::pause;
use std::{
    collections::{BTreeMap, HashSet, hash_map::DefaultHasher},
    ffi::OsStr,
    fs::{self, Metadata},
    hash::{Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Deeper folders are left to the loader's own limit.
const MAX_DEPTH: usize = 32;
/// As the kernel's: a chain of links longer than this is a loop.
const MAX_LINKS: usize = 40;
/// A file touched more recently than this may change again without a visible change of its times.
const RACY: Duration = Duration::from_secs(2);

/// Device and inode: a folder that was replaced has another.
pub(super) type Identity = (u64, u64);

/// What the files looked like at one moment.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Folders whose entries matter.
    pub folders: BTreeMap<PathBuf, Identity>,
    /// Folders of which every entry matters.
    trees: HashSet<PathBuf>,
    /// Single entries that matter: files and links.
    names: HashSet<PathBuf>,
    /// Changes when any file, link or folder listing does.
    pub fingerprint: u64,
    /// Whether a file is so fresh that its next change could leave the same fingerprint.
    pub racy: bool,
}

impl Survey {
    /// Looks at `paths` (files, folders, globs, `-`) at the time `now`.
    pub fn take(paths: &[PathBuf], now: SystemTime) -> Survey {
        let mut walk =
            Walk { survey: Survey::default(), hash: DefaultHasher::new(), visited: HashSet::new(), now };
        for path in paths.iter().filter(|path| path.as_os_str() != "-") {
            let path = if is_glob(path) { glob_root(path) } else { path.clone() };
            // Events name absolute paths. Without a current folder, relative paths are left to the polls.
            let path = std::path::absolute(&path).unwrap_or(path);
            walk.follow(&path, 0);
            walk.visit(&path, 0, true);
        }
        walk.survey.fingerprint = walk.hash.finish();
        walk.survey
    }

    /// Whether an event at `path` can mean that the configuration changed.
    pub fn concerns(&self, path: &Path) -> bool {
        self.names.contains(path)
            || self.trees.contains(path)
            || path.parent().is_some_and(|parent| self.trees.contains(parent))
    }

    /// Whether what is written to the file at `path` can: of a folder, to a manifest.
    pub fn concerns_content(&self, path: &Path) -> bool {
        self.names.contains(path) || is_manifest(path) && self.concerns(path)
    }
}

struct Walk {
    survey: Survey,
    hash: DefaultHasher,
    visited: HashSet<Identity>,
    now: SystemTime,
}

impl Walk {
    /// Notes `path` and every symbolic link that leads from it to its file.
    fn follow(&mut self, path: &Path, hops: usize) {
        let mut so_far = PathBuf::new();
        let mut rest = path.components();
        while let Some(component) = rest.next() {
            so_far.push(component);
            if !matches!(component, Component::Normal(_)) {
                continue;
            }
            let last = rest.as_path().as_os_str().is_empty();
            let target = fs::read_link(&so_far);
            if last || target.is_ok() {
                self.name(&so_far);
            }
            if let Ok(target) = target {
                target.hash(&mut self.hash);
                if hops < MAX_LINKS {
                    // `join` with an empty rest would add a slash, and the name would no longer equal the event's.
                    let onward = parent(&so_far).join(target);
                    let onward = if last { onward } else { onward.join(rest.as_path()) };
                    self.follow(&onward, hops + 1);
                }
                return;
            }
        }
    }

    fn name(&mut self, path: &Path) {
        if let (Some(name), folder) = (path.file_name(), parent(path)) {
            self.watch(&folder);
            self.survey.names.insert(folder.join(name));
        }
    }

    fn watch(&mut self, folder: &Path) {
        if let Ok(metadata) = fs::metadata(folder) {
            self.survey.folders.insert(folder.to_path_buf(), (metadata.dev(), metadata.ino()));
        }
    }

    fn visit(&mut self, path: &Path, depth: usize, named: bool) {
        pause::here();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                path.hash(&mut self.hash);
                if depth <= MAX_DEPTH && self.visited.insert((metadata.dev(), metadata.ino())) {
                    self.visit_folder(path, depth);
                }
            }
            Ok(metadata) if named || is_manifest(path) => {
                path.hash(&mut self.hash);
                self.print(&metadata);
            }
            Ok(_) => {}
            Err(error) => (path, error.kind()).hash(&mut self.hash),
        }
    }

    fn visit_folder(&mut self, path: &Path, depth: usize) {
        self.watch(path);
        self.survey.trees.insert(path.to_path_buf());
        let mut entries: Vec<_> = match fs::read_dir(path) {
            Ok(entries) => pause::each(entries).flatten().collect(),
            Err(error) => return error.kind().hash(&mut self.hash),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            // Hidden entries are reached, if at all, by the visible links that lead to them (`..data`).
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                self.follow(&path, 0);
            }
            self.visit(&path, depth + 1, false);
        }
    }

    fn print(&mut self, metadata: &Metadata) {
        (metadata.dev(), metadata.ino(), metadata.len()).hash(&mut self.hash);
        (metadata.mtime(), metadata.mtime_nsec()).hash(&mut self.hash);
        (metadata.ctime(), metadata.ctime_nsec()).hash(&mut self.hash);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(metadata.ctime().max(0).unsigned_abs());
        // A time in the future (a skewed file server) says nothing either.
        self.survey.racy |= self.now.duration_since(changed).map_or(true, |age| age < RACY);
    }
}

/// The folder of `path`; `.` for a bare name.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_path_buf(),
        None => path.to_path_buf(),
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}

/// Whether `path` is a glob: it holds a wildcard and no file has that very name.
fn is_glob(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte)) && !path.exists()
}

/// The folder that holds everything a glob can name.
fn glob_root(path: &Path) -> PathBuf {
    let plain = path
        .components()
        .take_while(|part| !part.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte)))
        .collect::<PathBuf>();
    if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn print(paths: &[PathBuf]) -> u64 {
        Survey::take(paths, SystemTime::now()).fingerprint
    }

    #[test]
    fn the_fingerprint_sees_content_files_folders_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().to_path_buf()];
        let mut seen = vec![print(&paths)];
        let mut changed = |what: &str| {
            let now = print(&paths);
            assert!(!seen.contains(&now), "{what} was not seen");
            seen.push(now);
        };
        fs::write(dir.path().join("a.yaml"), "a").unwrap();
        changed("a new file");
        fs::write(dir.path().join("a.yaml"), "bb").unwrap();
        changed("new content");
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/b.yml"), "a").unwrap();
        changed("a new folder");
        fs::write(dir.path().join("c"), "c: 1").unwrap();
        symlink("c", dir.path().join("d.json")).unwrap();
        changed("a link");
        fs::remove_file(dir.path().join("a.yaml")).unwrap();
        changed("a removed file");
    }

    #[test]
    fn other_files_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().to_path_buf()];
        let before = print(&paths);
        fs::write(dir.path().join("notes.txt"), "a").unwrap();
        fs::write(dir.path().join(".a.yaml.swp"), "a").unwrap();
        assert_eq!(print(&paths), before);
    }

    #[test]
    fn each_link_on_the_way_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("v1")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("v1/real.yaml"), "a").unwrap();
        symlink("v1", root.join("current")).unwrap();
        symlink("../current/real.yaml", root.join("etc/a.yaml")).unwrap();
        let survey = Survey::take(&[root.join("etc/a.yaml")], SystemTime::now());
        for name in ["etc/a.yaml", "etc/../current", "etc/../v1/real.yaml"] {
            assert!(survey.concerns(&root.join(name)), "{name} in {survey:?}");
        }
        assert!(!survey.concerns(&root.join("etc/b.yaml")), "a neighbour of a single file");
        assert_eq!(survey.folders.len(), 3);
    }

    #[test]
    fn link_loops_end() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b.yaml", dir.path().join("a.yaml")).unwrap();
        symlink("a.yaml", dir.path().join("b.yaml")).unwrap();
        symlink(".", dir.path().join("self")).unwrap();
        Survey::take(&[dir.path().to_path_buf()], SystemTime::now());
    }

    #[test]
    fn a_glob_is_watched_from_its_first_plain_folder() {
        assert_eq!(glob_root(Path::new("/etc/sidle/*/a?.yaml")), Path::new("/etc/sidle"));
        assert_eq!(glob_root(Path::new("*.yaml")), Path::new("."));
        assert!(is_glob(Path::new("/nowhere/{a,b}.yaml")));
    }

    #[test]
    fn fresh_files_are_racy_and_old_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "a").unwrap();
        let paths = [dir.path().to_path_buf()];
        assert!(Survey::take(&paths, SystemTime::now()).racy);
        assert!(!Survey::take(&paths, SystemTime::now() + Duration::from_secs(5)).racy);
    }
}
