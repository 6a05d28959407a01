//! The node's links to relays, as the link to a wallet behind NIP-47.

use async_trait::async_trait;
use nostr::event::Event;
use nostr::filter::Filter;
use nostr::key::Keys;
use tokio::sync::mpsc;

use crate::lifecycle::Lifecycle;
use crate::lightning::nwc::{LinkNews, LinkSent, WalletLink};
use crate::relay::{Delivery, Relays};

/// Deliveries that wait for the wallet's client.
const QUEUE: usize = 64;

/// The relays that a connection names, as the identity that it gives us.
#[derive(Debug)]
pub(super) struct RelayLink {
    pub(super) relays: Relays,
    pub(super) urls: Vec<String>,
    pub(super) identity: Keys,
    pub(super) lifecycle: Lifecycle,
}

#[async_trait]
impl WalletLink for RelayLink {
    fn subscribe(&self, filters: Vec<Filter>) -> Result<mpsc::Receiver<LinkNews>, String> {
        let identity = Some(self.identity.clone());
        let mut deliveries = self
            .relays
            .subscribe(&self.urls, filters, identity)
            .map_err(|error| error.to_string())?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.lifecycle.spawn(async move {
            while let Some(delivery) = deliveries.recv().await {
                let news = match delivery {
                    Delivery::Event(received) => LinkNews::Event(Box::new(received.event)),
                    Delivery::EndOfStored { .. } => LinkNews::Standing,
                };
                if sender.send(news).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    async fn publish(&self, event: &Event) -> LinkSent {
        let sent = self
            .relays
            .publish(&self.urls, event, Some(&self.identity))
            .await;
        if sent.iter().any(|relay| relay.accepted) {
            return LinkSent::Accepted;
        }
        let words: Vec<&str> = sent.iter().map(|relay| relay.message.as_str()).collect();
        LinkSent::Doubtful(words.join("; "))
    }

    async fn fetch(&self, filters: Vec<Filter>) -> Result<Vec<Event>, String> {
        let mut last = "the wallet names no relay".to_owned();
        for url in &self.urls {
            let fetched = self
                .relays
                .fetch(url, filters.clone(), Some(&self.identity));
            match fetched.await {
                Ok(events) if !events.is_empty() => return Ok(events),
                Ok(_) => last = "no relay has it".to_owned(),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }
}
