//! What a Pod's labels and annotations ask for: Istio's, then Linkerd's for what Istio's leave open.
//!
//! Not here: what becomes of it (`containers`).

use super::{Options, Report, value::Value};
use crate::intercept::{Choice, Item, Mode, Range, is_interface, port};
use sidle_model::{
    diagnostic::codes,
    source::Text,
    yaml::{self, Budget},
};
use std::ops::RangeInclusive;

/// Ports that one range of Linkerd's may stand for.
const LONGEST_RANGE: u16 = 1000;
/// Prefixes of annotations that somebody expects an injector to act upon.
const INJECTORS: [&str; 5] = [
    "sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
    "readiness.status.sidecar.istio.io/",
    "config.linkerd.io/",
    "config.alpha.linkerd.io/",
];

/// What of one resource the proxy asks for, and gets at most.
#[derive(Debug, Clone, Default)]
pub struct Resource {
    pub request: Option<String>,
    pub limit: Option<String>,
}

/// How one sidecar is to be.
#[derive(Debug)]
pub struct Settings {
    pub image: String,
    pub intercept_image: String,
    /// How connections to the workload are captured; `None`: nothing is captured.
    pub mode: Option<Mode>,
    /// Flags of `sidle intercept apply`.
    pub capture: Vec<(&'static str, String)>,
    /// Whether questions to name servers are captured.
    pub dns: bool,
    pub cpu: Resource,
    pub memory: Resource,
    /// Of the proxy's own log.
    pub log: Option<String>,
    pub workers: Option<u16>,
    /// Whether the application waits for the proxy.
    pub hold: bool,
}

/// What a Pod asks for, or why it gets no sidecar.
pub fn read(metadata: Option<&Value>, options: &Options, report: &mut Report) -> Result<Settings, String> {
    let of = |key| metadata.and_then(|metadata| metadata.get(key)).map(Value::entries).unwrap_or_default();
    let mut reader = Reader {
        report,
        asked: Asked { mode: options.intercept.then_some(Mode::Redirect), hold: true, ..Asked::default() },
    };
    // What comes later holds: Istio's over Linkerd's, and its label over its annotation, however they stand in the file.
    let (linkerd, others): (Vec<_>, Vec<_>) =
        of("annotations").iter().partition(|(key, _)| key.contains("linkerd.io/"));
    let labels = of("labels").iter().filter(|(key, _)| key == INJECT);
    for (key, value) in linkerd.into_iter().chain(others).chain(labels) {
        reader.one(key, value);
    }
    let asked = reader.asked;
    if let Some(why) = asked.refused {
        return Err(why);
    }
    let mut capture = Vec::new();
    for (flag, items) in asked.capture {
        match capture.iter_mut().find(|(known, _): &&mut (&str, String)| *known == flag) {
            Some((_, list)) if !list.is_empty() && !items.is_empty() => *list = format!("{list},{items}"),
            Some((_, list)) => list.push_str(&items),
            None => capture.push((flag, items)),
        }
    }
    let resource = |istio: Resource, linkerd: Resource, request: &str, limit: Option<&str>| {
        let given = |one: &Resource| one.request.is_some() || one.limit.is_some();
        match (given(&istio), given(&linkerd)) {
            (true, _) => istio,
            (false, true) => linkerd,
            (false, false) => Resource { request: Some(request.into()), limit: limit.map(Into::into) },
        }
    };
    let [cpu, memory] = asked.istio;
    let [linkerd_cpu, linkerd_memory] = asked.linkerd;
    Ok(Settings {
        image: asked.image.unwrap_or_else(|| options.image.clone()),
        intercept_image: options.intercept_image.clone(),
        mode: asked.mode,
        capture,
        dns: asked.dns,
        cpu: resource(cpu, linkerd_cpu, "50m", None),
        memory: resource(memory, linkerd_memory, "64Mi", Some("256Mi")),
        log: asked.log,
        workers: asked.workers,
        hold: asked.hold,
    })
}

const INJECT: &str = "sidecar.istio.io/inject";

#[derive(Default)]
struct Asked {
    refused: Option<String>,
    image: Option<String>,
    mode: Option<Mode>,
    capture: Vec<(&'static str, String)>,
    dns: bool,
    /// Processor and memory.
    istio: [Resource; 2],
    linkerd: [Resource; 2],
    log: Option<String>,
    workers: Option<u16>,
    hold: bool,
}

struct Reader<'a> {
    report: &'a mut Report,
    asked: Asked,
}

impl Reader<'_> {
    fn one(&mut self, key: &str, value: &Value) {
        if !key.contains("istio.io/") && !key.contains("linkerd.io/") {
            return;
        }
        let Some(text) = value.text().map(str::trim) else {
            let message = format!("`{key}` is no text: put it into quotes");
            return self.report.error(codes::WRONG_TYPE, value.at, message);
        };
        if let Err(why) = self.known(key, text, value) {
            self.report.error(codes::BAD_VALUE, value.at, format!("`{key}`: {why}"));
        }
    }

    fn known(&mut self, key: &str, text: &str, value: &Value) -> Result<(), String> {
        let asked = &mut self.asked;
        match key {
            INJECT => match yes(text)? {
                true => asked.refused = None,
                false => asked.refused = Some(format!("`{key}` says so")),
            },
            "linkerd.io/inject" => match text {
                "enabled" | "ingress" => {}
                "disabled" => asked.refused = Some(format!("`{key}` says so")),
                _ => return Err(format!("`{text}` is none of enabled, ingress, disabled")),
            },
            "sidecar.istio.io/interceptionMode" => self.mode(text)?,
            "sidecar.istio.io/proxyImage" if text.is_empty() => return Err("an image has a name".into()),
            "sidecar.istio.io/proxyImage" => asked.image = Some(text.to_owned()),
            "sidecar.istio.io/proxyCPU" => asked.istio[0].request = Some(quantity(text)?),
            "sidecar.istio.io/proxyCPULimit" => asked.istio[0].limit = Some(quantity(text)?),
            "sidecar.istio.io/proxyMemory" => asked.istio[1].request = Some(quantity(text)?),
            "sidecar.istio.io/proxyMemoryLimit" => asked.istio[1].limit = Some(quantity(text)?),
            "config.linkerd.io/proxy-cpu-request" => asked.linkerd[0].request = Some(quantity(text)?),
            "config.linkerd.io/proxy-cpu-limit" => asked.linkerd[0].limit = Some(quantity(text)?),
            "config.linkerd.io/proxy-memory-request" => asked.linkerd[1].request = Some(quantity(text)?),
            "config.linkerd.io/proxy-memory-limit" => asked.linkerd[1].limit = Some(quantity(text)?),
            "sidecar.istio.io/logLevel" => asked.log = Some(level(text)?.to_owned()),
            "config.linkerd.io/proxy-await" => match text {
                "enabled" => asked.hold = true,
                "disabled" => asked.hold = false,
                _ => return Err(format!("`{text}` is neither enabled nor disabled")),
            },
            "traffic.sidecar.istio.io/includeInboundPorts" => self.choice::<u16>("inbound-ports", text)?,
            "traffic.sidecar.istio.io/excludeInboundPorts" => {
                self.items::<u16>("exclude-inbound-ports", text)?
            }
            "traffic.sidecar.istio.io/includeOutboundIPRanges" => {
                self.choice::<Range>("outbound-ranges", text)?
            }
            "traffic.sidecar.istio.io/excludeOutboundIPRanges" | "config.linkerd.io/skip-subnets" => {
                self.items::<Range>("exclude-outbound-ranges", text)?;
            }
            "traffic.sidecar.istio.io/includeOutboundPorts" => self.items::<u16>("outbound-ports", text)?,
            "traffic.sidecar.istio.io/excludeOutboundPorts" => {
                self.items::<u16>("exclude-outbound-ports", text)?
            }
            "traffic.sidecar.istio.io/excludeInterfaces" => {
                if let Some(name) = text.split(',').find(|name| !is_interface(name)) {
                    return Err(format!(
                        "`{name}` is no network interface: 1 to 15 letters, digits and `._-@:`"
                    ));
                }
                asked.capture.push(("exclude-interfaces", text.to_owned()));
            }
            "config.linkerd.io/skip-inbound-ports" => self.ports("exclude-inbound-ports", text)?,
            "config.linkerd.io/skip-outbound-ports" => self.ports("exclude-outbound-ports", text)?,
            "proxy.istio.io/config" => self.proxy_config(text, value),
            "sidecar.istio.io/rewriteAppHTTPProbers" if yes(text)? => {
                let message = "`sidecar.istio.io/rewriteAppHTTPProbers` is not applied: probes reach the application as other requests do. \
                               Where the workload takes mTLS alone, leave their port out by `traffic.sidecar.istio.io/excludeInboundPorts`";
                self.report.warning(codes::NOT_APPLIED, value.at, message);
            }
            // What is so anyway.
            "sidecar.istio.io/rewriteAppHTTPProbers" => {}
            "sidecar.istio.io/nativeSidecar" if yes(text)? => {}
            // Of an earlier run of Istio's.
            "sidecar.istio.io/status" => {}
            _ if INJECTORS.iter().any(|prefix| key.starts_with(prefix)) => self.not_applied(key, value),
            _ => {}
        }
        Ok(())
    }

    fn not_applied(&mut self, what: &str, value: &Value) {
        self.report.warning(codes::NOT_APPLIED, value.at, format!("`{what}` is not applied"));
    }

    fn mode(&mut self, text: &str) -> Result<(), String> {
        self.asked.mode = match text {
            "REDIRECT" => Some(Mode::Redirect),
            "TPROXY" => Some(Mode::Tproxy),
            "NONE" => None,
            _ => return Err(format!("`{text}` is none of REDIRECT, TPROXY, NONE")),
        };
        Ok(())
    }

    fn choice<T: Item>(&mut self, flag: &'static str, text: &str) -> Result<(), String> {
        text.parse::<Choice<T>>()?;
        self.asked.capture.push((flag, text.to_owned()));
        Ok(())
    }

    fn items<T: Item>(&mut self, flag: &'static str, text: &str) -> Result<(), String> {
        match text.parse::<Choice<T>>()? {
            Choice::All => Err("`*` has no meaning here".into()),
            Choice::Only(_) => {
                self.asked.capture.push((flag, text.to_owned()));
                Ok(())
            }
        }
    }

    /// Linkerd's lists have ranges.
    fn ports(&mut self, flag: &'static str, text: &str) -> Result<(), String> {
        let mut ports = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let number = |text: &str| port(text.trim()).map_err(|why| format!("`{item}`: {why}"));
            let range: RangeInclusive<u16> = number(first)?..=number(last)?;
            if range.is_empty() || range.end() - range.start() >= LONGEST_RANGE {
                return Err(format!("`{item}` is no range of up to {LONGEST_RANGE} ports"));
            }
            ports.extend(range.map(|port| port.to_string()));
        }
        self.asked.capture.push((flag, ports.join(",")));
        Ok(())
    }

    /// Istio's ProxyConfig as YAML in an annotation. What is wrong with it stands where the annotation does.
    fn proxy_config(&mut self, text: &str, at: &Value) {
        let source = Text { name: "proxy.istio.io/config".into(), content: text.into() };
        for piece in yaml::pieces(&source, Budget::default()) {
            if let Some(mistake) = piece.diagnostics.first() {
                let message = format!("`proxy.istio.io/config`: {}", mistake.message);
                return self.report.error(codes::SYNTAX, at.at, message);
            }
            for document in piece.documents {
                let root = Value::read(&document, document.root());
                for (key, value) in root.entries() {
                    if let Err(why) = self.proxy_setting(key, value, at) {
                        let message = format!("`{key}` of `proxy.istio.io/config`: {why}");
                        self.report.error(codes::BAD_VALUE, at.at, message);
                    }
                }
            }
        }
    }

    fn proxy_setting(&mut self, key: &str, value: &Value, at: &Value) -> Result<(), String> {
        let text = value.scalar().unwrap_or_default();
        match key {
            "holdApplicationUntilProxyStarts" => self.asked.hold = yes(text)?,
            "concurrency" => {
                let workers: u16 = text
                    .parse()
                    .map_err(|_| format!("`{text}` is no number of threads; 0 is one for each core"))?;
                self.asked.workers = (workers > 0).then_some(workers);
            }
            "interceptionMode" => self.mode(text)?,
            "proxyMetadata" => {
                for (name, value) in value.entries() {
                    match (name.as_str(), value.scalar()) {
                        ("ISTIO_META_DNS_CAPTURE", Some(text)) => self.asked.dns = yes(text)?,
                        _ => self.not_applied(&format!("{name} of proxy.istio.io/config"), at),
                    }
                }
            }
            _ => self.not_applied(&format!("{key} of proxy.istio.io/config"), at),
        }
        Ok(())
    }
}

fn yes(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Ok(true),
        "false" | "no" | "n" | "off" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// An amount as Kubernetes writes it.
fn quantity(text: &str) -> Result<String, String> {
    const UNITS: [&str; 14] = ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &text[..text.len() - unit.len()];
    match number.parse::<f64>() {
        Ok(_) if UNITS.contains(&unit) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no amount as 100m or 128Mi")),
    }
}

/// Istio's levels, and ours.
fn level(text: &str) -> Result<&str, String> {
    match text {
        "trace" | "debug" | "info" | "error" | "off" => Ok(text),
        "warning" | "warn" => Ok("warn"),
        "critical" => Ok("error"),
        _ => Err(format!("`{text}` is none of trace, debug, info, warning, error, critical, off")),
    }
}
