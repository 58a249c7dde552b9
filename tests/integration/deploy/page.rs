//! The page of operations: what it names is there.

use super::deploy;
use sidle_test_support::peers::root;
use std::{collections::BTreeSet, path::Path};

fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Whoever finds a flag in a log finds it on the page, and none that is never given.
#[test]
fn every_response_flag_that_the_proxy_gives_is_explained() {
    let mut source = String::new();
    sources(&root().join("proxy/src"), &mut source);
    let given = source.split("ResponseFlags::").skip(1);
    let given: BTreeSet<_> = given
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap())
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase()) && *name != "NONE")
        .collect();
    let page = std::fs::read_to_string(deploy("README.md")).unwrap();
    let (_, table) = page.split_once("| flag | status |").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.flat_map(|line| line.trim_start_matches("| ").split(" | ").next().unwrap().split(", "));
    let explained: BTreeSet<_> = cells.map(|cell| cell.trim_matches('`')).collect();
    assert_eq!(explained, given);
}

#[test]
fn every_link_leads_somewhere() {
    let page = std::fs::read_to_string(deploy("README.md")).unwrap();
    let links: Vec<_> = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 8, "{links:?}");
    for link in links {
        let path = deploy("").join(link.split('#').next().unwrap());
        assert!(path.exists(), "{link}");
    }
}
