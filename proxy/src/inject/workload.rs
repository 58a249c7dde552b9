//! Where Pods stand in manifests.

use super::{
    Done, Options, Report, annotations,
    pod::{self, Workload},
    value::{Data, Value},
};
use sidle_model::diagnostic::codes;

/// The way to a Pod's `metadata` and `spec` in an object of this kind, if it has one.
fn path(api_version: &str, kind: &str) -> Option<&'static [&'static str]> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("", "Pod") => Some(&[]),
        ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("", "ReplicationController")
        | ("batch", "Job") => Some(&["spec", "template"]),
        ("batch", "CronJob") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// Adds sidecars to a manifest: a workload, or a list of them. Whether it was changed.
pub fn visit(manifest: &mut Value, options: &Options, report: &mut Report, done: &mut Vec<Done>) -> bool {
    let text = |key| manifest.get(key).and_then(Value::text).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if (api_version.as_str(), kind.as_str()) == ("v1", "List") {
        let Some(Data::List(items)) = manifest.at_path(&["items"]).map(|items| &mut items.data) else {
            return false;
        };
        let mut changed = false;
        for item in items {
            changed |= visit(item, options, report, done);
        }
        return changed;
    }
    let Some(path) = path(&api_version, &kind) else { return false };
    let name = {
        let metadata = manifest.get("metadata");
        let given = |key| metadata.and_then(|metadata| metadata.get(key)).and_then(Value::scalar);
        given("name").or_else(|| given("generateName")).unwrap_or_default().trim_end_matches('-').to_owned()
    };
    let at = manifest.at;
    let Some(pod) = manifest.at_path(path) else {
        report.error(codes::MISSING_FIELD, at, format!("the {kind} `{name}` lacks `{}`", path.join(".")));
        return false;
    };
    let settings = annotations::read(pod.get("metadata"), options, report);
    let workload = Workload { kind: &kind, name: &name };
    let left_alone = match settings {
        Ok(settings) => pod::inject(pod, &workload, &settings, options, report),
        Err(why) => Some(why),
    };
    let changed = left_alone.is_none();
    done.push(Done { workload: format!("{}/{name}", kind.to_lowercase()), left_alone });
    changed
}
