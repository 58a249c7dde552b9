//! Files that appear whole or not at all.
//!
//! In:  a path, a text.   Out: a file with that text.
//! Invariants: what the path held stays until all of the new text is on the disk: the new file stands beside it, and is then given its name.
//! Not here: logs, which are appended to (`app::log`, `sidle-telemetry`).

use super::CliError;
use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

/// As the kernel's: a longer chain of links is a loop.
const MAX_LINKS: usize = 40;

/// Writes what `-o` names: the file at the end of its links, which keeps mode and owner. What is no file (a pipe, a terminal), and what
/// can be written only where it is (the folder is another's, the file is a mount of its own), is written to as it is.
///
/// # Errors
/// When it cannot be written; a file that was there is then as it was, if the message says so.
pub fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed =
        |error: io::Error, more: &str| CliError::Failed(format!("{}: {error}{more}", path.display()));
    let directly = || fs::write(path, text).map_err(|error| failed(error, ""));
    let Some(target) = target(path).map_err(|error| failed(error, ""))? else { return directly() };
    let before = match fs::metadata(&target) {
        Ok(before) if before.is_file() => Some(before),
        Ok(_) => return directly(),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error, "")),
    };
    let replaced = match &before {
        Some(before) => take_over(&target, text, before),
        None => replace(&target, text, 0o666, |_| Ok(())),
    };
    match replaced {
        Err(error) if only_in_place(&error) => {
            let mut file = File::create(path).map_err(|error| failed(error, ""))?;
            let gone = "; it could only be written in place, and what it held is gone";
            let put = file.write_all(text.as_bytes());
            put.map_err(|error| failed(error, if before.is_some() { gone } else { "" }))
        }
        Err(error) => Err(failed(error, if before.is_some() { "; what was there is as it was" } else { "" })),
        Ok(()) => Ok(()),
    }
}

/// Has `text` take the place of what `path` holds, in a file of mode `mode` (less the umask) to which `finish` does the rest.
///
/// # Errors
/// Of the system. Then nothing has changed.
pub fn replace(
    path: &Path,
    text: &str,
    mode: u32,
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let new = beside(path);
    // What a run that was cut left behind may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    let put = || {
        file.write_all(text.as_bytes())?;
        finish(&file)?;
        // Some disks say only now that they are full.
        file.sync_all()?;
        fs::rename(&new, path)
    };
    put().inspect_err(|_| {
        let _ = fs::remove_file(&new); // the error that counts is the first
    })
}

/// As [`replace`], with mode and owner of what was there, which has to be writable itself.
fn take_over(path: &Path, text: &str, before: &Metadata) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?;
    replace(path, text, 0o600, |file| {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            fchown(file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode()))
    })
}

/// Whether a file could not be replaced for a reason that keeps nobody from writing into it.
fn only_in_place(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::ResourceBusy
    )
}

/// Where the links of `path` end, there or not; `None`: at no file with a name.
fn target(path: &Path) -> io::Result<Option<PathBuf>> {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Ok(None);
    }
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let Some(name) = path.file_name() else { return Ok(None) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
        // Streams of a process, as of `/dev/stdout`: others write to the same file.
        if folder.starts_with("/proc") {
            return Ok(None);
        }
        let here = folder.join(name);
        match fs::read_link(&here) {
            Ok(next) => path = folder.join(next),
            Err(_) => return Ok(Some(here)),
        }
    }
    Ok(None)
}

/// Hidden: whoever reads the folder as configuration passes it over. The same each time, so that what a run that was cut left is not
/// there for good; so two that write one file at once are in each other's way.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_where_its_links_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/a"), "old").unwrap();
        fs::set_permissions(at("real/a"), Permissions::from_mode(0o640)).unwrap();
        fs::write(at("real/.a.new"), "left behind").unwrap();
        symlink("real/a", at("link")).unwrap();
        symlink("real/new", at("dangling")).unwrap();
        let before = File::open(at("real/a")).unwrap();
        write(&at("link"), "new").unwrap();
        write(&at("dangling"), "made").unwrap();
        assert_eq!(fs::read_to_string(at("real/a")).unwrap(), "new");
        assert_eq!(fs::metadata(at("real/a")).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(at("real/new")).unwrap(), "made");
        assert_eq!(io::read_to_string(before).unwrap(), "old", "who reads it reads it to its end");
        assert_eq!((names(folder.path()).len(), names(&at("real"))), (3, vec!["a".into(), "new".to_owned()]));
    }

    #[test]
    fn what_fails_changes_nothing_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "old").unwrap();
        let full = |_: &File| Err(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(replace(&path, "new", 0o600, full).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), names(folder.path())),
            ("old", vec!["a".into()])
        );
    }

    #[test]
    fn what_is_no_file_is_written_to_as_it_is() {
        write(Path::new("/dev/null"), "x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| write(path, "x").unwrap_err().to_string();
        assert!(error(folder.path()).contains("directory"), "{}", error(folder.path()));
        let slash = PathBuf::from(format!("{}/a/", folder.path().display()));
        assert!(error(&slash).contains("directory"), "{}", error(&slash));
        let (loop_, nowhere) = (folder.path().join("loop"), folder.path().join("no/where"));
        symlink("loop", &loop_).unwrap();
        assert!(error(&loop_).contains("links"), "{}", error(&loop_));
        assert!(error(&nowhere).contains("No such file"), "{}", error(&nowhere));
        assert_eq!(names(folder.path()), ["loop"]);
        // A stream that somebody sent into a file, which others may write to as well.
        let file = folder.path().join("stream");
        let open = File::create(&file).unwrap();
        let inode = open.metadata().unwrap().ino();
        let stream = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        write(Path::new(&stream), "x").unwrap();
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), fs::metadata(&file).unwrap().ino()),
            ("x", inode)
        );
    }
}
