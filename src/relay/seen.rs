//! Ids that were verified and delivered: they need not be looked at again.

use lru::LruCache;
use nostr::event::EventId;

/// Ids remembered for one subscription, about 5 MB when full.
const MAX_IDS: usize = 50_000;

/// A bounded set of ids; the ones met least recently are forgotten first.
///
/// An id comes in only after the event was verified, so that a forged copy
/// cannot keep the true event out. Being in here never admits an event.
#[derive(Debug)]
pub(super) struct Seen {
    ids: LruCache<EventId, ()>,
}

impl Default for Seen {
    fn default() -> Self {
        // A bounded cache of this crate takes all its memory at once.
        Self {
            ids: LruCache::unbounded(),
        }
    }
}

impl Seen {
    /// Returns whether the event was delivered, and remembers that it was met.
    pub(super) fn contains(&mut self, id: &EventId) -> bool {
        self.ids.get(id).is_some()
    }

    /// Adds the id of a verified event. Returns whether it is new.
    pub(super) fn insert(&mut self, id: EventId) -> bool {
        let is_new = self.ids.put(id, ()).is_none();
        if self.ids.len() > MAX_IDS {
            self.ids.pop_lru();
        }
        is_new
    }
}
