//! Who the proxy is: flags, then environment, then defaults.
//!
//! In:  `--namespace`, `--labels`, `--workload`; `SIDLE_*`, and what Istio's injector sets.   Out: an [`ir::Node`].
//! Invariants: a flag beats `SIDLE_*`, which beats Istio's name for the same thing.
//! Not here: what the node's labels select (`sidle_model::lower`).

use super::CliError;
use sidle_model::{Map, ir};
use std::{ffi::OsString, path::PathBuf};

/// The environment, so that tests bring their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The environment of this process; an empty variable counts as none.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Flags that say who the proxy is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NodeArgs {
    /// Namespace of the workload [default: default] [env: SIDLE_NAMESPACE, POD_NAMESPACE]
    #[arg(long, value_name = "NAMESPACE", help_heading = "Identity")]
    pub namespace: Option<String>,
    /// Labels of the workload, for selectors and sourceLabels [env: SIDLE_LABELS, ISTIO_METAJSON_LABELS (JSON)]
    #[arg(long, value_name = "KEY=VALUE,…", help_heading = "Identity")]
    pub labels: Option<String>,
    /// Name of the workload in metrics [default: unknown] [env: SIDLE_WORKLOAD, ISTIO_META_WORKLOAD_NAME]
    #[arg(long, value_name = "NAME", help_heading = "Identity")]
    pub workload: Option<String>,
    /// Where the workload runs, to prefer endpoints near it [default: what its labels say] [env: SIDLE_LOCALITY]
    #[arg(long, value_name = "REGION/ZONE/SUBZONE", help_heading = "Identity")]
    pub locality: Option<String>,
}

impl NodeArgs {
    /// The node that the flags and `environment` describe.
    ///
    /// # Errors
    /// A usage error when labels cannot be read.
    pub fn node(&self, environment: Environment<'_>) -> Result<ir::Node, CliError> {
        let text = |flag: &Option<String>, names: [&str; 2]| {
            let variable = || names.iter().find_map(|name| environment(name));
            flag.clone().or_else(|| variable().map(|value| value.to_string_lossy().into_owned()))
        };
        let default = ir::Node::default();
        Ok(ir::Node {
            namespace: text(&self.namespace, ["SIDLE_NAMESPACE", "POD_NAMESPACE"])
                .unwrap_or(default.namespace),
            workload: text(&self.workload, ["SIDLE_WORKLOAD", "ISTIO_META_WORKLOAD_NAME"])
                .unwrap_or(default.workload),
            labels: self.labels(environment)?,
            locality: self.locality(environment)?,
            ..default
        })
    }

    fn locality(&self, environment: Environment<'_>) -> Result<String, CliError> {
        let variable = || environment("SIDLE_LOCALITY").map(|value| value.to_string_lossy().into_owned());
        let (name, text) = match &self.locality {
            Some(text) => ("--locality", text.clone()),
            None => ("SIDLE_LOCALITY", variable().unwrap_or_default()),
        };
        match text.split('/').count() {
            1..=3 => Ok(text),
            _ => Err(CliError::Usage(format!("{name}: `{text}` is not REGION/ZONE/SUBZONE"))),
        }
    }

    fn labels(&self, environment: Environment<'_>) -> Result<Map<String>, CliError> {
        if let Some(text) = &self.labels {
            return labels(text).map_err(|why| CliError::Usage(format!("--labels: {why}")));
        }
        let variable = |name: &str| environment(name).map(|value| value.to_string_lossy().into_owned());
        if let Some(text) = variable("SIDLE_LABELS") {
            return labels(&text).map_err(|why| CliError::Usage(format!("SIDLE_LABELS: {why}")));
        }
        match variable("ISTIO_METAJSON_LABELS") {
            None => Ok(Map::new()),
            Some(text) => serde_json::from_str(&text).map_err(|error| {
                CliError::Usage(format!("ISTIO_METAJSON_LABELS: expected a JSON object of strings: {error}"))
            }),
        }
    }
}

fn labels(text: &str) -> Result<Map<String>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(format!("`{pair}` is not KEY=VALUE")),
        })
        .collect()
}

/// The paths that `-c` gave, or else `SIDLE_CONFIG` (separated by `:`).
///
/// # Errors
/// A usage error when there is none.
pub fn config_paths(flag: Vec<PathBuf>, environment: Environment<'_>) -> Result<Vec<PathBuf>, CliError> {
    if !flag.is_empty() {
        return Ok(flag);
    }
    let variable = environment("SIDLE_CONFIG").unwrap_or_default();
    let paths: Vec<_> =
        std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty()).collect();
    if paths.is_empty() {
        return Err(CliError::Usage("no configuration: give `-c PATH…`, or set SIDLE_CONFIG".into()));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(args: NodeArgs, variables: &[(&str, &str)]) -> Result<ir::Node, CliError> {
        args.node(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn a_flag_beats_sidles_variable_which_beats_istios() {
        let variables =
            [("SIDLE_NAMESPACE", "ours"), ("POD_NAMESPACE", "istios"), ("SIDLE_LABELS", "a=1, b=")];
        let flag =
            NodeArgs { namespace: Some("flag".into()), labels: Some("c=2".into()), ..NodeArgs::default() };
        let from_flag = node(flag, &variables).unwrap();
        assert_eq!(from_flag.namespace, "flag");
        assert_eq!(from_flag.labels, Map::from([("c".into(), "2".into())]));
        let from_variable = node(NodeArgs::default(), &variables).unwrap();
        assert_eq!(from_variable.namespace, "ours");
        assert_eq!(from_variable.labels, Map::from([("a".into(), "1".into()), ("b".into(), "".into())]));
        assert_eq!(node(NodeArgs::default(), &variables[1..2]).unwrap().namespace, "istios");
        assert_eq!(node(NodeArgs::default(), &[]).unwrap(), ir::Node::default());
    }

    #[test]
    fn a_locality_has_up_to_three_parts() {
        let flag = |text: &str| NodeArgs { locality: Some(text.into()), ..NodeArgs::default() };
        let variables = [("SIDLE_LOCALITY", "eu/b")];
        assert_eq!(node(flag("eu/a/1"), &variables).unwrap().locality, "eu/a/1");
        assert_eq!(node(NodeArgs::default(), &variables).unwrap().locality, "eu/b");
        let error = node(flag("eu/a/1/2"), &[]).unwrap_err();
        assert!(matches!(&error, CliError::Usage(text) if text.contains("--locality")), "{error}");
    }

    #[test]
    fn istios_labels_are_json() {
        let node = node(NodeArgs::default(), &[("ISTIO_METAJSON_LABELS", r#"{"app":"reviews"}"#)]).unwrap();
        assert_eq!(node.labels, Map::from([("app".into(), "reviews".into())]));
    }

    #[test]
    fn labels_that_cannot_be_read_are_usage_errors_that_name_their_source() {
        for (name, value) in [("SIDLE_LABELS", "nonsense"), ("ISTIO_METAJSON_LABELS", "a=b")] {
            let error = node(NodeArgs::default(), &[(name, value)]).unwrap_err();
            assert!(matches!(&error, CliError::Usage(text) if text.contains(name)), "{error}");
        }
    }

    #[test]
    fn paths_come_from_the_flag_or_the_variable() {
        let variable = |_: &str| Some(OsString::from("/a:b.yaml"));
        assert_eq!(config_paths(vec!["x".into()], &variable).unwrap(), [PathBuf::from("x")]);
        assert_eq!(config_paths(vec![], &variable).unwrap(), [PathBuf::from("/a"), PathBuf::from("b.yaml")]);
        assert!(matches!(config_paths(vec![], &|_| None), Err(CliError::Usage(_))));
    }
}
