//! `/`, `/help`, and what to say when there is nothing at a path.

use super::{
    Surface,
    answer::{Answer, HTML, TEXT, answer, text},
    table::{Ask, ENDPOINTS},
};
use http::{HeaderValue, StatusCode, header};
use std::fmt::Write;

pub(super) fn html(_: &Ask) -> Answer {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><head><title>Sidle admin</title></head><body><h1>Sidle admin</h1><table>\n",
    );
    for endpoint in ENDPOINTS {
        let (path, help) = (escape(endpoint.path), escape(endpoint.help));
        let name =
            if endpoint.post { format!("POST {path}") } else { format!("<a href=\"{path}\">{path}</a>") };
        page += &format!("<tr><td>{name}</td><td>{help}</td></tr>\n");
    }
    page += "</table></body></html>\n";
    let mut answer = answer(StatusCode::OK, HTML, page);
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    answer
}

pub(super) fn help(_: &Ask) -> Answer {
    text(list())
}

pub(super) fn not_found(surface: Surface) -> Answer {
    let body = match surface {
        Surface::Admin => format!("nothing here; admin has:\n{}", list()),
        Surface::Metrics | Surface::Health => "nothing here\n".to_owned(),
    };
    answer(StatusCode::NOT_FOUND, TEXT, body)
}

fn list() -> String {
    ENDPOINTS.iter().fold(String::new(), |mut list, endpoint| {
        let method = if endpoint.post { "POST" } else { "GET" };
        // Writing to a string does not fail.
        let _ = writeln!(list, "  {method:4} {:18} {}", endpoint.path, endpoint.help);
        list
    })
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, letter| {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn html_is_escaped() {
        assert_eq!(super::escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
