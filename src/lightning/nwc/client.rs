//! Questions to the wallet and their answers.
//!
//! A question is an event; its answer names it and is signed by the wallet. What is
//! not both is dropped, as is a second answer. Answers are not kept by relays, so
//! the subscription stands before the first question, and after each reconnect
//! whoever waits hears of it: the answer may have passed meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nostr::event::{Event, EventId, Kind};
use nostr::filter::Filter;
use nostr::key::Keys;
use nostr::nips::nip47::NostrWalletConnectUri;
use nostr::types::Timestamp;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::wire::{self, Answer, Cipher, Info, Notification, WalletFault};
use crate::clock::{SharedClock, SharedEntropy};

/// Questions that wait for an answer at once.
const MAX_OPEN: usize = 256;
/// How long the subscription may take to stand.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a question that moves no money may take.
pub(super) const ASK_PATIENCE: Duration = Duration::from_secs(15);
/// How far back the subscription looks: clocks differ.
const LOOK_BACK_SECS: u64 = 60;
/// Notifications that wait to be written down.
const MAX_NEWS: usize = 256;

/// What the link to the wallet's relays delivers.
#[derive(Debug, Clone)]
pub enum LinkNews {
    /// An event that was asked for, verified.
    Event(Box<Event>),
    /// The subscription stands, for the first time or again.
    Standing,
}

/// What became of an event that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSent {
    /// A relay has it.
    Accepted,
    /// No relay is known to have it, for this reason.
    Doubtful(String),
}

/// What this backend needs of the node's links to relays. Which relays, and as whom
/// the node authenticates there, is the implementer's.
#[async_trait]
pub trait WalletLink: fmt::Debug + Send + Sync {
    /// Subscribes for as long as the receiver lives, through reconnects.
    fn subscribe(&self, filters: Vec<Filter>) -> Result<mpsc::Receiver<LinkNews>, String>;

    /// Sends an event.
    async fn publish(&self, event: &Event) -> LinkSent;

    /// Returns stored events.
    async fn fetch(&self, filters: Vec<Filter>) -> Result<Vec<Event>, String>;
}

/// Why a question has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It was not sent.
    NotSent(String),
    /// It was, and no answer that can be used has come.
    NoAnswer(String),
    /// The wallet said no.
    Refused(WalletFault),
}

/// An answer, or why it is of no use.
type Heard = Result<Answer, &'static str>;

pub(super) struct Client {
    uri: NostrWalletConnectUri,
    keys: Keys,
    link: Arc<dyn WalletLink>,
    clock: SharedClock,
    entropy: SharedEntropy,
    info: Mutex<Option<Info>>,
    open: Mutex<HashMap<EventId, oneshot::Sender<Heard>>>,
    /// How often the subscription was found to stand.
    standing: watch::Sender<u64>,
    /// When the wallet last answered, Unix milliseconds.
    heard_at: AtomicU64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("wallet", &self.uri.public_key)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(
        uri: NostrWalletConnectUri,
        link: Arc<dyn WalletLink>,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Self {
        Self {
            keys: Keys::new(uri.secret.clone()),
            uri,
            link,
            clock,
            entropy,
            info: Mutex::default(),
            open: Mutex::default(),
            standing: watch::channel(0).0,
            heard_at: AtomicU64::new(0),
        }
    }

    /// Reads what the wallet says until the node stops. Incoming payments that it
    /// tells of go to `news`; when that is full they are found in the list later.
    pub(super) async fn listen(self: Arc<Self>, news: mpsc::Sender<wire::Transaction>) {
        let since = self.clock.now().saturating_sub(LOOK_BACK_SECS);
        let kinds = [
            Kind::WalletConnectResponse,
            Kind::WalletConnectNotification,
            Kind::WalletConnectNotificationNip44V2,
        ];
        let filter = Filter::new()
            .author(self.uri.public_key)
            .pubkey(self.keys.public_key())
            .kinds(kinds)
            .since(Timestamp::from(since));
        let mut deliveries = match self.link.subscribe(vec![filter]) {
            Ok(deliveries) => deliveries,
            Err(error) => {
                tracing::error!(%error, "the relays of a wallet cannot be listened to");
                return;
            }
        };
        while let Some(delivery) = deliveries.recv().await {
            match delivery {
                LinkNews::Standing => self.standing.send_modify(|count| *count += 1),
                LinkNews::Event(event) if event.pubkey != self.uri.public_key => {}
                LinkNews::Event(event) if event.kind == Kind::WalletConnectResponse => {
                    self.hear(&event);
                }
                LinkNews::Event(event) => {
                    if let Some(notified) = self.read_notification(&event) {
                        // A full queue loses nothing: the list has it too.
                        let _ = news.try_send(notified);
                    }
                }
            }
        }
    }

    pub(super) fn news_channel() -> (
        mpsc::Sender<wire::Transaction>,
        mpsc::Receiver<wire::Transaction>,
    ) {
        mpsc::channel(MAX_NEWS)
    }

    fn hear(&self, event: &Event) {
        let asked = event.tags.iter().find_map(|tag| match tag.as_slice() {
            [kind, id, ..] if kind == "e" => EventId::from_hex(id).ok(),
            _ => None,
        });
        // Who waited no longer, or has an answer already, is not there any more.
        let Some(waiting) = asked.and_then(|id| self.open.lock().remove(&id)) else {
            return;
        };
        let text = wire::open(&self.keys, &self.uri.public_key, &event.content);
        let answer = text.and_then(|text| {
            serde_json::from_str(&text).map_err(|_| "the wallet's answer cannot be read")
        });
        self.heard_at
            .store(self.clock.now_millis(), Ordering::Relaxed);
        // Nobody waits any more: the answer is asked for again by its hash.
        drop(waiting.send(answer));
    }

    fn read_notification(&self, event: &Event) -> Option<wire::Transaction> {
        let text = wire::open(&self.keys, &self.uri.public_key, &event.content).ok()?;
        let read: Notification = serde_json::from_str(&text).ok()?;
        (read.notification_type == "payment_received").then_some(read.notification)
    }

    /// Returns when the wallet last answered, Unix milliseconds; 0 for never.
    pub(super) fn heard_at(&self) -> u64 {
        self.heard_at.load(Ordering::Relaxed)
    }

    /// Returns a watch on how often the subscription was found to stand.
    pub(super) fn standing(&self) -> watch::Receiver<u64> {
        self.standing.subscribe()
    }

    /// Returns what the wallet can do, asking its relays once. A wallet that
    /// publishes no info event is spoken to in NIP-44.
    pub(super) async fn info(&self) -> Info {
        if let Some(known) = self.info.lock().clone() {
            return known;
        }
        let filter = Filter::new()
            .author(self.uri.public_key)
            .kind(Kind::WalletConnectInfo);
        let found = self.link.fetch(vec![filter]).await;
        let newest = found.unwrap_or_default().into_iter().filter(|event| {
            event.pubkey == self.uri.public_key && event.kind == Kind::WalletConnectInfo
        });
        match newest.max_by_key(|event| event.created_at) {
            Some(event) => {
                let info = Info::read(&event);
                *self.info.lock() = Some(info.clone());
                info
            }
            None => Info {
                cipher: Cipher::Nip44,
                methods: Vec::new(),
            },
        }
    }

    /// Asks for `method` and waits for the answer, at most `patience`.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<T, Fault> {
        let (event, answer) = self.question(method, &params, patience).await?;
        let answered = timeout(patience, self.answered(&event, answer)).await;
        self.open.lock().remove(&event.id);
        let answer = match answered {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(reason))) => return Err(Fault::NoAnswer(reason.to_owned())),
            Ok(Err(_)) => return Err(Fault::NoAnswer("the node is shutting down".to_owned())),
            Err(_) => return Err(Fault::NoAnswer("the wallet is silent".to_owned())),
        };
        if let Some(fault) = answer.error {
            return Err(Fault::Refused(fault));
        }
        if answer.result_type != method {
            return Err(Fault::NoAnswer(
                "the wallet answered something else".to_owned(),
            ));
        }
        answer
            .result
            .and_then(|result| serde_json::from_value(result).ok())
            .ok_or_else(|| Fault::NoAnswer("the wallet's answer cannot be read".to_owned()))
    }

    /// Sends `event` and waits for its answer, which may come before a relay confirms the event.
    async fn answered(
        &self,
        event: &Event,
        mut answer: oneshot::Receiver<Heard>,
    ) -> Result<Heard, oneshot::error::RecvError> {
        let sending = self.link.publish(event);
        tokio::pin!(sending);
        tokio::select! {
            heard = &mut answer => return heard,
            sent = &mut sending => if let LinkSent::Doubtful(reason) = sent {
                // It may have passed the event on all the same.
                tracing::debug!(reason, "a relay did not confirm a question to a wallet");
            },
        }
        answer.await
    }

    async fn question(
        &self,
        method: &str,
        params: &Value,
        patience: Duration,
    ) -> Result<(Event, oneshot::Receiver<Heard>), Fault> {
        let mut standing = self.standing();
        let stands = timeout(CONNECT_PATIENCE, standing.wait_for(|count| *count > 0))
            .await
            .is_ok_and(|stands| stands.is_ok());
        if !stands {
            let reason = "the wallet's relays cannot be reached";
            return Err(Fault::NotSent(reason.to_owned()));
        }
        let info = self.info().await;
        if !info.knows(method) {
            return Err(Fault::Refused(WalletFault {
                code: "NOT_IMPLEMENTED".to_owned(),
                message: format!("the wallet does not offer {method}"),
            }));
        }
        let now = self.clock.now();
        let expires_at = now.saturating_add(patience.as_secs().max(1));
        let event = wire::request(
            &self.keys,
            &self.uri.public_key,
            info.cipher,
            (method, params),
            (now, expires_at),
            self.entropy.as_ref(),
        )
        .map_err(Fault::NotSent)?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut open = self.open.lock();
            open.retain(|_, waiting| !waiting.is_closed());
            if open.len() >= MAX_OPEN {
                return Err(Fault::NotSent("too many questions are open".to_owned()));
            }
            open.insert(event.id, sender);
        }
        Ok((event, receiver))
    }
}
