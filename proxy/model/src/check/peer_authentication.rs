//! PeerAuthentications: selector and ports.

use super::{
    http_match::labels,
    report::{At, Report},
};
use crate::{diagnostic::codes, istio::PeerAuthentication};

pub(super) fn check(spec: &PeerAuthentication, report: &mut Report<'_>) {
    let root = At::SPEC;
    if let Some(selector) = &spec.selector {
        labels(&selector.match_labels, root.to("selector").to("matchLabels"), report);
    }
    let ports = root.to("portLevelMtls");
    if !spec.port_level_mtls.is_empty() && spec.labels().is_none() {
        let message = "modes of single ports need a `selector` with `matchLabels`";
        report.error_help(ports, codes::MISSING_FIELD, message, "say whose ports they are");
    }
    for key in spec.port_level_mtls.keys() {
        if !key.parse().is_ok_and(|port: u16| port > 0) {
            let message = format!("`{key}` is not a port number; named ports cannot stand here");
            report.error(ports.to(key.as_str()), codes::OUT_OF_RANGE, message);
        }
    }
}
