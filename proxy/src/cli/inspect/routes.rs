//! `sidle routes`: Envoy's `RouteConfiguration`s, a line a route.

use super::{InspectArgs, items, text};
use crate::cli::{
    CliError, admin,
    output::{self, Format, Table, Terminal},
};
use serde_json::Value;
use std::process::ExitCode;

/// `sidle routes`.
pub fn routes(args: &InspectArgs, terminal: Terminal) -> Result<ExitCode, CliError> {
    let dump = admin::ask_json(args.admin, "/config_dump")?;
    let tables = route_configurations(&dump);
    match args.output {
        Format::Json => output::print_json(&tables)?,
        Format::Table => output::print(&table(&tables).render(terminal))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every route configuration of a `config_dump`, static or dynamic.
pub(super) fn route_configurations(dump: &Value) -> Vec<&Value> {
    let is_routes =
        |config: &&Value| config["@type"].as_str().is_some_and(|name| name.ends_with(".RoutesConfigDump"));
    let lists = ["static_route_configs", "dynamic_route_configs"];
    items(&dump["configs"])
        .iter()
        .filter(is_routes)
        .flat_map(|config| lists.iter().flat_map(|list| items(&config[*list])))
        .map(|one| &one["route_config"])
        .collect()
}

pub(super) fn table(tables: &[&Value]) -> Table {
    let mut table = Table::new(&["table", "host", "match", "to", "rule"]);
    for configuration in tables {
        for host in items(&configuration["virtual_hosts"]) {
            for route in items(&host["routes"]) {
                let rule = text(&route["name"]);
                let row = [
                    text(&configuration["name"]),
                    domains(host),
                    matches(&route["match"]),
                    target(route),
                    rule,
                ];
                table.row(row);
            }
        }
    }
    table
}

/// The first domain: it is the longest name of the host; the others are its short forms.
fn domains(host: &Value) -> String {
    match items(&host["domains"]) {
        [] => "-".into(),
        [one] => text(one),
        [first, rest @ ..] => format!("{} (+{})", text(first), rest.len()),
    }
}

fn matches(conditions: &Value) -> String {
    let mut parts = Vec::new();
    for (key, name) in [("path", "="), ("prefix", ""), ("path_separated_prefix", "")] {
        if let Some(path) = conditions[key].as_str() {
            parts.push(format!("{name}{path}{}", if key == "path" { "" } else { "*" }));
        }
    }
    if let Some(regex) = conditions["safe_regex"]["regex"].as_str() {
        parts.push(format!("~{regex}"));
    }
    if conditions.get("connect_matcher").is_some() {
        parts.push("CONNECT".into());
    }
    for header in items(&conditions["headers"]) {
        let not = if header["invert_match"] == true { "!" } else { "" };
        parts.push(format!("{not}{}{}", text(&header["name"]), wanted(&header["string_match"])));
    }
    for parameter in items(&conditions["query_parameters"]) {
        parts.push(format!("?{}{}", text(&parameter["name"]), wanted(&parameter["string_match"])));
    }
    if parts.is_empty() { "any".into() } else { parts.join(" ") }
}

fn wanted(value: &Value) -> String {
    if let Some(exact) = value["exact"].as_str() {
        return format!("={exact}");
    }
    if let Some(prefix) = value["prefix"].as_str() {
        return format!("={prefix}*");
    }
    value["safe_regex"]["regex"].as_str().map(|regex| format!("~{regex}")).unwrap_or_default()
}

fn target(route: &Value) -> String {
    let forward = &route["route"];
    if let Some(cluster) = forward["cluster"].as_str() {
        return cluster.to_owned();
    }
    let weighted = items(&forward["weighted_clusters"]["clusters"]);
    if !weighted.is_empty() {
        let one = |cluster: &Value| format!("{} {}", cluster["weight"], text(&cluster["name"]));
        return weighted.iter().map(one).collect::<Vec<_>>().join(", ");
    }
    if let Some(status) = route["direct_response"]["status"].as_u64() {
        return format!("answer {status}");
    }
    let redirect = &route["redirect"];
    match redirect["host_redirect"].as_str().or(redirect["path_redirect"].as_str()) {
        Some(location) => format!("redirect to {location}"),
        None if redirect.is_object() => "redirect".into(),
        None => "-".into(),
    }
}
