//! The rules, read as they are written: no types, no index, one regular expression a value, as Istio writes them for Envoy.

use crate::generate::{Request, Set};
use regex::bytes::Regex;
use serde_json::Value;
use std::{cell::RefCell, collections::HashMap, net::IpAddr, sync::LazyLock};

/// What policies say.
#[derive(Debug, PartialEq)]
pub struct Opinion {
    /// The provider that is asked.
    pub asked: Option<String>,
    pub allowed: bool,
    pub audited: bool,
    pub dry_run_deny: Option<bool>,
    pub dry_run_allow: Option<bool>,
}

pub fn opinion(set: &Set, request: &Request) -> Opinion {
    let here = |policy: &&Value| ["a", "istio-system"].contains(&text(&policy["metadata"]["namespace"]));
    let dry = |policy: &Value| policy["metadata"]["annotations"]["istio.io/dry-run"] == "true";
    let of = |action: &str, tried: bool| -> Vec<&Value> {
        let given = |policy: &Value| policy["spec"].get("action").map_or("ALLOW", text).to_owned();
        set.policies
            .iter()
            .filter(here)
            .filter(|policy| given(policy) == action && dry(policy) == tried)
            .collect()
    };
    let met = |policies: &[&Value], lets_through: bool| {
        policies.iter().any(|policy| Asking { set, request, policy, lets_through }.holds())
    };
    let mut custom = of("CUSTOM", false);
    custom.sort_by_key(|policy| {
        format!(
            "ns[{}]-policy[{}]-",
            text(&policy["metadata"]["namespace"]),
            text(&policy["metadata"]["name"])
        )
    });
    let first = custom.into_iter().find(|policy| met(&[*policy], false));
    let (deny, allow) = (of("DENY", false), of("ALLOW", false));
    let (tried_deny, tried_allow) = (of("DENY", true), of("ALLOW", true));
    Opinion {
        asked: first.map(|policy| text(&policy["spec"]["provider"]["name"]).to_owned()),
        allowed: !met(&deny, false) && (allow.is_empty() || met(&allow, true)),
        audited: met(&of("AUDIT", false), false),
        dry_run_deny: (!tried_deny.is_empty()).then(|| !met(&tried_deny, false)),
        dry_run_allow: (!tried_allow.is_empty()).then(|| met(&tried_allow, true)),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a text meets `pattern`, which stands for the whole of it.
fn full(pattern: &str, subject: &[u8]) -> bool {
    thread_local!(static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default());
    KNOWN.with_borrow_mut(|known| {
        let new = || Regex::new(&format!("^(?s-u:{pattern})$")).unwrap();
        known.entry(pattern.to_owned()).or_insert_with(new).is_match(subject)
    })
}

/// `a`, `a*`, `*a`, and `*` for whatever is not empty.
fn pattern(value: &str) -> String {
    match value {
        "*" => ".+".to_owned(),
        _ => regex::escape(value).replace(r"\*", ".*"),
    }
}

struct Asking<'a> {
    set: &'a Set,
    request: &'a Request,
    policy: &'a Value,
    lets_through: bool,
}

const ONLY_HTTP: [&str; 12] = [
    "hosts",
    "notHosts",
    "methods",
    "notMethods",
    "paths",
    "notPaths",
    "requestPrincipals",
    "notRequestPrincipals",
    "request.headers",
    "request.auth",
    "request.auth.claims",
    "request.auth.principal",
];

impl Asking<'_> {
    fn holds(&self) -> bool {
        items(&self.policy["spec"]["rules"]).iter().any(|rule| self.rule_holds(rule))
    }

    fn rule_holds(&self, rule: &Value) -> bool {
        if self.request.http.is_none() && self.lets_through && self.asks_for_http(rule) {
            return false;
        }
        let any = |list: &str, part: &str| {
            let clauses = items(&rule[list]);
            clauses.is_empty() || clauses.iter().any(|clause| self.clause_holds(&clause[part]))
        };
        any("from", "source")
            && any("to", "operation")
            && items(&rule["when"]).iter().all(|one| self.condition_holds(one))
    }

    fn asks_for_http(&self, rule: &Value) -> bool {
        let named = |name: &str| ONLY_HTTP.contains(&name);
        let in_lists = |list: &str, part: &str| {
            items(&rule[list])
                .iter()
                .any(|clause| clause[part].as_object().unwrap().keys().any(|name| named(name)))
        };
        let keys = items(&rule["when"]).iter().map(|one| text(&one["key"]));
        in_lists("from", "source")
            || in_lists("to", "operation")
            || keys.into_iter().any(|key| key.starts_with("request."))
    }

    fn clause_holds(&self, clause: &Value) -> bool {
        clause.as_object().unwrap().iter().all(|(list, values)| {
            let (positive, name) = match list.strip_prefix("not") {
                Some(rest) => (false, format!("{}{}", rest[..1].to_lowercase(), &rest[1..])),
                None => (true, list.clone()),
            };
            self.judge(&name, values, positive)
        })
    }

    fn condition_holds(&self, condition: &Value) -> bool {
        let key = text(&condition["key"]);
        ["values", "notValues"].into_iter().all(|list| match condition.get(list) {
            Some(values) => self.judge(key, values, list == "values"),
            None => true,
        })
    }

    /// Whether values that must be met are, or those that must not be are not.
    fn judge(&self, what: &str, values: &Value, positive: bool) -> bool {
        let of_http = ONLY_HTTP.contains(&what) || what.starts_with("request.");
        if of_http && self.request.http.is_none() {
            return true; // left out: the rule only refuses, or it would not have come here
        }
        // One reading is enough to refuse, and to be met where nothing may be.
        let generous = self.lets_through != positive;
        let met = self.any_met(what, items(values), generous);
        met == positive
    }

    fn any_met(&self, what: &str, values: &[Value], generous: bool) -> bool {
        let request = self.request;
        let texts = || values.iter().map(text);
        let by = |subject: Option<&str>| {
            subject.is_some_and(|subject| texts().any(|value| full(&pattern(value), subject.as_bytes())))
        };
        let address = |address: Option<IpAddr>| {
            address.is_some_and(|address| texts().any(|value| covers(value, address)))
        };
        let claim = |path: &[&str]| self.claim(path, &texts().map(pattern).collect::<Vec<_>>());
        match what {
            "principals" | "source.principal" => texts().any(|value| self.is_principal(value)),
            "namespaces" | "source.namespace" => {
                texts().any(|value| self.peer(&format!("[^/]+/(.*/)?ns/{}/.*", value.replace('*', "[^/]*"))))
            }
            "serviceAccounts" | "source.serviceAccount" => texts().any(|value| {
                let own = text(&self.policy["metadata"]["namespace"]);
                let (namespace, account) = value.split_once('/').unwrap_or((own, value));
                self.peer(&format!(
                    "[^/]+/ns/{}/(.+/)?sa/{}(/.*)?",
                    regex::escape(namespace),
                    regex::escape(account)
                ))
            }),
            "trustDomains" | "source.trustDomain" => texts().any(|value| {
                let known = value == "cluster.local" || self.set.domains.contains(&value);
                let names = if known { self.set.domains.clone() } else { vec![value] };
                names.iter().any(|name| {
                    self.peer(&format!(
                        "{}(/.*)?",
                        pattern(name).replace('.', "[^/]").replace("\\[^/]", "\\.")
                    ))
                })
            }),
            "ipBlocks" | "source.ip" => address(request.source),
            "remoteIpBlocks" | "remote.ip" => address(request.remote),
            "destination.ip" => address(request.destination),
            "ports" | "destination.port" => {
                request.port.is_some_and(|port| texts().any(|value| value == port.to_string()))
            }
            "connection.sni" => by(request.server_name),
            "requestPrincipals" | "request.auth.principal" => texts().any(|value| self.is_token(value)),
            "request.auth.audiences" => claim(&["aud"]),
            "request.auth.presenter" => claim(&["azp"]),
            "request.auth.claims[g]" => claim(&["g"]),
            "request.auth.claims[scope]" => claim(&["scope"]),
            "request.auth.claims[n][m]" => claim(&["n", "m"]),
            "methods" | "request.headers[:method]" => by(request.http.as_ref().map(|http| http.method)),
            "hosts" => self.host(&texts().collect::<Vec<_>>(), generous),
            "request.headers[host]" => by(request.http.as_ref().map(|http| http.authority)),
            "paths" => self.path(&texts().collect::<Vec<_>>(), generous),
            "request.headers[x-a]" => self.header("x-a", &texts().collect::<Vec<_>>(), generous),
            "request.headers[X-B]" => self.header("x-b", &texts().collect::<Vec<_>>(), generous),
            other => panic!("{other}"),
        }
    }

    fn peer(&self, pattern: &str) -> bool {
        self.request.principal.is_some_and(|principal| full(pattern, principal.as_bytes()))
    }

    fn is_principal(&self, value: &str) -> bool {
        let mut names = vec![value.to_owned()];
        let (domain, rest) = value.split_once('/').unwrap_or(("*", ""));
        let own = |name: &&str| full(&pattern(domain), name.as_bytes());
        if domain != "*" && (domain == "cluster.local" || self.set.domains.iter().any(own)) {
            names = self.set.domains.iter().map(|name| format!("{name}/{rest}")).collect();
            if domain.starts_with('*') {
                names.push(value.to_owned());
            }
        }
        names.iter().any(|name| self.peer(&pattern(name)))
    }

    fn is_token(&self, value: &str) -> bool {
        let Some(claims) = &self.request.claims else { return false };
        let (Some(Value::String(issuer)), Some(Value::String(subject))) =
            (claims.get("iss"), claims.get("sub"))
        else {
            return false;
        };
        let (of_issuer, of_subject) = match value.rfind('/') {
            Some(at) => (&value[..at], &value[at + 1..]),
            None if value == "*" => ("*", "*"),
            None if value.starts_with('*') => ("*", value),
            None => (value, "*"),
        };
        full(&pattern(of_issuer), issuer.as_bytes()) && full(&pattern(of_subject), subject.as_bytes())
    }

    fn claim(&self, path: &[&str], patterns: &[String]) -> bool {
        let mut found = self.request.claims.clone().map_or(Value::Null, Value::Object);
        for name in path {
            found = found[*name].clone();
        }
        let words: Vec<String> = match found {
            Value::String(one) if path == ["scope"] => one.split(' ').map(str::to_owned).collect(),
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().map(|one| text(one).to_owned()).collect(),
            _ => Vec::new(),
        };
        words.iter().any(|word| patterns.iter().any(|pattern| full(pattern, word.as_bytes())))
    }

    fn host(&self, values: &[&str], generous: bool) -> bool {
        let Some(http) = &self.request.http else { return false };
        let mut readings = vec![http.authority.to_lowercase()];
        if generous {
            let name = readings[0].split(':').next().unwrap().to_owned();
            readings.push(name.trim_end_matches('.').to_owned());
        }
        let is = |reading: &String| {
            values.iter().any(|value| full(&format!("(?i){}", pattern(value)), reading.as_bytes()))
        };
        readings.iter().any(is)
    }

    fn header(&self, name: &str, values: &[&str], generous: bool) -> bool {
        let Some(http) = &self.request.http else { return false };
        let lines: Vec<&[u8]> =
            http.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| *value).collect();
        let is = |line: &[u8]| values.iter().any(|value| *value == "*" || full(&pattern(value), line));
        match generous {
            true => {
                let parts = lines.iter().flat_map(|line| line.split(|byte| *byte == b','));
                let mut parts = parts.map(|part| part.trim_ascii());
                lines.iter().any(|line| is(line))
                    || (lines.len() > 1 && is(&lines.join(&b","[..])))
                    || (lines.iter().any(|line| line.contains(&b',')) && parts.any(&is))
            }
            false => !lines.is_empty() && lines.iter().all(|line| is(line)),
        }
    }

    fn path(&self, values: &[&str], generous: bool) -> bool {
        let Some(http) = self.request.http.as_ref().filter(|http| http.method != "CONNECT") else {
            return false;
        };
        let is = |path: &str, value: &str| full(&path_pattern(value), path.as_bytes());
        let odd = |text: &str| text.contains(['%', ';', '\\']) || text.contains("//");
        let written = |path: &str| values.iter().any(|value| is(path, value));
        let plainly = |path: &str| values.iter().any(|value| !odd(value) && is(&reread(path), value));
        let oddly = |path: &str| values.iter().any(|value| odd(value) && is(path, value));
        // A server may resolve dot segments and look no further, or read on from there.
        let sent = [http.path.clone(), without_dots(&http.path)];
        match generous {
            true => sent.iter().any(|path| written(path) || plainly(path)),
            false => sent.iter().all(|path| written(path) && (plainly(path) || oddly(path))),
        }
    }
}

/// The path when the dot segments in it are resolved, from left to right, and the rest is left alone.
fn without_dots(path: &str) -> String {
    static HERE: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"(?i)/(?:\.|%2e)(?:;[^/]*)?(/|$)").unwrap());
    static UP: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"(?i)(?:/[^/]*)?/(?:\.|%2e){2}(?:;[^/]*)?(/|$)").unwrap());
    let mut path = path.to_owned();
    for segments in [&HERE, &UP] {
        while segments.is_match(&path) {
            path = segments.replace(&path, "/").into_owned();
        }
    }
    path
}

/// Envoy's expression of a template, any character taken for one of a segment.
fn path_pattern(value: &str) -> String {
    match value.contains('{') {
        true => regex::escape(value).replace(r"\{\*\*\}", ".*").replace(r"\{\*\}", "[^/]+"),
        false => pattern(value),
    }
}

/// As an application reads a path that decodes it, takes off parameters and drops empty segments.
fn reread(path: &str) -> String {
    static ESCAPE: LazyLock<regex::Regex> = LazyLock::new(|| regex::Regex::new("%([0-9a-fA-F]{2})").unwrap());
    static PARAMETERS: LazyLock<regex::Regex> = LazyLock::new(|| regex::Regex::new(r";[^/\\]*").unwrap());
    let decoded = ESCAPE.replace_all(path, |found: &regex::Captures<'_>| {
        char::from(u8::from_str_radix(&found[1], 16).unwrap()).to_string()
    });
    let bare = PARAMETERS.replace_all(&decoded, "").replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    for segment in bare.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = kept.pop(),
            segment => kept.push(segment),
        }
    }
    let open = bare.ends_with('/') || bare.ends_with("/.") || bare.ends_with("/..");
    let end = if open && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

fn covers(network: &str, address: IpAddr) -> bool {
    let (base, length) = network.split_once('/').unwrap_or((network, "128"));
    let bits = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(address) => address.octets().map(|byte| format!("{byte:08b}")).concat(),
        IpAddr::V6(address) => address.octets().map(|byte| format!("{byte:08b}")).concat(),
    };
    let (base, address) = (bits(base.parse().unwrap()), bits(address));
    let length = length.parse::<usize>().unwrap().min(base.len());
    base.len() == address.len() && base[..length] == address[..length]
}
