//! Reading the market from relays: what is new as it comes, and what was there before.
//!
//! Each relay is asked for new events for as long as it is connected. When it has
//! given what it had of the last hour, what is older is read in pages, newest first,
//! down to where it was read before: down to the beginning the first time. Events
//! are stored in batches, and how far a relay was read is stored with them.
//!
//! ```text
//!            end of stored            last page stored
//! connected ──────────────▶ catching up ────────────▶ complete ──▶ cursor follows
//!     ▲                         │ relay lost              │ relay lost   what comes
//!     └─────────────────────────┴────────────────────────┘
//! ```
//!
//! | dies | next start |
//! |---|---|
//! | while catching up | the cursor is where it was: pages are read again, what is stored already costs a look |
//! | when complete | the cursor is at most one batch behind |
//!
//! `created_at` is the author's to choose. So each reading begins an hour before the
//! cursor, and no event moves a cursor beyond the clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use nostr::event::EventId;
use nostr::filter::Filter;
use nostr::types::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::indexer::{Indexer, SeenEvent};
use crate::clock::SharedClock;
use crate::relay::{Delivery, PageEnd, RelayError, Relays};
use crate::store::StoreError;
use crate::store::index::{Cursor, Index};

/// How far before its cursor a relay is read again: authors are late, and clocks wrong.
pub const OVERLAP: Duration = Duration::from_secs(3_600);
/// Deliveries stored in one transaction.
const BATCH: usize = 500;
/// Events asked for at once; relays may give fewer.
const PAGE: usize = 500;
/// Pages of one catching up; a relay with more is left for the next time.
const MAX_PAGES: usize = 4_000;
/// Relays that are caught up with at the same time.
const MAX_CATCHING_UP: usize = 4;
/// A relay that could not be caught up with is tried again after this; what is new
/// keeps coming meanwhile.
const CATCH_UP_RETRY: Duration = Duration::from_secs(300);
/// A batch that could not be stored is offered again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Reads relays into an index.
#[derive(Debug, Clone)]
pub struct Reader {
    relays: Relays,
    index: Index,
    indexer: Indexer,
    clock: SharedClock,
    turns: Arc<Semaphore>,
}

/// A relay that cannot be read to the end.
#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error("store what a relay had")]
    Store(#[from] StoreError),
    #[error("the relay stopped in the middle of a page")]
    Broken,
    #[error("the relay has more than {MAX_PAGES} pages")]
    Endless,
}

/// What is known of one relay.
#[derive(Debug, Default)]
struct Progress {
    /// Everything made up to then is stored. Unix seconds; 0 for nothing.
    synced_to: u64,
    /// The round that is complete: what it brings moves the cursor.
    complete_round: Option<u32>,
    /// The round that is being caught up with.
    catching_up: Option<u32>,
}

/// A catching up that has ended.
struct Ended {
    relay: String,
    round: u32,
    /// Up to when everything is stored, or why not.
    outcome: Result<u64, CatchUpError>,
}

impl Reader {
    /// Returns a reader that stores through `indexer`, into its `index`.
    #[must_use]
    pub fn new(relays: Relays, index: Index, indexer: Indexer, clock: SharedClock) -> Self {
        Self {
            relays,
            index,
            indexer,
            clock,
            turns: Arc::new(Semaphore::new(MAX_CATCHING_UP)),
        }
    }

    /// Returns the name under which the cursors of what is asked for now are kept.
    #[must_use]
    pub fn cursor_name(&self) -> String {
        name_of(&self.indexer.filters())
    }

    /// Reads `urls` for as long as it is polled.
    ///
    /// # Errors
    /// When a URL is none or there are too many connections, and when the index
    /// cannot be read at the start.
    pub async fn run(self, urls: Vec<String>) -> Result<(), ReadError> {
        let filters = self.indexer.filters();
        let name = name_of(&filters);
        let mut progress: HashMap<String, Progress> = HashMap::new();
        for cursor in self.index.list_cursors(name.clone()).await? {
            progress.entry(cursor.relay).or_default().synced_to = cursor.synced_to;
        }
        let mut deliveries = self
            .relays
            .subscribe_to_new(&urls, filters.clone(), OVERLAP)?;
        let mut catching_up: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = deliveries.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for (relay, round) in self.store(&mut batch, &name, &mut progress).await {
                        let known = progress.entry(relay.clone()).or_default();
                        if known.catching_up.replace(round) != Some(round) {
                            let floor = known.synced_to.saturating_sub(OVERLAP.as_secs());
                            let work = self.catch_up(relay, round, &filters, &name, floor);
                            catching_up.push(work.boxed());
                        }
                    }
                }
                Some(ended) = catching_up.next() => {
                    let (relay, round) = (ended.relay.clone(), ended.round);
                    if self.note_end(ended, &mut progress) {
                        let known = progress.entry(relay.clone()).or_default();
                        let floor = known.synced_to.saturating_sub(OVERLAP.as_secs());
                        let work = self.catch_up(relay, round, &filters, &name, floor);
                        let later = tokio::time::sleep(CATCH_UP_RETRY).then(|()| work);
                        catching_up.push(later.boxed());
                    }
                }
            }
        }
    }

    /// Stores what was delivered. Returns the relays that have given what they had of
    /// the last hour.
    async fn store(
        &self,
        batch: &mut Vec<Delivery>,
        filters: &str,
        progress: &mut HashMap<String, Progress>,
    ) -> Vec<(String, u32)> {
        let now = self.clock.now();
        let (mut events, mut ended) = (Vec::new(), Vec::new());
        let mut moved: HashMap<String, u64> = HashMap::new();
        for delivery in batch.drain(..) {
            match delivery {
                Delivery::EndOfStored { relay, round } => ended.push((relay, round)),
                Delivery::Event(received) => {
                    let known = progress.get(&received.relay);
                    if known.is_some_and(|known| known.complete_round == Some(received.round)) {
                        let made_at = received.event.created_at.as_secs().min(now);
                        let to = moved.entry(received.relay.clone()).or_default();
                        *to = made_at.max(*to);
                    }
                    events.push(SeenEvent {
                        event: received.event,
                        relay: Some(received.relay),
                    });
                }
            }
        }
        let cursors = moved.iter().map(|(relay, to)| Cursor {
            relay: relay.clone(),
            filters: filters.to_owned(),
            synced_to: *to,
        });
        if !events.is_empty() {
            self.store_surely(events, cursors.collect()).await;
        }
        for (relay, to) in moved {
            let known = progress.entry(relay).or_default();
            known.synced_to = known.synced_to.max(to);
        }
        ended
    }

    /// Stores `events`, again and again until the index takes them: what was delivered
    /// is not delivered again. Meanwhile nothing is read, which slows the relays down.
    async fn store_surely(&self, events: Vec<SeenEvent>, cursors: Vec<Cursor>) {
        while self
            .indexer
            .admit_all(events.clone(), cursors.clone())
            .await
            .is_err()
        {
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Notes how far a relay was read. Returns whether it must be tried again.
    fn note_end(&self, ended: Ended, progress: &mut HashMap<String, Progress>) -> bool {
        let known = progress.entry(ended.relay.clone()).or_default();
        match ended.outcome {
            Ok(synced_to) => {
                known.synced_to = known.synced_to.max(synced_to);
                known.complete_round = Some(ended.round);
                false
            }
            Err(error) => {
                tracing::warn!(
                    relay.url = %ended.relay,
                    error = &error as &dyn std::error::Error,
                    "a relay could not be read back to where it was read before; trying again"
                );
                // A newer connection is caught up with by itself.
                known.catching_up == Some(ended.round)
            }
        }
    }

    async fn catch_up(
        &self,
        relay: String,
        round: u32,
        filters: &[Filter],
        name: &str,
        floor: u64,
    ) -> Ended {
        let outcome = self.read_back(&relay, filters, name, floor).await;
        Ended {
            relay,
            round,
            outcome,
        }
    }

    /// Reads everything that `relay` has of `filters` from now back to `floor`, and
    /// moves its cursor. Returns up to when everything is stored.
    async fn read_back(
        &self,
        relay: &str,
        filters: &[Filter],
        name: &str,
        floor: u64,
    ) -> Result<u64, CatchUpError> {
        // Never closed; without a turn it only goes on at once.
        let _turn = self.turns.acquire().await;
        let started_at = self.clock.now();
        // What is newer comes by the subscription.
        let mut until = started_at;
        let mut seen: HashSet<EventId> = HashSet::new();
        for _ in 0..MAX_PAGES {
            let asked = filters.iter().cloned().map(|filter| {
                filter
                    .since(Timestamp::from(floor))
                    .until(Timestamp::from(until))
                    .limit(PAGE)
            });
            let page = self.relays.fetch_page(relay, asked.collect(), None).await?;
            if page.end == PageEnd::Broken {
                return Err(CatchUpError::Broken);
            }
            let oldest = page.events.iter().map(|event| event.created_at.as_secs());
            let oldest = oldest.min();
            let new: Vec<SeenEvent> = page
                .events
                .into_iter()
                .filter(|event| seen.insert(event.id))
                .map(|event| SeenEvent {
                    event,
                    relay: Some(relay.to_owned()),
                })
                .collect();
            let is_new = !new.is_empty();
            if let Some(oldest) = oldest.filter(|oldest| *oldest < until) {
                // Only events of the second that the next page begins with come again.
                let again = |seen: &&SeenEvent| seen.event.created_at.as_secs() == oldest;
                seen = new.iter().filter(again).map(|new| new.event.id).collect();
            }
            if is_new {
                self.indexer.admit_all(new, Vec::new()).await?;
            }
            match oldest {
                Some(oldest) if is_new && oldest > floor => until = oldest,
                // A whole page of one second: what else it has cannot be asked for.
                Some(oldest) if oldest == until && oldest > floor => until = oldest - 1,
                _ => {
                    let cursor = Cursor {
                        relay: relay.to_owned(),
                        filters: name.to_owned(),
                        synced_to: started_at,
                    };
                    self.indexer.admit_all(Vec::new(), vec![cursor]).await?;
                    return Ok(started_at);
                }
            }
        }
        Err(CatchUpError::Endless)
    }
}

/// Reading that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The relays cannot be asked.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The index cannot be read.
    #[error("read how far relays were read")]
    Store(#[from] StoreError),
}

/// Returns the name under which cursors for `filters` are kept.
fn name_of(filters: &[Filter]) -> String {
    let text = serde_json::to_string(filters).unwrap_or_default();
    hex::encode(&Sha256::digest(text)[..16])
}
