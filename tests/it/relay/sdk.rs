//! The endpoint against an independent client, nostr-sdk.

use std::sync::Arc;
use std::time::Duration;

use feria::clock::SystemClock;
use feria::http::relay_endpoint::RelayPolicy;
use nostr_sdk::prelude::{Client, EventBuilder, Filter, Keys, Kind, RelayPoolNotification, Tag};

use super::support::{PATIENCE, Relay};

async fn relay() -> Relay {
    let policy = RelayPolicy {
        is_open_inbox: true,
        ..RelayPolicy::default()
    };
    Relay::start_at(Arc::new(SystemClock), policy).await
}

async fn client(relay: &Relay, keys: &Keys) -> Client {
    let client = Client::new(keys.clone());
    client.automatic_authentication(true);
    client.add_relay(relay.url.as_str()).await.unwrap();
    client.connect().await;
    client.wait_for_connection(PATIENCE).await;
    client
}

fn listing(d_tag: &str) -> EventBuilder {
    EventBuilder::new(Kind::Custom(30_402), "a listing").tag(Tag::identifier(d_tag))
}

#[tokio::test]
async fn the_sdk_publishes_fetches_and_subscribes() {
    let relay = relay().await;
    let keys = Keys::generate();
    let (seller, buyer) = (
        client(&relay, &keys).await,
        client(&relay, &Keys::generate()).await,
    );
    let filter = Filter::new()
        .kind(Kind::Custom(30_402))
        .author(keys.public_key());

    let sent = seller.send_event_builder(listing("a")).await.unwrap();
    let fetched = buyer.fetch_events(filter.clone(), PATIENCE).await.unwrap();
    let mut notifications = buyer.notifications();
    buyer.subscribe(filter, None).await.unwrap();
    let late = seller.send_event_builder(listing("b")).await.unwrap();
    let seen = async {
        loop {
            if let Ok(RelayPoolNotification::Event { event, .. }) = notifications.recv().await
                && event.id == *late.id()
            {
                return event;
            }
        }
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await.unwrap();

    assert_eq!(sent.success.len(), 1, "{sent:?}");
    let ids: Vec<_> = fetched.iter().map(|event| event.id).collect();
    assert_eq!(ids, [*sent.id()]);
    assert_eq!(seen.tags.identifier(), Some("b"));
}

#[tokio::test]
async fn the_sdk_authenticates_and_opens_its_messages() {
    let relay = relay().await;
    let keys = Keys::generate();
    let sender = client(&relay, &Keys::generate()).await;
    let payee = client(&relay, &keys).await;
    let filter = Filter::new().kind(Kind::GiftWrap).pubkey(keys.public_key());

    let sent = sender
        .send_private_msg_to([relay.url.as_str()], keys.public_key(), "for you", [])
        .await
        .unwrap();
    let foreign = sender
        .fetch_events(filter.clone(), Duration::from_secs(2))
        .await;
    let wraps = payee.fetch_events(filter, PATIENCE).await.unwrap();
    let gift = payee
        .unwrap_gift_wrap(wraps.first().unwrap())
        .await
        .unwrap();

    assert_eq!(sent.success.len(), 1, "{sent:?}");
    assert!(foreign.is_ok_and(|events| events.is_empty()));
    assert_eq!(gift.rumor.content, "for you");
}
