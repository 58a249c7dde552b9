//! The workload's identity, kept fresh: from a source of certificates to the handle that handshakes read.
//!
//! In:  `spec.identity` of the configuration in force.   Out: what [`Workload`] holds.
//! Invariants: nothing here runs on a worker; what a source delivers is checked whole before anybody sees it; a source that fails,
//! or delivers what is for later, leaves in use what was had, and is tried again; a change cuts no connection.
//! Not here: what makes an identity good (`sidle-identity`), handshakes (`listener`, `upstream`).
//! Read: [`run`] -> one source: `files`, `sds`, `workload_api`, `authority` -> `watch` (files that the configuration names).

#[cfg(feature = "grpc-clients")]
mod authority;
#[cfg(feature = "grpc-clients")]
mod channel;
mod files;
#[cfg(feature = "grpc-clients")]
mod messages;
#[cfg(feature = "grpc-clients")]
mod retry;
#[cfg(feature = "grpc-clients")]
mod sds;
mod watch;
#[cfg(feature = "grpc-clients")]
mod workload_api;

pub use files::read_folder;
pub use watch::follow_files;

use sidle_identity::{Bundle, Bundles, Moment, Svid, TlsError, Workload};
use sidle_model::ir::{Identity, IdentitySource};
use sidle_telemetry::Telemetry;
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch as cell};
use watch::Watched;

/// Looks at the clock this often at the most, so that a machine that slept notices.
const LOOK: Duration = Duration::from_secs(30);
/// The last part of a certificate's life, in which a successor should have come.
const LAST_PART: u64 = 5;

/// What a source says: an identity, or why it has none now.
type Delivered = Result<Svid, String>;

/// Follows the configuration's choice of a source until the process ends.
pub async fn run(
    mut settings: cell::Receiver<Option<Identity>>,
    workload: Workload,
    telemetry: Arc<Telemetry>,
) {
    loop {
        let identity = settings.borrow_and_update().clone();
        let following = async {
            match identity {
                Some(identity) => Keeper::new(identity, &workload, &telemetry).run().await,
                None => {
                    workload.withdraw();
                    telemetry.identity().withdrawn();
                    std::future::pending().await
                }
            }
        };
        tokio::select! {
            () = following => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// Keeps the identity of one choice of a source.
struct Keeper<'a> {
    identity: Identity,
    workload: &'a Workload,
    telemetry: &'a Telemetry,
    /// As it was delivered last.
    delivered: Option<Svid>,
    /// Of other trust domains.
    bundles: Bundles,
    /// Whether that is for later, and what is in use is valid.
    held_back: bool,
    /// What the log has said about the end of the current one.
    warned: Warned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Warned {
    Nothing,
    Soon,
    Over,
}

impl<'a> Keeper<'a> {
    fn new(identity: Identity, workload: &'a Workload, telemetry: &'a Telemetry) -> Self {
        let (bundles, warned) = (Bundles::new(), Warned::Nothing);
        Keeper { identity, workload, telemetry, delivered: None, held_back: false, bundles, warned }
    }

    /// Ends when the source does, which none does by itself.
    async fn run(&mut self) {
        let (deliver, mut delivered) = mpsc::channel(1);
        let source = self.identity.source.clone();
        let source = async {
            match source {
                IdentitySource::Folder(folder) => files::folder(&folder, deliver).await,
                IdentitySource::Files { pair, roots } => files::files(&pair, &roots, deliver).await,
                #[cfg(feature = "grpc-clients")]
                IdentitySource::Sds { socket, certificate, roots } => {
                    sds::follow(&socket, &certificate, &roots, deliver).await
                }
                #[cfg(feature = "grpc-clients")]
                IdentitySource::WorkloadApi { socket, hint } => {
                    workload_api::follow(socket.as_deref(), hint.as_deref(), deliver).await
                }
                #[cfg(feature = "grpc-clients")]
                IdentitySource::Authority(authority) => authority::follow(&authority, deliver).await,
                #[cfg(not(feature = "grpc-clients"))]
                _ => std::future::pending().await, // such a configuration is refused
            }
        };
        tokio::pin!(source);
        let federated = self.identity.trust_bundles.iter().map(|(_, path)| path.clone()).collect();
        let federated = Watched::begin(federated).await;
        self.read_bundles();
        loop {
            tokio::select! {
                () = &mut source => return,
                one = delivered.recv() => match one {
                    Some(Ok(svid)) => {
                        self.delivered = Some(svid);
                        self.publish();
                    }
                    Some(Err(why)) => self.failed(&why),
                    None => return,
                },
                () = federated.changed() => {
                    self.read_bundles();
                    self.publish();
                }
                () = tokio::time::sleep(self.until_next_look()) => self.watch_the_end(),
            }
        }
    }

    /// Reads the bundles of other trust domains; one that cannot be used stays as it was.
    fn read_bundles(&mut self) {
        for (domain, path) in &self.identity.trust_bundles {
            match Bundle::read(path) {
                Ok(bundle) => {
                    self.bundles.insert(domain.as_str().into(), Arc::new(bundle));
                }
                Err(error) => {
                    self.telemetry.identity().failed();
                    tracing::warn!(trust_domain = domain, %error, "no roots of another trust domain");
                }
            }
        }
    }

    fn publish(&mut self) {
        let Some(svid) = self.delivered.clone() else { return };
        if let Err(error @ TlsError::IdentityNotYet(_)) = svid.check_time()
            && self.workload.valid().is_ok()
        {
            if !std::mem::replace(&mut self.held_back, true) {
                self.telemetry.identity().failed();
                tracing::warn!(%error, "the one before stays in use until then");
            }
            return;
        }
        self.held_back = false;
        let svid = svid.with_aliases(&self.identity.aliases).with_federated(self.bundles.clone());
        let (id, until) = (svid.id.clone(), svid.not_after);
        let roots = svid.roots_end().unwrap_or(until);
        if self.workload.publish(Arc::new(svid)) {
            self.telemetry.identity().rotated(until.0, roots.0);
            self.warned = Warned::Nothing;
            tracing::info!(%id, %until, "workload identity");
            if let Err(error) = self.workload.valid() {
                tracing::error!(%error, "new mTLS connections fail");
            }
        }
    }

    fn failed(&self, why: &str) {
        self.telemetry.identity().failed();
        let left = self.workload.current().map(|svid| svid.not_after.left());
        match left {
            Some(left) => {
                tracing::warn!(why, left = %humantime::format_duration(left), "no new workload identity")
            }
            None => tracing::warn!(why, "no workload identity"),
        }
    }

    /// A part of what is left, so that the end is seen when it comes.
    fn until_next_look(&self) -> Duration {
        match self.workload.current() {
            Some(svid) => (svid.not_after.left() / 10).clamp(Duration::from_secs(1), LOOK),
            None => LOOK,
        }
    }

    /// Says once that a certificate is about to run out, and once that it has.
    fn watch_the_end(&mut self) {
        if self.held_back {
            self.publish();
        }
        let Some(svid) = self.workload.current() else { return };
        let life = svid.not_after.0.saturating_sub(svid.not_before.0);
        let left = svid.not_after.left();
        let now = match () {
            () if svid.not_after <= Moment::now() => Warned::Over,
            () if left.as_secs() < life / LAST_PART => Warned::Soon,
            () => Warned::Nothing,
        };
        if now == self.warned {
            return;
        }
        match now {
            Warned::Nothing => {}
            Warned::Soon => {
                let left = humantime::format_duration(left);
                tracing::warn!(id = %svid.id, %left, "the workload certificate runs out, and no new one has come");
            }
            Warned::Over => {
                tracing::error!(error = %TlsError::IdentityExpired(svid.not_after), "new mTLS connections fail");
            }
        }
        self.warned = now;
    }
}
