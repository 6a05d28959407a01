//! The node's connections to Nostr relays.
//!
//! Everything a relay says is taken as hostile: frames are capped before they are
//! parsed, every event is verified here (id recomputed, signature checked) and
//! matched against what was asked for. The cache of seen ids may drop an event,
//! never admit one. A relay that talks nonsense is counted in
//! [`Relays::health`] and does not hold up the others.
//!
//! Each relay has one connection for each identity that authenticates to it, and
//! for each lane: a subscription whose reader is slow stops the reading of its
//! connection, and must not hold up the `OK` that the same reader waits for.
//!
//! ```text
//!  idle ──work──► connecting ──► connected ──idle 60 s──► gone
//!                    ▲  │ failed     │ lost
//!                    │  ▼            ▼
//!                    └─ waiting (full jitter, at most 5 min)
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `link.rs` | the task of one connection: dial, serve, wait, dial again |
//! | `session.rs` | one open socket: frames in, requests out |
//! | `session/auth.rs` | NIP-42 |
//! | `work.rs` | what a link is asked for: subscriptions and requests |
//! | `frame.rs` | reading a frame; the cheap look at an event's id |
//! | `verify.rs` | ids and signatures, on all cores |
//! | `seen.rs` | ids that were verified and delivered |
//! | `health.rs` | counters of one relay |
//! | `backoff.rs` | how long to wait |
//! | `socket.rs` | dialling, and where to |
//!
//! <https://github.com/nostr-protocol/nips/blob/master/01.md>

mod backoff;
mod frame;
mod health;
mod link;
mod seen;
mod session;
mod socket;
mod verify;
mod work;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use nostr::event::Event;
use nostr::filter::Filter;
use nostr::key::{Keys, PublicKey};
use nostr::types::RelayUrl;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use backoff::RelayTiming;
pub use health::RelayHealth;

use crate::clock::{SharedClock, SharedEntropy};
use crate::lifecycle::Lifecycle;
use health::Health;
use link::Link;
use seen::Seen;
use socket::Reach;
use verify::Verifiers;
use work::{Command, Sink, Subscription};

/// Deliveries that wait for the reader of a subscription.
const DELIVERY_QUEUE: usize = 128;
/// Commands that wait for a link.
const COMMAND_QUEUE: usize = 256;
/// Connections kept at once; more would exhaust file descriptors.
const MAX_LINKS: usize = 512;

/// All relay connections of the node; clones share them.
#[derive(Clone)]
pub struct Relays {
    shared: Arc<Shared>,
}

/// A verified event and where it came from.
#[derive(Debug, Clone)]
pub struct Received {
    /// The relay, as the subscriber wrote its URL.
    pub relay: String,
    /// The event; its id and signature are right.
    pub event: Event,
    /// Counts how often the relay was asked; what it sent in one round came over
    /// one connection, without a gap.
    pub round: u32,
}

/// What a subscription delivers.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// An event, once for all relays of the subscription.
    Event(Received),
    /// The stored events of a relay are through. Comes again after a reconnect,
    /// and never from a relay that does not say so.
    EndOfStored {
        /// The relay, as the subscriber wrote its URL.
        relay: String,
        /// As in [`Received::round`].
        round: u32,
    },
}

/// Stored events of a relay, as far as it gave them.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order in which they came.
    pub events: Vec<Event>,
    /// Why there are no more.
    pub end: PageEnd,
}

/// Why a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEnd {
    /// The relay said that these are all it gives for the filters.
    Whole,
    /// It is as much as is taken at once.
    Full,
    /// The relay fell silent or was lost.
    Broken,
}

/// What a relay answered to an event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// The relay, as the caller wrote its URL.
    pub relay: String,
    /// Whether the relay has the event now.
    pub accepted: bool,
    /// The relay's words, or why it was not reached.
    pub message: String,
}

/// Why a relay did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The URL cannot name a relay. Correct it.
    #[error("relay url {0:?} is not ws:// or wss://")]
    Url(String),
    /// The connection could not be made or was lost. Try again later.
    #[error("reach relay {relay}: {reason}")]
    Unreachable {
        /// The relay, as the caller wrote its URL.
        relay: String,
        /// What went wrong.
        reason: String,
    },
    /// The relay is connected and silent. Try again later.
    #[error("relay {relay} did not answer in time")]
    TimedOut {
        /// The relay, as the caller wrote its URL.
        relay: String,
    },
}

/// Limits of a connection.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// Longest wait for TCP, TLS and the websocket handshake together.
    pub connect_timeout: Duration,
    /// Longest wait for an `OK` or an `EOSE`, and for a write.
    pub answer_timeout: Duration,
    /// Largest frame that is read, in bytes; a larger one ends the connection.
    pub max_frame_bytes: usize,
}

/// What separates connections to one relay: they share nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Subscriptions,
    Requests,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LinkKey {
    url: RelayUrl,
    identity: Option<PublicKey>,
    lane: Lane,
}

struct Shared {
    options: RelayOptions,
    timing: RelayTiming,
    clock: SharedClock,
    entropy: SharedEntropy,
    lifecycle: Lifecycle,
    /// The relays that may be anywhere; unset, all of them may.
    own: OnceLock<HashSet<RelayUrl>>,
    links: Mutex<HashMap<LinkKey, mpsc::Sender<Command>>>,
    health: Mutex<HashMap<RelayUrl, Arc<Health>>>,
    next_subscription: AtomicU64,
    verifiers: Verifiers,
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relays")
            .field("links", &self.shared.links.lock().len())
            .finish_non_exhaustive()
    }
}

impl Relays {
    /// Returns a set of connections, none of them open yet.
    #[must_use]
    pub fn new(
        options: RelayOptions,
        clock: SharedClock,
        entropy: SharedEntropy,
        lifecycle: Lifecycle,
    ) -> Self {
        Self::with_timing(options, RelayTiming::default(), clock, entropy, lifecycle)
    }

    /// Returns a set of connections that ping and wait as `timing` says.
    #[must_use]
    pub fn with_timing(
        options: RelayOptions,
        timing: RelayTiming,
        clock: SharedClock,
        entropy: SharedEntropy,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                timing,
                clock,
                entropy,
                lifecycle,
                own: OnceLock::new(),
                links: Mutex::default(),
                health: Mutex::default(),
                next_subscription: AtomicU64::default(),
                verifiers: Verifiers::default(),
            }),
        }
    }

    /// From now on links to relays other than `own` are opened to addresses of the
    /// public internet only. Strangers name relays too: where they read messages,
    /// where they want an answer. A later call changes nothing.
    pub fn keep_strangers_public(&self, own: &[String]) {
        let own = own.iter().filter_map(|url| RelayUrl::parse(url).ok());
        // Fails only when it was set before.
        let _ = self.shared.own.set(own.collect());
    }

    /// Subscribes at each of `urls`, reconnecting for as long as the receiver
    /// lives. `identity` answers AUTH. Events are verified, matched against the
    /// filters, and delivered once for all relays.
    ///
    /// A reader that does not read stops the reading from these relays.
    ///
    /// # Errors
    /// [`RelayError::Url`] for the first URL that is none, and
    /// [`RelayError::Unreachable`] when there are too many connections; no
    /// subscription is left behind then.
    pub fn subscribe(
        &self,
        urls: &[String],
        filters: Vec<Filter>,
        identity: Option<Keys>,
    ) -> Result<mpsc::Receiver<Delivery>, RelayError> {
        self.subscribe_within(urls, filters, identity, None)
    }

    /// As [`Self::subscribe`], for what is new alone: each time it connects, the
    /// relay is asked for events made since `window` before. What is older is for
    /// [`Self::fetch_page`].
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub fn subscribe_to_new(
        &self,
        urls: &[String],
        filters: Vec<Filter>,
        window: Duration,
    ) -> Result<mpsc::Receiver<Delivery>, RelayError> {
        self.subscribe_within(urls, filters, None, Some(window))
    }

    fn subscribe_within(
        &self,
        urls: &[String],
        filters: Vec<Filter>,
        identity: Option<Keys>,
        window: Option<Duration>,
    ) -> Result<mpsc::Receiver<Delivery>, RelayError> {
        let parsed: Vec<(RelayUrl, &String)> = urls
            .iter()
            .map(|relay| Ok((parse_url(relay)?, relay)))
            .collect::<Result<_, RelayError>>()?;
        let (sender, receiver) = mpsc::channel(DELIVERY_QUEUE);
        let seen = Arc::new(Mutex::new(Seen::default()));
        for (url, relay) in parsed {
            let sink = Sink::Live {
                sender: sender.clone(),
                seen: Arc::clone(&seen),
            };
            let mut subscription = Subscription::new(relay.clone(), filters.clone(), sink);
            subscription.window = window;
            self.command(
                url,
                identity.as_ref(),
                Lane::Subscriptions,
                Command::Subscribe(self.next_subscription(), subscription),
            )
            .map_err(|reason| unreachable_relay(relay, reason))?;
        }
        Ok(receiver)
    }

    /// Sends `event` to each of `urls` and waits for each relay's answer. A
    /// relay that has the event already has accepted it.
    ///
    /// Dropped half way, the event may have been sent or not.
    pub async fn publish(
        &self,
        urls: &[String],
        event: &Event,
        identity: Option<&Keys>,
    ) -> Vec<Published> {
        join_all(urls.iter().map(|relay| async move {
            let answer = self.publish_to(relay, event, identity).await;
            let (accepted, message) =
                answer.unwrap_or_else(|error: RelayError| (false, error.to_string()));
            Published {
                relay: relay.clone(),
                accepted,
                message,
            }
        }))
        .await
    }

    async fn publish_to(
        &self,
        relay: &str,
        event: &Event,
        identity: Option<&Keys>,
    ) -> Result<(bool, String), RelayError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish(Box::new(event.clone()), reply);
        self.command(parse_url(relay)?, identity, Lane::Requests, command)
            .map_err(|reason| unreachable_relay(relay, reason))?;
        self.answer_of(relay, answer).await
    }

    /// Returns the stored events of the relay that match, as far as it gave them
    /// before it said that these are all, or fell silent.
    ///
    /// # Errors
    /// [`RelayError::Url`]; [`RelayError::Unreachable`] also when the relay
    /// refuses the subscription; [`RelayError::TimedOut`] when nothing came.
    pub async fn fetch(
        &self,
        url: &str,
        filters: Vec<Filter>,
        identity: Option<&Keys>,
    ) -> Result<Vec<Event>, RelayError> {
        Ok(self.fetch_page(url, filters, identity).await?.events)
    }

    /// As [`Self::fetch`], and says why there are no more.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_page(
        &self,
        url: &str,
        filters: Vec<Filter>,
        identity: Option<&Keys>,
    ) -> Result<Page, RelayError> {
        let (reply, answer) = oneshot::channel();
        let sink = Sink::collect(reply);
        let subscription = Subscription::new(url.to_owned(), filters, sink);
        let command = Command::Subscribe(self.next_subscription(), subscription);
        self.command(parse_url(url)?, identity, Lane::Requests, command)
            .map_err(|reason| unreachable_relay(url, reason))?;
        self.answer_of(url, answer).await
    }

    /// Returns the state and counters of each relay that was used, by URL.
    #[must_use]
    pub fn health(&self) -> Vec<RelayHealth> {
        let relays = self.shared.health.lock();
        let mut report: Vec<RelayHealth> = relays
            .iter()
            .map(|(url, health)| health.report(url.as_str_without_trailing_slash()))
            .collect();
        report.sort_by(|a, b| a.url.cmp(&b.url));
        report
    }

    fn next_subscription(&self) -> u64 {
        self.shared
            .next_subscription
            .fetch_add(1, Ordering::Relaxed)
    }

    async fn answer_of<T>(
        &self,
        relay: &str,
        answer: oneshot::Receiver<Result<T, work::Failure>>,
    ) -> Result<T, RelayError> {
        let options = &self.shared.options;
        // Twice, because a request that meets a dead connection is sent again.
        let patience = (options.connect_timeout + options.answer_timeout) * 2;
        match timeout(patience, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(work::Failure::Silent))) | Err(_) => Err(RelayError::TimedOut {
                relay: relay.to_owned(),
            }),
            Ok(Ok(Err(work::Failure::Lost(reason)))) => Err(unreachable_relay(relay, reason)),
            Ok(Err(_dropped)) => Err(unreachable_relay(relay, "the node is shutting down")),
        }
    }

    /// Hands `command` to the link it belongs to, starting that link if needed.
    fn command(
        &self,
        url: RelayUrl,
        identity: Option<&Keys>,
        lane: Lane,
        command: Command,
    ) -> Result<(), &'static str> {
        let key = LinkKey {
            url,
            identity: identity.map(Keys::public_key),
            lane,
        };
        let mut links = self.shared.links.lock();
        let count = links.len();
        let sender = match links.entry(key) {
            Entry::Occupied(link) if !link.get().is_closed() => link.into_mut(),
            Entry::Vacant(_) if count >= MAX_LINKS => return Err("too many relay connections"),
            entry => {
                let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
                let key = entry.key().clone();
                let health = self.shared.health_of(&key.url);
                let link = Link::new(
                    Arc::clone(&self.shared),
                    key,
                    identity.cloned(),
                    health,
                    commands,
                );
                self.shared.lifecycle.spawn(link.run());
                entry.insert_entry(sender).into_mut()
            }
        };
        // Under the lock, so that a link that retires has seen every command.
        sender
            .try_send(command)
            .map_err(|_full| "too many requests wait for it")
    }
}

impl Shared {
    fn reach_of(&self, url: &RelayUrl) -> Reach {
        match self.own.get() {
            Some(own) if !own.contains(url) => Reach::Public,
            _ => Reach::Anywhere,
        }
    }

    fn health_of(&self, url: &RelayUrl) -> Arc<Health> {
        let mut relays = self.health.lock();
        if relays.len() >= MAX_LINKS {
            relays.retain(|_, health| Arc::strong_count(health) > 1);
        }
        Arc::clone(relays.entry(url.clone()).or_default())
    }
}

fn parse_url(text: &str) -> Result<RelayUrl, RelayError> {
    RelayUrl::parse(text).map_err(|_| RelayError::Url(text.to_owned()))
}

fn unreachable_relay(relay: &str, reason: impl Into<String>) -> RelayError {
    RelayError::Unreachable {
        relay: relay.to_owned(),
        reason: reason.into(),
    }
}
