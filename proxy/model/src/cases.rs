//! Tables of requests: what `sidle authz simulate` reads.
//!
//! In:  YAML or JSON, a list of [`AuthorizationCase`]s.   Out: the cases with their lines, or every mistake.

use crate::{
    diagnostic::{Diagnostic, codes},
    sidle::AuthorizationCase,
    source::Text,
    yaml::{self, Budget, Kind, Part, serde::from_node, shape::Shape, walk::walk},
};
use std::sync::LazyLock;

static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<AuthorizationCase>);

/// The cases of `text`, each with its line.
///
/// # Errors
/// Every mistake of form and type.
pub fn authorization_cases(text: &Text) -> Result<Vec<(AuthorizationCase, u32)>, Vec<Diagnostic>> {
    let (documents, mut diagnostics) = yaml::parse(text, Budget::default());
    let mut cases = Vec::new();
    for document in &documents {
        let root = document.root();
        if document.kind(root) != Kind::Sequence {
            let span = document.span_at(root, &[], Part::Value);
            let wrong = Diagnostic::error(codes::WRONG_TYPE, "expected a list of requests");
            diagnostics.push(wrong.at(document.file().clone(), span));
            continue;
        }
        for item in document.items(root) {
            let findings = walk(document, item, &SHAPE);
            let span = document.span(item);
            if findings.diagnostics.is_empty() {
                match from_node(document, item, &findings.unusable) {
                    Ok(case) => cases.push((case, span.line)),
                    Err(error) => diagnostics.push(
                        Diagnostic::error(codes::NOT_CONVERTIBLE, error).at(document.file().clone(), span),
                    ),
                }
            }
            diagnostics.extend(findings.diagnostics);
        }
    }
    if diagnostics.is_empty() { Ok(cases) } else { Err(diagnostics) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidle::Expected;

    fn read(content: &str) -> Result<Vec<(AuthorizationCase, u32)>, Vec<String>> {
        let text = Text { name: "c.yaml".into(), content: content.into() };
        authorization_cases(&text).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn cases_are_read_with_their_lines() {
        let cases =
            read("- url: http://a/\n  expect: deny\n- { claims: { iss: a, groups: [b, 1] }, port: 80 }\n")
                .unwrap();
        assert_eq!(cases.iter().map(|(_, line)| *line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(cases[0].0.expect, Some(Expected::Deny));
        assert_eq!(cases[1].0.claims.as_ref().unwrap()["groups"], serde_json::json!(["b", 1]));
        assert_eq!(read("[{\"url\": \"http://a/\"}]").unwrap().len(), 1);
    }

    #[test]
    fn mistakes_have_their_places() {
        let told = read("- urll: http://a/\n- expect: maybe\n- port: 70000\n").unwrap_err();
        let told: Vec<&str> = told.iter().map(|text| text.split(": ").next().unwrap()).collect();
        assert_eq!(told, ["c.yaml:1:3", "c.yaml:2:11", "c.yaml:3:9"]);
        assert!(read("a: b").unwrap_err()[0].contains("expected a list"));
    }
}
