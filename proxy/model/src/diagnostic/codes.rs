//! Every diagnostic's code, once.
//!
//! `SDL00xx` reading and YAML, `SDL01xx` fields and types, `SDL02xx` values, `SDL03xx` references, `SDL04xx` rules that
//! cannot take effect, `SDL05xx` accepted and not applied, `SDL06xx` decided by lowering.
//! Invariant: a code keeps its meaning for ever; a retired one is not used again.

/// A code of [`TABLE`].
pub type Code = &'static str;

macro_rules! codes {
    ($($(#[$section:meta])* $name:ident = $code:literal: $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: Code = $code;)*

        /// Code and one-line meaning of every diagnostic, in order.
        pub const TABLE: &[(Code, &str)] = &[$(($code, $meaning)),*];
    };
}

codes! {
    UNREADABLE = "SDL0001": "A path cannot be read, or a pattern names no file.";
    TOO_LARGE = "SDL0002": "A file, or all of them together, exceed the size limit.";
    NOT_TEXT = "SDL0003": "A file is not UTF-8 text.";
    SYNTAX = "SDL0004": "A document is not well-formed YAML or JSON.";
    DUPLICATE_KEY = "SDL0005": "A mapping has the same key twice.";
    BUDGET = "SDL0006": "A document nests too deep, has too many values, or expands too many aliases.";
    TAG = "SDL0007": "A YAML tag that is not of the JSON types.";
    KEY = "SDL0008": "A mapping key that is not a text.";
    NOT_A_MANIFEST = "SDL0010": "A document is not an object with `apiVersion`, `kind` and `metadata`.";
    UNKNOWN_KIND = "SDL0011": "A kind or version that no known API has.";
    NOTHING_READ = "SDL0012": "No manifest was found at all.";
    DUPLICATE_RESOURCE = "SDL0013": "Two resources of one kind have the same name and namespace.";
    EMPTIED = "SDL0014": "A file that held resources when it was last accepted is empty.";

    UNKNOWN_FIELD = "SDL0101": "A field that the kind does not have.";
    WRONG_TYPE = "SDL0102": "A value of another type than the field's.";
    UNKNOWN_VALUE = "SDL0103": "A value that is not one of the field's.";
    MISSING_FIELD = "SDL0104": "A required field is absent.";
    OUT_OF_RANGE = "SDL0105": "A number outside the field's range.";
    BAD_DURATION = "SDL0106": "A text that is not a duration.";
    EXCLUSIVE_FIELDS = "SDL0107": "Fields of which only one may be set.";
    NOT_CONVERTIBLE = "SDL0108": "A document that cannot be read as its kind.";

    BAD_HOST = "SDL0201": "A host name that is not one.";
    DUPLICATE_HOST = "SDL0202": "The same host twice in one resource.";
    EMPTY_LIST = "SDL0203": "A list that must have an item has none.";
    BAD_REGEX = "SDL0204": "A regular expression that does not compile.";
    BAD_WEIGHT = "SDL0205": "Weights of which no traffic can be made.";
    BAD_STATUS = "SDL0206": "A number that is not an allowed HTTP or gRPC status.";
    BAD_CIDR = "SDL0207": "A text that is not an address or address range.";
    BAD_HEADER = "SDL0208": "A header name or value that is not one.";
    SHORT_DURATION = "SDL0209": "A duration below the least that can be applied.";
    BAD_RETRY = "SDL0210": "A retry policy with an unknown condition.";
    BAD_FAULT = "SDL0211": "A fault that injects nothing.";
    NO_ACTION = "SDL0212": "A rule that says nothing to do.";
    DUPLICATE_SUBSET = "SDL0213": "The same subset name twice in one rule.";
    DUPLICATE_PORT = "SDL0214": "The same port name or number twice.";
    BAD_PROTOCOL = "SDL0215": "A protocol that no port can have.";
    BAD_TLS = "SDL0216": "TLS settings that contradict their mode.";
    BAD_ADDRESS = "SDL0217": "A text that is not a socket address.";
    BAD_LABEL = "SDL0218": "A label that Kubernetes would not take.";
    BAD_NAME = "SDL0219": "A name that Kubernetes would not take.";
    BAD_ENDPOINTS = "SDL0220": "Endpoints that contradict the resolution.";
    BAD_FORMAT = "SDL0221": "An access log format that does not parse.";
    BAD_VALUE = "SDL0222": "A value that its field cannot have.";
    LARGE_BODY = "SDL0223": "A direct response's body above 1 MiB.";
    BAD_GATEWAY_NAME = "SDL0224": "A reference to a gateway that is not a name.";
    BAD_VISIBILITY = "SDL0225": "An `exportTo` or egress host that is not one.";
    BAD_TOKEN_RULE = "SDL0226": "A rule for tokens that could verify none.";

    UNKNOWN_GATEWAY = "SDL0301": "A gateway that no file defines.";
    UNKNOWN_DELEGATE = "SDL0302": "A delegate that no file defines.";
    UNKNOWN_HOST = "SDL0303": "A host that no file defines; a route's destination will be resolved by DNS.";
    UNKNOWN_SUBSET = "SDL0304": "A subset that no DestinationRule of the host defines.";
    UNUSED_RULE = "SDL0305": "A DestinationRule for a host that no file defines.";
    SELECTS_NOTHING = "SDL0306": "A selector that no workload in the files has the labels for.";
    UNKNOWN_PORT = "SDL0307": "A port that the service does not have.";
    MISSING_FILE = "SDL0308": "A file that is named and does not exist.";
    NO_IDENTITY = "SDL0309": "mTLS is asked of a proxy that has no identity.";
    BAD_SECRET = "SDL0310": "A Secret that is missing, or lacks what is asked of it.";
    LEFT_OUT = "SDL0311": "Something that this build of the program was made without.";
    UNUSABLE_FILE = "SDL0312": "A file that is named, and whose content cannot be used.";
    UNKNOWN_PROVIDER = "SDL0313": "A provider that no Proxy defines.";

    UNREACHABLE_ROUTE = "SDL0401": "A rule that an earlier one always takes the requests of.";
    SHADOWED_RESOURCE = "SDL0402": "A resource of which an older one takes the place.";
    NEVER_MATCHES = "SDL0403": "Conditions that no request can meet.";
    NARROW_PATH = "SDL0404": "A rule that refuses one path, and not the same with a slash at its end.";

    NOT_APPLIED = "SDL0501": "A field that is accepted and not applied.";
    NOT_ENFORCED = "SDL0502": "A security policy that is accepted and NOT ENFORCED.";
    KIND_NOT_APPLIED = "SDL0503": "A kind that is accepted and not applied.";
    DEPRECATED = "SDL0504": "A field that Istio has deprecated.";
    KIND_IGNORED = "SDL0505": "A kind that a proxy has no use for.";

    DROPPED = "SDL0601": "Configuration that Istio's rules drop.";
    CONFLICT = "SDL0602": "Configuration of which Istio's rules keep one and drop the other.";
    DEFAULTED = "SDL0603": "A default that differs from what the text suggests.";
    NO_ENDPOINTS = "SDL0604": "A service, or a subset of one, that has no endpoints.";
    RESOLVED_BY_DNS = "SDL0605": "A Service without endpoints in the files; its name will be resolved.";
    HIDDEN = "SDL0606": "A reference to a resource that is not exported to the proxy's namespace.";
    WIDENED = "SDL0607": "A rule that holds for more, or for less, where bytes are served.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TABLE.iter().all(|(code, meaning)| code.len() == 7 && meaning.ends_with('.')));
    }
}
