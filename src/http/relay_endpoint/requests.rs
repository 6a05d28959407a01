//! The answer to each message of a client.

use std::collections::HashSet;
use std::sync::Arc;

use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::message::ClientMessage;
use serde_json::{Value, json};
use tracing::warn;
use url::Url;

use super::connection::{Client, Gone, event_message};
use super::info::MAX_SUBSCRIPTION_ID;
use super::policy::{Narrowed, is_expired, is_readable, narrow, values_of};

/// An AUTH event may be so much older or younger than our clock, in seconds.
const AUTH_WINDOW_SECS: u64 = 600;
/// Keys that may authenticate on one connection.
const MAX_KEYS: usize = 32;
const AUTH_FIRST: &str = "auth-required: messages are shown to their addressee only";
const NOT_YOURS: &str = "restricted: messages of a key that has not authenticated here";

impl Client {
    /// Answers one text frame.
    pub(super) async fn answer(&mut self, text: &str) -> Result<(), Gone> {
        match ClientMessage::from_json(text) {
            Ok(ClientMessage::Event(event)) => self.take(event.into_owned(), text.len()).await,
            Ok(ClientMessage::Req {
                subscription_id,
                filters,
            }) => {
                let filters = filters.into_iter().map(|filter| filter.into_owned());
                self.subscribe(subscription_id.as_str(), filters.collect())
                    .await
            }
            Ok(ClientMessage::Close(id)) => {
                self.subscriptions.remove(id.as_str());
                Ok(())
            }
            Ok(ClientMessage::Auth(event)) => self.authenticate(&event).await,
            Ok(ClientMessage::Count {
                subscription_id, ..
            }) => {
                self.close(subscription_id.as_str(), "unsupported: COUNT")
                    .await
            }
            Ok(ClientMessage::NegOpen {
                subscription_id, ..
            }) => {
                let refusal = json!(["NEG-ERR", subscription_id.as_str(), "unsupported: NEG"]);
                self.send(refusal.to_string()).await
            }
            Ok(ClientMessage::NegMsg { .. } | ClientMessage::NegClose { .. }) => Ok(()),
            Err(_) => self.refuse_unreadable(text).await,
        }
    }

    /// Names the message that could not be read, if it can be made out: a NOTICE
    /// alone would leave the client waiting for the answer to it.
    async fn refuse_unreadable(&mut self, text: &str) -> Result<(), Gone> {
        let parts: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
        match (parts.first().and_then(Value::as_str), parts.get(1)) {
            (Some("REQ" | "COUNT"), Some(Value::String(id))) if id.len() <= MAX_SUBSCRIPTION_ID => {
                self.strike()?;
                self.close(id, "invalid: no filter, or one that could not be read")
                    .await
            }
            (Some("EVENT" | "AUTH"), Some(event)) if event["id"].is_string() => {
                self.strike()?;
                let answer = json!(["OK", event["id"], false, "invalid: not an event"]);
                self.send(answer.to_string()).await
            }
            _ => {
                self.complain("invalid: the message could not be read")
                    .await
            }
        }
    }

    async fn take(&mut self, event: Event, frame_bytes: usize) -> Result<(), Gone> {
        let id = event.id;
        let (is_accepted, message) = self.consider(event, frame_bytes).await;
        let answer = json!(["OK", id.to_hex(), is_accepted, message]);
        self.send(answer.to_string()).await
    }

    async fn consider(&self, event: Event, frame_bytes: usize) -> (bool, String) {
        let parts = &self.endpoint.parts;
        let envelope = r#"["EVENT",]"#.len();
        if frame_bytes.saturating_sub(envelope) > parts.policy.max_event_bytes {
            return (false, "invalid: the event is too large".to_owned());
        }
        if event.verify().is_err() {
            return (false, "invalid: wrong id or signature".to_owned());
        }
        let now = parts.clock.now();
        let refusal = {
            let inbox_keys = self.endpoint.inbox_keys.read();
            let policy = &parts.policy;
            policy.refusal(&event, &self.authenticated, &inbox_keys, now)
        };
        if let Some(refusal) = refusal {
            return (false, refusal.to_owned());
        }
        if event.kind.is_ephemeral() {
            self.announce_to_all(event);
            return (true, String::new());
        }
        let answer = parts.sink.offer(event.clone(), &self.authenticated).await;
        if answer.is_new {
            self.announce_to_all(event);
        }
        (answer.accepted, answer.message)
    }

    fn announce_to_all(&self, event: Event) {
        // Fails only when nobody listens.
        let _ = self.endpoint.parts.live.send(Arc::new(event));
    }

    async fn subscribe(&mut self, id: &str, filters: Vec<Filter>) -> Result<(), Gone> {
        if id.is_empty() || id.len() > MAX_SUBSCRIPTION_ID {
            return self.complain("invalid: subscription id").await;
        }
        let queries = match self.queries(id, &filters) {
            Ok(queries) => queries,
            Err(refusal) => return self.close(id, &refusal).await,
        };
        // Registered before the query: an event stored meanwhile is seen live.
        self.subscriptions.insert(id.to_owned(), filters);
        let Some(events) = self.stored(queries).await else {
            return self.close(id, "error: the store did not answer").await;
        };
        for event in events {
            if let Some(text) = event_message(id, &event) {
                self.send(text).await?;
            }
        }
        self.send(json!(["EOSE", id]).to_string()).await
    }

    /// Returns what to ask the store for, or why the subscription is refused.
    fn queries(&self, id: &str, filters: &[Filter]) -> Result<Vec<Filter>, String> {
        let policy = &self.endpoint.parts.policy;
        if filters.is_empty() {
            return Err("invalid: no filter".to_owned());
        }
        if filters.len() > policy.max_filters {
            return Err(format!("invalid: more than {} filters", policy.max_filters));
        }
        if filters.iter().map(values_of).sum::<usize>() > policy.max_filter_values {
            let most = policy.max_filter_values;
            return Err(format!("invalid: more than {most} values in the filters"));
        }
        let is_new = !self.subscriptions.contains_key(id);
        if is_new && self.subscriptions.len() >= policy.max_subscriptions {
            let most = policy.max_subscriptions;
            return Err(format!("rate-limited: more than {most} subscriptions"));
        }
        let mut queries = Vec::new();
        let mut refusal = None;
        for filter in filters {
            match narrow(filter, &self.authenticated) {
                Narrowed::Query(parts) => queries.extend(parts),
                Narrowed::AuthRequired => refusal = Some(AUTH_FIRST),
                Narrowed::Restricted => refusal = Some(NOT_YOURS),
            }
        }
        if let (true, Some(refusal)) = (queries.is_empty(), refusal) {
            return Err(refusal.to_owned());
        }
        for query in &mut queries {
            let limit = query.limit.unwrap_or(policy.max_limit);
            query.limit = Some(limit.min(policy.max_limit));
        }
        queries.retain(|query| query.limit != Some(0));
        Ok(queries)
    }

    async fn stored(&self, queries: Vec<Filter>) -> Option<Vec<Event>> {
        if queries.is_empty() {
            return Some(Vec::new());
        }
        let parts = &self.endpoint.parts;
        let now = parts.clock.now();
        match parts
            .index
            .query(queries, parts.policy.max_limit, now)
            .await
        {
            Ok(mut events) => {
                let mut seen = HashSet::new();
                events.retain(|event| {
                    is_readable(event, &self.authenticated)
                        && !is_expired(event, now)
                        && seen.insert(event.id)
                });
                Some(events)
            }
            Err(error) => {
                warn!(%error, "a subscription's stored events could not be read");
                None
            }
        }
    }

    async fn authenticate(&mut self, event: &Event) -> Result<(), Gone> {
        let refusal = self.auth_refusal(event);
        if refusal.is_none() && !self.authenticated.contains(&event.pubkey) {
            self.authenticated.push(event.pubkey);
        }
        let message = refusal.unwrap_or_default();
        let answer = json!(["OK", event.id.to_hex(), refusal.is_none(), message]);
        self.send(answer.to_string()).await
    }

    fn auth_refusal(&self, event: &Event) -> Option<&'static str> {
        let parts = &self.endpoint.parts;
        let age = parts.clock.now().abs_diff(event.created_at.as_secs());
        if event.kind != Kind::Authentication {
            return Some("invalid: not an AUTH event");
        }
        if event.tags.challenge().as_deref() != Some(self.challenge.as_str()) {
            return Some("invalid: not the challenge of this connection");
        }
        let is_ours = event
            .tags
            .iter()
            .filter(|tag| tag.kind() == "relay")
            .filter_map(|tag| tag.content())
            .any(|relay| {
                let mut own = parts.policy.public_urls.iter();
                own.any(|own| is_same_relay(own, relay))
            });
        if !is_ours {
            return Some("invalid: signed for another relay");
        }
        if age > AUTH_WINDOW_SECS {
            return Some("invalid: AUTH event is too old, or dated in the future");
        }
        if self.authenticated.len() >= MAX_KEYS {
            return Some("rate-limited: too many keys on this connection");
        }
        if event.verify().is_err() {
            return Some("invalid: wrong id or signature");
        }
        None
    }

    async fn close(&mut self, id: &str, reason: &str) -> Result<(), Gone> {
        self.subscriptions.remove(id);
        self.send(json!(["CLOSED", id, reason]).to_string()).await
    }
}

/// Compares host and port: clients differ in the trailing slash and in letter case.
fn is_same_relay(own: &str, signed: &str) -> bool {
    let authority = |text: &str| {
        let url = Url::parse(text).ok()?;
        let host = url.host_str()?.to_ascii_lowercase();
        Some((host, url.port_or_known_default()?))
    };
    authority(own).is_some() && authority(own) == authority(signed)
}
