//! Real files in a private folder; each wait is for a condition, with a bound.

use super::*;
use std::{fs, os::unix::fs::symlink, path::Path};

const BOUND: Duration = Duration::from_secs(10);

/// A watch that only events can wake.
async fn events(paths: &[&Path]) -> FileSource {
    let options = WatchOptions { poll: Duration::from_secs(3600), ..WatchOptions::default() };
    watch(paths, options).await
}

async fn watch(paths: &[&Path], options: WatchOptions) -> FileSource {
    FileSource::watch(paths.iter().map(|path| path.to_path_buf()).collect(), options).await
}

async fn ticks(source: &FileSource, what: &str) {
    tokio::time::timeout(BOUND, source.changed()).await.unwrap_or_else(|_| panic!("{what}: no tick"));
}

async fn is_quiet(source: &FileSource) -> bool {
    tokio::time::timeout(Duration::from_millis(400), source.changed()).await.is_err()
}

#[tokio::test]
async fn a_folder_ticks_on_write_rename_delete_and_new_folders() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let source = events(&[root]).await;
    fs::write(root.join("a.yaml"), "a: 1").unwrap();
    ticks(&source, "create").await;
    fs::write(root.join("a.yaml"), "a: 2").unwrap();
    ticks(&source, "write").await;
    fs::write(root.join(".a.yaml.tmp"), "a: 3").unwrap();
    fs::rename(root.join(".a.yaml.tmp"), root.join("a.yaml")).unwrap();
    ticks(&source, "rename over").await;
    fs::remove_file(root.join("a.yaml")).unwrap();
    fs::write(root.join("a.yaml"), "a: 4").unwrap();
    ticks(&source, "delete and create").await;
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("sub/b.yaml"), "b: 1").unwrap();
    ticks(&source, "a file in a new folder").await;
    while !is_quiet(&source).await {}
    fs::write(root.join("sub/b.yaml"), "b: 2").unwrap();
    ticks(&source, "a write in the new folder").await;
}

#[tokio::test]
async fn a_mounted_config_map_ticks_when_its_link_is_swapped() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (version, text) in [("..v1", "a: 1"), ("..v2", "a: 2"), ("..v3", "a: 3")] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("a.yaml"), text).unwrap();
    }
    symlink("..v1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let folder = events(&[root]).await;
    let file = events(&[&root.join("a.yaml")]).await;
    for version in ["..v2", "..v3"] {
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        ticks(&folder, "the folder").await;
        ticks(&file, "the single file").await;
        while !(is_quiet(&folder).await && is_quiet(&file).await) {}
    }
    fs::write(root.join("..v3/a.yaml"), "a: 4").unwrap();
    ticks(&file, "a write behind the links").await;
}

#[tokio::test]
async fn a_replaced_folder_is_watched_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("conf");
    fs::create_dir(&folder).unwrap();
    let source = events(&[&folder]).await;
    fs::remove_dir(&folder).unwrap();
    ticks(&source, "removal").await;
    fs::create_dir(&folder).unwrap();
    ticks(&source, "creation").await;
    while !is_quiet(&source).await {}
    fs::write(folder.join("a.yaml"), "a: 1").unwrap();
    ticks(&source, "a write in the new one").await;
    let (next, old) = (dir.path().join("next"), dir.path().join("old"));
    fs::create_dir(&next).unwrap();
    fs::rename(&folder, &old).unwrap();
    fs::rename(&next, &folder).unwrap();
    ticks(&source, "a swap").await;
    while !is_quiet(&source).await {}
    fs::write(folder.join("a.yaml"), "a: 2").unwrap();
    ticks(&source, "a write in the swapped one").await;
}

#[tokio::test]
async fn neighbours_and_reading_do_not_tick() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, "a: 1").unwrap();
    let source = events(&[&file]).await;
    fs::write(dir.path().join("b.yaml"), "b: 1").unwrap();
    fs::read(&file).unwrap();
    assert!(is_quiet(&source).await);
}

#[tokio::test]
async fn a_log_beside_the_files_is_not_waited_for() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let mut log = fs::File::create(dir.path().join("access.log")).unwrap();
    let hour = Duration::from_secs(3600);
    let options = WatchOptions { poll: hour, at_most: hour, ..WatchOptions::default() };
    let source = watch(&[dir.path()], options).await;
    log.write_all(b"a line").unwrap(); // and it stays open
    assert!(is_quiet(&source).await);
    fs::write(dir.path().join("a.yaml"), "a: 1").unwrap();
    ticks(&source, "a manifest").await;
}

#[tokio::test]
async fn a_burst_is_few_ticks() {
    let dir = tempfile::tempdir().unwrap();
    let source = events(&[dir.path()]).await;
    for index in 0..200 {
        fs::write(dir.path().join(format!("{index}.yaml")), "a: 1").unwrap();
    }
    ticks(&source, "the burst").await;
    let mut more = 0;
    while !is_quiet(&source).await {
        more += 1;
    }
    assert!(more <= 2, "{more} more ticks");
}

#[tokio::test]
async fn a_file_that_stays_open_is_waited_for() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    fs::write(&file, "a: 1").unwrap();
    let hour = Duration::from_secs(3600);
    let options = WatchOptions { poll: hour, at_most: hour, ..WatchOptions::default() };
    let source = watch(&[dir.path()], options).await;
    let mut open = fs::File::create(&file).unwrap();
    open.write_all(b"a").unwrap();
    let began = Instant::now();
    let early = tokio::time::timeout(Duration::from_millis(500), source.changed()).await;
    assert!(early.is_err(), "ticked {:?} after the first half", began.elapsed());
    open.write_all(b": 2").unwrap();
    drop(open);
    ticks(&source, "the whole").await;
}

#[tokio::test]
async fn without_events_the_poll_finds_changes() {
    let dir = tempfile::tempdir().unwrap();
    let options = WatchOptions { poll: Duration::from_millis(50), events: false, ..WatchOptions::default() };
    let source = watch(&[dir.path()], options).await;
    fs::write(dir.path().join("a.yaml"), "a: 1").unwrap();
    ticks(&source, "the poll").await;
}
