//! Counters of one relay, shared by all links to it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::protocol::text::clean;

/// Longest text kept of what a relay said, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// How a relay does.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RelayHealth {
    /// The relay, without trailing slash.
    pub url: String,
    /// `connected`, `connecting` or `waiting`.
    pub state: String,
    /// Events that were verified and delivered.
    pub events: u64,
    /// Events that had been delivered before, from this relay or another.
    pub duplicates: u64,
    /// Frames and events that were refused: not of the protocol, wrong id or
    /// signature, not asked for.
    pub invalid: u64,
    /// What went wrong last, or what the relay complained of.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    connected: AtomicU32,
    dialling: AtomicU32,
    events: AtomicU64,
    duplicates: AtomicU64,
    invalid: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// Counts a state for as long as it lives, so that no way out of a link forgets it.
pub(super) struct Held<'a>(&'a AtomicU32);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hold(count: &AtomicU32) -> Held<'_> {
    count.fetch_add(1, Ordering::Relaxed);
    Held(count)
}

impl Health {
    pub(super) fn hold_connected(&self) -> Held<'_> {
        hold(&self.connected)
    }

    pub(super) fn hold_dialling(&self) -> Held<'_> {
        hold(&self.dialling)
    }

    pub(super) fn count_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_invalid(&self, reason: &str) {
        self.invalid.fetch_add(1, Ordering::Relaxed);
        self.set_error(reason);
    }

    pub(super) fn set_error(&self, reason: &str) {
        *self.last_error.lock() = Some(shorten(reason));
    }

    pub(super) fn report(&self, url: &str) -> RelayHealth {
        let state = if self.connected.load(Ordering::Relaxed) > 0 {
            "connected"
        } else if self.dialling.load(Ordering::Relaxed) > 0 {
            "connecting"
        } else {
            "waiting"
        };
        RelayHealth {
            url: url.to_owned(),
            state: state.to_owned(),
            events: self.events.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            invalid: self.invalid.load(Ordering::Relaxed),
            last_error: self.last_error.lock().clone(),
        }
    }
}

/// Returns the beginning of a relay's words, on one line.
pub(super) fn shorten(text: &str) -> String {
    clean(text, MAX_ERROR_CHARS)
}
