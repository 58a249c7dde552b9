//! Certificate files that the configuration names, read again when they change.
//!
//! Invariants: a file that has become unusable leaves what was read before in use, and the log says so once; where there are no files,
//! nothing is watched, and no descriptor is held.

use super::LOOK;
use crate::config::{FileSource, WatchOptions};
use sidle_identity::Workload;
use sidle_telemetry::Telemetry;
use std::{path::PathBuf, sync::Arc};
use tokio::sync::Notify;

/// Follows the files of the configuration in force until the process ends; `applied` tells when that is another.
pub async fn follow_files(workload: Workload, telemetry: Arc<Telemetry>, applied: Arc<Notify>) {
    loop {
        let paths = workload.file_paths();
        let source = Watched::begin(paths.iter().cloned().collect()).await;
        // What changed before the watch began.
        reload(&workload, &telemetry).await;
        for error in workload.files_out_of_time() {
            tracing::warn!(%error, "a certificate that is not valid now is shown, for want of another");
        }
        loop {
            tokio::select! {
                () = source.changed() => reload(&workload, &telemetry).await,
                // Its time may come.
                () = tokio::time::sleep(LOOK), if workload.has_refused_files() => {
                    reload(&workload, &telemetry).await;
                }
                () = applied.notified() => if workload.file_paths() != paths { break },
            }
        }
    }
}

/// Files that are watched, if there are any.
pub(super) struct Watched(Option<FileSource>);

impl Watched {
    /// Every change after this returned is told.
    pub async fn begin(paths: Vec<PathBuf>) -> Self {
        Watched(match paths.is_empty() {
            true => None,
            false => Some(FileSource::watch(paths, WatchOptions::default()).await),
        })
    }

    /// Waits until something changed.
    pub async fn changed(&self) {
        match &self.0 {
            Some(source) => source.changed().await,
            None => std::future::pending().await,
        }
    }
}

async fn reload(workload: &Workload, telemetry: &Telemetry) {
    let reading = workload.clone();
    // Fails only when the process is ending.
    let Ok(reloaded) = tokio::task::spawn_blocking(move || reading.reload_files()).await else { return };
    for file in reloaded {
        telemetry.identity().file_changed(file.outcome.is_ok());
        let path = file.path.display();
        match file.outcome {
            Ok(()) => tracing::info!(%path, "a certificate file has changed"),
            Err(error) => {
                tracing::warn!(%error, "a certificate file cannot be used; what was read before stays in use")
            }
        }
    }
}
