//! Files that a configuration names: whether they can be used, and where they are named.
//!
//! In:  a configuration, or why one could not be built.   Out: diagnostics at the fields that name the files.
//! Invariants: `sidle check` finds what `sidle run` would refuse, at the same place and in the same words. What only the machine that
//! runs the proxy can tell (a file that is not there, or that may not be read) is a warning of `check`, an error of `run`. A certificate that is not valid now is a
//! warning of both.
//! Not here: what makes a file usable (`sidle-identity`), noticing that one has changed (`identity::follow_files`).

use super::BuildError;
use crate::identity::read_folder;
use sidle_identity::{Bundle, Svid, TlsError, Workload, client_config, server_config};
use sidle_model::{
    Config, Loaded,
    check::{NamedFile, named_files},
    diagnostic::{self, Code, Diagnostic, Severity, codes},
    ir::{ClientTls, Cluster, Identity, IdentitySource, Ir, Listener, ServerTls},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// What a proxy is without an identity that can be used.
const NOT_READY: &str = "until that is mended the proxy is not ready, and its mTLS fails";

/// Where every file of a configuration is named.
#[derive(Debug, Default)]
pub struct Named(Vec<NamedFile>);

/// Tells of files that cannot be used.
pub fn judge(loaded: &mut Loaded) {
    let Some(ir) = &loaded.ir else { return };
    let named = Named::of(&loaded.config);
    for (place, error) in unusable(ir) {
        let severity = if is_of_the_machine(&error) { Severity::Warning } else { Severity::Error };
        // What is not there was told when the manifests were checked.
        if !is_missing(&error) || !named.has(&error) {
            loaded.diagnostics.extend(named.tell(&error, severity, &place));
        }
    }
    if let Some(identity) = &ir.settings.identity {
        loaded.diagnostics.extend(of_identity(identity, &named));
    }
    for error in out_of_time(ir) {
        loaded.diagnostics.extend(named.tell(&error, Severity::Warning, ""));
    }
    for (path, without) in bundles(ir) {
        if let Err(error) = Bundle::read(path)
            && !is_missing(&error)
        {
            let message = format!("{error}: {without}");
            loaded.diagnostics.extend(named.at(path, Severity::Warning, codes::UNUSABLE_FILE, &message));
        }
    }
    if let Some(path) = ir.settings.access_log.as_ref().map(|log| &log.path)
        && path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        let message = format!("the folder of access log `{}` is not there; `run` needs it", path.display());
        loaded.diagnostics.extend(named.at(path, Severity::Warning, codes::MISSING_FILE, &message));
    }
    diagnostic::sort(&mut loaded.diagnostics);
    if loaded.diagnostics.iter().any(Diagnostic::is_error) {
        loaded.ir = None;
    }
}

/// Certificates in files that a proxy would show, and that are not valid now.
fn out_of_time(ir: &Ir) -> Vec<TlsError> {
    let workload = Workload::default();
    // Files are known for as long as somebody holds them.
    let servers: Vec<_> = server_settings(ir).map(|(_, tls)| server_config(tls, &workload)).collect();
    let clients: Vec<_> = client_settings(ir).map(|(_, tls)| client_config(tls, &[], &workload)).collect();
    let list = workload.files_out_of_time();
    drop((servers, clients));
    list
}

fn server_settings(ir: &Ir) -> impl Iterator<Item = (&Listener, &ServerTls)> {
    ir.listeners.iter().flat_map(|listener| {
        let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
        chains.filter_map(move |chain| Some((&**listener, chain.tls.as_ref()?)))
    })
}

fn client_settings(ir: &Ir) -> impl Iterator<Item = (&Cluster, &ClientTls)> {
    ir.clusters.iter().flat_map(|cluster| {
        [&cluster.tls, &cluster.auto_mtls].into_iter().flatten().map(move |tls| (&**cluster, tls))
    })
}

/// Every TLS setting that could not be prepared, and whose it is.
fn unusable(ir: &Ir) -> Vec<(String, TlsError)> {
    let workload = Workload::default();
    let mut list = Vec::new();
    for (listener, tls) in server_settings(ir) {
        let error = server_config(tls, &workload).err();
        list.extend(error.map(|error| (format!("listener {}", listener.name), error)));
    }
    for (cluster, tls) in client_settings(ir) {
        let error = client_config(tls, &[], &workload).err();
        list.extend(error.map(|error| (format!("cluster {}", cluster.name), error)));
    }
    list
}

/// Roots that `run` does without as long as they cannot be used, and what that comes to.
fn bundles(ir: &Ir) -> impl Iterator<Item = (&PathBuf, &'static str)> {
    let identity = ir.settings.identity.as_ref();
    let authority = identity.and_then(|identity| match &identity.source {
        IdentitySource::Authority(authority) => Some((&authority.roots, NOT_READY)),
        _ => None,
    });
    let federated = identity.into_iter().flat_map(|identity| &identity.trust_bundles);
    let federated = federated.map(|(_, path)| (path, "nobody of that trust domain is believed"));
    let of_keys = ir.settings.key_fetching.ca.file();
    let of_keys = of_keys.map(|path| (path, "no keys of issuers are fetched"));
    authority.into_iter().chain(federated).chain(of_keys)
}

/// The identity is waited for, so that nothing of it is an error.
fn of_identity(identity: &Identity, named: &Named) -> Vec<Diagnostic> {
    match &identity.source {
        IdentitySource::Folder(folder) => {
            let read = read_folder(folder);
            let read = read.and_then(|svid| svid.check_time().map_err(|error| error.to_string()));
            let Err(why) = read else { return Vec::new() };
            named.at(folder, Severity::Warning, codes::UNUSABLE_FILE, &format!("{why}: {NOT_READY}"))
        }
        IdentitySource::Files { pair, roots } => {
            match Svid::read(pair, roots).and_then(|svid| svid.check_time()) {
                Err(error) if !is_missing(&error) => {
                    let message = format!("{error}: {NOT_READY}");
                    let files = error.file().unwrap_or(&pair.certificate);
                    named.at(files, Severity::Warning, codes::UNUSABLE_FILE, &message)
                }
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

fn is_missing(error: &TlsError) -> bool {
    matches!(error, TlsError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Whether another machine, or another user, may find it otherwise.
fn is_of_the_machine(error: &TlsError) -> bool {
    matches!(error, TlsError::Read { .. } | TlsError::SystemRoots { .. })
}

impl Named {
    /// Finds them.
    pub fn of(config: &Config) -> Self {
        Named(named_files(config))
    }

    /// Why a configuration could not be built, at each place that names the file; empty if no place does.
    pub fn refusal(&self, error: &BuildError) -> Vec<Diagnostic> {
        match error {
            BuildError::Tls { place, source } if self.has(source) => {
                self.tell(source, Severity::Error, place)
            }
            BuildError::AccessLog { path, source } => {
                let message = format!("access log `{path}` cannot be opened: {source}");
                self.at(Path::new(path), Severity::Error, codes::MISSING_FILE, &message)
            }
            BuildError::Tls { .. } | BuildError::Inconsistent(_) => Vec::new(),
        }
    }

    fn has(&self, error: &TlsError) -> bool {
        self.places(error).next().is_some()
    }

    /// The places that name what `error` is about. A key may be good beside another certificate.
    fn places<'n>(&'n self, error: &'n TlsError) -> impl Iterator<Item = &'n NamedFile> {
        let certificate = match error {
            TlsError::Mismatch { certificate, key } if certificate != key => Some(certificate),
            _ => None,
        };
        let about = move |named: &&NamedFile| {
            error.file() == Some(&*named.path)
                && (certificate.is_none() || named.certificate.as_ref() == certificate)
        };
        self.0.iter().filter(about)
    }

    fn tell(&self, error: &TlsError, severity: Severity, place: &str) -> Vec<Diagnostic> {
        let code = if is_missing(error) { codes::MISSING_FILE } else { codes::UNUSABLE_FILE };
        let at = |named: &NamedFile| {
            Diagnostic::new(severity, code, error.to_string()).at(named.file.clone(), named.span)
        };
        let told: Vec<_> = self.places(error).map(at).collect();
        if told.is_empty() {
            return vec![Diagnostic::new(severity, code, format!("{place}: {error}"))];
        }
        told
    }

    /// The same finding at each place that names `path`.
    fn at(&self, path: &Path, severity: Severity, code: Code, message: &str) -> Vec<Diagnostic> {
        let places = self.0.iter().filter(|named| named.path == path);
        places
            .map(|named| Diagnostic::new(severity, code, message).at(named.file.clone(), named.span))
            .collect()
    }
}
