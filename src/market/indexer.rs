//! Takes verified events into the index, or says why not.
//!
//! The caller has checked id and signature. Here come the questions of taste:
//! kind, size, depth, date, quota. A listing with a price that cannot be meant is
//! kept without the price, and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use nostr::event::{Event, Kind};
use nostr::filter::{Filter, SingleLetterTag};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, mpsc};

use super::policy::{GiftWraps, Policy};
use crate::clock::SharedClock;
use crate::protocol::{self, CatalogOffer, kinds, tags, text};
use crate::relay::Delivery;
use crate::store::StoreError;
use crate::store::index::{CatalogRow, Index, Stored};

/// New events a slow live subscription may fall behind before it loses some.
const CHANGES_BUFFER: usize = 1_024;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Whether it is in the index now.
    pub accepted: bool,
    /// Whether it was not before.
    pub is_new: bool,
    /// Why; prints as the message of a NIP-01 `OK`.
    pub reason: Reason,
}

/// Why an event was taken or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is new.
    Stored,
    /// It was here.
    Duplicate,
    /// A newer version is, or was, here.
    Superseded,
    /// Its author deleted it, or it has expired.
    Deleted,
    /// Its kind is not taken.
    Kind,
    /// It is for nobody here.
    NoInbox,
    /// Too many bytes.
    TooLarge,
    /// Too many tags, or one too long.
    Tags,
    /// Its content nests too deep.
    TooDeep,
    /// It is from the future.
    Future,
    /// Its author, or its recipient, has too many.
    Quota,
    /// The index failed; not the event's fault.
    Fault,
}

impl Reason {
    /// Returns the name in counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
            Self::Kind => "kind",
            Self::NoInbox => "no-inbox",
            Self::TooLarge => "too-large",
            Self::Tags => "tags",
            Self::TooDeep => "too-deep",
            Self::Future => "future",
            Self::Quota => "quota",
            Self::Fault => "fault",
        }
    }
}

/// Prints the message of a NIP-01 `OK`, with its machine-readable prefix.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored => "",
            Self::Duplicate => "duplicate: already have this event",
            Self::Superseded => "replaced: have newer event",
            Self::Deleted => "blocked: the event was deleted or has expired",
            Self::Kind => "blocked: this relay takes marketplace events only",
            Self::NoInbox => "blocked: the recipient does not read messages here",
            Self::TooLarge => "invalid: the event is too large",
            Self::Tags => "invalid: too many tags, or one too long",
            Self::TooDeep => "invalid: the content nests too deep",
            Self::Future => "invalid: created_at is in the future",
            Self::Quota => "rate-limited: too many events of this key",
            Self::Fault => "error: could not store the event",
        })
    }
}

impl From<Reason> for Admission {
    fn from(reason: Reason) -> Self {
        Self {
            accepted: matches!(reason, Reason::Stored | Reason::Duplicate),
            is_new: reason == Reason::Stored,
            reason,
        }
    }
}

/// Takes events into the index; clones share it.
#[derive(Debug, Clone)]
pub struct Indexer {
    index: Index,
    clock: SharedClock,
    policy: Arc<RwLock<Policy>>,
    changes: broadcast::Sender<Arc<Event>>,
    counters: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Indexer {
    /// Returns the indexer of `index`.
    #[must_use]
    pub fn new(index: Index, clock: SharedClock, policy: Policy) -> Self {
        Self {
            index,
            clock,
            policy: Arc::new(RwLock::new(policy)),
            changes: broadcast::channel(CHANGES_BUFFER).0,
            counters: Arc::default(),
        }
    }

    /// Takes a verified event in, or says why not; `relay` is where it was seen.
    #[tracing::instrument(
        name = "market.event.index",
        level = "debug",
        skip_all,
        fields(event.id = %event.id, event.kind = event.kind.as_u16())
    )]
    pub async fn admit(&self, event: Event, relay: Option<&str>) -> Admission {
        let reason = match self.take(&event, relay).await {
            Ok(reason) => reason,
            Err(error) => {
                tracing::error!(
                    event.id = %event.id,
                    error = &error as &dyn std::error::Error,
                    "the index could not store an event"
                );
                Reason::Fault
            }
        };
        self.count(reason.as_str());
        if reason == Reason::Stored {
            // An error means that nobody listens.
            let _ = self.changes.send(Arc::new(event));
        }
        reason.into()
    }

    /// Returns the events stored from now on. A receiver that lags loses the
    /// oldest of them and is told how many.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<Event>> {
        self.changes.subscribe()
    }

    /// Returns the channel behind [`Self::changes`], for a relay endpoint. Every
    /// event this indexer stores is announced on it: do not announce it again.
    #[must_use]
    pub fn live(&self) -> broadcast::Sender<Arc<Event>> {
        self.changes.clone()
    }

    /// Keeps private messages for `gift_wraps` from now on.
    pub fn set_gift_wraps(&self, gift_wraps: GiftWraps) {
        self.policy.write().gift_wraps = gift_wraps;
    }

    /// Returns how often each [`Reason`] occurred, and how many listings had an absurd price.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.counters.lock().clone()
    }

    /// Returns what to ask relays for.
    #[must_use]
    pub fn filters(&self) -> Vec<Filter> {
        let kinds = self.policy.read().kinds.clone();
        vec![Filter::new().kinds(kinds.into_iter().map(Kind::from_u16))]
    }

    /// Admits what a subscription delivers until it ends.
    pub async fn follow(&self, mut deliveries: mpsc::Receiver<Delivery>) {
        while let Some(delivery) = deliveries.recv().await {
            if let Delivery::Event(received) = delivery {
                self.admit(received.event, Some(&received.relay)).await;
            }
        }
    }

    /// Reads the catalog again from the raw events; returns the number of rows.
    ///
    /// # Errors
    /// When the database fails; the catalog is as before then.
    pub async fn rebuild_catalog(&self) -> Result<u64, StoreError> {
        let kinds = kinds::LISTINGS.to_vec();
        self.index
            .rebuild_catalog(kinds, |event| rows_of(event, &protocol::read(event)))
            .await
    }

    /// Returns the newest stored event that matches `filter`. `None` also when the index fails.
    pub(super) async fn newest(&self, filter: Filter) -> Option<Event> {
        let now = self.clock.now();
        let found = self.index.query(vec![filter], 1, now).await.ok()?;
        found.into_iter().next()
    }

    async fn take(&self, event: &Event, relay: Option<&str>) -> Result<Reason, StoreError> {
        let now = self.clock.now();
        let policy = self.policy.read().clone();
        if let Some(refusal) = refusal(&policy, event, now) {
            return Ok(refusal);
        }
        // A copy of a stored event only adds a sighting; it needs no quota.
        let is_known = self.index.find_event(event.id.to_bytes()).await?.is_some();
        if !is_known && self.is_over_quota(&policy, event, now).await? {
            return Ok(Reason::Quota);
        }
        let offers = protocol::read(event);
        if !is_known {
            self.count_absurd_prices(&offers);
        }
        let rows = rows_of(event, &offers);
        let relay = relay.map(str::to_owned);
        let stored = self.index.insert(event.clone(), rows, relay, now).await?;
        Ok(match stored {
            Stored::New => Reason::Stored,
            Stored::Duplicate => Reason::Duplicate,
            Stored::Superseded => Reason::Superseded,
            Stored::Deleted => Reason::Deleted,
        })
    }

    async fn is_over_quota(
        &self,
        policy: &Policy,
        event: &Event,
        now: u64,
    ) -> Result<bool, StoreError> {
        let kind = event.kind.as_u16();
        if kind == kinds::GIFT_WRAP {
            let recipients = tags::values(event, "p").map(str::to_owned);
            let waiting = Filter::new()
                .kind(event.kind)
                .custom_tags(SingleLetterTag::LOWERCASE_P, recipients);
            let limit = policy.max_wraps_per_inbox;
            return Ok(self.index.count(vec![waiting], limit, now).await? >= limit);
        }
        let is_listing = kinds::LISTINGS.contains(&kind);
        let counted = policy
            .kinds
            .iter()
            .copied()
            .filter(|other| kinds::LISTINGS.contains(other) == is_listing)
            .collect();
        let limit = if is_listing {
            policy.max_listings_per_key
        } else {
            policy.max_others_per_key
        };
        Ok(self.index.count_beside(event, counted).await? >= limit)
    }

    fn count_absurd_prices(&self, offers: &[CatalogOffer]) {
        for offer in offers {
            if offer.price.msat.is_err_and(|fault| fault.is_absurd()) {
                self.count("absurd-price");
            }
        }
    }

    fn count(&self, name: &'static str) {
        *self.counters.lock().entry(name).or_default() += 1;
    }
}

/// Returns why `event` is not taken, as far as the event alone tells.
fn refusal(policy: &Policy, event: &Event, now: u64) -> Option<Reason> {
    let kind = event.kind.as_u16();
    if kind == kinds::GIFT_WRAP {
        if !is_for_an_inbox(policy, event) {
            return Some(Reason::NoInbox);
        }
    } else if !policy.kinds.contains(&kind) {
        return Some(Reason::Kind);
    }
    let values = || event.tags.iter().flat_map(|tag| tag.as_slice());
    let bytes = event.content.len() + values().map(String::len).sum::<usize>();
    if bytes > policy.max_event_bytes {
        return Some(Reason::TooLarge);
    }
    let is_too_long = |(_, value): (&str, &str)| value.len() > policy.max_indexed_value_bytes;
    if event.tags.len() > policy.max_tags || tags::indexed(event).any(is_too_long) {
        return Some(Reason::Tags);
    }
    let is_listing = kinds::LISTINGS.contains(&kind);
    // Brackets are plain text in the Markdown of a classified listing.
    let is_json = is_listing && kind != kinds::CLASSIFIED;
    if is_json && text::json_depth(&event.content) > policy.max_content_depth {
        return Some(Reason::TooDeep);
    }
    let is_future = event.created_at.as_secs() > now.saturating_add(policy.max_future_secs);
    is_future.then_some(Reason::Future)
}

fn is_for_an_inbox(policy: &Policy, event: &Event) -> bool {
    match &policy.gift_wraps {
        GiftWraps::ForAnyone => true,
        GiftWraps::For(keys) => event.tags.public_keys().any(|key| keys.contains(&key)),
    }
}

/// Returns the catalog rows of `offers`, all read from `event`.
fn rows_of(event: &Event, offers: &[CatalogOffer]) -> Vec<CatalogRow> {
    offers
        .iter()
        .map(|offer| CatalogRow {
            coordinate: offer.coordinate.clone(),
            event_id: event.id.to_hex(),
            seller: event.pubkey.to_hex(),
            dialect: offer.dialect.to_string(),
            name: offer.name.clone(),
            summary: offer.summary.clone(),
            capability: offer.capability.clone(),
            topics: offer.topics.clone(),
            price_msat: offer.price.msat.ok().map(|price| price.as_u64()),
            price_text: offer.price.text.clone(),
            endpoint: offer.endpoint.clone(),
            method: offer.method.clone(),
            rails: offer.rails.clone(),
            mints: offer.mints.clone(),
            published_at: offer.published_at,
            expires_at: offer.expires_at,
            relays: Vec::new(),
        })
        .collect()
}
