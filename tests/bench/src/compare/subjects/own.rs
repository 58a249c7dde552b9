//! A proxy of the user's.

use super::Reason;
use crate::compare::{scenarios::Protocol, stage::Setup};
use crate::void::Void;
use std::process::Command;

/// A name, and a command with blanks to fill in: `{scenario}`, `{port}`, `{a}`, `{b}`, `{certs}`, `{folder}`, `{clients}`, `{upstream}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// In tables.
    pub name: String,
    words: Vec<String>,
}

impl Own {
    /// Of `name=command`.
    ///
    /// # Errors
    /// When there is no name that a column and a folder may have, or no command.
    pub fn parse(text: &str) -> Result<Self, Void> {
        let (name, command) = text.split_once('=').unwrap_or_default();
        let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        // It is a column of tables, and a folder of `--keep`.
        let possible = !name.is_empty() && !name.starts_with('.') && !name.contains(['|', '/']);
        if !possible || words.is_empty() {
            return Err(Void::usage(format!("--own wants 'name=command', not {text:?}")));
        }
        Ok(Own { name: name.to_owned(), words })
    }

    /// What runs it on a setup.
    pub fn command(&self, setup: &Setup<'_>) -> Result<Command, Reason> {
        let scenario = setup.scenario;
        let blanks = [
            ("{scenario}", scenario.name.to_owned()),
            ("{port}", setup.address.port().to_string()),
            ("{a}", setup.upstreams[0].to_string()),
            ("{b}", setup.upstreams[1].to_string()),
            ("{certs}", setup.certificates.display().to_string()),
            ("{folder}", setup.folder().display().to_string()),
            ("{clients}", spoken(scenario.clients.protocol, scenario.clients.tls)),
            ("{upstream}", spoken(scenario.upstream, scenario.upstream_tls)),
        ];
        let fill =
            |word: &String| blanks.iter().fold(word.clone(), |word, (blank, text)| word.replace(blank, text));
        let mut words = self.words.iter().map(fill);
        let program = words.next().unwrap_or_default();
        let mut command = Command::new("sh");
        // A program that cannot be found is told of by the shell, like one that fails.
        command.args(["-c", "exec \"$0\" \"$@\"", &program]).args(words);
        Ok(command)
    }
}

fn spoken(protocol: Protocol, tls: bool) -> String {
    let protocol = match protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
    };
    format!("{protocol}{}", if tls { "+tls" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_command() {
        let own = Own::parse("mine=/bin/mine --port {port} --mode=x").unwrap();
        assert_eq!((own.name.as_str(), own.words.len()), ("mine", 4));
        for wrong in ["mine", "=x", "mine= ", "a|b=x", "a/b=x", "..=x"] {
            assert!(Own::parse(wrong).is_err(), "{wrong}");
        }
    }
}
