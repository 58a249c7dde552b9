//! The access log of every connection manager and TCP proxy.

use crate::{
    format,
    value::{Object, extension},
};
use serde_json::{Value, json};
use sidle_model::ir::{AccessLogFormat, Ir};

/// The `AccessLog` list: empty when there is none.
pub(crate) fn access_log(ir: &Ir) -> Vec<Value> {
    let Some(log) = &ir.settings.access_log else { return Vec::new() };
    let format = match &log.format {
        AccessLogFormat::Text(text) => {
            json!({"text_format_source": {"inline_string": format::text(text)}})
        }
        AccessLogFormat::Json(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), format::text(value).into()));
            json!({"json_format": Value::Object(fields.collect())})
        }
    };
    vec![extension(
        "envoy.access_loggers.file",
        Object::typed("extensions.access_loggers.file.v3.FileAccessLog")
            .with("path", log.path.to_string_lossy())
            .with("log_format", format),
    )]
}
