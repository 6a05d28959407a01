//! One open socket: frames in, requests out.
//!
//! Every event is matched, verified and counted here before it is handed over.

mod auth;
mod turns;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nostr::event::{Event, EventId};
use nostr::message::{ClientMessage, SubscriptionId};
use nostr::types::Timestamp;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

use super::frame::{self, Incoming, WireId};
use super::health::shorten;
use super::link::Link;
use super::socket::Socket;
use super::verify::Checked;
use super::work::{Command, Failure, Sink, Todo, Wake};
use super::{Delivery, PageEnd, Received};
use auth::Auth;
use turns::{Turn, Turns};

/// Frames of nonsense, less the good ones, that end a connection.
const MAX_STRIKES: u32 = 100;
/// Pings without work after which a connection is closed.
const IDLE_PINGS: u32 = 2;
/// Doublings of the wait after a refusal that will hardly change.
const LASTING_REFUSAL: u32 = 5;

/// Why a session is over.
#[derive(Debug)]
pub(super) enum End {
    /// Nothing is left to do.
    Idle,
    /// The connection is of no more use, for this reason.
    Lost(String),
}

type Step = Result<(), End>;

pub(super) struct Session<'a> {
    link: &'a mut Link,
    socket: Socket,
    ping: Interval,
    auth: Auth,
    challenges: u32,
    strikes: u32,
    turns: Turns,
    /// Pings since the last frame.
    silent_pings: u32,
    /// Pings since there was something to do.
    idle_pings: u32,
}

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a mut Link, socket: Socket) -> Self {
        let mut ping = interval(link.shared.timing.ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        Self {
            link,
            socket,
            ping,
            auth: Auth::None,
            challenges: 0,
            strikes: 0,
            turns: Turns::default(),
            silent_pings: 0,
            idle_pings: 0,
        }
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(mut self) -> End {
        if let Err(end) = self.request_all().await {
            return end;
        }
        loop {
            let (is_open, has_batch) = (!self.turns.is_over(), self.turns.has_batch());
            let is_reading = is_open && self.turns.has_room();
            let step = tokio::select! {
                biased;
                _ = self.ping.tick(), if is_open => self.check().await,
                Some(command) = self.link.commands.recv(), if is_open => self.obey(command).await,
                Some(wake) = self.link.work.wakes.next() => self.act(wake).await,
                Some(turn) = self.turns.next() => self.take(turn).await,
                frame = self.socket.next(), if is_reading => self.read(frame).await,
                // The socket has nothing more at this moment.
                () = std::future::ready(()), if has_batch => {
                    self.turns.verify(&self.link.shared.verifiers);
                    Ok(())
                }
            };
            if let Err(end) = step
                && let Some(end) = self.turns.end(end, &self.link.shared.verifiers)
            {
                return end;
            }
        }
    }

    async fn take(&mut self, turn: Turn) -> Step {
        match turn {
            Turn::Events(events) => {
                for checked in events {
                    self.on_checked(checked).await?;
                }
                Ok(())
            }
            Turn::Said(said) => self.on_said(said).await,
            Turn::Over(end) => Err(end),
        }
    }

    fn patience(&self) -> Duration {
        self.link.shared.options.answer_timeout
    }

    async fn write(&mut self, message: Message) -> Step {
        match timeout(self.patience(), self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Lost(error.to_string())),
            Err(_elapsed) => Err(End::Lost("the relay does not read".to_owned())),
        }
    }

    async fn say(&mut self, message: ClientMessage<'_>) -> Step {
        match serde_json::to_string(&message) {
            Ok(text) => self.write(Message::text(text)).await,
            Err(error) => Err(End::Lost(error.to_string())),
        }
    }

    async fn request_all(&mut self) -> Step {
        let numbers: Vec<u64> = self.link.work.subscriptions.keys().copied().collect();
        for number in numbers {
            self.request(number).await?;
        }
        let events: Vec<EventId> = self.link.work.publishes.keys().copied().collect();
        for id in events {
            self.send_event(id).await?;
        }
        Ok(())
    }

    /// Sends the `REQ` of a subscription, in place of an earlier one.
    async fn request(&mut self, number: u64) -> Step {
        let patience = self.patience();
        let Some(id) = self.link.work.next_round(number, patience) else {
            return Ok(());
        };
        let Some(subscription) = self.link.work.subscriptions.get(&number) else {
            return Ok(());
        };
        let filters = subscription.asked_at(self.link.shared.clock.now());
        self.say(ClientMessage::req(SubscriptionId::new(id.text()), filters))
            .await
    }

    async fn close(&mut self, id: WireId) -> Step {
        self.say(ClientMessage::close(SubscriptionId::new(id.text())))
            .await
    }

    async fn send_event(&mut self, id: EventId) -> Step {
        let patience = self.patience();
        self.link.work.next_sending(id, patience);
        let Some(publish) = self.link.work.publishes.get_mut(&id) else {
            return Ok(());
        };
        publish.was_sent_after_auth |= matches!(self.auth, Auth::Done);
        let event = (*publish.event).clone();
        self.say(ClientMessage::event(event)).await
    }

    async fn obey(&mut self, command: Command) -> Step {
        match command {
            Command::Subscribe(number, subscription) => {
                self.link.work.add(Command::Subscribe(number, subscription));
                self.request(number).await
            }
            Command::Publish(event, reply) => {
                let id = event.id;
                self.link.work.add(Command::Publish(event, reply));
                self.send_event(id).await
            }
        }
    }

    async fn act(&mut self, wake: Wake) -> Step {
        match self.link.work.on_wake(wake) {
            Some(Todo::Close(id)) => self.close(id).await,
            Some(Todo::Request(number)) => self.request(number).await,
            None => Ok(()),
        }
    }

    async fn check(&mut self) -> Step {
        self.silent_pings += 1;
        if self.silent_pings > self.link.shared.timing.idle_pings {
            return Err(End::Lost("the relay is silent, even to pings".to_owned()));
        }
        self.idle_pings = if self.link.work.is_idle() {
            self.idle_pings + 1
        } else {
            0
        };
        if self.idle_pings > IDLE_PINGS {
            return Err(End::Idle);
        }
        self.write(Message::Ping(Bytes::new())).await
    }

    async fn read(&mut self, frame: Option<Result<Message, tungstenite::Error>>) -> Step {
        match frame {
            Some(Ok(Message::Text(text))) => {
                self.silent_pings = 0;
                self.hear(text.as_str()).await
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                self.silent_pings = 0;
                Ok(())
            }
            Some(Ok(Message::Binary(_))) => self.strike("a binary frame"),
            Some(Ok(Message::Close(_))) | None => {
                Err(End::Lost("the relay closed the connection".to_owned()))
            }
            Some(Err(error @ tungstenite::Error::Capacity(_))) => {
                let reason = error.to_string();
                self.link.health.count_invalid(&reason);
                Err(End::Lost(reason))
            }
            Some(Err(error)) => Err(End::Lost(error.to_string())),
        }
    }

    fn strike(&mut self, reason: &str) -> Step {
        self.link.health.count_invalid(reason);
        self.strikes += 1;
        if self.strikes > MAX_STRIKES {
            return Err(End::Lost("the relay talks nonsense".to_owned()));
        }
        Ok(())
    }

    async fn hear(&mut self, text: &str) -> Step {
        if let Some((id, event)) = frame::claimed_event(text)
            && self.has_seen(id, &event)
        {
            self.link.health.count_duplicate();
            return Ok(());
        }
        match frame::parse(text) {
            Some(Incoming::Event(id, event)) => self.on_event(id, *event),
            Some(said) if !self.turns.is_empty() => {
                self.turns.add_said(said, &self.link.shared.verifiers);
                Ok(())
            }
            Some(said) => self.on_said(said).await,
            None => self.strike("not a message of a relay"),
        }
    }

    async fn on_said(&mut self, said: Incoming) -> Step {
        match said {
            Incoming::Ok(id, status, message) => self.on_ok(id, status, message).await,
            Incoming::EndOfStored(id) => self.on_end_of_stored(id).await,
            Incoming::Closed(id, reason) => {
                self.on_closed(id, &reason);
                Ok(())
            }
            Incoming::Challenge(challenge) => self.on_challenge(&challenge).await,
            Incoming::Notice(text) => {
                self.link.health.set_error(&format!("notice: {text}"));
                Ok(())
            }
            Incoming::Event(..) | Incoming::Other => Ok(()),
        }
    }

    fn has_seen(&mut self, id: WireId, event: &EventId) -> bool {
        let subscriptions = &mut self.link.work.subscriptions;
        subscriptions
            .get_mut(&id.number)
            .is_some_and(|subscription| subscription.has_seen(event))
    }

    /// Keeps an event for the next batch that is verified.
    fn on_event(&mut self, id: WireId, event: Event) -> Step {
        let Some(subscription) = self.link.work.subscriptions.get(&id.number) else {
            // The relay has not read our CLOSE yet.
            return Ok(());
        };
        if !subscription.is_asked_for(&event) {
            return self.strike("an event that was not asked for");
        }
        self.turns.add_event(id, event, &self.link.shared.verifiers);
        Ok(())
    }

    async fn on_checked(&mut self, checked: Checked) -> Step {
        let Checked {
            id,
            event,
            is_genuine,
        } = checked;
        if !is_genuine {
            return self.strike("an event with a wrong id or signature");
        }
        let Some(subscription) = self.link.work.subscriptions.get_mut(&id.number) else {
            return Ok(());
        };
        self.strikes = self.strikes.saturating_sub(1);
        let now = Timestamp::from(self.link.shared.clock.now());
        if event.is_expired_at(now) {
            return Ok(());
        }
        if !subscription.mark_seen(event.id) {
            self.link.health.count_duplicate();
            return Ok(());
        }
        self.link.health.count_event();
        if subscription.is_fetch() {
            if subscription.collect(event) {
                self.link.work.end_fetch(id.number, Ok(PageEnd::Full));
                return self.close(id).await;
            }
            return Ok(());
        }
        let received = Received {
            relay: subscription.relay.clone(),
            event,
            round: id.round,
        };
        self.deliver(id, Delivery::Event(received)).await
    }

    /// Hands over a delivery. Does not read on while the receiver is full, so
    /// that the relay is slowed down; pings go on.
    async fn deliver(&mut self, id: WireId, delivery: Delivery) -> Step {
        let Some(subscription) = self.link.work.subscriptions.get(&id.number) else {
            return Ok(());
        };
        let Sink::Live { sender, .. } = &subscription.sink else {
            return Ok(());
        };
        let reserve = sender.clone().reserve_owned();
        tokio::pin!(reserve);
        loop {
            tokio::select! {
                permit = &mut reserve => {
                    // A receiver that is gone wakes the session to close the subscription.
                    if let Ok(permit) = permit {
                        permit.send(delivery);
                    }
                    return Ok(());
                }
                _ = self.ping.tick() => self.write(Message::Ping(Bytes::new())).await?,
            }
        }
    }

    async fn on_end_of_stored(&mut self, id: WireId) -> Step {
        let is_authenticating = matches!(self.auth, Auth::Sent(_));
        let Some(subscription) = self.link.work.current(id) else {
            return Ok(());
        };
        subscription.refusals = 0;
        if is_authenticating {
            subscription.has_ended_early = true;
            return Ok(());
        }
        self.end_stored(id).await
    }

    async fn end_stored(&mut self, id: WireId) -> Step {
        let Some(subscription) = self.link.work.current(id) else {
            return Ok(());
        };
        if subscription.is_fetch() {
            self.link.work.end_fetch(id.number, Ok(PageEnd::Whole));
            return self.close(id).await;
        }
        let (relay, round) = (subscription.relay.clone(), id.round);
        self.deliver(id, Delivery::EndOfStored { relay, round })
            .await
    }

    fn on_closed(&mut self, id: WireId, reason: &str) {
        let can_authenticate = self.can_authenticate();
        let Some(subscription) = self.link.work.current(id) else {
            return;
        };
        if reason.starts_with("auth-required:") && can_authenticate {
            subscription.is_awaiting_auth = true;
            self.link.health.set_error(&shorten(reason));
            // In case the relay never sends the challenge.
            let wait = self.link.shared.timing.backoff_cap;
            self.link.work.wake_after(wait, Wake::Resubscribe(id));
            return;
        }
        self.refused(id, reason);
    }

    /// Ends a refused fetch; tries a refused subscription again later.
    fn refused(&mut self, id: WireId, reason: &str) {
        let reason = format!("subscription refused: {}", shorten(reason));
        self.link.health.set_error(&reason);
        let Some(subscription) = self.link.work.current(id) else {
            return;
        };
        if subscription.is_fetch() {
            let failure = Failure::Lost(reason);
            self.link.work.end_fetch(id.number, Err(failure));
            return;
        }
        subscription.refusals = subscription.refusals.saturating_add(1);
        let lasting = [
            "blocked:",
            "restricted:",
            "unsupported:",
            "invalid:",
            "auth-required:",
        ];
        let is_lasting = lasting.iter().any(|prefix| reason.contains(prefix));
        let failures = subscription.refusals + if is_lasting { LASTING_REFUSAL } else { 0 };
        let shared = &self.link.shared;
        // Half a base at least: a jitter of nearly nothing would hammer the relay.
        let wait =
            shared.timing.wait(failures, shared.entropy.as_ref()) + shared.timing.backoff_base / 2;
        self.link.work.wake_after(wait, Wake::Resubscribe(id));
    }

    async fn on_ok(&mut self, id: EventId, status: bool, message: String) -> Step {
        if matches!(self.auth, Auth::Sent(sent) if sent == id) {
            return self.on_auth_answer(status, &message).await;
        }
        let can_authenticate = self.can_authenticate();
        let is_authenticated = matches!(self.auth, Auth::Done);
        let Some(publish) = self.link.work.publishes.get_mut(&id) else {
            return Ok(());
        };
        if !status && message.starts_with("auth-required:") {
            if can_authenticate {
                publish.is_awaiting_auth = true;
                return Ok(());
            }
            if is_authenticated && !publish.was_sent_after_auth {
                return self.send_event(id).await;
            }
        }
        let accepted = status || message.starts_with("duplicate:");
        let message = shorten(&message);
        self.link
            .work
            .end_publish(id, || Ok((accepted, message.clone())));
        Ok(())
    }

    fn rounds(&self) -> Vec<WireId> {
        let subscriptions = self.link.work.subscriptions.iter();
        subscriptions
            .map(|(number, subscription)| WireId {
                number: *number,
                round: subscription.round,
            })
            .collect()
    }
}
