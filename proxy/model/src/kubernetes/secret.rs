//! `Secret`: certificates and keys that `credentialName` names.

use crate::Map;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;

/// A Secret. Its `Debug` shows the names of its values, and nothing of them.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-unread" = ["type", "immutable"]))]
pub struct Secret {
    /// Base64.
    pub data: Map<String>,
    /// As it is; goes before `data`.
    pub string_data: Map<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys().chain(self.string_data.keys())).finish()
    }
}
