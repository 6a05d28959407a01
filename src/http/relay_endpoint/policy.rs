//! What the relay endpoint takes, from whom, and how much of it.
//!
//! Decided here: which kinds are welcome, who may leave a message, which times
//! are believable, who may read a message. Not decided here: whether an event is
//! genuine (the connection verified it before asking) and whether it is stored
//! (the [`EventSink`] answers that).

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;

use crate::protocol::kinds;

/// Kinds of a market that a stranger may publish here: what a node asks other relays for.
const MARKET_KINDS: &[u16] = kinds::SUBSCRIBED;
/// Sealed messages (NIP-17) and their two relatives: only the addressee reads them.
const PRIVATE_KINDS: [u16; 3] = [4, 1_059, 21_059];
/// The gift wrap of NIP-59.
const GIFT_WRAP: Kind = Kind::GiftWrap;

/// Where accepted events go.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Stores a verified and admitted `event`. `authenticated` are the keys that
    /// the sender proved to hold on this connection.
    async fn offer(&self, event: Event, authenticated: &[PublicKey]) -> SinkAnswer;
}

/// What became of an event that was offered to the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkAnswer {
    /// The first value of the `OK` message.
    pub accepted: bool,
    /// The text of the `OK` message, with a prefix of NIP-01 when it is a refusal.
    pub message: String,
    /// Whether live subscriptions are to see the event.
    pub is_new: bool,
}

/// Limits and rules of the endpoint. The limits are advertised by NIP-11.
#[derive(Debug, Clone)]
pub struct RelayPolicy {
    /// Websocket addresses under which clients know this relay; NIP-42 accepts
    /// no other, so a relay in between cannot pass our challenge on.
    pub public_urls: Vec<String>,
    /// Whether messages for any key are kept, as the shared relay of a demo does.
    pub is_open_inbox: bool,
    /// Largest frame read from a client, in bytes.
    pub max_frame_bytes: usize,
    /// Largest event accepted, as JSON, in bytes.
    pub max_event_bytes: usize,
    /// Open subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Filters of one subscription.
    pub max_filters: usize,
    /// Values in all lists of all filters of one subscription. The store asks once
    /// for each value of one list and names the others each time: two long lists
    /// would keep it busy for minutes.
    pub max_filter_values: usize,
    /// Stored events that one filter returns.
    pub max_limit: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Messages that wait for a slow reader before it is dropped.
    pub outbound_queue: usize,
    /// How far in the future an event may be dated.
    pub max_future: Duration,
}

impl Default for RelayPolicy {
    fn default() -> Self {
        Self {
            public_urls: Vec::new(),
            is_open_inbox: false,
            max_frame_bytes: 512 * 1024,
            max_event_bytes: 64 * 1024,
            max_subscriptions: 20,
            max_filters: 10,
            max_filter_values: 2_000,
            max_limit: 500,
            max_connections: 512,
            outbound_queue: 1_024,
            max_future: Duration::from_secs(15 * 60),
        }
    }
}

impl RelayPolicy {
    /// Returns why `event` is not taken, as the text of its `OK` message, or
    /// `None` if it may be offered to the sink. `inbox_keys` are those of the own
    /// agents.
    pub(super) fn refusal(
        &self,
        event: &Event,
        authenticated: &[PublicKey],
        inbox_keys: &HashSet<PublicKey>,
        now: u64,
    ) -> Option<&'static str> {
        if event.created_at.as_secs() > now.saturating_add(self.max_future.as_secs()) {
            return Some("invalid: dated too far in the future");
        }
        if is_expired(event, now) {
            return Some("invalid: expired");
        }
        if event.is_protected() && !authenticated.contains(&event.pubkey) {
            return Some("auth-required: a protected event is taken from its author only");
        }
        if event.kind == GIFT_WRAP {
            let mut addressees = event.tags.public_keys();
            let is_welcome = self.is_open_inbox || addressees.any(|key| inbox_keys.contains(&key));
            return (!is_welcome).then_some("blocked: no agent of this node is addressed");
        }
        if event.kind == Kind::Authentication {
            return Some("invalid: an AUTH event belongs into an AUTH message");
        }
        let kind = event.kind.as_u16();
        // What a wallet that is met here (NIP-47) says of itself; its questions and
        // answers are ephemeral.
        let is_wallet = kind == kinds::WALLET_INFO;
        let is_welcome = event.kind.is_ephemeral() || is_wallet || MARKET_KINDS.contains(&kind);
        (!is_welcome).then_some("blocked: this relay takes marketplace events only")
    }
}

/// Returns whether NIP-40 says that `event` is over at `now`.
pub(super) fn is_expired(event: &Event, now: u64) -> bool {
    event
        .tags
        .expiration()
        .is_some_and(|expires_at| expires_at.as_secs() <= now)
}

/// Returns whether a connection that proved to hold `authenticated` may see `event`.
pub(super) fn is_readable(event: &Event, authenticated: &[PublicKey]) -> bool {
    !PRIVATE_KINDS.contains(&event.kind.as_u16())
        || event
            .tags
            .public_keys()
            .any(|key| authenticated.contains(&key))
}

/// Returns how many values `filter` lists.
pub(super) fn values_of(filter: &Filter) -> usize {
    filter.ids.as_ref().map_or(0, |ids| ids.len())
        + filter.authors.as_ref().map_or(0, |authors| authors.len())
        + filter.kinds.as_ref().map_or(0, |kinds| kinds.len())
        + filter
            .generic_tags
            .values()
            .map(|values| values.len())
            .sum::<usize>()
}

/// What may be asked of the store for one filter of a `REQ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Narrowed {
    /// These filters together; none of them asks for a stranger's messages.
    Query(Vec<Filter>),
    /// Only messages were asked for, and nobody has authenticated.
    AuthRequired,
    /// Only messages of keys that are not authenticated were asked for.
    Restricted,
}

/// Splits `filter` into a public half and one for messages of `authenticated`.
///
/// Without this, other people's messages would use up the filter's limit before
/// they are withheld.
pub(super) fn narrow(filter: &Filter, authenticated: &[PublicKey]) -> Narrowed {
    let Some(kinds) = &filter.kinds else {
        return Narrowed::Query(vec![filter.clone()]);
    };
    let (private, public): (Vec<Kind>, Vec<Kind>) = kinds
        .iter()
        .copied()
        .partition(|kind| PRIVATE_KINDS.contains(&kind.as_u16()));
    if private.is_empty() {
        return Narrowed::Query(vec![filter.clone()]);
    }
    if public.is_empty() && authenticated.is_empty() {
        return Narrowed::AuthRequired;
    }
    let mut filters = Vec::new();
    if !public.is_empty() {
        let mut half = filter.clone();
        half.kinds = Some(public.into_iter().collect());
        filters.push(half);
    }
    filters.extend(own_messages(filter, private, authenticated));
    if filters.is_empty() {
        return Narrowed::Restricted;
    }
    Narrowed::Query(filters)
}

fn own_messages(
    filter: &Filter,
    private: Vec<Kind>,
    authenticated: &[PublicKey],
) -> Option<Filter> {
    let p_tag = nostr::filter::SingleLetterTag::LOWERCASE_P;
    let asked = filter.generic_tags.get(&p_tag);
    let keys: std::collections::BTreeSet<String> = authenticated
        .iter()
        .map(PublicKey::to_hex)
        .filter(|key| asked.is_none_or(|asked| asked.contains(key)))
        .collect();
    if keys.is_empty() {
        return None;
    }
    let mut half = filter.clone();
    half.kinds = Some(private.into_iter().collect());
    half.generic_tags.insert(p_tag, keys);
    Some(half)
}
