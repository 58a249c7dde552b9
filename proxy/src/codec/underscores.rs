//! Header names with `_`, which many applications cannot tell from `-`: CGI and WSGI give both to a program as one variable.
//!
//! In:  a request's headers, or its trailers.   Out: the same, without them if so configured, or a refusal.
//! Source: Envoy's `headers_with_underscores_action`.

use crate::error::Refusal;
use http::HeaderName;
use sidle_fields::Fields;
use sidle_model::ir::UnderscoresAction;

/// Does what the configuration says to headers with `_` in their names.
///
/// # Errors
/// When there is one and they are to be refused.
pub fn apply(headers: &mut Fields, action: UnderscoresAction) -> Result<(), Refusal> {
    if action == UnderscoresAction::Allow || !headers.keys().any(has_underscore) {
        return Ok(());
    }
    if action == UnderscoresAction::Reject {
        return Err(Refusal::Underscore);
    }
    headers.retain(|name, _| !has_underscore(name));
    Ok(())
}

fn has_underscore(name: &HeaderName) -> bool {
    name.as_str().contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(names: &[&'static str]) -> Fields {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x"))).collect()
    }

    #[test]
    fn each_action_does_what_it_says() {
        let sent = headers(&["x-role", "x_role", "_"]);
        for (action, result, left) in [
            (UnderscoresAction::Allow, Ok(()), sent.clone()),
            (UnderscoresAction::Reject, Err(Refusal::Underscore), sent.clone()),
            (UnderscoresAction::Drop, Ok(()), headers(&["x-role"])),
        ] {
            let mut given = sent.clone();
            assert_eq!(apply(&mut given, action), result, "{action:?}");
            assert_eq!(given, left, "{action:?}");
        }
    }

    #[test]
    fn other_names_pass_whatever_the_action() {
        for action in [UnderscoresAction::Allow, UnderscoresAction::Reject, UnderscoresAction::Drop] {
            let mut given = headers(&["x-role", "x.role"]);
            assert_eq!(apply(&mut given, action), Ok(()));
            assert_eq!(given.len(), 2);
        }
    }
}
