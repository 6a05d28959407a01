//! Takes verified events into the index, or says why not.
//!
//! The caller has checked id and signature. Here come the questions of taste:
//! kind, size, depth, date, quota. A listing with a price that cannot be meant is
//! kept without the price, and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;

use super::policy::{GiftWraps, Policy};
use crate::clock::SharedClock;
use crate::protocol::dialect::READERS_VERSION;
use crate::protocol::{self, CatalogOffer, kinds, tags, text};
use crate::store::StoreError;
use crate::store::index::{
    Alike, CatalogRow, Cursor, Index, NewEvent, Progress, Quota, Rebuilt, Stored, Verified,
};

/// New events a slow live subscription may fall behind before it loses some.
const CHANGES_BUFFER: usize = 1_024;
/// Events whose offers are read at once, where they are.
const PROJECTED_INLINE: usize = 3;

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

impl From<Stored> for Reason {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::New => Self::Stored,
            Stored::Duplicate => Self::Duplicate,
            Stored::Superseded => Self::Superseded,
            Stored::Deleted => Self::Deleted,
            Stored::OverQuota => Self::Quota,
        }
    }
}

/// A verified event and where it was seen.
#[derive(Debug, Clone)]
pub struct SeenEvent {
    /// Its id and signature are right.
    pub event: Event,
    /// The relay's URL.
    pub relay: Option<String>,
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
        let seen = SeenEvent {
            event,
            relay: relay.map(str::to_owned),
        };
        let reasons = self.admit_all(vec![seen], Vec::new()).await;
        let reason = reasons.map_or(Reason::Fault, |reasons| {
            reasons.first().copied().unwrap_or(Reason::Fault)
        });
        reason.into()
    }

    /// Takes verified events in, in one step, and moves `cursors` with them. Returns
    /// what became of each, in their order.
    ///
    /// # Errors
    /// When the index failed; nothing was taken and no cursor moved then.
    pub async fn admit_all(
        &self,
        events: Vec<SeenEvent>,
        cursors: Vec<Cursor>,
    ) -> Result<Vec<Reason>, StoreError> {
        let now = self.clock.now();
        let count = events.len();
        let projected = self.project(events, now).await?;
        let mut reasons = vec![Reason::Fault; count];
        let (mut places, mut offered) = (Vec::new(), Vec::new());
        for (place, one) in projected.into_iter().enumerate() {
            match one {
                Ok((new, absurd_prices)) => {
                    places.push((place, absurd_prices));
                    offered.push(new);
                }
                Err(refusal) => reasons[place] = refusal,
            }
        }
        if !offered.is_empty() || !cursors.is_empty() {
            let stored = self.index.insert_batch(offered, cursors, now).await;
            let stored = stored.inspect_err(|error| {
                tracing::error!(
                    count,
                    error = error as &dyn std::error::Error,
                    "the index could not store events"
                );
                self.count(Reason::Fault.as_str(), count as u64);
            })?;
            for ((place, absurd_prices), (event, stored)) in places.into_iter().zip(stored) {
                reasons[place] = Reason::from(stored);
                if stored == Stored::New {
                    self.count("absurd-price", absurd_prices);
                    // An error means that nobody listens.
                    let _ = self.changes.send(Arc::new(event));
                }
            }
        }
        for reason in &reasons {
            self.count(reason.as_str(), 1);
        }
        Ok(reasons)
    }

    /// Reads what each event offers, or says why it is not taken.
    async fn project(
        &self,
        events: Vec<SeenEvent>,
        now: u64,
    ) -> Result<Vec<Projected>, StoreError> {
        let policy = self.policy.read().clone();
        // A few are read faster than a thread is found.
        let is_short = events.len() <= PROJECTED_INLINE;
        let work = move || {
            let quotas = Quotas::new(&policy);
            events
                .into_iter()
                .map(|seen| project(seen, &policy, &quotas, now))
                .collect()
        };
        if is_short {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Stopped)
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

    /// Reads the catalog again from the raw events; returns the number of rows.
    ///
    /// # Errors
    /// When the database fails; the catalog is as before then.
    pub async fn rebuild_catalog(&self) -> Result<u64, StoreError> {
        let kinds = kinds::LISTINGS.to_vec();
        self.index
            .rebuild_catalog(kinds, READERS_VERSION, read_rows)
            .await
    }

    /// Reads the catalog again if another version of the readers made it. Returns
    /// the number of rows; `None` when it was up to date.
    ///
    /// # Errors
    /// When the database fails; the catalog is as before then.
    pub async fn refresh_catalog(&self) -> Result<Option<u64>, StoreError> {
        if self.index.readers_version().await? == READERS_VERSION {
            return Ok(None);
        }
        self.rebuild_catalog().await.map(Some)
    }

    /// Returns the newest stored event that matches `filter`. `None` also when the index fails.
    pub(super) async fn newest(&self, filter: Filter) -> Option<Event> {
        let now = self.clock.now();
        let found = self.index.query(vec![filter], 1, now).await.ok()?;
        found.into_iter().next()
    }

    fn count(&self, name: &'static str, more: u64) {
        *self.counters.lock().entry(name).or_default() += more;
    }
}

/// The quotas of a policy, ready to be handed out.
struct Quotas {
    listings: Quota,
    others: Quota,
    wraps: Quota,
}

impl Quotas {
    fn new(policy: &Policy) -> Self {
        let (listings, others): (Vec<u16>, Vec<u16>) = policy
            .kinds
            .iter()
            .partition(|kind| kinds::LISTINGS.contains(kind));
        Self {
            listings: Quota::Author {
                kinds: listings.into(),
                limit: policy.max_listings_per_key,
            },
            others: Quota::Author {
                kinds: others.into(),
                limit: policy.max_others_per_key,
            },
            wraps: Quota::Recipients {
                limit: policy.max_wraps_per_inbox,
            },
        }
    }

    fn of(&self, kind: u16) -> Quota {
        let quota = if kind == kinds::GIFT_WRAP {
            &self.wraps
        } else if kinds::LISTINGS.contains(&kind) {
            &self.listings
        } else {
            &self.others
        };
        quota.clone()
    }
}

/// An event with what it offers and how many of its prices are absurd, or why it is
/// not taken.
type Projected = Result<(NewEvent, u64), Reason>;

fn project(seen: SeenEvent, policy: &Policy, quotas: &Quotas, now: u64) -> Projected {
    let SeenEvent { event, relay } = seen;
    if let Some(refusal) = refusal(policy, &event, now) {
        return Err(refusal);
    }
    let offers = protocol::read(&event);
    let absurd_prices = offers
        .iter()
        .filter(|offer| offer.price.msat.is_err_and(|fault| fault.is_absurd()))
        .count() as u64;
    let new = NewEvent {
        rows: rows_of(&event, &offers),
        quota: quotas.of(event.kind.as_u16()),
        event,
        relay,
    };
    Ok((new, absurd_prices))
}

/// Returns why `event` is not taken, as far as the event alone tells.
fn refusal(policy: &Policy, event: &Event, now: u64) -> Option<Reason> {
    let kind = event.kind.as_u16();
    if kind == kinds::GIFT_WRAP {
        if !is_for_an_inbox(policy, event) {
            return Some(Reason::NoInbox);
        }
    // What a wallet says that is met at our endpoint is kept, and asked for nowhere.
    } else if !policy.kinds.contains(&kind) && kind != kinds::WALLET_INFO {
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
    // Brackets are plain text in Markdown.
    let is_json = is_listing && !kinds::WITH_PROSE.contains(&kind);
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

/// Checks every event of `index`, removes what does not hold, and makes the rest of
/// the index again; `report` is told how far it has come.
///
/// # Errors
/// When the database fails; the index is as before then.
pub async fn rebuild_index(
    index: &Index,
    report: impl Fn(Progress) + Send + 'static,
) -> Result<Rebuilt, StoreError> {
    index.rebuild(READERS_VERSION, read_rows, report).await
}

/// Compares `index` with what its events say; `report` is told how far it has come.
///
/// # Errors
/// When the database fails. What is wrong with the index is no error.
pub async fn verify_index(
    index: &Index,
    report: impl Fn(Progress) + Send + 'static,
) -> Result<Verified, StoreError> {
    index.verify(read_rows, report).await
}

/// Returns the catalog rows of `event`.
fn read_rows(event: &Event) -> Vec<CatalogRow> {
    rows_of(event, &protocol::read(event))
}

/// Returns the catalog rows of `offers`, all read from `event`.
fn rows_of(event: &Event, offers: &[CatalogOffer]) -> Vec<CatalogRow> {
    offers
        .iter()
        .map(|offer| CatalogRow {
            coordinate: offer.coordinate.clone(),
            is_projection: offer.is_projection,
            event_id: event.id.to_hex(),
            seller: event.pubkey.to_hex(),
            dialect: offer.dialect.to_string(),
            name: offer.name.clone(),
            summary: offer.summary.clone(),
            capability: offer.capability.clone(),
            topics: offer.topics.clone(),
            price_msat: offer.price.msat.ok().map(|price| price.as_u64()),
            price_text: offer.price.text.clone(),
            price_source: offer.price.source.to_owned(),
            price_fiat: offer.price.fiat.clone(),
            price_note: offer.price.note(),
            schema_hash: offer.schema_hash.clone(),
            schema_note: offer.schema_note.clone(),
            schema_changed_at: None,
            same_endpoint: Alike::default(),
            same_interface: Alike::default(),
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
