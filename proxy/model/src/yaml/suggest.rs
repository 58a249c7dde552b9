//! "Did you mean": the known name that a typing error most likely meant.

/// The one of `known` that is nearest to `written`, if any is near.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = fold(written);
    // Of two letters, one that differs says nothing.
    let allowed = (plain.chars().count() / 3).min(4);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&plain, &fold(name)), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Without case and separators, so that `max_connections` is near `maxConnections`.
fn fold(name: &str) -> String {
    name.chars().take(64).filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let known = ["hosts", "http", "gateways", "exportTo", "maxConnections"];
        for (written, meant) in [
            ("host", Some("hosts")),
            ("HTTP", Some("http")),
            ("htpp", Some("http")),
            ("gatewya", Some("gateways")),
            ("export_to", Some("exportTo")),
            ("max-connections", Some("maxConnections")),
            ("banana", None),
            ("x", None),
            ("h2", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
