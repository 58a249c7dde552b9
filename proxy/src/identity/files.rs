//! An identity in files, read again when they change.
//!
//! Invariant: files that do not fit together are waited for: whoever replaces them one by one is not done yet, or did not use one
//! step, and what was read before stays.

use super::{Delivered, watch::Watched};
use sidle_identity::Svid;
use sidle_model::ir::CertificateFiles;
use std::path::Path;
use tokio::sync::mpsc::Sender;

/// Chain, key and roots in a folder: as Kubernetes mounts a TLS secret, and as Istio lays them out.
const LAYOUTS: [[&str; 3]; 2] =
    [["tls.crt", "tls.key", "ca.crt"], ["cert-chain.pem", "key.pem", "root-cert.pem"]];

/// Follows three files.
pub(super) async fn files(pair: &CertificateFiles, roots: &Path, deliver: Sender<Delivered>) {
    let paths = vec![pair.certificate.clone(), pair.key.clone(), roots.to_path_buf()];
    let source = Watched::begin(paths).await;
    loop {
        let read = Svid::read(pair, roots).map_err(|error| error.to_string());
        if deliver.send(read).await.is_err() {
            return;
        }
        source.changed().await;
    }
}

/// Follows a folder.
pub(super) async fn folder(folder: &Path, deliver: Sender<Delivered>) {
    let paths = LAYOUTS.iter().flatten().map(|name| folder.join(name)).collect();
    let source = Watched::begin(paths).await;
    loop {
        if deliver.send(read_folder(folder)).await.is_err() {
            return;
        }
        source.changed().await;
    }
}

/// Reads the folder by the first layout of which it has the certificate.
///
/// # Errors
/// Why there is no identity in it.
pub fn read_folder(folder: &Path) -> Result<Svid, String> {
    let layout = LAYOUTS.iter().find(|[chain, ..]| folder.join(chain).is_file());
    let [chain, key, roots] = layout.ok_or_else(|| {
        let [[one, ..], [other, ..]] = LAYOUTS;
        format!("{}: neither {one} nor {other} in it", folder.display())
    })?;
    let pair = CertificateFiles { certificate: folder.join(chain), key: folder.join(key) };
    Svid::read(&pair, &folder.join(roots)).map_err(|error| error.to_string())
}
