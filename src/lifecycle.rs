//! Background tasks that end when the node does.
//!
//! Everything that runs beside a request is started through a [`Lifecycle`], so
//! that shutdown can ask all of it to stop and wait until it has.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// Starts tasks, and stops them all. Clones share the tasks.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Lifecycle {
    /// Starts `task`. It is dropped at its next await once shutdown begins; a
    /// task with work to finish watches [`Self::stopping`] and is started with
    /// [`Self::spawn_draining`].
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }

    /// Starts `task`, which ends by itself soon after [`Self::stopping`] resolves.
    pub fn spawn_draining<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Resolves when shutdown begins.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }

    /// Returns whether shutdown has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks every task to stop and waits for them, at most `patience`. Returns
    /// whether all of them ended.
    pub async fn shut_down(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait())
            .await
            .is_ok()
    }
}
