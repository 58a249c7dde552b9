//! The SPIFFE Workload API's `workload.proto`, which has no package.

use http::uri::PathAndQuery;
use std::collections::HashMap;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `SpiffeWorkloadAPI.FetchX509SVID`, a stream of responses.
pub fn fetch_x509_svid() -> PathAndQuery {
    PathAndQuery::from_static("/SpiffeWorkloadAPI/FetchX509SVID")
}

/// `X509SVIDRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct X509SvidRequest {}

/// `X509SVIDResponse`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct X509SvidResponse {
    /// What the workload may be.
    #[prost(message, repeated, tag = "1")]
    pub svids: Vec<X509Svid>,
    /// Roots of other trust domains, DER one after the other, by the domain's SPIFFE id.
    #[prost(map = "string, bytes", tag = "3")]
    pub federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`; its key is wiped.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct X509Svid {
    /// DER one after the other, leaf first.
    #[prost(bytes = "vec", tag = "2")]
    pub x509_svid: Vec<u8>,
    /// PKCS#8, DER.
    #[prost(bytes = "vec", tag = "3")]
    pub x509_svid_key: Vec<u8>,
    /// Roots of its own trust domain, DER one after the other.
    #[prost(bytes = "vec", tag = "4")]
    pub bundle: Vec<u8>,
    /// What it is for.
    #[prost(string, tag = "5")]
    pub hint: String,
}

impl Drop for X509Svid {
    fn drop(&mut self) {
        self.x509_svid_key.zeroize();
    }
}

impl ZeroizeOnDrop for X509Svid {}
