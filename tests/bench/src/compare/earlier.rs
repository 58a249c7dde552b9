//! Earlier measurements, from the files that `--json` wrote.

use super::{results::Results, scenarios::SCENARIOS};
use crate::void::Void;
use std::{fs, path::Path};

/// What is in the files, in their order.
///
/// # Errors
/// When one cannot be read, or holds something else.
pub fn read(files: &[impl AsRef<Path>]) -> Result<Vec<Results>, Void> {
    let mut all = Vec::new();
    for path in files.iter().map(AsRef::as_ref) {
        let wrong = |why: &str| Void::usage(format!("--from {}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
        all.extend(parse(&text).map_err(|why| wrong(&why))?);
    }
    Ok(all)
}

/// One measurement, or a list of them, which is what tables of several leave.
fn parse(text: &str) -> Result<Vec<Results>, String> {
    let list = text.trim_start().starts_with('[');
    let parsed =
        if list { serde_json::from_str(text) } else { serde_json::from_str(text).map(|one| vec![one]) };
    let all: Vec<Results> = parsed.map_err(|error| format!("not what `compare --json` writes: {error}"))?;
    if all.is_empty() || all.iter().any(|results| results.runs.is_empty()) {
        return Err("there are no runs in it".to_owned());
    }
    for run in all.iter().flat_map(|results| &results.runs) {
        if !SCENARIOS.iter().any(|scenario| scenario.name == run.scenario()) {
            return Err(format!("there is no scenario {:?} any more", run.scenario()));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::example;
    use serde_json::{Value, json};

    #[test]
    fn what_was_written_is_read_again_alone_and_together() {
        let one = serde_json::to_string_pretty(&example()).unwrap();
        let two = serde_json::to_string_pretty(&[example(), example()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = ["one.json", "two.json"].map(|name| folder.path().join(name));
        fs::write(&files[0], &one).unwrap();
        fs::write(&files[1], two).unwrap();
        let all = read(&files).unwrap();
        assert_eq!(all.len(), 3);
        for results in all {
            assert_eq!(serde_json::to_string_pretty(&results).unwrap(), one);
        }
    }

    #[test]
    fn files_of_before_the_seconds_of_looks_are_read() {
        let mut before = serde_json::to_value(example()).unwrap();
        let fields = before.as_object_mut().unwrap();
        fields.remove("idle_seconds");
        fields.insert("reference".to_owned(), json!("haproxy"));
        assert_eq!(parse(&before.to_string()).unwrap()[0].idle_seconds, None);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        let told = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            let told = read(&[file.path()]).unwrap_err().to_string();
            assert!(told.starts_with(&format!("--from {}: ", file.path().display())), "{told}");
            told
        };
        assert!(
            read(&["/no/such.json"])
                .unwrap_err()
                .to_string()
                .starts_with("--from /no/such.json: No such file")
        );
        assert!(told("").contains("not what `compare --json` writes: EOF"));
        assert!(told(r#"{"date": "", "runs": []}"#).contains("missing field `kernel`"));
        assert!(told("[]").contains("no runs"));
        let changed = |change: fn(&mut Value)| {
            let mut value = serde_json::to_value(example()).unwrap();
            change(&mut value);
            value.to_string()
        };
        assert!(told(&changed(|value| value["runs"] = json!([]))).contains("no runs"));
        assert!(
            told(&changed(|value| value["runs"][3]["scenario"] = json!("h9"))).contains("no scenario \"h9\"")
        );
    }
}
