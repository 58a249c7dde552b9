//! The proxy's own log: to standard error, at a level that can be changed while it runs.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Changes the level.
#[derive(Clone)]
pub struct Handle(Option<reload::Handle<EnvFilter, Registry>>);

/// Unless `SIDLE_LOG` says otherwise.
const DEFAULT: &str = "info";

/// Starts logging. A second start in one process changes nothing.
pub fn start() -> Handle {
    let filter = std::env::var("SIDLE_LOG").ok().and_then(|text| EnvFilter::try_new(text).ok());
    let (filter, handle) = reload::Layer::new(filter.unwrap_or_else(|| EnvFilter::new(DEFAULT)));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
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
        let filter = EnvFilter::try_new(text).map_err(|error| {
            format!("`{text}` is not a level: {error}; expected error, warn, info, debug, trace or off")
        })?;
        let handle = self.0.as_ref().ok_or("another subscriber has the log")?;
        handle.reload(filter).map_err(|error| error.to_string())
    }
}
