//! Verifying events, on as many threads as there are cores.
//!
//! A signature takes about 45 µs, twenty times what reading the event does. So a
//! link collects what its socket gives at once and has it verified beside itself,
//! while it reads on; all links share the cores.

use std::num::NonZero;
use std::sync::Arc;

use nostr::event::Event;
use tokio::sync::Semaphore;

use super::frame::WireId;

/// Events verified in one go: about 1.5 ms.
pub(super) const BATCH: usize = 32;
/// Fewer than these are verified at once, where they are: a thread costs more.
const INLINE: usize = 3;

/// An event that a relay sent, and whether its id and signature are right.
pub(super) struct Checked {
    pub(super) id: WireId,
    pub(super) event: Event,
    pub(super) is_genuine: bool,
}

/// As many turns as there are cores.
pub(super) struct Verifiers(Arc<Semaphore>);

impl Default for Verifiers {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new(cores)))
    }
}

impl Verifiers {
    /// Returns the events of `batch`, in its order, each with what was found.
    pub(super) fn check(
        &self,
        batch: Vec<(WireId, Event)>,
    ) -> impl Future<Output = Vec<Checked>> + Send + 'static {
        let turns = Arc::clone(&self.0);
        async move {
            if batch.len() < INLINE {
                return verify(batch);
            }
            // The semaphore is never closed; without a turn it is only slower.
            let turn = turns.acquire_owned().await;
            let verified = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                verify(batch)
            });
            // Cut off by a shutdown: nothing was verified, so nothing is there.
            verified.await.unwrap_or_default()
        }
    }
}

fn verify(batch: Vec<(WireId, Event)>) -> Vec<Checked> {
    batch
        .into_iter()
        .map(|(id, event)| Checked {
            id,
            is_genuine: event.verify().is_ok(),
            event,
        })
        .collect()
}
