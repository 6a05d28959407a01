//! What a link is asked for: subscriptions and requests, and when they are due.
//!
//! Survives the connection: an open subscription is sent again after a reconnect,
//! an unanswered request once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use nostr::event::{Event, EventId};
use nostr::filter::{Filter, MatchEventOptions};
use nostr::types::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::frame::WireId;
use super::seen::Seen;
use super::{Delivery, Page, PageEnd};

/// Connections on which a request is tried.
const MAX_TRIES: u8 = 2;
/// Most that one fetch collects: events, and bytes of their texts.
const MAX_FETCHED_EVENTS: usize = 5_000;
const MAX_FETCHED_BYTES: usize = 16 * 1024 * 1024;

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Silent,
    Lost(String),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

pub(super) enum Command {
    Subscribe(u64, Subscription),
    Publish(Box<Event>, Reply<(bool, String)>),
}

impl Command {
    /// Returns whether somebody waits for the answer.
    pub(super) fn is_request(&self) -> bool {
        match self {
            Self::Subscribe(_, subscription) => subscription.is_fetch(),
            Self::Publish(..) => true,
        }
    }
}

/// Where the events of a subscription go.
pub(super) enum Sink {
    Live {
        sender: mpsc::Sender<Delivery>,
        /// Shared by the relays of the subscription.
        seen: Arc<Mutex<Seen>>,
    },
    Collect {
        reply: Reply<Page>,
        events: Vec<Event>,
        bytes: usize,
        seen: Seen,
        tries: u8,
    },
}

impl Sink {
    pub(super) fn collect(reply: Reply<Page>) -> Self {
        Self::Collect {
            reply,
            events: Vec::new(),
            bytes: 0,
            seen: Seen::default(),
            tries: 0,
        }
    }
}

pub(super) struct Subscription {
    /// The relay, as the subscriber wrote its URL.
    pub(super) relay: String,
    pub(super) filters: Vec<Filter>,
    pub(super) sink: Sink,
    /// How far back from now the relay is asked; `None` for all it has.
    pub(super) window: Option<Duration>,
    /// How often the `REQ` was sent.
    pub(super) round: u32,
    /// Refusals in a row.
    pub(super) refusals: u32,
    pub(super) is_awaiting_auth: bool,
    /// Whether the end of the stored events came while authentication was under way.
    pub(super) has_ended_early: bool,
}

impl Subscription {
    pub(super) fn new(relay: String, filters: Vec<Filter>, sink: Sink) -> Self {
        Self {
            relay,
            filters,
            sink,
            window: None,
            round: 0,
            refusals: 0,
            is_awaiting_auth: false,
            has_ended_early: false,
        }
    }

    pub(super) fn is_fetch(&self) -> bool {
        matches!(self.sink, Sink::Collect { .. })
    }

    /// Returns what to ask the relay for at `now`, Unix seconds.
    pub(super) fn asked_at(&self, now: u64) -> Vec<Filter> {
        let Some(window) = self.window else {
            return self.filters.clone();
        };
        let since = Timestamp::from(now.saturating_sub(window.as_secs()));
        let filters = self.filters.iter().cloned();
        filters.map(|filter| filter.since(since)).collect()
    }

    /// What a search means is the relay's business; the rest is checked.
    pub(super) fn is_asked_for(&self, event: &Event) -> bool {
        let options = MatchEventOptions::new().nip50(false);
        self.filters
            .iter()
            .any(|filter| filter.match_event(event, options))
    }

    pub(super) fn has_seen(&mut self, id: &EventId) -> bool {
        match &mut self.sink {
            Sink::Live { seen, .. } => seen.lock().contains(id),
            Sink::Collect { seen, .. } => seen.contains(id),
        }
    }

    /// Remembers a verified event. Returns whether it is new.
    pub(super) fn mark_seen(&mut self, id: EventId) -> bool {
        match &mut self.sink {
            Sink::Live { seen, .. } => seen.lock().insert(id),
            Sink::Collect { seen, .. } => seen.insert(id),
        }
    }

    /// Keeps an event of a fetch. Returns whether the fetch is full with it.
    pub(super) fn collect(&mut self, event: Event) -> bool {
        let Sink::Collect { events, bytes, .. } = &mut self.sink else {
            return false;
        };
        let tags = event.tags.iter().flat_map(|tag| tag.as_slice());
        *bytes += event.content.len() + tags.map(String::len).sum::<usize>();
        events.push(event);
        events.len() >= MAX_FETCHED_EVENTS || *bytes >= MAX_FETCHED_BYTES
    }
}

pub(super) struct Publish {
    pub(super) event: Box<Event>,
    replies: Vec<Reply<(bool, String)>>,
    tries: u8,
    /// Tells the time-out of this sending from that of an earlier one.
    serial: u64,
    pub(super) is_awaiting_auth: bool,
    pub(super) was_sent_after_auth: bool,
}

/// Something that was waited for has come.
pub(super) enum Wake {
    ReceiverGone(u64),
    FetchDue(WireId),
    PublishDue(EventId, u64),
    Resubscribe(WireId),
}

/// What a wake makes a session do.
pub(super) enum Todo {
    Close(WireId),
    Request(u64),
}

#[derive(Default)]
pub(super) struct Work {
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    pub(super) publishes: HashMap<EventId, Publish>,
    pub(super) wakes: FuturesUnordered<BoxFuture<'static, Wake>>,
    next_serial: u64,
}

impl Work {
    pub(super) fn is_idle(&self) -> bool {
        self.subscriptions.is_empty() && self.publishes.is_empty()
    }

    /// Returns whether somebody waits for an answer.
    pub(super) fn has_requests(&self) -> bool {
        !self.publishes.is_empty() || self.subscriptions.values().any(Subscription::is_fetch)
    }

    fn add_subscription(&mut self, number: u64, subscription: Subscription) {
        if let Sink::Live { sender, .. } = &subscription.sink {
            let sender = sender.clone();
            let gone = async move {
                sender.closed().await;
                Wake::ReceiverGone(number)
            };
            self.wakes.push(gone.boxed());
        }
        self.subscriptions.insert(number, subscription);
    }

    fn add_publish(&mut self, event: Box<Event>, reply: Reply<(bool, String)>) {
        let publish = self.publishes.entry(event.id).or_insert_with(|| Publish {
            event,
            replies: Vec::new(),
            tries: 0,
            serial: 0,
            is_awaiting_auth: false,
            was_sent_after_auth: false,
        });
        publish.replies.push(reply);
    }

    pub(super) fn add(&mut self, command: Command) {
        match command {
            Command::Subscribe(number, subscription) => {
                self.add_subscription(number, subscription);
            }
            Command::Publish(event, reply) => self.add_publish(event, reply),
        }
    }

    /// Begins a new round of a subscription, due after `patience` if it is a fetch.
    pub(super) fn next_round(&mut self, number: u64, patience: Duration) -> Option<WireId> {
        let subscription = self.subscriptions.get_mut(&number)?;
        subscription.round = subscription.round.wrapping_add(1);
        subscription.is_awaiting_auth = false;
        subscription.has_ended_early = false;
        let round = subscription.round;
        let id = WireId { number, round };
        if subscription.is_fetch() {
            self.wake_after(patience, Wake::FetchDue(id));
        }
        Some(id)
    }

    /// Begins a new sending of an event, due after `patience`.
    pub(super) fn next_sending(&mut self, id: EventId, patience: Duration) {
        self.next_serial += 1;
        let serial = self.next_serial;
        if let Some(publish) = self.publishes.get_mut(&id) {
            publish.serial = serial;
            publish.is_awaiting_auth = false;
            self.wake_after(patience, Wake::PublishDue(id, serial));
        }
    }

    pub(super) fn wake_after(&self, wait: Duration, wake: Wake) {
        let sleep = tokio::time::sleep(wait);
        self.wakes.push(sleep.map(|()| wake).boxed());
    }

    pub(super) fn on_wake(&mut self, wake: Wake) -> Option<Todo> {
        match wake {
            Wake::ReceiverGone(number) => {
                let round = self.subscriptions.remove(&number)?.round;
                Some(Todo::Close(WireId { number, round }))
            }
            Wake::FetchDue(id) => {
                self.current(id)?;
                self.end_fetch(id.number, Err(Failure::Silent));
                Some(Todo::Close(id))
            }
            Wake::PublishDue(id, serial) => {
                if self.publishes.get(&id)?.serial == serial {
                    self.end_publish(id, || Err(Failure::Silent));
                }
                None
            }
            Wake::Resubscribe(id) => {
                self.current(id)?;
                Some(Todo::Request(id.number))
            }
        }
    }

    /// Returns the subscription if `id` names its latest round.
    pub(super) fn current(&mut self, id: WireId) -> Option<&mut Subscription> {
        let subscription = self.subscriptions.get_mut(&id.number)?;
        (subscription.round == id.round).then_some(subscription)
    }

    /// Ends a fetch with what it has; with a failure if that is nothing.
    pub(super) fn end_fetch(&mut self, number: u64, end: Result<PageEnd, Failure>) {
        if !self
            .subscriptions
            .get(&number)
            .is_some_and(Subscription::is_fetch)
        {
            return;
        }
        if let Some(Subscription {
            sink: Sink::Collect { reply, events, .. },
            ..
        }) = self.subscriptions.remove(&number)
        {
            let answer = match end {
                Ok(end) => Ok(Page { events, end }),
                Err(failure) if events.is_empty() => Err(failure),
                Err(_) => Ok(Page {
                    events,
                    end: PageEnd::Broken,
                }),
            };
            // Fails only when the caller has given up.
            let _ = reply.send(answer);
        }
    }

    pub(super) fn end_publish(
        &mut self,
        id: EventId,
        answer: impl Fn() -> Result<(bool, String), Failure>,
    ) {
        for reply in self
            .publishes
            .remove(&id)
            .into_iter()
            .flat_map(|publish| publish.replies)
        {
            let _ = reply.send(answer());
        }
    }

    /// Ends every request, because the relay cannot be reached.
    pub(super) fn fail_requests(&mut self, reason: &str) {
        self.fail_requests_after(reason, 0);
    }

    /// Keeps requests for the next connection, except those that had theirs.
    pub(super) fn retry_requests(&mut self, reason: &str) {
        self.fail_requests_after(reason, MAX_TRIES);
    }

    fn fail_requests_after(&mut self, reason: &str, max_tries: u8) {
        let mut fetches = Vec::new();
        for (number, subscription) in &mut self.subscriptions {
            if let Sink::Collect { tries, .. } = &mut subscription.sink {
                *tries += 1;
                if *tries >= max_tries {
                    fetches.push(*number);
                }
            }
        }
        for number in fetches {
            self.end_fetch(number, Err(Failure::Lost(reason.to_owned())));
        }
        let mut publishes = Vec::new();
        for (id, publish) in &mut self.publishes {
            publish.tries += 1;
            publish.was_sent_after_auth = false;
            if publish.tries >= max_tries {
                publishes.push(*id);
            }
        }
        for id in publishes {
            self.end_publish(id, || Err(Failure::Lost(reason.to_owned())));
        }
    }
}
