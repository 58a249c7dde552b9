//! Who and what the command line names.

use super::{
    scenarios::{Kind, SCENARIOS, Scenario},
    subjects::{Own, PEERS, Subject},
};
use crate::void::Void;

/// The scenarios, with the parts that are wanted.
///
/// # Errors
/// When there is no such scenario, or nothing to do.
pub fn scenarios(wanted: &str, only: Option<Kind>) -> Result<Vec<Scenario>, Void> {
    let scenarios = parts(named_scenarios(wanted)?, only)?;
    each_once("scenario", scenarios.iter().map(|scenario| scenario.name))?;
    Ok(scenarios)
}

/// Sidle, and unless nobody is wanted the others and the limit; then those that the user brings.
///
/// # Errors
/// When there is no such peer, or two have one name.
pub fn subjects(wanted: &str, own: &[String]) -> Result<Vec<Subject>, Void> {
    let mut subjects = named_subjects(wanted)?;
    for own in own {
        subjects.push(Subject::Own(Own::parse(own)?));
    }
    each_once("subject", subjects.iter().map(Subject::name))?;
    Ok(subjects)
}

/// Sees that ratios refer to one who takes part.
///
/// # Errors
/// When they do not.
pub fn reference(wanted: &str, subjects: &[&str]) -> Result<(), Void> {
    if subjects.contains(&wanted) {
        return Ok(());
    }
    Err(Void::usage(format!("no subject {wanted:?} to refer to; there are: {}", subjects.join(", "))))
}

/// Figures of two that have one name would be taken for figures of one.
fn each_once<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Void> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(Void::usage(format!("{what} {name:?} is named twice: each needs a name of its own")));
        }
        seen.push(name);
    }
    Ok(())
}

fn named_scenarios(wanted: &str) -> Result<Vec<Scenario>, Void> {
    if wanted == "all" {
        return Ok(SCENARIOS.to_vec());
    }
    wanted
        .split(',')
        .map(|name| {
            let known = || SCENARIOS.map(|scenario| scenario.name).join(", ");
            let found = SCENARIOS.into_iter().find(|scenario| scenario.name == name);
            found
                .ok_or_else(|| Void::usage(format!("no scenario {name:?}; there are: {} (or: all)", known())))
        })
        .collect()
}

/// The scenarios that have a part, with that part; all of all, if none is named.
fn parts(scenarios: Vec<Scenario>, only: Option<Kind>) -> Result<Vec<Scenario>, Void> {
    let Some(only) = only else { return Ok(scenarios) };
    let part = |scenario: Scenario| {
        let work = scenario.work.iter().find(|work| work.kind() == only)?;
        Some(Scenario { work: std::slice::from_ref(work), ..scenario })
    };
    let parts: Vec<_> = scenarios.into_iter().filter_map(part).collect();
    if parts.is_empty() { Err(Void::usage("none of the scenarios has that part")) } else { Ok(parts) }
}

fn named_subjects(wanted: &str) -> Result<Vec<Subject>, Void> {
    let mut subjects = vec![Subject::Sidle];
    match wanted {
        "none" => return Ok(subjects),
        "all" => subjects.extend(PEERS),
        _ => {
            for name in wanted.split(',') {
                let found = PEERS.into_iter().find(|subject| subject.name() == name);
                subjects.push(found.ok_or_else(|| no_peer(name))?);
            }
        }
    }
    subjects.push(Subject::Relay);
    Ok(subjects)
}

fn no_peer(name: &str) -> Void {
    let known: Vec<_> = PEERS.iter().map(Subject::name).collect();
    Void::usage(format!(
        "no peer {name:?}; there are: {} (or: all, none); --own 'name=command' brings another proxy",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_name() {
        let names =
            |wanted| scenarios(wanted, None).map(|all| all.iter().map(|one| one.name).collect::<Vec<_>>());
        assert_eq!(names("all").unwrap().len(), SCENARIOS.len());
        assert_eq!(names("grpc,h1").unwrap(), ["grpc", "h1"]);
        let told = names("h3").unwrap_err().to_string();
        assert!(told.contains("h1, h2, grpc") && told.ends_with("(or: all)"), "{told}");
        assert!(names("h1,h1").unwrap_err().to_string().contains("scenario \"h1\" is named twice"));
    }

    #[test]
    fn a_part_may_be_chosen_of_the_scenarios_that_have_it() {
        let names = |only| {
            let parts = scenarios("all", only).unwrap();
            parts.iter().map(|one| (one.name, one.work.len())).collect::<Vec<_>>()
        };
        assert_eq!(names(None).len(), SCENARIOS.len());
        assert_eq!(names(Some(Kind::Idle)), [("idle", 1), ("idle-h2", 1), ("idle-tls", 1)]);
        assert!(names(Some(Kind::Rate)).contains(&("open", 1)));
        assert!(!names(Some(Kind::Saturation)).contains(&("open", 1)));
        assert!(scenarios("open", Some(Kind::Idle)).is_err());
    }

    #[test]
    fn ratios_refer_to_one_who_takes_part() {
        assert!(reference("sidle", &["sidle", "nginx"]).is_ok());
        let told = reference("squid", &["sidle", "nginx"]).unwrap_err().to_string();
        assert_eq!(told, "no subject \"squid\" to refer to; there are: sidle, nginx");
    }

    #[test]
    fn whoever_is_compared_sidle_is_too_and_the_relay_with_others() {
        let names = |wanted: &str, own: &[&str]| {
            let own: Vec<_> = own.iter().map(|&own| own.to_owned()).collect();
            let subjects = subjects(wanted, &own).map_err(|void| void.to_string())?;
            let names: Vec<_> = subjects.iter().map(|subject| subject.name().to_owned()).collect();
            Ok::<_, String>(names.join(" "))
        };
        assert_eq!(names("none", &[]), Ok("sidle".to_owned()));
        assert_eq!(names("nginx", &["mine=x"]), Ok("sidle nginx relay mine".to_owned()));
        assert_eq!(names("all", &[]), Ok("sidle envoy haproxy nginx nghttpx relay".to_owned()));
        let told = names("linkerd2-proxy", &[]).unwrap_err();
        assert!(told.contains("nghttpx (or: all, none); --own"), "{told}");
        assert!(names("nginx", &["nginx=x"]).unwrap_err().contains("\"nginx\" is named twice"));
    }
}
