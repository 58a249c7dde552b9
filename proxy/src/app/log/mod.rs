//! The proxy's own log: to standard error, at a level that can be changed while it runs.
//!
//! Read: [`start`] -> `output` (lines to the stream).

mod output;

use output::Output;
use sidle_telemetry::Telemetry;
use std::{
    io::{IsTerminal, stderr},
    sync::Arc,
};
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Changes the level.
#[derive(Clone)]
pub struct Handle(Option<reload::Handle<EnvFilter, Registry>>);

/// Unless `SIDLE_LOG` says otherwise. What h2 warns of, clients can cause; the metrics count it.
const DEFAULT: &str = "info,h2=error";

/// Starts logging. A second start in one process changes nothing.
pub fn start(telemetry: Arc<Telemetry>) -> Handle {
    let filter = std::env::var("SIDLE_LOG").ok().and_then(|text| EnvFilter::try_new(text).ok());
    let (filter, handle) = reload::Layer::new(filter.unwrap_or_else(|| EnvFilter::new(DEFAULT)));
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let output = Arc::new(Output::new(stderr(), move || telemetry.log_dropped()));
    let lines = fmt::layer().with_writer(output).with_ansi(colour).with_target(false);
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Handle(started.is_ok().then_some(handle))
}

impl Handle {
    /// The filter in force.
    pub fn level(&self) -> String {
        let level = self.0.as_ref().and_then(|handle| handle.with_current(ToString::to_string).ok());
        level.unwrap_or_else(|| "off".to_owned())
    }

    /// Puts another filter in force: a level, or `target=level,…`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn set(&self, text: &str) -> Result<(), String> {
        let filter = filter(text).map_err(|error| format!("{error}; {USAGE}"))?;
        let handle = self.0.as_ref().ok_or("another subscriber has the log")?;
        handle.reload(filter).map_err(|error| error.to_string())
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
/// Crates that have something to say: the first part of a target.
const CRATES: [&str; 7] = ["sidle", "h2", "hyper", "hyper_util", "hickory", "rustls", "tokio"];
const USAGE: &str = "expected error, warn, info, debug, trace or off, or TARGET=LEVEL with commas between, \
                     such as info,sidle::upstream=debug,h2=trace";

/// The filter that `text` says. By itself `EnvFilter` takes every word for a target, so that a misspelt level would silence
/// the log.
fn filter(text: &str) -> Result<EnvFilter, String> {
    for directive in text.split(',') {
        let (target, level) = directive.split_once('=').map_or((None, directive), |(t, l)| (Some(t), l));
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("`{level}` is not a level"));
        }
        let known = |target: &str| {
            let crate_name = target.split("::").next().unwrap_or_default();
            CRATES.iter().any(|name| {
                crate_name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            })
        };
        if let Some(target) = target.filter(|target| !known(target)) {
            return Err(format!("`{target}` is not a target: nothing of this name writes to the log"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| format!("`{text}` is not a filter: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_that_exist() {
        for text in
            ["info", "OFF", "warn,sidle=debug", "sidle::upstream::dns=trace,h2=off", "hickory_net=debug"]
        {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in ["foo", "", "info,", "foo=debug", "sidle", "sidle=loud", "sidle[a]=info", "sidlex=info"] {
            assert!(filter(text).is_err(), "{text}");
        }
        assert!(Handle(None).set("inof").unwrap_err().contains("expected error, warn"));
    }
}
