//! `Secret`: certificates and keys that `credentialName` names.

use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

/// A Secret. Its `Debug` shows the names of its values, and nothing of them.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-unread" = ["type", "immutable"]))]
pub struct Secret {
    /// Base64.
    pub data: BTreeMap<String, String>,
    /// As it is; goes before `data`.
    pub string_data: BTreeMap<String, String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys().chain(self.string_data.keys())).finish()
    }
}
