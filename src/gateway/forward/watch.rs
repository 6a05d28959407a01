//! What the two directions of one call know of each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use feria_paywall::fault::ServiceFault;

/// Shared by the request's body, the wait for the answer, and the answer's body.
#[derive(Debug, Default)]
pub(super) struct CallWatch {
    uploaded: AtomicU64,
    is_answered: AtomicBool,
    upload_fault: OnceLock<ServiceFault>,
}

impl CallWatch {
    /// Counts a part of the request's body on its way.
    pub(super) fn count_upload(&self) {
        self.uploaded.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many parts went. An upstream that waits for the next one is not
    /// silent: who sees this grow waits on.
    pub(super) fn uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// Says that the head of the answer is there. From then on the client may
    /// pause: in a call that streams both ways it waits for the service.
    pub(super) fn set_answered(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
    }

    /// Says why the request's body ended early.
    pub(super) fn set_upload_fault(&self, fault: ServiceFault) {
        let _ = self.upload_fault.set(fault);
    }

    pub(super) fn upload_fault(&self) -> Option<ServiceFault> {
        self.upload_fault.get().copied()
    }
}
